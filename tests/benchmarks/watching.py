"""What an open page of `serve` costs a running search, and how soon it shows a new epoch.

    python -m tests.benchmarks.watching --pairs 4

One search trains demo voices with two workers. In turn its page is open in Chromium for so many
seconds, and closed. What the server uses of a processor is counted, and the search's epochs a
second with and without; the browser, usually on another machine, is counted beside. The page
itself notes when its number of epochs changes, which is compared with when each was recorded.
"""

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import psutil
from playwright.sync_api import Browser, Page, sync_playwright

from tests.benchmarks.metrics import Measured, describe, measure, searching
from tests.serve.conftest import CHROMIUM, Server, serving
from tune_encoder.data.demo import make_demo
from tune_encoder.experiment.folder import Experiment

SETTLE_S = 5.0  # after a page has been opened or closed
_NOTE_CHANGES = """() => {
  const labels = [...document.querySelectorAll(".numbers dt")];
  const place = labels.find((each) => each.textContent.trim() === "epochs").nextElementSibling;
  const note = () => window.noted.push([parseInt(place.textContent), Date.now() / 1000]);
  window.noted = [];
  note();
  new MutationObserver(note).observe(place, {subtree: true, childList: true, characterData: true});
}"""


class Phase(NamedTuple):
    """A while with the page open or closed, of seconds of processor time in a second."""

    search: Measured
    server: float
    browser: float


class Bench:
    """A search that runs, its server, and a browser."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", experiment: Experiment, server: Server
    ) -> None:
        self.process, self.experiment, self.server = process, experiment, server
        self.delays: list[float] = []
        """Seconds from the record of an epoch to its number on the page."""

    @contextmanager
    def opened(self, browser: Browser) -> Iterator[None]:
        """The page of the search in a window of its own."""
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.goto(self.server.link)
        page.wait_for_url(f"{self.server.base}/")
        page.goto(f"{self.server.base}/e/mine")
        page.wait_for_selector("h1")
        page.evaluate(_NOTE_CHANGES)
        yield
        self.delays += self._delays(page)
        page.close()

    def _delays(self, page: Page) -> list[float]:
        rows = (row for trial in self.experiment.trials() for row in trial.rows)
        recorded = sorted(row["recorded_at"] for row in rows)
        noted = page.evaluate("window.noted")
        return [
            seen - recorded[number]
            for (before, _), (after, seen) in pairwise(noted)
            for number in range(before, after)
        ]

    def phase(self, seconds: float) -> Phase:
        """Measure for a while, once things have settled."""
        time.sleep(SETTLE_S)
        before, began = self._others(), time.monotonic()
        search = measure(self.process, self.experiment, seconds)
        after, passed = self._others(), time.monotonic() - began
        return Phase(search, *((b - a) / passed for a, b in zip(before, after, strict=True)))

    def _others(self) -> tuple[float, float]:
        """Seconds of processor time so far of the server, and of all processes of the browser."""
        mine = psutil.Process().children(recursive=True)
        browsers = [each for each in mine if "chrom" in each.name()]
        server = psutil.Process(self.server.process.pid)
        servers = [server, *server.children(recursive=True)]
        return sum(map(_used, servers)), sum(map(_used, browsers))


def _used(process: psutil.Process) -> float:
    try:
        return sum(process.cpu_times()[:2])
    except psutil.NoSuchProcess:
        return 0.0


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium."""
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=40.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "demo"
        make_demo(data, voices=64, val_voices=16, test_voices=8, seed=3)
        with (
            searching(Path(folder) / "search", data) as (process, experiment),
            serving(experiment.path.parent) as server,
            chromium() as browser,
        ):
            bench = Bench(process, experiment, server)
            pairs = [run_pair(bench, browser, number, options) for number in range(options.pairs)]
    print_summary(pairs, bench.delays)


def run_pair(
    bench: Bench, browser: Browser, number: int, options: argparse.Namespace
) -> dict[bool, Phase]:
    """Measure with the page and without, first the one, then the other."""
    found = {}
    for is_open in [True, False] if number % 2 else [False, True]:
        with bench.opened(browser) if is_open else nullcontext():
            found[is_open] = phase = bench.phase(options.seconds)
        print(
            f"pair {number} {'open' if is_open else 'closed':7}{describe(phase.search)}\n"
            f"{'':14}server {phase.server:.4f}, browser {phase.browser:.4f} s/s",
            flush=True,
        )
    return found


def print_summary(pairs: list[dict[bool, Phase]], delays: list[float]) -> None:
    """Print medians, and the range of each."""
    cores = os.cpu_count() or 1
    server = [(pair[True].server - pair[False].server) / cores for pair in pairs]
    slower = [
        1 - pair[True].search.epochs_per_s / pair[False].search.epochs_per_s for pair in pairs
    ]
    for label, found in (
        ("server, of the time of all cores", server),
        ("fewer epochs a second, the browser on this machine too", slower),
    ):
        middle = statistics.median(found)
        print(f"{label}: median {middle:.2%}, {min(found):.2%} to {max(found):.2%}")
    if len(delays) < 2:
        print("too few epochs to tell when they are on the page; give more --seconds")
        return
    late = statistics.quantiles(delays, n=20)[-1]
    print(
        f"an epoch is on the page after {statistics.median(delays):.2f} s, 95 % within "
        f"{late:.2f} s, all {len(delays)} within {max(delays):.2f} s"
    )


if __name__ == "__main__":
    main()
