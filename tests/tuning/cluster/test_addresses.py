"""Every address at which a search or a cluster listens, asked with Ray's token and without.

Of a search with its pages see test_steering_search, which has one.
"""

import functools
import http.client
import http.server
import json
import os
import re
import threading
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from tests.processes import command_of
from tests.tuning.conftest import finish
from tests.tuning.faults.processes import WORKER
from tune_encoder.experiment.folder import Experiment
from tune_encoder.system.lock import read_note
from tune_encoder.system.ports import LOOPBACK
from tune_encoder.tuning.cluster.ray_settings import read_token
from tune_encoder.tuning.cluster.start import start_cluster
from tune_encoder.tuning.cluster.state import find_cluster
from tune_encoder.tuning.cluster.stop import stop_cluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

LONG = {"budget": {"trials": 2, "epochs": 400}, "scheduler": {"name": "none"}}
ANSWER_S = 5
CALLS = (  # one of each service of Ray
    "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo",
    "/ray.rpc.NodeManagerService/GetNodeStats",
    "/ray.rpc.ObjectManagerService/Pull",
    "/ray.rpc.CoreWorkerService/GetCoreWorkerStats",
    "/ray.rpc.LogService/ListLogs",
    "/ray.rpc.ReporterService/GetTraceback",
    "/ray.rpc.RayletDriver/ClusterInfo",
)
REFUSED, NO_SUCH_CALL = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNIMPLEMENTED


def test_a_search_alone_listens_to_nobody_else_and_starts_nothing_that_nobody_needs(command):
    process = command.start(*command.search_options(LONG))
    try:
        command.wait_for_rows(process, 1)
        driver = psutil.Process(process.pid)
        started = dict(lines(driver))
        environments = [each.environ() for each, line in started.items() if re.search(WORKER, line)]
        found = list(addresses(driver))
        kinds = [check(host, port) for host, port in found]
        node = next(line for line in started.values() if "gcs_server" in line)
    finally:
        process.terminate()
        finish(process, 60)

    assert {host for host, _ in found} == {LOOPBACK}
    assert kinds.count("calls") > 5
    assert not [line for line in started.values() if "monitor.py" in line or "dashboard.py" in line]
    (logs,) = re.findall(r"--log_dir=(\S+)", node)
    assert "Traceback" not in (Path(logs) / "dashboard_agent.log").read_text()
    for environment in environments:
        assert "PL_DISABLE_FORK" not in environment  # a worker that Ray had started ahead
        assert environment["RAY_CHDIR_TO_TRIAL_DIR"] == "0"
    assert len(environments) == min(2, os.cpu_count() or 1)


def asked(experiment: Experiment, what: str) -> Any:
    """What Ray's dashboard of a search answers."""
    headers = {"Authorization": f"Bearer {read_token()}"}
    request = urllib.request.Request(f"{read_note(experiment.path)}/{what}", headers=headers)
    with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
        return json.load(answer)


def assert_named(actors: Iterable[dict[str, Any]], titles: list[str]) -> None:
    """Check what Ray's pages show of two workers, and that one of them shows what it trains."""
    shown = sorted((each["name"], each["actorClass"], each["reprName"]) for each in actors)
    assert [name for name, *_ in shown] == ["tiny: worker 1", "tiny: worker 2"]
    assert {kind for _, kind, _ in shown} == {"TrialWorker"}
    assert {text for *_, text in shown} == {f"tiny: from trial {n} on" for n in (0, 1)}
    trained = re.compile(r"ray::tiny: worker [12], trial [01] epoch \d+")
    assert any(trained.fullmatch(title) for title in titles)


def test_a_cluster_and_a_search_on_it_answer_holders_of_the_token_and_metrics_to_this_machine(
    command,
):
    start_cluster(metrics=True)
    try:
        alone = {**LONG, "resources": {"concurrent": 1}}
        options = [*command.search_options(alone), "--address", "auto", "--metrics"]
        process = command.start(*options)
        command.wait_for_rows(process, 1)
        cluster = find_cluster()
        assert cluster is not None
        keepers = [psutil.Process(each.pid) for each in cluster.processes]
        found = {each for keeper in keepers for each in addresses(keeper)}
        found.update(addresses(psutil.Process(process.pid)))
        kinds = [check(host, port) for host, port in found]
        process.terminate()
        said = finish(process, 60)[0]
    finally:
        stop_cluster()

    assert {host for host, _ in found} == {LOOPBACK}
    assert {"page", "calls"} <= set(kinds)
    assert kinds.count("calls") > 5
    (address,) = re.findall(r"^metrics:   http://(\S+)/metrics$", said, re.MULTILINE)
    host, _, port = address.partition(":")
    assert (host, int(port)) in found


def lines(process: psutil.Process) -> Iterator[tuple[psutil.Process, str]]:
    """The command lines of all that a process has started."""
    for each in process.children(recursive=True):
        yield each, command_of(each)


def addresses(process: psutil.Process) -> Iterator[tuple[str, int]]:
    """Where a process and all it started listen."""
    for each in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            for listening in each.net_connections("tcp"):
                if listening.status == psutil.CONN_LISTEN:
                    yield listening.laddr.ip.removeprefix("::ffff:"), listening.laddr.port


def check(host: str, port: int) -> str:
    """Say what listens there; only for this machine it may be open to those without a token."""
    reached = LOOPBACK if host in ("::", "0.0.0.0") else host
    statuses = [page_status(reached, port, each) for each in (None, "wrong", read_token())]
    if statuses[0] == 200:
        assert host == LOOPBACK, (host, port)
        return "open"
    if statuses[0] is not None:
        assert statuses[:2] == [401, 403], (host, port, statuses)
        assert statuses[2] in (200, 404), (host, port, statuses)
        return "page"
    codes = [
        [call(reached, port, name, each) for name in CALLS] for each in (None, "w", read_token())
    ]
    known = [code for code in zip(*codes, strict=True) if code[2] is not NO_SUCH_CALL]
    if not known:  # what TensorBoard reads event files with
        assert host == LOOPBACK, (host, port)
        return "open"
    for without, wrong, ours in known:
        assert without is wrong is REFUSED, (host, port, codes)
        assert ours is not REFUSED, (host, port, codes)
    return "calls"


def page_status(host: str, port: int, token: str | None) -> int | None:
    """What a server of pages answers to a question about jobs; None if it is none."""
    connection = http.client.HTTPConnection(host, port, timeout=ANSWER_S)
    try:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        # Ray's pages themselves are open; what they show is not. Ours have nothing of that name.
        connection.request("GET", "/api/jobs/", headers=headers)
        status = connection.getresponse().status
        if status == 404 and token is None:
            connection.close()
            connection.request("GET", "/", headers={})
            status = 200 if connection.getresponse().status < 400 else 404
        return status
    except (http.client.HTTPException, OSError):
        return None
    finally:
        connection.close()


def call(host: str, port: int, name: str, token: str | None) -> grpc.StatusCode:
    """What a server of remote calls answers."""
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    metadata = [] if token is None else [("authorization", f"Bearer {token}")]
    with grpc.insecure_channel(place) as channel:
        try:
            channel.unary_unary(name)(b"", timeout=ANSWER_S, metadata=metadata)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
        return grpc.StatusCode.OK


def test_a_page_for_everybody_would_be_found(tmp_path):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(AssertionError, match=r"0\.0\.0\.0"):
            check("0.0.0.0", server.server_port)
        server.shutdown()
