"""What is changed within Ray, each where this version of Ray has it and nowhere else.

Ray has no public way to do these things. A Ray without one of these internals works as it comes:
it then starts a few more processes or a little later, listens as its own defaults say, or passes
more variables.
"""

import itertools
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from importlib import import_module
from typing import Any, Protocol
from uuid import uuid4

from tune_encoder.system.ports import LOOPBACK


class _Node(Protocol):
    """What is used of `ray._private.node.Node`."""

    def get_gcs_client(self) -> "_GcsClient": ...


class _GcsClient(Protocol):
    """What is used of Ray's client of its key-value store."""

    def internal_kv_put(
        self, key: bytes, value: bytes, overwrite: bool, namespace: bytes
    ) -> int: ...


def _internal(module: str) -> Any:
    """A module of Ray, which has no types, or None if this version does not have it."""
    try:
        return import_module(module)
    except ImportError:
        return None


_CONSTANTS = _internal("ray._private.ray_constants")
_NODE = getattr(_internal("ray._private.node"), "Node", None)
_UTILS = _internal("ray._private.utils")
_WORKER = _internal("ray._private.worker")
_SERVICES = _internal("ray._private.services")
_ACCELERATORS = _internal("ray._private.accelerators")
_CLASS_CACHE = _internal("ray.tune.execution.class_cache")
_USAGE = _internal("ray.air._internal.usage")


def gpus_of_machine() -> int | None:
    """Return how many GPUs Ray will find here, which needs no Ray that runs; None: unknown."""
    of_resource = getattr(_ACCELERATORS, "get_accelerator_manager_for_resource", None)
    if of_resource is None:
        return None
    manager = of_resource("GPU")
    present = int(manager.get_current_node_num_accelerators())
    visible = manager.get_current_process_visible_accelerator_ids()
    return present if visible is None else min(present, len(visible))


def limit_to_loopback(yes: bool) -> None:
    """Do as Ray does with `ray_settings.LOOPBACK_ONLY`, which it has read when it was imported."""
    if hasattr(_CONSTANTS, "ENABLE_RAY_CLUSTER"):
        _CONSTANTS.ENABLE_RAY_CLUSTER = not yes


def pass_no_variables() -> None:
    """Keep Tune from passing variables of our environment to workers.

    They would show AWS keys in Ray's logs and dashboard, and Ray could not use the workers that it
    keeps ready. `ray_settings` sets a worker's environment.
    """
    for name in ("ENV_VARS_TO_PROPAGATE", "DEFAULT_ENV_VARS"):
        getattr(_CLASS_CACHE, name, set()).clear()


@contextmanager
def named_workers(name: str) -> Iterator[None]:
    """Let the actors that Tune starts while the block runs be called `NAME: worker 1`, 2 and so on.

    A number is given once, and the names are in a namespace of their own: no actor can have the
    name already, be it of another search or of one that Ray is still ending.
    """
    cache, namespace = getattr(_CLASS_CACHE, "_ActorClassCache", None), uuid4().hex
    numbers = itertools.count(1)

    def get(self: object, trainable: type) -> Any:
        found = original(self, trainable)
        options = type(found).options

        def named(**given: Any) -> Any:
            worker = f"{name}: worker {next(numbers)}"
            return options(found, **{**given, "name": worker, "namespace": namespace})

        found.options = named
        return found

    original: Callable[..., Any] = getattr(cache, "get", _do_nothing)
    with _replaced([(cache, "get", get)]):
        yield


def without_counted_callbacks() -> AbstractContextManager[None]:
    """Keep Tune from counting kinds of callbacks for its makers, who are told nothing anyway.

    To tell its own kinds from ours it imports MLflow and Weights & Biases where they are installed,
    which takes a third of the time from the start of a search to its first worker.
    """
    return _replaced([(_USAGE, "tag_callbacks", _do_nothing)])


def apart_from_terminal() -> AbstractContextManager[None]:
    """Let Ray start its processes in sessions of their own, and leave signals and words to us.

    A signal to the process group of a search, such as of a closed terminal or of `timeout`, then
    reaches the search alone, which ends Ray's processes once everything is saved. If it is killed,
    they end too, since Ray asks the kernel for that. What they report to it, such as the death of a
    node, is said in our own words.
    """
    return _replaced(_TIES_TO_TERMINAL)


def without_helper_processes(metrics: bool = False) -> AbstractContextManager[None]:
    """Keep Ray from starting what no search needs, which takes half of its start and shutdown.

    Args:
        metrics: Whether it exports metrics, which a node's agent does with all its modules.
    """
    # Ray asks whether its dashboard could be imported by importing it, which takes a second.
    agent = (*_DASHBOARD_OF_AGENT, _do_nothing if metrics else _no_dashboard)
    return _replaced((*_HELPER_PROCESSES, agent))


@contextmanager
def _replaced(wanted: Iterable[tuple[object, str, Callable[..., object]]]) -> Iterator[None]:
    """Replace what is there, while the block runs."""
    found = [each for each in wanted if hasattr(*each[:2])]
    originals = [(owner, name, getattr(owner, name)) for owner, name, _ in found]
    try:
        for owner, name, instead in found:
            setattr(owner, name, instead)
        yield
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)


def _do_nothing(*_: object, **__: object) -> None:
    pass


def _no_api_server(node: _Node, **_: object) -> None:
    """Register an address where nothing listens, or the node's agent logs an error every second."""
    if hasattr(_CONSTANTS, "DASHBOARD_ADDRESS") and hasattr(_CONSTANTS, "KV_NAMESPACE_DASHBOARD"):
        node.get_gcs_client().internal_kv_put(
            _CONSTANTS.DASHBOARD_ADDRESS.encode(),
            f"{LOOPBACK}:0".encode(),
            True,
            _CONSTANTS.KV_NAMESPACE_DASHBOARD,
        )


def _no_dashboard() -> str:
    return "not wanted"


_TIES_TO_TERMINAL: tuple[tuple[object, str, Callable[..., object]], ...] = (
    (
        _SERVICES,
        "ConsolePopen",
        partial(getattr(_SERVICES, "ConsolePopen", subprocess.Popen), start_new_session=True),
    ),
    (_WORKER, "listen_error_messages", _do_nothing),
    (_UTILS, "set_sigterm_handler", _do_nothing),  # which exits without a word
)
_HELPER_PROCESSES: tuple[tuple[object, str, Callable[..., object]], ...] = (
    (_NODE, "start_monitor", _do_nothing),  # scales a cluster
    (_NODE, "start_log_monitor", _do_nothing),  # sends workers' logs to the driver
    (_NODE, "start_api_server", _no_api_server),  # serves the dashboard
)
_DASHBOARD_OF_AGENT = (_UTILS, "get_dashboard_dependency_error")  # what it lacks for its modules
