"""Errors of the winner by voice, by row of a style and by principal component."""

import math

import numpy as np
from numpy.typing import NDArray

from tune_encoder.model.evaluate import principal_coordinates, row_errors
from tune_encoder.report.drawing import BLUE, GREY, ORANGE, PALE, Canvas, Tooltip, integer_ticks
from tune_encoder.report.figure import Figure, table
from tune_encoder.report.winner import Winner
from tune_encoder.system.formats import count_noun

MIN_CLIPS = 3  # clips for a correlation
MAX_VOICES = 200  # more dots would overlap
_HEIGHT = 230
_LEAST = 1e-12  # avoids division by a variance of zero
_ORDINALS = ("first", "second")


def voice_dots(winner: Winner) -> Figure:
    """Plot the skill of each voice, the best first."""
    skills = winner.voices()
    chosen, note = _thin_voices(list(skills.items()))
    canvas = Canvas("voices", _HEIGHT)
    canvas.axes.axhline(0, color=GREY, lw=1)
    ranks, names = [rank for rank, *_ in chosen], [name for _, name, _ in chosen]
    values = [skill for *_, skill in chosen]
    points = canvas.axes.scatter(ranks, values, s=20, color=BLUE, clip_on=False)
    skill_name, pairs = winner.skill_name, zip(names, values, strict=True)
    tips = [Tooltip(f"{name}: {skill_name} {skill:.3f}") for name, skill in pairs]
    canvas.add_tooltip(points, *tips)
    canvas.label_axes(f"{winner.split} voices, the best first", skill_name)
    worse = sum(skill < 0 for skill in skills.values())
    middle = float(np.median(list(skills.values())))
    voices = count_noun(len(skills), f"{winner.split} voice")
    summary = (
        f"{skill_name.capitalize()} of each of {voices}: from {values[-1]:.3f} to "
        f"{values[0]:.3f}, median {middle:.3f}. For {worse} of them the mean voice would have been "
        f"closer (skill below 0).{note}"
    )
    data = table(["voice", skill_name], list(skills.items()))
    return Figure("voices", "Each voice", summary, canvas, data)


def _thin_voices(skills: list[tuple[str, float]]) -> tuple[list[tuple[int, str, float]], str]:
    """Voices with their rank, thinned evenly if many, and a note that says so."""
    ranked = [(rank, name, skill) for rank, (name, skill) in enumerate(skills, start=1)]
    if len(ranked) <= MAX_VOICES:
        return ranked, ""
    places = np.linspace(0, len(ranked) - 1, MAX_VOICES).round().astype(int)
    note = f" {MAX_VOICES} of them are shown, evenly spaced by rank."
    return [ranked[place] for place in places], note


def row_bars(winner: Winner) -> list[Figure]:
    """Plot the error of each row of `style_ttl` and of `style_dp`."""
    evaluation = winner.evaluation
    return [
        _row_bars(
            f"rows-{kind}", f"Each row of style_{kind}",
            *row_errors(getattr(evaluation.predicted, kind), getattr(evaluation.target, kind)),
        )
        for kind in ("ttl", "dp")
    ]  # fmt: skip


def _row_bars(
    key: str, title: str, error: NDArray[np.float32], spread: NDArray[np.float32]
) -> Figure:
    canvas = Canvas(key, _HEIGHT)
    rows = range(1, len(error) + 1)
    unit = 10.0 ** math.floor(math.log10(max(float(spread.max()), _LEAST)))
    around = canvas.axes.bar(
        rows, spread / unit, width=0.9, color=PALE, label="variance between voices"
    )
    within = canvas.axes.bar(rows, error / unit, width=0.5, color=BLUE, label="squared error")
    for row, bars in zip(rows, zip(around, within, strict=True), strict=True):
        words = f"row {row}: error {error[row - 1]:.2e} of variance {spread[row - 1]:.2e}"
        for bar in bars:
            canvas.add_tooltip(bar, Tooltip(words))
    canvas.label_axes("row", f"mean square, in units of {unit:.0e}")
    integer_ticks(canvas.axes.xaxis)
    canvas.axes.grid(visible=False, axis="x")
    canvas.legend([around, within])
    share = error.sum() / max(float(spread.sum()), _LEAST)
    worst = int(np.argmax(error - spread)) + 1
    above = int((error > spread).sum())
    summary = (
        f"The error is {share:.0%} of the variance between voices over all {len(error)} rows. "
        f"{count_noun(above, 'row')} {'has' if above == 1 else 'have'} a larger error than the "
        f"mean voice; row {worst} improves least."
    )
    data = [[row, float(e), float(s)] for row, e, s in zip(rows, error, spread, strict=True)]
    return Figure(key, title, summary, canvas, table(["row", "error", "variance"], data))


def component_scatters(winner: Winner) -> list[Figure]:
    """Plot true against predicted coordinates on the first two principal components."""
    pairs = principal_coordinates(winner.evaluation.predicted, winner.evaluation.target)
    return [
        _component(winner, name, true, guess)
        for name, (true, guess) in zip(_ORDINALS, pairs, strict=False)
    ]


def _correlation(true: NDArray[np.float32], guess: NDArray[np.float32]) -> str:
    """Format the correlation of (N,) values; empty for few or constant values."""
    if len(true) < MIN_CLIPS or not (true.std() and guess.std()):
        return ""
    correlation = np.corrcoef(true, guess)[0, 1]
    return f"Correlation {correlation:.2f} over {count_noun(len(true), 'clip')}. "


def _component(
    winner: Winner, name: str, true: NDArray[np.float32], guess: NDArray[np.float32]
) -> Figure:
    key, title = f"component-{name}", f"{name.capitalize()} principal component"
    places = np.linspace(0, len(true) - 1, min(len(true), MAX_VOICES)).round().astype(int)
    canvas = Canvas(key, height=320)
    canvas.axes.axline((0, 0), slope=1, color=GREY, lw=1)
    points = canvas.axes.scatter(true[places], guess[places], s=20, color=ORANGE, alpha=0.8)
    canvas.add_tooltip(
        points,
        *(
            Tooltip(f"{winner.pack.voices[i]}\ntrue {true[i]:.3f}, predicted {guess[i]:.3f}")
            for i in places
        ),
    )
    canvas.label_axes("true", "predicted")
    canvas.axes.set_aspect("equal", adjustable="datalim")
    note = f" {len(places)} of {len(true)} clips are shown." if len(places) < len(true) else ""
    summary = f"{_correlation(true, guess)}Perfect predictions are on the line.{note}"
    rows = [[winner.pack.voices[i], float(true[i]), float(guess[i])] for i in range(len(true))]
    return Figure(key, title, summary, canvas, table(["voice", "true", "predicted"], rows))
