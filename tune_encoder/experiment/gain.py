"""What the next trial of a search is expected to gain, and the noise below which it is nothing.

A search with `budget.until: noise` writes both before each new trial, to runs/NAME/gain.json.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, variance

from tune_encoder.errors import SearchFailed, StorageError
from tune_encoder.experiment.confirmation import newest_confirmation
from tune_encoder.experiment.folder import Experiment
from tune_encoder.experiment.trials import TrialRecord, best_trial
from tune_encoder.space import SearchSpace
from tune_encoder.system.damage import parse_json, refuse_damage
from tune_encoder.system.files import atomic_write

_FILE = "gain.json"


@dataclass(frozen=True)
class ExpectedGain:
    """What was expected of the next trial at one time."""

    trials: int
    """Trials that had started."""
    epochs: int
    """Epochs that all of them had finished."""
    gain: float
    """By how much the next trial was expected to improve the metric, at least 0."""
    noise: float
    """What the metric varies by without a change of the config."""

    @property
    def is_noise(self) -> bool:
        """Whether another trial was not worth its epochs."""
        return self.gain < self.noise


def hours_per_trial(trials: Iterable[TrialRecord]) -> float:
    """Return the hours of one worker that a trial took, on average; 0 if none has trained."""
    seconds = [trial.seconds for trial in trials if trial.rows]
    return fmean(seconds) / 3600 if seconds else 0.0


def read_gains(experiment: Experiment) -> list[ExpectedGain]:
    """Return what was expected before each trial, in order; empty if that was not asked for.

    Raises:
        StorageError: if the file is damaged.
    """
    path = _path(experiment)
    if not path.exists():
        return []
    with refuse_damage(lambda why: _damaged(path, why)):
        gains = [ExpectedGain(**each) for each in parse_json(path.read_text(encoding="utf-8"))]
        if any(not isinstance(each.gain - each.noise, int | float) for each in gains):
            raise TypeError("a gain is no number")
        return gains


def _damaged(path: Path, why: str) -> StorageError:
    return StorageError(f"{path}: damaged ({why}); remove it, it is written anew")


def write_gains(experiment: Experiment, gains: Sequence[ExpectedGain]) -> None:
    """Replace what was expected."""
    content = json.dumps([asdict(each) for each in gains], allow_nan=False)
    atomic_write(_path(experiment), content.encode())


def _path(experiment: Experiment) -> Path:
    return experiment.path / _FILE


# --- noise ---------------------------------------------------------------------------------------


def seed_noise(experiment: Experiment) -> float | None:
    """Return the standard deviation of the metric over seeds of the same config, or None.

    It is pooled over the configs of the newest confirmation.
    """
    try:
        confirmation = newest_confirmation(experiment)
    except SearchFailed:
        return None
    configs = confirmation.configs if confirmation is not None else []
    several = [each.objectives for each in configs if len(each.objectives) > 1]
    return fmean(map(variance, several)) ** 0.5 if several else None


def standard_error(trials: Sequence[TrialRecord], space: SearchSpace) -> float | None:
    """Return the standard error of the best trial's metric, over folds or voices, if it is known.

    The closed-form encoder counts, too.
    """
    best = best_trial(list(trials))
    if best is None or best.best is None:
        return None
    found = dict(best.best).get(f"{space.metric.name}_se")
    return float(found) if isinstance(found, int | float) else None
