"""How many trials Ray can run at once, on one machine or on the nodes of a cluster."""

import dataclasses
import time
from typing import Any

import ray

from tune_encoder.config import ResourceSettings
from tune_encoder.errors import StorageError
from tune_encoder.space.plan import n_concurrent_trials
from tune_encoder.tuning.cluster.ray_patches import gpus_of_machine

REFRESH_S = 2.0


class Capacity:
    """Counts how many trials fit on the nodes, every few seconds, since nodes join and die."""

    def __init__(self, resources: ResourceSettings) -> None:
        self._resources = resources
        self._counted, self._asked = 0, -REFRESH_S

    def __reduce__(self) -> "tuple[type[Capacity], tuple[object, ...]]":
        """Pickle without the clock: Tune pickles its searcher, but it is never loaded."""
        return Capacity, (self._resources,)

    def __call__(self) -> int:
        """Return how many trials fit now, up to the limit of the space."""
        if time.monotonic() - self._asked >= REFRESH_S:
            self._asked = time.monotonic()
            self._counted = count_trials(self._resources, living_nodes())
        return self._counted


def check_gpus(resources: ResourceSettings) -> None:
    """Check that this machine has the GPUs of a trial, before Ray starts on it.

    Raises:
        StorageError: if Ray would find fewer.
    """
    present = gpus_of_machine()
    if present is not None and resources.gpus > present:
        raise StorageError(
            f"resources.gpus is {resources.gpus:g}, but this machine has {present}; lower it in "
            "the search space"
        )


def check_trial_fits(resources: ResourceSettings, present: list[dict[str, Any]]) -> None:
    """Check that some node can run a trial; otherwise Ray would wait forever.

    Args:
        resources: What a trial needs.
        present: What each node has.

    Raises:
        StorageError: naming the resource.
    """
    where = "this machine" if len(present) == 1 else f"the largest of {len(present)} nodes"
    for name, amount in {"CPU": float(resources.cpus), "GPU": resources.gpus}.items():
        largest = max((node.get(name, 0) for node in present), default=0)
        if amount > largest:
            raise StorageError(
                f"resources.{name.lower()}s is {amount:g}, Ray finds {largest:g} on {where}; "
                "lower it in the search space"
            )
    if not count_trials(resources, present):
        raise StorageError(
            f"no node has both {resources.cpus} CPUs and {resources.gpus:g} GPUs, which resources "
            "in the search space asks for; lower one of them"
        )


def count_trials(resources: ResourceSettings, present: list[dict[str, Any]]) -> int:
    """Return how many trials fit on these nodes; a trial is never split between two."""
    unlimited = dataclasses.replace(resources, concurrent=0)
    fits = sum(
        n_concurrent_trials(unlimited, int(node.get("CPU", 0)), int(node.get("GPU", 0)))
        for node in present
    )
    return min(fits, resources.concurrent or fits)


def living_nodes() -> list[dict[str, Any]]:
    """Return the resources of each living node, such as {"CPU": 2.0}."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]
