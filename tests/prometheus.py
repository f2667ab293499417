"""A Prometheus of our own on loopback, if this machine has one: Debian's package prometheus."""

import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import ProxyHandler, build_opener

import pytest
import yaml

from tests.ports import own_port
from tune_encoder.config import read_yaml
from tune_encoder.system.ports import LOOPBACK

_DIRECT = build_opener(ProxyHandler({}))
_OFTEN = "1s"
STARTED_S, ANSWER_S = 60, 10
Sample = dict[str, Any]
"""A series and its value: {"metric": {label: ...}, "value": [time, text]}."""


class Prometheus:
    """Scrapes what a configuration of ours names, once a second."""

    def __init__(self, config: Path, folder: Path) -> None:
        if not (program := shutil.which("prometheus")):
            pytest.skip("no prometheus here; install Debian's package prometheus")
        content: Any = read_yaml(config)
        content["global"]["scrape_interval"] = _OFTEN
        for scraped in content["scrape_configs"]:
            for found in scraped["file_sd_configs"]:
                found["refresh_interval"] = _OFTEN
        often = folder / "often.yaml"
        often.write_text(yaml.safe_dump(content))
        self.url = f"http://{LOOPBACK}:{own_port()}"
        self._log = (folder / "prometheus.log").open("w")
        place = f"--web.listen-address={self.url.removeprefix('http://')}"
        kept = f"--storage.tsdb.path={folder / 'tsdb'}"
        self.process = subprocess.Popen(
            [program, f"--config.file={often}", place, kept],
            stdout=self._log,
            stderr=self._log,
        )

    def ask(self, query: str) -> list[Sample]:
        """What a query gives now."""
        answer = self._get(f"/api/v1/query?{urlencode({'query': query})}")
        assert answer["status"] == "success"
        found: list[Sample] = answer["data"]["result"]
        return found

    def wait_for(self, query: str, process: "subprocess.Popen[str]") -> list[Sample]:
        """What a query gives as soon as it gives anything, while a search runs."""
        deadline = time.monotonic() + STARTED_S
        while not (found := self._answer(query)):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline, (query, Path(self._log.name).read_text()[-2000:])
            time.sleep(0.2)
        return found

    def _answer(self, query: str) -> list[Sample]:
        try:
            return self.ask(query)
        except OSError:  # it has not started yet
            assert self.process.poll() is None, Path(self._log.name).read_text()[-2000:]
            return []

    def _get(self, path: str) -> dict[str, Any]:
        with _DIRECT.open(self.url + path, timeout=ANSWER_S) as answer:
            content: dict[str, Any] = json.load(answer)
            return content

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()
        self._log.close()
