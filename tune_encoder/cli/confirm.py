"""importance, confirm, and the findings that a search prints at its end."""

import argparse
import sys
import textwrap
from collections.abc import Iterator
from statistics import fmean
from typing import TYPE_CHECKING, TypedDict

from tune_encoder.api.confirming import SEEDS
from tune_encoder.cli.common import (
    Commands,
    add_command,
    add_root,
    add_setting,
    print_table,
    print_view,
    table_lines,
)
from tune_encoder.cli.output import TEXT, add_output_options
from tune_encoder.config import CONFIRMED_CONFIGS, LaunchSettings, SettingValue
from tune_encoder.data.score_words import skill_name
from tune_encoder.errors import ConfigError, SearchFailed, StorageError, error_line
from tune_encoder.experiment.status import WIDTH
from tune_encoder.system.events import is_heard, tell

if TYPE_CHECKING:
    from tune_encoder.experiment.confirmation import Confirmation, ConfirmedConfig
    from tune_encoder.experiment.folder import Experiment
    from tune_encoder.experiment.importance import Importances


def add_confirm(commands: Commands) -> None:
    """Add the commands `importance` and `confirm`."""
    for name, run in (("importance", _importance), ("confirm", _confirm)):
        parser = add_command(commands, name, run, outlives_reader=name == "confirm")
        parser.add_argument("name", help="experiment")
        if name == "confirm":
            parser.add_argument(
                "--top",
                type=int,
                default=CONFIRMED_CONFIGS,
                help=f"configs to confirm (default: {CONFIRMED_CONFIGS})",
            )
            parser.add_argument(
                "--seeds",
                type=int,
                help=f"seeds of each config (default: budget.seeds of the space, or {SEEDS})",
            )
            add_setting(parser, LaunchSettings, "address")
            add_output_options(parser)
        parser.add_argument("--json", action="store_true", help="print JSON instead of text")
        add_root(parser)


# --- after a search ------------------------------------------------------------------------------


def print_findings(experiment: "Experiment") -> None:
    """Print how reliable the result of a search is."""
    from tune_encoder.data.pack import open_pack
    from tune_encoder.data.packing import pack_data
    from tune_encoder.experiment.findings import assess_search

    space = experiment.space()
    pack = pack_data(experiment.data_source().folder, space.base_config())
    baselines = experiment.fold_baselines() or open_pack(pack).baselines
    findings = assess_search(experiment.trials(), space, baselines, experiment.voice_kind())
    for agreement in findings.rung_correlations:
        print(agreement)
    if findings.start:
        print(textwrap.fill(findings.start, WIDTH))
    for warning in findings.warnings:
        print(textwrap.fill(f"warning: {warning}", WIDTH, break_long_words=False))


def confirm_if_asked(experiment: "Experiment", launch: LaunchSettings) -> None:
    """Confirm the best configs of a search whose space asks for more than one seed."""
    from tune_encoder.api.confirming import confirm_or_say_how

    seeds = experiment.space().budget.seeds
    if seeds == 1:
        return
    try:
        confirmation = confirm_or_say_how(
            experiment,
            (CONFIRMED_CONFIGS, seeds),
            experiment.command("resume"),
            launch,
            _print_to_stderr,
        )
    except (
        SearchFailed,
        StorageError,
    ) as error:  # the search's own result can still be exported
        print(f"warning: {error_line(error)}")
    else:
        print_confirmation(confirmation)


# --- importance ----------------------------------------------------------------------------------


def _importance(options: argparse.Namespace) -> None:
    """Show which settings mattered; also works while the search is running."""
    from tune_encoder.experiment.folder import open_experiment
    from tune_encoder.experiment.importance import importances

    rated = importances(open_experiment(options.root, options.name))
    content = {"experiment": options.name, **_importance_content(rated)}
    print_view(options, content, importance_lines(rated))


def _importance_content(rated: "Importances") -> dict[str, object]:
    settings = [
        {"name": each.name, "importance": each.share, "trials": each.n_trials}
        for each in rated.settings
    ]
    return {"trials": rated.n_trials, "rough": rated.rough, "settings": settings}


def importance_lines(rated: "Importances") -> list[str]:
    """Return one bar per setting, as long as its importance; at most 80 columns."""
    from tune_encoder.experiment.importance import RELIABLE_TRIALS

    n = rated.n_trials
    remarks = [f"  in {s.n_trials} of {n} trials" * (s.n_trials < n) for s in rated.settings]
    width = max(len(each.name) for each in rated.settings)
    longest = WIDTH - width - len("  100 %  ") - max(map(len, remarks))
    rows = [
        (each.name, f"{100 * each.share:.0f} %", "#" * round(each.share * longest) + remark)
        for each, remark in zip(rated.settings, remarks, strict=True)
    ]
    lines = table_lines("lrl", rows)
    if rated.rough:
        lines.append(f"rough: {n} trials; the order becomes stable at about {RELIABLE_TRIALS}")
    return lines


# --- confirm -------------------------------------------------------------------------------------


def _confirm(options: argparse.Namespace) -> None:
    """Retrain the best configs with new seeds, and show which one is really better."""
    from tune_encoder.api.confirming import confirm
    from tune_encoder.experiment.confirmation import verdict
    from tune_encoder.experiment.folder import open_experiment

    if options.json and options.output != TEXT:
        raise ConfigError("--json prints all at the end; leave out --quiet and --json-lines")
    experiment = open_experiment(options.root, options.name)
    launch = LaunchSettings(address=options.address)
    confirmation = confirm(experiment, options.top, options.seeds, launch, _print_to_stderr)
    options.result = f"{experiment.name}: {verdict(confirmation)}"
    if options.json:
        print_view(options, {"experiment": options.name, **_confirmation_content(confirmation)}, ())
    else:
        print_confirmation(confirmation)


def _print_to_stderr(line: str) -> None:
    tell("progress", work=line, done=None, total=None, unit=None)
    if not is_heard():
        print(line, file=sys.stderr)


class _SeedStatistics(TypedDict):
    """A score of one config over its seeds."""

    values: list[float]
    """In the order of the seeds."""
    mean: float
    sd: float | None
    """Standard deviation; None of a single seed."""


class _ConfigContent(TypedDict):
    """A config that was retrained, in plain values."""

    trial: int
    settings: dict[str, SettingValue]
    seeds: list[int]
    metric: _SeedStatistics
    skill: _SeedStatistics


def _confirmation_content(confirmation: "Confirmation") -> dict[str, object]:
    winner = confirmation.winner
    return {
        "folder": str(confirmation.experiment.path),
        "metric": confirmation.metric.name,
        "voices": confirmation.experiment.voice_kind(),
        "configs": [_config_content(each, confirmation) for each in confirmation.configs],
        "failed": confirmation.failed,
        "within_noise": confirmation.n_tied,
        "winner": None if winner is None else winner.trial,
    }


def _config_content(config: "ConfirmedConfig", confirmation: "Confirmation") -> _ConfigContent:
    values = [confirmation.metric.sign * each for each in config.objectives]
    return {
        "trial": config.trial,
        "settings": config.settings,
        "seeds": config.seeds,
        "metric": _statistics(values),
        "skill": _statistics(config.skills),
    }


def _statistics(values: list[float]) -> _SeedStatistics:
    from tune_encoder.experiment.confirmation import standard_deviation

    return {"values": values, "mean": fmean(values), "sd": standard_deviation(values)}


def print_confirmation(confirmation: "Confirmation") -> None:
    """Print a line per config, the best first, and whether it is significantly better."""
    from tune_encoder.experiment.confirmation import verdict

    name = confirmation.metric.name
    print("\nretrained with new seeds: mean and standard deviation (sd) over the seeds")
    skill = skill_name(confirmation.experiment.voice_kind())
    heads = ["trial", name, "sd", skill, "sd", "lowest", "highest", "seeds"]
    print_table("r" * len(heads), [heads, *_config_rows(confirmation)])
    for number in confirmation.failed:
        print(f"trial {number}: no seed gave a result")
    print(verdict(confirmation))


def _config_rows(confirmation: "Confirmation") -> Iterator[list[str]]:
    for config in confirmation.configs:
        content = _config_content(config, confirmation)
        skills = (f"{skill:.3f}" for skill in (min(config.skills), max(config.skills)))
        yield [
            str(config.trial),
            *_mean_and_deviation(content["metric"], 4),
            *_mean_and_deviation(content["skill"], 3),
            *skills,
            str(len(config.seeds)),
        ]


def _mean_and_deviation(statistics: _SeedStatistics, digits: int) -> tuple[str, str]:
    mean, deviation = statistics["mean"], statistics["sd"]
    return f"{mean:.{digits}f}", "-" if deviation is None else f"{deviation:.{digits}f}"
