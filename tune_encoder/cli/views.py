"""list, status, show, best, compare: commands that show searches, also while they run."""

import argparse
import math
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tune_encoder.cli.common import (
    SCORES,
    Commands,
    Run,
    add_command,
    add_json,
    add_root,
    print_view,
    table_lines,
)
from tune_encoder.cli.curve import draw_curve
from tune_encoder.config import MEASURES, SIMILARITY
from tune_encoder.data.score_words import skill_name
from tune_encoder.errors import ConfigError
from tune_encoder.experiment.epoch_row import score_of
from tune_encoder.experiment.front import describe_front, format_metric
from tune_encoder.experiment.status import WIDTH, format_state
from tune_encoder.system.formats import count_noun, format_value

if TYPE_CHECKING:
    from tune_encoder.experiment.folder import Experiment
    from tune_encoder.experiment.run import Run as RunFolder
    from tune_encoder.experiment.run_status import RunStatus
    from tune_encoder.experiment.views import (
        BestView,
        ComparedExperiment,
        Comparison,
        OverviewEntry,
        TrialView,
    )

MAX_COMPARED = 5  # more columns would be too narrow
ROWS_SHOWN = 10  # newest epochs in the table of a trial
NAME_WIDTH = 31  # of an experiment in a table
LABEL_WIDTH = 24  # of a setting in a table


def add_views(commands: Commands) -> None:
    """Add the commands that show searches and change nothing."""
    _add_view(commands, "list", _list)
    status = _add_view(commands, "status", _status)
    status.add_argument(
        "name",
        nargs="?",
        help="experiment, or folder of a run of `train` (default: the last experiment launched)",
    )
    status.add_argument(
        "--watch", action="store_true", help="keep showing it until the search ends, or Ctrl-C"
    )
    show = _add_view(commands, "show", _show)
    show.add_argument("name", help="experiment")
    show.add_argument("trial", type=int, help="number of the trial")
    _add_view(commands, "best", _best).add_argument("name", help="experiment")
    _add_view(commands, "compare", _compare).add_argument("names", nargs="+", help="experiments")


def _add_view(commands: Commands, name: str, run: Run) -> argparse.ArgumentParser:
    parser = add_command(commands, name, run)
    add_json(parser)
    add_root(parser)
    return parser


# --- list, status --------------------------------------------------------------------------------


def _list(options: argparse.Namespace) -> None:
    """List all experiments with their progress and best skill."""
    from tune_encoder.experiment.run_status import run_statuses
    from tune_encoder.experiment.views import overview

    entries, runs = overview(options.root), run_statuses(options.root)
    print_view(options, [*entries, *runs], _list_lines(entries, runs, options.root))


def _list_lines(
    entries: "list[OverviewEntry]", runs: "list[RunStatus]", root: Path
) -> Iterator[str]:
    if not entries:
        yield f"{root}: no experiments; start one with `tune-encoder search`"
    else:
        yield from table_lines("llrrll", _list_rows(entries))
    if runs:
        yield "\nruns by hand"
        yield from table_lines("llrr", map(_run_row, runs))
    yield from (f"\n{entry['problem']}" for entry in entries if entry["problem"])


def _list_rows(entries: "list[OverviewEntry]") -> Iterator[tuple[str, ...]]:
    fronts = any(entry["front"] is not None for entry in entries)
    yield "name", "state", "trials ended", "skill", "voices", "front" if fronts else ""
    for entry in entries:
        name = _shorten(entry["name"], NAME_WIDTH)
        if entry["problem"]:
            yield name, entry["state"], "", "", "", ""
            continue
        budget = entry["trials_budget"]
        ended = f"{entry['trials_ended']}{'' if budget is None else f' of {budget}'}"
        best = entry["best"]
        skill, voices = (f"{best['skill']:.3f}", best["voices"]) if best else ("-", "")
        front = "" if entry["front"] is None else describe_front(entry["front"])
        yield (
            name,
            format_state(entry["state"], entry["process"]),
            ended,
            skill,
            voices or "",
            front,
        )


def _run_row(run: "RunStatus") -> tuple[str, ...]:
    epochs = f"{run['epochs']} of {count_noun(run['epochs_budget'], 'epoch')}"
    skill = f"{run['best']['skill']:.3f}" if run["best"] else "-"
    return (
        _shorten(run["name"], NAME_WIDTH),
        format_state(run["state"], run["process"]),
        epochs,
        skill,
    )


def _status(options: argparse.Namespace) -> None:
    """Show the progress of a search or of a run by hand, and what to do next."""
    from tune_encoder.api.watching import experiment_lines, is_unicode
    from tune_encoder.experiment.folder import open_experiment
    from tune_encoder.experiment.run import find_run
    from tune_encoder.experiment.views import newest_experiment, status

    if options.watch and options.json:
        raise ConfigError(
            "--watch and --json cannot be combined; call `status --json` repeatedly instead"
        )
    root, name = options.root, options.name
    run = find_run(root, name) if name else None
    if run is not None:
        _show_run(options, run)
        return
    experiment = open_experiment(root, name) if name else newest_experiment(root)
    if options.watch:
        _watch(experiment)
    else:
        view = status(experiment)
        print_view(options, view, experiment_lines(view, is_unicode()))


def _show_run(options: argparse.Namespace, run: "RunFolder") -> None:
    """Show the status of a run by hand; with --watch a line after each change, until it ends."""
    from tune_encoder.api.watching import REFRESH_S
    from tune_encoder.experiment.run_status import RUNNING, progress_words, run_lines, run_status

    while options.watch and (view := run_status(run))["state"] == RUNNING:
        print(f"{view['name']}: {progress_words(view)}", flush=True)
        time.sleep(REFRESH_S)
    view = run_status(run)
    print_view(options, view, run_lines(view))


def _watch(experiment: "Experiment") -> None:
    """Show the status until the search ends; Ctrl-C does not stop the search."""
    from tune_encoder.api.watching import search_frames, show

    try:
        show(search_frames(experiment))
    except KeyboardInterrupt:
        sys.exit(130)


# --- show, best ----------------------------------------------------------------------------------


def _show(options: argparse.Namespace) -> None:
    """Show one trial: its settings, epochs and learning curve."""
    from tune_encoder.experiment.folder import open_experiment
    from tune_encoder.experiment.views import trial_view

    view = trial_view(open_experiment(options.root, options.name), options.trial)
    print_view(options, view, _trial_lines(view))


def _trial_lines(view: "TrialView") -> Iterator[str]:
    yield from textwrap.wrap(view["line"], WIDTH)
    if view["why"] and view["why"] not in view["line"]:
        yield from textwrap.wrap(view["why"], WIDTH)
    yield ""
    yield from _setting_lines(view["searched"], view["changed"])
    yield from _row_lines(view)
    yield from _curve_lines(view)
    yield f"\ncheckpoint:  {view['checkpoint'] or 'none kept'}"


def _setting_lines(searched: Mapping[str, object], changed: Mapping[str, object]) -> Iterator[str]:
    """Yield the searched settings, marked, then the others that differ from their defaults."""
    others = {name: value for name, value in changed.items() if name not in searched}
    rows = [(f"* {name}", format_value(value)) for name, value in searched.items()]
    rows += [(f"  {name}", format_value(value)) for name, value in others.items()]
    yield from table_lines("ll", rows)
    if searched or others:
        yield "* searched; the others differ from their defaults"


def _row_lines(view: "TrialView") -> Iterator[str]:
    """Yield a table of the newest epochs, and of the best one if it is older."""
    columns = list(dict.fromkeys((view["metric"], "val_loss", "val_skill")))
    rows, best = view["rows"], view["best_epoch"]
    shown = [row for row in rows[:-ROWS_SHOWN] if row["epoch"] == best] + rows[-ROWS_SHOWN:]
    heads = [skill_name(view["voices"]) if name == "val_skill" else name for name in columns]
    table = [["epoch", *heads, ""]]
    for row in shown:
        numbers = [f"{score_of(row, name):.4f}" for name in columns]
        table.append([str(row["epoch"]), *numbers, "best" if row["epoch"] == best else ""])
    if shown:
        yield ""
        yield from table_lines("r" * (1 + len(columns)) + "l", table)
    if len(shown) < len(rows):
        yield f"({len(rows) - len(shown)} earlier epochs are not shown; --json has them)"


def _curve_lines(view: "TrialView") -> Iterator[str]:
    from tune_encoder.api.watching import is_unicode

    rows = [row for row in view["rows"] if math.isfinite(score_of(row, view["metric"]))]
    if len(rows) > 1:
        epochs, values = zip(
            *((row["epoch"], score_of(row, view["metric"])) for row in rows), strict=True
        )
        yield ""
        yield from draw_curve(epochs, values, view["metric"], WIDTH, braille=is_unicode())


def _best(options: argparse.Namespace) -> None:
    """Show the best trial, its scores and settings, and how to export it."""
    from tune_encoder.experiment.folder import open_experiment
    from tune_encoder.experiment.views import best_view

    view = best_view(open_experiment(options.root, options.name))
    print_view(options, view, _best_lines(view))


def _best_lines(view: "BestView") -> Iterator[str]:
    yield f"best: trial {view['trial']}, epoch {view['epoch']}"
    words = {"val_loss": "loss", **{f"val_{name}": word for name, word in SCORES.items()}}
    words |= {"val_skill": skill_name(view["voices"]), "val_skill_se": "its standard error"}
    words[SIMILARITY] = "similarity, by ear"
    scores = {word: view["scores"][name] for name, word in words.items() if name in view["scores"]}
    rows = [(f"  {word}", f"{value:.3f}") for word, value in scores.items()]
    measured = {name: value for name, value in view["scores"].items() if name in MEASURES}
    rows += [(f"  {name}", format_metric(value)) for name, value in measured.items()]
    yield from table_lines("lr", rows)
    yield "" if view["settings"] else "\nno searched settings"
    yield from (f"  {name}: {format_value(value)}" for name, value in view["settings"].items())
    yield f"\ncheckpoint: {view['checkpoint'] or 'no longer there'}"
    if view["checkpoint"]:
        yield f"export it:  {view['export']}"
    if view["front"]:
        yield from _front_lines(view)


def _front_lines(view: "BestView") -> Iterator[str]:
    """Yield the Pareto front as a table."""
    yield "\nno trial is better in both metrics than one of these:"
    names = [*view["front"][0]["values"]]
    rows = [["trial", "epoch", *names, ""]]
    for point in view["front"]:
        numbers = [format_metric(value) for value in point["values"].values()]
        best = "best" if point["trial"] == view["trial"] else ""
        rows.append([f"{point['trial']}", f"{point['epoch']}", *numbers, best])
    yield from table_lines("rr" + "r" * len(names) + "l", rows)
    yield f"export one: {view['export']} --trial N"


# --- compare -------------------------------------------------------------------------------------


def _compare(options: argparse.Namespace) -> None:
    """Compare experiments side by side."""
    from tune_encoder.experiment.views import compare_experiments

    if not 2 <= len(options.names) <= MAX_COMPARED:
        count = len(options.names)
        raise ConfigError(f"{count} experiments given; name 2 to {MAX_COMPARED} to compare")
    view = compare_experiments(options.root, options.names)
    print_view(options, view, _comparison_lines(view))


def _comparison_lines(view: "Comparison") -> Iterator[str]:
    yield from (f"warning: {warning}" for warning in view["warnings"])
    count = len(view["experiments"])
    width = (WIDTH - LABEL_WIDTH) // count - 2
    rows = ([label, *(_shorten(cell, width) for cell in cells)] for label, *cells in _rows(view))
    yield from table_lines("l" + "r" * count, rows)


def _rows(view: "Comparison") -> Iterator[list[str]]:
    """Yield the rows of a comparison: a label, then a cell for each experiment."""
    found = view["experiments"]
    bests = [each["best"] for each in found]
    yield ["", *(each["name"] for each in found)]
    yield ["trials ended", *(f"{e['trials_ended']} of {e['budget']['trials']}" for e in found)]
    yield ["epochs spent", *(f"{each['epochs']}" for each in found)]
    yield ["epochs per trial", *(f"{each['budget']['epochs']}" for each in found)]
    for metric in dict.fromkeys(each["metric"] for each in found):
        yield [f"best {metric}", *(_format_number(_best_value(each, metric)) for each in found)]
    kind = next((each["voices"] for each in found if each["voices"]), None)
    yield [f"its {skill_name(kind)}", *(_format_number(best and best["skill"]) for best in bests)]
    yield ["its trial", *(format_value(best and best["trial"]) for best in bests)]
    if view["differing_settings"]:
        yield [""] * (1 + len(found))
        yield ["its settings that differ", *("" for _ in found)]
    for name, differing in view["differing_settings"].items():
        yield [name, *(format_value(value) for value in differing)]


def _best_value(experiment: "ComparedExperiment", metric: str) -> float | None:
    best = experiment["best"]
    return best["value"] if best is not None and best["metric"] == metric else None


# --- printing ------------------------------------------------------------------------------------


def _format_number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _shorten(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."
