"""Timeline of the workers."""

import itertools
from collections import defaultdict
from collections.abc import Sequence
from operator import itemgetter
from typing import NamedTuple

from matplotlib.patches import Rectangle

from tune_encoder.experiment.epoch_row import EpochRow
from tune_encoder.experiment.trials import TrialRecord
from tune_encoder.report.curves import line_style
from tune_encoder.report.drawing import ORANGE, Canvas, Tooltip
from tune_encoder.report.facts import Facts
from tune_encoder.report.figure import Figure, table
from tune_encoder.report.progress import HOUR_S, MINUTE_S
from tune_encoder.system.formats import count_noun, format_clock

_LANE_HEIGHT = 20
MAX_LANES = 24  # more would not fit on a screen


class TrialSpan(NamedTuple):
    """Consecutive epochs of one trial on a worker."""

    worker: str
    trial: int
    epochs: tuple[int, int]
    """First and last epoch."""
    start: float
    """Seconds since the first epoch of the search began."""
    end: float
    busy: float
    """Seconds of training."""


def trial_spans(trials: Sequence[TrialRecord]) -> list[TrialSpan]:
    """Return the spans of each worker, in order; epochs without worker or time are skipped."""
    by_worker: dict[str, list[tuple[float, int, EpochRow]]] = defaultdict(list)
    for trial in trials:
        for row in trial.rows:
            if _has_time(row):
                by_worker[row["worker"]].append((row["recorded_at"], trial.number, row))
    everything = itertools.chain.from_iterable(by_worker.values())
    began = min((at - row["seconds"] for at, _, row in everything), default=0.0)
    return [
        _trial_span(worker, trial, [row for *_, row in group], began)
        for worker, rows in sorted(by_worker.items())
        for trial, group in itertools.groupby(sorted(rows, key=itemgetter(0)), key=itemgetter(1))
    ]


def _has_time(row: EpochRow) -> bool:
    return bool(row.get("worker", ":").strip(":")) and "recorded_at" in row


def _trial_span(worker: str, trial: int, rows: Sequence[EpochRow], began: float) -> TrialSpan:
    return TrialSpan(
        worker,
        trial,
        (rows[0]["epoch"], rows[-1]["epoch"]),
        rows[0]["recorded_at"] - rows[0]["seconds"] - began,
        rows[-1]["recorded_at"] - began,
        sum(row["seconds"] for row in rows),
    )


class Worker(NamedTuple):
    """A worker process."""

    name: str
    trials: int
    start: float
    end: float
    busy: float

    @property
    def idle(self) -> float:
        """Seconds between its first and last epoch without training."""
        return max(0.0, self.end - self.start - self.busy)


def workers(spans: Sequence[TrialSpan]) -> list[Worker]:
    """Return the workers in the order in which they started."""
    by_name: dict[str, list[TrialSpan]] = {}
    for each in sorted(spans, key=lambda stretch: stretch.start):
        by_name.setdefault(each.worker, []).append(each)
    return [
        Worker(
            name,
            len({each.trial for each in own}),
            own[0].start,
            max(each.end for each in own),
            sum(each.busy for each in own),
        )
        for name, own in by_name.items()
    ]


def lanes(spans: Sequence[Worker]) -> dict[str, int]:
    """Assign a lane to each worker; workers that do not overlap in time may share a lane."""
    ends: list[float] = []
    chosen = {}
    for worker in spans:
        free = next((i for i, end in enumerate(ends) if end <= worker.start), len(ends))
        ends[free : free + 1] = [worker.end]
        chosen[worker.name] = free
    return chosen


def timeline(facts: Facts) -> Figure:
    """Plot which trial each worker trained when."""
    key, title = "timeline", "Timeline of workers"
    spans = trial_spans(facts.trials)
    all_workers = workers(spans)
    missing = sum(not _has_time(row) for trial in facts.trials for row in trial.rows)
    if not spans:
        return Figure(key, title, "The record has no workers or times of epochs.")
    lane = {name: i for name, i in lanes(all_workers).items() if i < MAX_LANES}
    n_lanes = 1 + max(lane.values())
    unit, name_of_unit = _unit(all_workers)
    names = [f"worker {i + 1}" for i in range(n_lanes)]
    canvas = Canvas(key, 58 + _LANE_HEIGHT * n_lanes, names)
    trials = {trial.number: trial for trial in facts.trials}
    for each in spans:
        if each.worker in lane:
            _bar(canvas, facts, each, trials[each.trial], (lane[each.worker], unit))
    canvas.axes.set_xlim(0, 1.02 * max(worker.end for worker in all_workers) / unit)
    canvas.label_axes(f"{name_of_unit} since the first epoch began")
    columns = ["lane", "worker", "trials", "trained", "idle", "from", "to"]
    rows = [
        [
            lane.get(w.name, -1) + 1 or None,
            w.name,
            w.trials,
            *map(format_clock, (w.busy, w.idle, w.start, w.end)),
        ]
        for w in all_workers
    ]
    summary = _timeline_summary(all_workers, n_lanes, missing, len(all_workers) - len(lane))
    return Figure(key, title, summary, canvas, table(columns, rows))


def _unit(all_workers: Sequence[Worker]) -> tuple[float, str]:
    last = max(worker.end for worker in all_workers)
    return (HOUR_S, "hours") if last > HOUR_S else (MINUTE_S, "minutes")


def _bar(
    canvas: Canvas, facts: Facts, each: TrialSpan, trial: TrialRecord, place: tuple[int, float]
) -> None:
    """Draw a span in its lane; `place` is the lane and the seconds per unit."""
    lane, unit = place
    color = ORANGE if trial is facts.best else line_style(facts.status_of(trial))[0]
    corner, width = (each.start / unit, lane - 0.35), (each.end - each.start) / unit
    bar = Rectangle(corner, width, 0.7, facecolor=color, edgecolor="white", lw=0.2)
    canvas.axes.add_patch(bar)
    first, last = each.epochs
    epochs = f"epoch {first}" if first == last else f"epochs {first} to {last}"
    start, end, busy = map(format_clock, (each.start, each.end, each.busy))
    when = f"{start} to {end}, {busy} of it training"
    words = f"trial {each.trial}, {facts.status_of(trial)}: {epochs}\n{when}\n{each.worker}"
    canvas.add_tooltip(bar, Tooltip(words, each.trial))


def _timeline_summary(
    all_workers: Sequence[Worker], n_lanes: int, missing: int, hidden: int
) -> str:
    busy, idle = sum(w.busy for w in all_workers), sum(w.idle for w in all_workers)
    share = busy / (busy + idle) if busy + idle else 1.0
    parts = [
        f"{count_noun(len(all_workers), 'worker')} trained, up to {n_lanes} at once, {share:.0%} "
        f"of the time between their first and last epochs; {format_clock(idle)} were spent "
        "between trials, on saving or waiting. Workers that do not overlap in time share a lane.",
    ]
    if missing:
        parts.append(f"{count_noun(missing, 'epoch')} without a worker or a time are not shown.")
    if hidden:
        parts.append(f"{count_noun(hidden, 'worker')} beyond {MAX_LANES} lanes are not shown.")
    return " ".join(parts)
