"""Clusters that a search refuses before it trains anything."""

import socket

import pytest
import ray

from tests.builders import new_experiment
from tests.tuning.conftest import TINY_SPACE
from tune_encoder.api import searching as api
from tune_encoder.config import LOCAL_LAUNCH, ResourceSettings
from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.tuning.cluster.capacity import check_trial_fits, count_trials
from tune_encoder.tuning.cluster.connection import connected, explain_ray_error, resolve_address
from tune_encoder.tuning.cluster.metrics import check_metrics, metrics_address

ONE = ResourceSettings()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (
            "ray://head:10001",
            r"ray://head:10001, but a search has to run on a.*HOST:PORT --num-cpus 0",
        ),
        ("http://head:8265", r"submit the search with `tune-encoder submit --address"),
        ("head", r"address is head; it must be HOST:PORT, such as head:6379, or auto"),
        ("head:port", r"address is head:port; it must be HOST:PORT"),
        ("head:70000", r"address is head:70000; it must be HOST:PORT"),
    ],
)
def test_what_is_no_address_of_a_cluster_is_refused(address, message):
    with pytest.raises(ConfigError, match=message):
        resolve_address(address, ONE)


def test_a_port_where_nothing_answers_is_named_and_leaves_no_experiment(tmp_path, data_dir):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]

        with pytest.raises(
            StorageError, match=rf"nothing answers at 127\.0\.0\.1:{port} \(.*; give the address"
        ):
            api.search(TINY_SPACE, data_dir, root=tmp_path / "runs", address=f"127.0.0.1:{port}")
    assert not (tmp_path / "runs").exists()


def test_auto_without_a_cluster_says_how_to_start_one(monkeypatch, tmp_path):
    monkeypatch.setenv("TUNE_ENCODER_CACHE", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    with pytest.raises(
        StorageError, match=r"no cluster is running on this machine; start one with"
    ):
        resolve_address("auto", ONE)


@pytest.mark.parametrize(
    ("exported", "message"),
    [
        (
            ["10.0.0.1:8080"],
            r"metrics: the cluster at head:6379 exports metrics to its network, on ports without a "
            r"token; leave the option out, or run the search without an address",
        ),
        (["127.0.0.1:8266", "10.0.0.1:8080"], r"metrics: the cluster at head:6379 exports metrics"),
        (
            ["127.0.0.1:8266", ""],
            r"metrics: the cluster at head:6379 exports none; start it again with `tune-encoder "
            r"cluster start --metrics`, or run the search without an address",
        ),
    ],
)
def test_metrics_that_others_could_read_or_nobody_are_refused(exported, message):
    with pytest.raises(ConfigError, match=message):
        check_metrics("head:6379", exported)


def test_metrics_are_accepted_where_this_machine_alone_reads_them():
    check_metrics("127.0.0.1:6379", ["127.0.0.1:8266"])


def test_a_node_says_where_it_exports_metrics_and_whether():
    node = {"NodeManagerAddress": "10.0.0.1", "MetricsExportPort": 8080}

    assert metrics_address(node) == "10.0.0.1:8080"
    assert metrics_address({**node, "MetricsExportPort": -1}) == ""


def test_auto_takes_the_address_of_the_environment(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")

    with pytest.raises(StorageError, match=r"nothing answers at 127\.0\.0\.1:1 "):
        resolve_address("auto", ONE)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("RPC error: InvalidAuthToken: Authentication token is", "rejects our token; put the cl"),
        (
            "RuntimeError: Version mismatch: The cluster was started with:\nRay: 2.59.0\n"
            "Python: 3.11.7",
            "Ray or Python differ: The cluster was started with: Ray: 2.59.0 Python: 3.11.7 Inst",
        ),
        (
            "RuntimeError: No node info found matching",
            "this machine is not a node of the cluster; r",
        ),
        ("ValueError: some other thing", "Ray does not connect (ValueError: some other thing); c"),
        ("", "Ray does not connect (no answer in 30 s)"),
    ],
)
def test_what_ray_writes_before_it_gives_up_is_said_in_a_line(said, message):
    assert message in explain_ray_error(said.splitlines())


# --- resources -----------------------------------------------------------------------------------

SMALL, LARGE = {"CPU": 2.0}, {"CPU": 5.0, "GPU": 1.0}


@pytest.mark.parametrize(
    ("resources", "nodes", "expected"),
    [
        ({}, [SMALL, LARGE], 7),
        ({"cpus": 3}, [SMALL, SMALL], 0),  # no trial is split between two nodes
        ({"cpus": 2}, [SMALL, LARGE], 3),
        ({"gpus": 0.5}, [SMALL, LARGE], 2),
        ({"concurrent": 3}, [SMALL, LARGE], 3),
        ({"concurrent": 3}, [SMALL], 2),
        ({}, [{"memory": 1e9}], 0),  # a head that gives nothing away
    ],
)
def test_trials_that_fit_are_counted_node_by_node(resources, nodes, expected):
    assert count_trials(ResourceSettings(**resources), nodes) == expected


@pytest.mark.parametrize(
    ("resources", "nodes", "message"),
    [
        ({"cpus": 3}, [SMALL], r"resources.cpus is 3, Ray finds 2 on this machine; lower it in"),
        ({"cpus": 6}, [SMALL, LARGE], r"cpus is 6, Ray finds 5 on the largest of 2 nodes; lower"),
        ({"gpus": 2}, [SMALL, LARGE], r"resources.gpus is 2, Ray finds 1 on the largest of 2"),
        ({"cpus": 6, "gpus": 1}, [{"CPU": 9}, LARGE], r"no node has both 6 CPUs and 1 GPUs, wh"),
    ],
)
def test_a_trial_too_large_for_every_node_is_refused(resources, nodes, message):
    with pytest.raises(StorageError, match=message):
        check_trial_fits(ResourceSettings(**resources), nodes)


def test_a_ray_that_does_not_start_is_explained_in_a_line(tmp_path, monkeypatch):
    """As where one of its processes is killed, or the machine has no time for them."""

    def time_out(*args, **options):
        raise Exception("The current node timed out during startup. This could happen\nbecause")

    monkeypatch.setattr(ray, "init", time_out)
    message = (
        r"^Ray did not start \(The current node timed out during startup. This could happen\); its "
        r"processes may have been killed, or the machine is too busy; resume with "
        r"`tune-encoder resume tiny --root \S+`$"
    )

    with (
        pytest.raises(StorageError, match=message),
        connected(new_experiment(tmp_path, "tiny"), LOCAL_LAUNCH),
    ):
        pytest.fail("it is not connected")
