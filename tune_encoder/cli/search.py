"""search, resume, fork."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tune_encoder.cli.common import (
    Commands,
    add_command,
    add_data_dir,
    add_root,
    add_setting,
    announce_demo,
    format_skills,
    given_settings,
)
from tune_encoder.cli.confirm import confirm_if_asked, print_findings
from tune_encoder.cli.export import export_to
from tune_encoder.cli.jobs import JOBS_SCHEMES, resume_job
from tune_encoder.cli.output import add_output_options
from tune_encoder.cli.report import write_report_at_end
from tune_encoder.config import (
    EXTENSIONS,
    FORK_OVERRIDES,
    OVERRIDES,
    SECTIONS,
    LaunchSettings,
    StorageSettings,
)
from tune_encoder.system.afterwards import before_export
from tune_encoder.system.events import tell
from tune_encoder.system.formats import quote_path
from tune_encoder.system.signals import interruptible

if TYPE_CHECKING:
    from tune_encoder.api.results import Experiment
    from tune_encoder.api.searching import PreparedSearch
    from tune_encoder.experiment.folder import Experiment as Folder


def add_search(commands: Commands) -> None:
    """Add the command `search`."""
    parser = add_command(commands, "search", _search, outlives_reader=True)
    add_search_options(parser)
    _add_launch_options(parser)


def add_search_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a new search, wherever it runs."""
    parser.add_argument(
        "--space",
        default="quick",
        help="YAML file, or the name of a built-in space (default: quick)",
    )
    add_data_dir(parser)
    parser.add_argument("--name", default="search", help="name of the experiment")
    for name, [(section, setting), *_] in OVERRIDES.items():
        flag = f"--{name.replace('_', '-')}"
        add_setting(parser, SECTIONS[section], setting, overrides=True, flag=flag, dest=name)
    parser.add_argument(
        "--warm-start",
        nargs="+",
        default=[],
        metavar="NAME",
        help="experiments whose best configs are tried first",
    )
    parser.add_argument("--no-export", action="store_true", help="make no model at the end")
    add_setting(parser, StorageSettings, "storage", metavar="PLACE")
    add_setting(parser, StorageSettings, "record", metavar="URL")
    add_root(parser)


def _add_launch_options(parser: argparse.ArgumentParser, more: str = "") -> None:
    """Add the options of every launch of a search from this machine."""
    add_output_options(parser)
    add_setting(parser, LaunchSettings, "dashboard")
    add_setting(parser, LaunchSettings, "metrics")
    add_setting(parser, LaunchSettings, "address", more=more)
    add_setting(parser, LaunchSettings, "notify", metavar="COMMAND|URL")


def _search(options: argparse.Namespace) -> None:
    """Run a search and export the best model."""
    from tune_encoder.api import searching as api

    storage_settings = StorageSettings(**given_settings(options, StorageSettings))
    overrides = {name: getattr(options, name) for name in OVERRIDES}
    prepared = api.prepare_search(
        options.space, options.data_dir, options.name, options.root, overrides, "command line"
    )
    if prepared.is_demo:
        announce_demo(prepared.data_dir)
    _print_baselines(prepared)
    print_warm_starts(prepared, options.warm_start)
    launch = LaunchSettings(**given_settings(options, LaunchSettings))
    with before_export(not options.no_export):
        experiment = prepared.start(options.warm_start, launch, storage_settings)
    _finish(experiment, options)


def add_resume(commands: Commands) -> None:
    """Add the command `resume`."""
    parser = add_command(commands, "resume", _resume, outlives_reader=True)
    parser.add_argument("name", help="experiment to resume")
    for name, section in EXTENSIONS.items():
        more = ", including the earlier ones" if name == "trials" else ""
        add_setting(parser, SECTIONS[section], name, overrides=True, more=more)
    parser.add_argument(
        "--accept-data-change", action="store_true", help="continue although the data has changed"
    )
    parser.add_argument("--no-export", action="store_true", help="make no model at the end")
    parser.add_argument(
        "--record", metavar="URL", help="restore the folder from this database if it is lost"
    )
    _add_launch_options(parser, "; of a submitted search: its Jobs API, http://HOST:8265")
    add_root(parser)


def _resume(options: argparse.Namespace) -> None:
    """Resume a search that was stopped or killed, or extend its budget."""
    from tune_encoder.api import searching as api

    if options.address.startswith(JOBS_SCHEMES):
        resume_job(options)
        return
    budget = {name: getattr(options, name) for name in EXTENSIONS}
    if options.epochs is not None:
        print(f"trials that continue to {options.epochs} epochs use the learning-rate schedule of")
        print("the longer run: the rate rises to that schedule, and falls to 0 at the new end")
    with before_export(not options.no_export):
        experiment = api.resume(
            options.name,
            options.root,
            accept_data_change=options.accept_data_change,
            record=options.record,
            **given_settings(options, LaunchSettings),
            **budget,
        )
    _finish(experiment, options)


def add_fork(commands: Commands) -> None:
    """Add the command `fork`."""
    parser = add_command(commands, "fork", _fork, outlives_reader=True)
    parser.add_argument("name", help="experiment whose trials seed the new search")
    parser.add_argument("new", help="name of the new experiment")
    parser.add_argument("--space", required=True, help="YAML file, or the name of a built-in space")
    for name in FORK_OVERRIDES:
        [(section, setting), *_] = OVERRIDES[name]
        add_setting(parser, SECTIONS[section], setting, overrides=True)
    parser.add_argument("--no-export", action="store_true", help="make no model at the end")
    _add_launch_options(parser)
    add_root(parser)


def _fork(options: argparse.Namespace) -> None:
    """Start a search in another space, seeded with the trials of an earlier one."""
    from tune_encoder.api import searching as api

    with before_export(not options.no_export):
        experiment = api.fork(
            options.name,
            options.new,
            options.space,
            options.root,
            **given_settings(options, LaunchSettings),
            **{name: getattr(options, name) for name in FORK_OVERRIDES},
        )
    _finish(experiment, options)


def _finish(experiment: "Experiment", options: argparse.Namespace) -> None:
    """Print the result of a search, confirm it if asked, export it and report."""
    from tune_encoder.experiment.commands import command_line, curves_line
    from tune_encoder.experiment.folder import Experiment as Folder
    from tune_encoder.experiment.run import EXPORTED
    from tune_encoder.tracking.following import following

    best = experiment.best
    assert best is not None
    print(f"\nbest: trial {best.trial}, epoch {best.epoch}")
    for name, value in best.settings.items():
        print(f"  {name}: {value}")
    folder = Folder(experiment.path)
    print_findings(folder)
    confirm_if_asked(folder, LaunchSettings(address=options.address))
    export = command_line("export", experiment.path)
    stopped = f"stopped, the search is complete; export its model with `{export}`"
    model: Path | None = None
    tracked = following(folder.path, folder.space().tracking, results=True)
    with interruptible(lambda: stopped), tracked:
        if not options.no_export:
            export_to(experiment, None, {})
            model = folder.path / EXPORTED
        else:
            print(f"\nexport it: {export}")
        if not folder.space().report.at_end:
            print(f"report it: {command_line('report', experiment.path)}")
        elif report := write_report_at_end(experiment):  # it shows what was exported
            print(f"report:    {report}")
            tell("report", experiment=folder.name, path=str(report))
    print(f"curves:    {curves_line(experiment.path)}")
    options.result = _result_line(folder, model)


def _result_line(folder: "Folder", model: Path | None) -> str:
    """Return a search's result in one line, and what to do next if it is not complete."""
    from tune_encoder.experiment.status import format_score
    from tune_encoder.experiment.views import status

    view = status(folder)
    assert view["best"] is not None
    best = view["best"]
    parts = [f"{folder.name}: {format_score(best)}, trial {best['trial']} epoch {best['epoch']}"]
    parts += [] if model is None else [f"model {quote_path(model)}"]
    parts += [f"resume with `{view['resume']}`"] if view["resume"] else []
    return "; ".join(parts)


def print_warm_starts(prepared: "PreparedSearch", names: Sequence[str]) -> None:
    """Print which trials of earlier searches are tried again first."""
    for name, trials in prepared.warm_starts(names).items():
        listed = ", ".join(map(str, trials)) or "none has settings within the space"
        print(f"first, trials of {name}: {listed}")


def _print_baselines(prepared: "PreparedSearch") -> None:
    """Print the scores that any encoder has to beat, before anything is trained."""
    data = prepared.data()
    for warning in data.info["warnings"]:
        print(f"warning: {warning}")
    clips = ", ".join(f"{n} {name}" for name, n in data.info["clips"].items())
    print(f"clips: {clips}")
    validation = prepared.validation()
    print(validation.description)
    for name, scores in validation.baselines.items():
        print(f"baseline {name}: {format_skills(scores, validation.kind)} {validation.where}")
