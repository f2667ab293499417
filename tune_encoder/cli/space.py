"""space, plan: show a search space, and estimate what a search would cost."""

import argparse
import contextlib
import json
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tune_encoder.cli.common import (
    Commands,
    add_command,
    add_data_dir,
    add_json,
    demo_voices,
    print_table,
    print_view,
)
from tune_encoder.config import (
    SIMILARITY,
    ListenSettings,
    SchedulerSettings,
    SettingValue,
    SimilaritySettings,
)
from tune_encoder.errors import ConfigError
from tune_encoder.experiment.status import WIDTH
from tune_encoder.system.formats import count_noun, format_duration, format_size

if TYPE_CHECKING:
    from tune_encoder.space import Parameter, SearchSpace
    from tune_encoder.space.plan import Plan

# By Supertone itself, in the README of its package; and by others, of supertonic-3.
_REAL_TIME_FACTORS = "0.02 (a laptop's CPU) and 0.3 (four cores of a server)"
MAX_SAMPLES = 100_000  # far more than anyone looks at
_NO_BREAK = "\N{NO-BREAK SPACE}"  # between a setting and its value, while lines are wrapped
_FILE_HELP = "YAML file, or the name of a built-in space"


def add_space(commands: Commands) -> None:
    """Add the commands `space` and `plan`."""
    space = add_command(commands, "space", _space)
    space.add_argument("file", nargs="?", metavar="FILE", help=_FILE_HELP)
    space.add_argument("--sample", type=int, default=0, metavar="N", help="also sample N configs")
    space.add_argument("--seed", type=int, default=0, help="seed of the samples (default: 0)")
    space.add_argument("--list", action="store_true", help="list the built-in spaces")
    add_json(space)
    plan = add_command(commands, "plan", _plan)
    plan.add_argument("file", metavar="FILE", help=_FILE_HELP)
    add_data_dir(plan)
    plan.add_argument(
        "--no-probe", action="store_true", help="train nothing, so show neither time nor disk space"
    )
    add_json(plan)


# --- space -------------------------------------------------------------------------------------


def _space(options: argparse.Namespace) -> None:
    """Show a search space, and configs sampled from it."""
    from tune_encoder.space import find_space, load_space, sample_configs, space_to_content

    if options.list:
        _list(options)
        return
    if options.file is None:
        raise ConfigError(
            "space: no FILE given; name a YAML file or a built-in space, or use --list"
        )
    if not 0 <= options.sample <= MAX_SAMPLES:
        raise ConfigError(f"--sample is {options.sample}; it must be from 0 to {MAX_SAMPLES}")
    space = load_space(find_space(options.file))
    samples = [
        space.searched_settings(each)
        for each in sample_configs(space, options.sample, options.seed)
    ]
    if options.json:
        print_view(options, {**space_to_content(space), "samples": samples}, ())
        return
    _print_space(space)
    _print_samples(samples)


def _list(options: argparse.Namespace) -> None:
    from tune_encoder.space import builtin_spaces, space_summary

    lines = {
        name: space_summary(path).partition(": ")[2] for name, path in builtin_spaces().items()
    }
    if options.json:
        print_view(options, lines, ())
        return
    _print_rows(lines.items())


def _print_space(space: "SearchSpace") -> None:
    _print_rows(_section_rows(space))
    if space.parameters:
        count = len(space.parameters)
        print(f"\n{count_noun(count, 'setting')} {'is' if count == 1 else 'are'} searched:")
        _print_parameters(space.parameters)


def _section_rows(space: "SearchSpace") -> Iterator[tuple[str, str]]:
    """Yield the name and a description of each section of a space but its parameters."""
    searcher, resources = space.searcher, space.resources
    yield "budget", _format_budget(space)
    yield "scheduler", _format_scheduler(space.scheduler)
    models = searcher.name not in ("random", "grid")
    startup = f", {count_noun(searcher.startup_trials, 'start-up trial')}" if models else ""
    yield "searcher", f"{searcher.name}{startup}, seed {searcher.seed}"
    at_once = resources.concurrent or "as many as fit"
    yield "resources", f"cpus {resources.cpus}, gpus {resources.gpus:g} a trial, {at_once} at once"
    if space.listens:
        yield "similarity", _format_similarity(space.similarity)
    if space.constraints:
        yield "constraints", ", ".join(map(str, space.constraints))
    if space.base:
        yield "base", _format_settings(space.base)


def _format_budget(space: "SearchSpace") -> str:
    budget, metric = space.budget, space.metric
    words = [f"{_trials_of_epochs(budget.trials, budget.epochs)}, by {' and '.join(metric.names)}"]
    if budget.total_epochs:
        words.append(f"{count_noun(budget.total_epochs, 'epoch')} in all")
    if budget.time:
        words.append(f"at most {budget.time}")
    if budget.until == "noise":
        words.append("until the noise")
    if budget.target is not None:
        words.append(f"until {budget.target:g}")
    if budget.seeds > 1:
        words.append(f"the best confirmed with {budget.seeds} seeds")
    return ", ".join(words)


def _trials_of_epochs(trials: int, epochs: int) -> str:
    counted = count_noun(trials, "trial") if trials else "trials"
    return f"{counted} of up to {count_noun(epochs, 'epoch')}"


def _format_scheduler(scheduler: SchedulerSettings) -> str:
    words = [scheduler.name]
    if scheduler.stops_early:
        words.append(f"grace period {scheduler.grace_period}")
    if scheduler.has_rungs:
        words.append(f"factor {scheduler.reduction_factor:g}")
    if scheduler.n_brackets > 1:
        words.append(f"{count_noun(scheduler.brackets, 'bracket')}")
    return ", ".join(words)


def _format_similarity(how: SimilaritySettings) -> str:
    every = f"every {count_noun(how.every, 'epoch')}" if how.every > 1 else "every epoch"
    words = ["at rungs" if how.every == 0 else every, count_noun(how.voices, "voice")]
    return ", ".join([*words, count_noun(how.sentences, "sentence"), how.model])


def _print_parameters(parameters: list["Parameter"]) -> None:
    rows = [
        (each.name, each.kind, _format_values(each), _format_conditions(each))
        for each in parameters
    ]
    print_table("pppp", [("setting", "kind", "values", "only when"), *rows])


def _format_values(parameter: "Parameter") -> str:
    if parameter.kind == "choice":
        return ", ".join(_format_value(value) for value in parameter.values)
    low, high = (_format_value(value) for value in parameter.values)
    step = "" if parameter.step is None else f", step {parameter.step:g}"
    return f"{low} to {high}{step}{', log' if parameter.log else ''}"


def _format_conditions(parameter: "Parameter") -> str:
    return ", ".join(
        f"{name}: {' or '.join(_format_value(value) for value in values)}"
        for name, values in parameter.when.items()
    )


def _print_samples(samples: list[dict[str, SettingValue]]) -> None:
    """Print configs as a `start` section that can be copied into a file."""
    if samples:
        print("\nstart:")
    for settings in samples:
        text = f"{{{_format_settings(settings)}}}"
        print(_wrap(text, "  - ", "     "))


# --- plan --------------------------------------------------------------------------------------


def _plan(options: argparse.Namespace) -> None:
    """Estimate the epochs, time and disk space of a search without running it."""
    from tune_encoder.api.planning import plan_content
    from tune_encoder.space import find_space, load_space
    from tune_encoder.space.plan import plan_search

    space = load_space(find_space(options.file))
    plan = plan_search(space)
    if not options.json:
        _print_plan(space, plan)
    cost = {} if options.no_probe else _probe(space, plan, options.data_dir)
    if options.json:
        print_view(options, plan_content(space, plan, cost), ())
    elif cost:
        _print_cost(space, plan, cost)


def _print_plan(space: "SearchSpace", plan: "Plan") -> None:
    print(f"{_trials_of_epochs(plan.trials, plan.epochs)}, {space.scheduler.name}\n")
    print_table("rrrl", _plan_rows(plan))
    print()
    for line in (*_caveats(space), *_speech_lines(space, plan)):
        print(_wrap(line))


def _plan_rows(plan: "Plan") -> Iterator[tuple[str, str, str, str]]:
    yield "trials", "to epoch", "epochs spent", ""
    for number, bracket in enumerate(plan.brackets, 1):
        if len(plan.brackets) > 1:
            yield f"bracket {number}", "", "", ""
        for rung in bracket:
            yield str(rung.trials), str(rung.epochs), str(rung.spent), ""
    if plan.confirmations:
        spent = plan.confirmations * plan.epochs
        yield str(plan.confirmations), str(plan.epochs), str(spent), "with further seeds"
    share = plan.total_epochs / plan.full_epochs
    yield (
        "total",
        "",
        str(plan.total_epochs),
        f"{share:.0%} of {plan.full_epochs} without early stopping",
    )


def _caveats(space: "SearchSpace") -> Iterator[str]:
    """Yield what the plan cannot know."""
    scheduler, time = space.scheduler, space.budget.time
    if scheduler.has_rungs and not scheduler.fills_rungs:
        yield f"{scheduler.name} decides before a rung is full: it may use up to twice the epochs"
    if scheduler.stops_early and not scheduler.has_rungs:
        yield f"{scheduler.name} stops some trials earlier; how many is only known in the search"
    if total := space.budget.total_epochs:
        yield (
            f"budget.total_epochs ends the search after {total} epochs of all trials, however many "
            "trials have begun by then"
        )
    if space.budget.until == "noise":
        yield "budget.until may end the search before, once a trial would gain less than the noise"
    if time:
        yield f"budget.time ends the search after {time}, even if trials are left"


def _speech_lines(space: "SearchSpace", plan: "Plan") -> Iterator[str]:
    """Say what `val_similarity` costs, which no config that is timed measures."""
    from tune_encoder.api.planning import speech_cost

    if speech := speech_cost(space, plan):
        spoken = format_duration(speech["speech_seconds"])
        yield (
            f"{SIMILARITY} is measured {speech['similarity_measurements']} times: about {spoken} "
            "of speech to synthesise, in time that is not counted elsewhere: its length times the "
            f"model's real-time factor on one core with {ListenSettings().steps} steps. With 5 "
            f"steps {_REAL_TIME_FACTORS} were published"
        )


def _probe(space: "SearchSpace", plan: "Plan", data_dir: Path | None) -> dict[str, Any]:
    """Time a few configs on the data, print the progress, and return the cost of the plan."""
    from tune_encoder.api.planning import estimate_cost, open_probe

    timings = []
    with contextlib.redirect_stdout(sys.stderr):  # standard output is for the plan
        probe = open_probe(space, data_dir or Path(space.data_dir or demo_voices()))
        clips = count_noun(len(probe.data.train), "clip")
        over = clips if probe.folds == 1 else f"{probe.folds} folds of voices"
        print(f"timing a few configs on {over} ...", flush=True)
        for timing in probe.timings():
            timings.append(timing)
            print(f"config {len(timings)}: {format_duration(timing.seconds_per_epoch)} an epoch")
    return estimate_cost(space, plan, timings, probe.data.info)


def _print_cost(space: "SearchSpace", plan: "Plan", cost: dict[str, Any]) -> None:
    runs, keep = plan.trials + plan.confirmations, space.resources.keep
    time = "this machine is too small for a trial; lower resources in the space"
    if cost["workers"]:
        time = f"about {format_duration(cost['seconds'])}, {cost['workers']} at once"
    size, each = format_size(cost["disk_bytes"]), count_noun(keep, "checkpoint")
    rows = {
        "steps": _steps(cost),
        "an epoch": _mean_and_range("seconds_per_epoch", cost, format_duration),
        "search": time,
        "checkpoint": _mean_and_range("checkpoint_bytes", cost, format_size),
        "disk": f"about {size}: {count_noun(runs, 'run')}, {each} each",
        "pack": _pack(cost),
    }
    _print_rows(rows.items())


def _pack(cost: dict[str, Any]) -> str:
    """Format the size of the pack, which is made once."""
    n_copies = cost["copies"]
    kind = "copy" if n_copies == 1 else "copies"
    of = f", with {n_copies} {kind} of each training clip" if n_copies else ""
    return f"{format_size(cost['pack_bytes'])}{of}"


def _steps(cost: dict[str, Any]) -> str:
    """Format how many optimizer steps an epoch has; configs with smaller batches have more."""
    counts = sorted({timing["steps_per_epoch"] for timing in cost["timings"]})
    words = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{words} an epoch"


def _mean_and_range(name: str, cost: dict[str, Any], words: Callable[[float], str]) -> str:
    """Format the mean and the range over the configs that were timed."""
    values = [timing[name] for timing in cost["timings"]]
    configs = count_noun(len(values), "config")
    return f"{words(cost[name])} ({configs}: {words(min(values))} to {words(max(values))})"


# --- words -------------------------------------------------------------------------------------


def _print_rows(rows: Iterable[tuple[str, str]]) -> None:
    """Print words beside their names, in as many lines as they need."""
    rows = list(rows)
    width = WIDTH - 2 - max(len(name) for name, _ in rows)
    print_table("ll", [(name, _wrap(words, width=width)) for name, words in rows])


def _wrap(text: str, first: str = "", later: str = "", width: int = WIDTH) -> str:
    filled = textwrap.fill(
        text,
        width,
        initial_indent=first,
        subsequent_indent=later,
        break_long_words=False,
    )
    return filled.replace(_NO_BREAK, " ")


def _format_settings(settings: Mapping[str, object]) -> str:
    pairs = (f"{name}:{_NO_BREAK}{_format_value(value)}" for name, value in settings.items())
    return ", ".join(pairs)


def _format_value(value: object) -> str:
    """Format a value as YAML; a float has six digits."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value)
