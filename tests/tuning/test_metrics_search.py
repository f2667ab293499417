"""A search with --metrics: who can read them, and what a real Prometheus reads."""

import re
import socket
import time
from dataclasses import dataclass
from urllib.request import ProxyHandler, build_opener

import psutil
import pytest

from tests.prometheus import Prometheus, Sample
from tests.tuning.cluster.test_addresses import addresses, check, lines
from tests.tuning.conftest import Command, finish
from tune_encoder.experiment.folder import Experiment
from tune_encoder.experiment.grafana import dashboard, write_grafana
from tune_encoder.experiment.metrics import (
    BEST,
    CLIPS,
    EPOCHS,
    METRICS,
    SECONDS,
    TRIALS,
    WORK,
    targets_folder,
)
from tune_encoder.experiment.trials import TrialRecord
from tune_encoder.system.ports import LOOPBACK

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

LONG = {"budget": {"trials": 2, "epochs": 2000}, "scheduler": {"name": "none"}}
OFTEN = {"RAY_metrics_report_interval_ms": "1000"}  # Ray sends metrics on every ten seconds
ENOUGH = 5  # epochs
ANSWER_S = 10
WORKER_SERIES = r'Component="ray::\w+'  # of the memory and the load of a worker
SERIES_S = 60


@dataclass
class Watched:
    """A search that ran, and what was seen of it meanwhile."""

    experiment: Experiment
    before: list[TrialRecord]
    """Its trials before Prometheus was asked."""
    after: list[TrialRecord]
    values: dict[str, list[Sample]]
    """What Prometheus said of each metric."""
    panels: dict[str, list[Sample]]
    """The same of the query of each panel."""
    up: list[Sample]
    listening: set[tuple[str, int]]
    kinds: list[str]
    titles: set[str]
    said: str
    text: str
    left: list[str]
    """Files that named it to Prometheus after its end."""


@pytest.fixture(scope="module")
def watched(tmp_path_factory, data_dir):
    folder = tmp_path_factory.mktemp("metrics")
    write_grafana(folder / "made", targets_folder(), folder)
    prometheus = Prometheus(folder / "made" / "prometheus.yaml", folder)
    command = Command(folder, data_dir)
    try:
        process = command.start(*command.search_options(LONG), "--metrics", environment=OFTEN)
        command.wait_for_rows(process, ENOUGH)
        before = command.experiment.trials()
        prometheus.wait_for(f"{EPOCHS.exported} >= {ENOUGH}", process)
        rate = next(each for each in dashboard()["panels"] if each["title"] == "Epochs per second")
        # Two samples in which it has grown; before, the rate is 0.
        prometheus.wait_for(f"({for_now(rate['targets'][0]['expr'])}) > 0", process)
        panels = {
            panel["title"]: prometheus.wait_for(for_now(panel["targets"][0]["expr"]), process)
            for panel in dashboard()["panels"]
        }
        values = {metric.name: prometheus.ask(metric.exported) for metric in METRICS}
        up = prometheus.ask('up{job="tune_encoder"}')
        after = command.experiment.trials()
        driver = psutil.Process(process.pid)
        listening = set(addresses(driver))
        kinds = [check(host, port) for host, port in listening]
        titles = {line.strip("\0 ") for _, line in lines(driver) if "ray::tiny" in line}
        text = page_with(up[0]["metric"]["instance"], WORKER_SERIES)
        process.terminate()
        said = finish(process, 60)[0]
    finally:
        command.close()
        prometheus.close()
    left = [path.name for path in targets_folder().iterdir()]
    return Watched(
        command.experiment, before, after, values, panels, up, listening, kinds, titles, said,
        text, left,
    )  # fmt: skip


def for_now(query):
    """A query of a panel as Grafana asks it, over what there is of a search that just began."""
    chosen = re.sub(r"\$(experiment|SessionName)", ".*", query)
    return chosen.replace("$__rate_interval", "4s")


def page_with(address, pattern):
    """What anybody on this machine reads at HOST:PORT, once it has what Ray adds after a while."""
    opener = build_opener(ProxyHandler({}))
    deadline = time.monotonic() + SERIES_S
    while True:
        with opener.open(f"http://{address}/metrics", timeout=ANSWER_S) as answer:
            text = answer.read().decode()
        if re.search(pattern, text) or time.monotonic() > deadline:
            return text
        time.sleep(0.5)


def number(found: list[Sample], **labels: str) -> float:
    (value,) = [
        float(each["value"][1])
        for each in found
        if all(each["metric"][name] == wanted for name, wanted in labels.items())
    ]
    return value


def n_epochs(trials):
    return sum(len(trial.rows) for trial in trials)


def test_prometheus_reads_every_metric_of_the_search(watched):
    assert {name for name, found in watched.values.items() if not found} == set()
    of = {each["metric"]["experiment"] for found in watched.values.values() for each in found}
    assert of == {"tiny"}


def test_what_prometheus_reads_is_what_the_record_has(watched):
    values = watched.values
    losses = [row["val_loss"] for trial in watched.after for row in trial.rows]

    assert ENOUGH <= number(values[EPOCHS.name]) <= n_epochs(watched.after)
    assert number(values[BEST.name], metric="val_loss") in losses
    assert number(values[TRIALS.name], state="running") == 2
    assert number(values[TRIALS.name], state="failed") == 0
    spent = sum(number(values[SECONDS.name], work=work) for work in WORK)
    assert 0 < spent <= sum(row["seconds"] for trial in watched.after for row in trial.rows)
    assert number(values[CLIPS.name]) >= 24 * ENOUGH  # an epoch is at least each clip once


def test_every_panel_of_the_dashboard_has_something_to_draw(watched):
    assert {title for title, found in watched.panels.items() if not found} == set()
    assert number(watched.panels["Epochs per second"], experiment="tiny") > 0


def test_the_metrics_are_open_to_this_machine_and_nothing_is_to_others(watched):
    assert {host for host, _ in watched.listening} == {LOOPBACK}
    assert watched.kinds.count("calls") > 5
    (target,) = watched.up
    host, _, port = target["metric"]["instance"].partition(":")
    assert (host, target["value"][1]) == (LOOPBACK, "1")
    assert (host, int(port)) in watched.listening
    for other in addresses_of_this_machine():
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((other, int(port)), ANSWER_S)


def addresses_of_this_machine():
    """Its IPv4 addresses that other machines may reach."""
    return {
        each.address
        for of_one in psutil.net_if_addrs().values()
        for each in of_one
        if each.family == socket.AF_INET and not each.address.startswith("127.")
    }


def test_the_address_is_printed_and_named_to_prometheus_while_the_search_runs(watched):
    address = watched.up[0]["metric"]["instance"]

    assert f"metrics:   http://{address}/metrics\n" in watched.said
    assert EPOCHS.exported in watched.text
    assert watched.left == []


def test_the_titles_of_workers_make_no_new_series_with_every_epoch(watched):
    # Ray has a series of the memory and the load of each title.
    assert watched.titles <= {"ray::tiny: worker 1", "ray::tiny: worker 2"}
    assert re.search(WORKER_SERIES, watched.text)
    assert not re.search(r'Component="[^"]*epoch', watched.text)
