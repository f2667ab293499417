"""The voices that speak: presets, the user's styles, and mixtures of both.

A mixture is a weighted sum of styles whose weights add up to 1, its rows brought back to norm 1. A
convex one lies between its parents, so mixtures alone have a fraction of the presets' variance;
the others are drawn in the principal components of the parents, wider than the parents lie.

Shapes: P parents.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tune_encoder.config import GenerationSettings
from tune_encoder.data.voice_bank import read_styles
from tune_encoder.data.voice_style import (
    VoiceStyle,
    check_same_version,
    unit_rows,
)
from tune_encoder.errors import ConfigError, DataError
from tune_encoder.system.formats import count_noun

VOICE_KEY, CLIP_KEY = 0, 1  # of the seeds of voices and of clips
MAX_PARENTS = 4  # of a convex mixture; of more, all are close to the mean
COORDINATE_LIMIT = 2.5  # standard deviations; beyond, hardly a preset lies
_NAMED_PARENTS = 10  # of an origin

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Voice:
    """A voice that speaks."""

    name: str
    style: VoiceStyle
    origin: str
    """What it was made of, such as "preset F1"."""


@dataclass(frozen=True)
class Cast:
    """All voices of a data set; each depends on the settings, the styles and its number alone."""

    settings: GenerationSettings
    presets: Mapping[str, VoiceStyle]
    own: Mapping[str, VoiceStyle]
    held_out: Sequence[str]
    """Names of presets or own styles that no mixture is made of."""

    def __post_init__(self) -> None:
        given = {**self.presets, **self.own}
        for name in self.held_out:
            if name not in given:
                raise ConfigError(
                    f"--hold-out {name}: no style has this name; there are {', '.join(given)}"
                )
        n_given, n_voices = len(given), self.settings.voices
        if n_voices < n_given:
            raise ConfigError(
                f"voices is {n_voices}, but there are {count_noun(n_given, 'style')}, and each is "
                f"a voice; set it to {n_given} or more"
            )
        if len(self._parents) < 2:
            raise ConfigError(
                f"{count_noun(len(self._parents), 'style')} cannot be mixed or split; hold out "
                "fewer, or add some with --styles"
            )

    @property
    def names(self) -> list[str]:
        """The name of each voice, by number."""
        given = [*self.presets, *self.own]
        return given + [_mixed_name(number) for number in range(len(given), self.settings.voices)]

    def voice(self, number: int) -> Voice:
        """Return the voice of a number from 0."""
        given = {**self.presets, **self.own}
        if number < len(given):
            name, style = list(given.items())[number]
            return Voice(name, style, self.origin(number))
        drawn = self._draw(number)
        ttl, dp, _ = drawn
        style = VoiceStyle(_weighted(ttl, self._ttl), _weighted(dp, self._dp))
        return Voice(_mixed_name(number), style, self._describe(*drawn))

    def origin(self, number: int) -> str:
        """Say what the voice of a number is made of."""
        given = [*self.presets, *self.own]
        if number < len(given):
            return f"{'preset' if number < len(self.presets) else 'own'} {given[number]}"
        return self._describe(*self._draw(number))

    def _describe(self, ttl: Doubles, dp: Doubles, is_convex: bool) -> str:
        words = f"{'convex' if is_convex else 'wide'}: {self._sum(ttl)}"
        return words if dp is ttl else f"{words}; rhythm: {self._sum(dp)}"

    def _draw(self, number: int) -> tuple[Doubles, Doubles, bool]:
        """Draw the weights (P,) of timbre and rhythm, and whether they are convex."""
        seeds = np.random.SeedSequence(self.settings.seed, spawn_key=(VOICE_KEY, number))
        rng = np.random.default_rng(seeds)
        is_convex = bool(rng.random() < self.settings.convex_share)
        is_apart = rng.random() < self.settings.apart_share
        weights = self._convex_weights if is_convex else self._wide_weights
        ttl = weights(rng)
        return ttl, weights(rng) if is_apart else ttl, is_convex

    def _convex_weights(self, rng: np.random.Generator) -> Doubles:
        """Draw weights (P,) between two to four parents, all points equally likely."""
        n_all = len(self._parents)
        n_mixed = min(n_all, int(rng.integers(2, MAX_PARENTS + 1)))
        weights = np.zeros(n_all)
        weights[rng.permutation(n_all)[:n_mixed]] = rng.dirichlet(np.ones(n_mixed))
        return weights

    def _wide_weights(self, rng: np.random.Generator) -> Doubles:
        """Draw weights (P,), some negative, normal in each principal component of the parents."""
        coordinates = rng.standard_normal(self._components.shape[1])
        coordinates = np.clip(coordinates, -COORDINATE_LIMIT, COORDINATE_LIMIT)
        n_all = len(self._parents)
        deviation = self._components @ coordinates / np.sqrt(n_all)
        return np.asarray(1 / n_all + self.settings.spread * deviation)

    @cached_property
    def _parents(self) -> dict[str, VoiceStyle]:
        given = {**self.presets, **self.own}
        return {name: style for name, style in given.items() if name not in self.held_out}

    @cached_property
    def _ttl(self) -> Doubles:
        return np.stack([style.ttl.astype(np.float64) for style in self._parents.values()])

    @cached_property
    def _dp(self) -> Doubles:
        return np.stack([style.dp.astype(np.float64) for style in self._parents.values()])

    @cached_property
    def _components(self) -> Doubles:
        """The parents (P, K) in their principal components, each with a norm of 1.

        Timbre and rhythm count alike. A component of the parents' scatter is a set of weights that
        adds up to 0, so it moves both together.
        """
        parts = []
        for styles in (self._ttl, self._dp):
            scatter = styles.reshape(len(styles), -1) - styles.reshape(len(styles), -1).mean(axis=0)
            parts.append(scatter / max(float(np.linalg.norm(scatter)), np.finfo(float).tiny))
        left, sizes, _ = np.linalg.svd(np.hstack(parts), full_matrices=False)
        return np.asarray(left[:, sizes > 1e-6 * sizes[0]])

    def _sum(self, weights: Doubles) -> str:
        """Name the parents with the largest weights."""
        names = [*self._parents]
        order = [i for i in np.argsort(-np.abs(weights), kind="stable") if weights[i]]
        terms = [f"{weights[i]:+.3f} {names[i]}" for i in order[:_NAMED_PARENTS]]
        return " ".join([*terms, *(["..."] if len(order) > _NAMED_PARENTS else [])])


def _mixed_name(number: int) -> str:
    return f"mixed_{number:05d}"


def _weighted(weights: Doubles, styles: Doubles) -> NDArray[np.float32]:
    """Add up styles (P, rows, width); each row gets norm 1."""
    return unit_rows((weights @ styles.reshape(len(styles), -1)).reshape(styles.shape[1:]))


def make_cast(
    settings: GenerationSettings,
    model_presets: Path,
    presets: Path | None,
    own: Path | None,
    held_out: Sequence[str],
) -> Cast:
    """Read all styles.

    Args:
        settings: Of the voices.
        model_presets: Folder of the model's presets, which tell its version.
        presets: Folder of other presets, if not these.
        own: Folder of the user's styles, if there are any.
        held_out: Names of what no mixture is made of.

    Raises:
        ConfigError: if a name to hold out is unknown, or the voices are too few.
        DataError: if a style is damaged, of another version than the model, or named as another.
    """
    of_model = read_styles(model_presets) if model_presets.is_dir() or presets is None else {}
    of_presets = read_styles(presets) if presets else of_model
    of_user = read_styles(own) if own else {}
    check_same_version({**of_model, **of_presets, **of_user})
    names: dict[str, Path] = {}
    for path in (*of_presets, *of_user):
        if path.stem in names or path.stem.startswith("mixed_"):
            other = names.get(path.stem, "a mixed voice")
            raise DataError(f"{path}: has the name of {other}; rename it")
        names[path.stem] = path
    return Cast(settings, _by_name(of_presets), _by_name(of_user), held_out)


def _by_name(styles: Mapping[Path, VoiceStyle]) -> dict[str, VoiceStyle]:
    return {path.stem: style for path, style in styles.items()}
