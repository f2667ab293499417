"""How many trials Ray can run at once, on one machine or on the nodes of a cluster."""

import dataclasses
import time
from typing import Any

import ray

from tune_encoder.config import ResourceSettings
from tune_encoder.errors import StorageError
from tune_encoder.space.plan import n_concurrent_trials

REFRESH_S = 2.0


class Capacity:
    """Counts what fits on the nodes, again every few seconds: nodes join and die."""

    def __init__(self, resources: ResourceSettings) -> None:
        self._resources = resources
        self._counted, self._asked = 0, -REFRESH_S

    def __reduce__(self) -> "tuple[type[Capacity], tuple[object, ...]]":
        """Pickle without the clock: Tune pickles its searcher, nobody reads it back."""
        return Capacity, (self._resources,)

    def __call__(self) -> int:
        """Return how many trials fit now, at most as many as the space allows at once."""
        if time.monotonic() - self._asked >= REFRESH_S:
            self._asked = time.monotonic()
            self._counted = count_trials(self._resources, living_nodes())
        return self._counted


def check_trial_fits(resources: ResourceSettings, present: list[dict[str, Any]]) -> None:
    """Refuse a trial that no node can ever run; Ray would wait for ever.

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
            f"no node has both {resources.cpus} CPUs and {resources.gpus:g} GPUs, as resources of "
            "the search space asks for; lower one of them"
        )


def count_trials(resources: ResourceSettings, present: list[dict[str, Any]]) -> int:
    """Return how many trials fit on nodes of these resources; none is split between two."""
    unlimited = dataclasses.replace(resources, concurrent=0)
    fits = sum(
        n_concurrent_trials(unlimited, int(node.get("CPU", 0)), int(node.get("GPU", 0)))
        for node in present
    )
    return min(fits, resources.concurrent or fits)


def living_nodes() -> list[dict[str, Any]]:
    """Return what each node that lives has, such as {"CPU": 2.0}."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]
