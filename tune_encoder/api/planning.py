"""What a search would cost, estimated without running it."""

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from tune_encoder.api.options import expand_path
from tune_encoder.api.searching import resolve_space
from tune_encoder.api.wording import for_python

if TYPE_CHECKING:
    from tune_encoder.data.pack import PackedData
    from tune_encoder.data.pack_info import PackInfo
    from tune_encoder.space import SearchSpace
    from tune_encoder.space.plan import Plan
    from tune_encoder.training.probe import Timing


@dataclass(frozen=True)
class Probe:
    """A space, and the data on which a few of its configs are timed."""

    space: "SearchSpace"
    data: "PackedData"
    folds: int
    """Folds of whole voices that a trial is scored on; 1: the val split."""

    def timings(self) -> "Iterator[Timing]":
        """Time one config after another, an epoch each; see `training.probe`."""
        from tune_encoder.data.folds import make_folds
        from tune_encoder.training.probe import probe

        trained = self.data if self.folds == 1 else make_folds(self.data, self.folds)
        return probe(self.space, trained)


def open_probe(space: "SearchSpace", data_dir: Path) -> Probe:
    """Check and pack the data of a space, and choose what its trials are scored on."""
    from tune_encoder.data.pack import open_pack
    from tune_encoder.data.packing import pack_data
    from tune_encoder.data.validation import choose_validation

    data = open_pack(pack_data(data_dir, space.base_config()))
    return Probe(space, data, choose_validation(data, space.validation, space.resources).folds)


def estimate_cost(
    space: "SearchSpace", plan: "Plan", timings: "Sequence[Timing]", pack: "PackInfo"
) -> dict[str, Any]:
    """Estimate the cost of the plan if its trials are like those that were timed."""
    import torch

    from tune_encoder.space.plan import n_concurrent_trials

    workers = n_concurrent_trials(space.resources, os.cpu_count() or 1, torch.cuda.device_count())
    epoch = mean(timing.seconds_per_epoch for timing in timings)
    size = round(mean(timing.checkpoint_bytes for timing in timings))
    return {
        "timings": [dataclasses.asdict(timing) for timing in timings],
        "seconds_per_epoch": epoch,
        "workers": workers,
        "seconds": plan.seconds(epoch, workers) if workers else None,
        "checkpoint_bytes": size,
        "disk_bytes": plan.disk_bytes(size, space.resources.keep),
        "pack_bytes": sum(pack["sizes"].values()),
        "copies": pack.get("copies", {}).get("augment_copies", 0),
    }


def speech_cost(space: "SearchSpace", plan: "Plan") -> dict[str, float]:
    """Return how often `val_similarity` is measured, and the seconds of speech for it."""
    from tune_encoder.space.listening import listening_of

    listening = listening_of(space)
    if listening is None:
        return {}
    return {
        "similarity_measurements": listening.count(plan),
        "speech_seconds": listening.speech_s(plan),
    }


def plan_content(space: "SearchSpace", plan: "Plan", cost: Mapping[str, Any]) -> dict[str, Any]:
    """Return a plan and its cost, if that was estimated, as plain values."""
    totals = {"total_epochs": plan.total_epochs, "full_epochs": plan.full_epochs}
    return {**dataclasses.asdict(plan), **totals, **speech_cost(space, plan), **cost}


@for_python
def plan(
    space: str | Path | Mapping[str, object] = "quick",
    data_dir: str | Path | None = None,
    probe: bool = True,
) -> dict[str, Any]:
    """Estimate epochs, time and disk space of a search without running it.

    Example:
        >>> expected = tune_encoder.plan("default", "voices")
        >>> expected["total_epochs"], expected["seconds"], expected["disk_bytes"]
        (310, 5400.0, 96000000)

    Args:
        space: As in `search`.
        data_dir: The data set; by default that of the space, else the built-in demo voices.
        probe: Whether a few configs are trained for an epoch each; without, there is neither time
            nor disk space.

    Returns:
        Trials and epochs of each rung in `brackets`, `total_epochs`; with `probe` also `seconds`
        (None if this machine is too small for a trial), `seconds_per_epoch`, `workers` at once, and
        `disk_bytes`, `checkpoint_bytes` and `pack_bytes`.

    Raises:
        ConfigError: if the space is invalid.
        DataError: if the data cannot be used.
        TrainingDiverged, OutOfMemory: if the first config cannot be trained.
    """
    from tune_encoder.data.demo import cached_demo
    from tune_encoder.space.plan import plan_search

    chosen = resolve_space(space, {}, "plan()")
    planned = plan_search(chosen)
    if not probe:
        return plan_content(chosen, planned, {})
    folder = data_dir or chosen.data_dir
    opened = open_probe(chosen, expand_path(folder) if folder else cached_demo())
    cost = estimate_cost(chosen, planned, list(opened.timings()), opened.data.info)
    return plan_content(chosen, planned, cost)
