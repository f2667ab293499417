"""A portfolio: a few configs of earlier searches, one of which is good on each of them.

On its own search a config is rated by its rank, on others by the ranks of the trials near it.
Configs are then taken one by one, each as the one that most improves the best rating so far,
averaged over the searches: the greedy portfolio of Pfisterer et al., Learning Multiple Defaults for
Machine Learning Algorithms, GECCO 2021.

Shapes: C candidates, N trials of a search, E searches, K columns of a `UnitCube`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tune_encoder.config import SettingValue
from tune_encoder.experiment.folder import Experiment
from tune_encoder.experiment.trials import TrialRecord, rank_trials
from tune_encoder.space import SearchSpace
from tune_encoder.space.unit_cube import UnitCube

SIZE = 8  # configs of a portfolio, if nobody says
PER_SEARCH = 3  # configs from one search, if nobody says
WIDTH = 0.15  # of the ratings' kernel; 1 is the range of a setting
APART = 0.05  # least distance of two configs
PRIOR_WEIGHT = 0.1  # of the average rank: how little one trial nearby must weigh to be believed

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Start:
    """A config to try first."""

    config: dict[str, SettingValue]
    search: str
    """Name of the experiment that it is of."""
    trial: int

    @property
    def origin(self) -> str:
        """Such as `mine/7`."""
        return f"{self.search}/{self.trial}"


@dataclass(frozen=True)
class _Search:
    """The trials of a search that have a result, and their places in the new space."""

    starts: list[Start]
    places: Array
    """(N, K)"""
    ranks: Array
    """(N,) from 0, the best, to 1."""


def choose_portfolio(
    searches: Sequence[Experiment], space: SearchSpace, size: int = 0
) -> list[Start]:
    """Choose configs for a space from earlier searches, the most useful first.

    Settings that the space does not search are left out, and so are those outside its ranges;
    a closed form is no config.

    Args:
        searches: Those whose trials are known.
        space: The space that the configs are for.
        size: The most to choose; 0: as many as suit the number of searches.
    """
    size = size or min(SIZE, PER_SEARCH * len(searches))
    known = [each for each in (_read(search, space) for search in searches) if each.starts]
    if not known:
        return []
    starts = [start for each in known for start in each.starts]
    places = np.concatenate([each.places for each in known])
    rated = np.stack([_rate(known, each) for each in known])
    return [starts[i] for i in cover(rated, places, size)]


def _read(search: Experiment, space: SearchSpace) -> _Search:
    own = search.space()
    trials = [
        trial
        for trial in rank_trials(search.trials())
        if _transferable(trial, space) and not own.is_closed_form(trial.settings)
    ]
    starts = [Start(_transferable(t, space), search.name, t.number) for t in trials]
    cube = UnitCube(space)
    coordinates = [cube.coordinates(start.config) for start in starts]
    # Scaled, so that distances are root mean squares over the settings.
    places = cube.columns(np.reshape(coordinates, (len(starts), len(space.parameters))))
    ranks = np.arange(len(trials)) / max(1, len(trials) - 1)
    return _Search(starts, places / np.sqrt(len(space.parameters)), ranks)


def _transferable(trial: TrialRecord, space: SearchSpace) -> dict[str, SettingValue]:
    asked = space.searched_names(trial.settings)
    return {
        p.name: trial.settings[p.name]
        for p in space.parameters
        if p.name in asked and p.contains(trial.settings.get(p.name))
    }


def _distances(one: Array, other: Array) -> Array:
    """Distance (A, B) of places (A, K) and (B, K)."""
    return np.asarray(np.linalg.norm(one[:, None] - other, axis=2))


def _rate(candidates: Sequence[_Search], search: _Search) -> Array:
    """Rate all candidates (C,) on a search."""
    rated = (each.ranks if each is search else _smooth(each.places, search) for each in candidates)
    return np.concatenate([*rated])


def _smooth(places: Array, search: _Search) -> Array:
    """The mean rank of the trials near each place; far from all of them it is 1/2."""
    weights = np.exp(-np.square(_distances(places, search.places) / WIDTH) / 2)
    rated = (weights @ search.ranks + PRIOR_WEIGHT / 2) / (weights.sum(axis=1) + PRIOR_WEIGHT)
    return np.asarray(rated)


def cover(rated: Array, places: Array, size: int) -> list[int]:
    """Choose configs greedily, each as the one that most improves the best ratings so far.

    Args:
        rated: (E, C), lower is better, at most 1.
        places: (C, K); those nearer than `APART` to one that is chosen are left out.
        size: The most to choose.
    """
    chosen: list[int] = []
    best, apart = np.ones(len(rated)), np.full(len(places), np.inf)
    while len(chosen) < size and (apart >= APART).any():
        # Where nothing improves on the best, the better average decides.
        left = np.minimum(rated, best[:, None]).mean(axis=0) + 1e-6 * rated.mean(axis=0)
        left[apart < APART] = np.inf
        chosen.append(int(left.argmin()))
        best = np.minimum(best, rated[:, chosen[-1]])
        apart = np.minimum(apart, _distances(places, places[chosen[-1:]])[:, 0])
    return chosen
