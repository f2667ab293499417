"""export, verify."""

import argparse
import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, cast

from tune_encoder.cli.common import (
    SCORES,
    Commands,
    add_command,
    add_root,
    add_setting,
    given_settings,
    print_table,
)
from tune_encoder.config import ExportSettings, from_mapping
from tune_encoder.data.score_words import skill_name
from tune_encoder.errors import StorageError
from tune_encoder.experiment.commands import clone_line
from tune_encoder.experiment.status import WIDTH
from tune_encoder.system.events import tell
from tune_encoder.system.formats import count_noun

if TYPE_CHECKING:
    from tune_encoder.api.export_options import ExportOptions
    from tune_encoder.api.results import Experiment
    from tune_encoder.api.runs import Run
    from tune_encoder.export.contents import Metrics


def add_export(commands: Commands) -> None:
    """Add the commands `export` and `verify`."""
    parser = add_command(commands, "export", _export, outlives_reader=True)
    parser.add_argument("name", help="experiment to export from, or the folder of a run of `train`")
    parser.add_argument(
        "--to", type=Path, help="folder to write (default: best/ in the experiment or run)"
    )
    top = "; several go to TO/1, the best, to TO/K, where TO is top/ if not given"
    add_setting(parser, ExportSettings, "trial", metavar="N")
    add_setting(parser, ExportSettings, "top_k", more=top, metavar="K")
    add_format_options(parser)
    add_setting(parser, ExportSettings, "average", metavar="K")
    add_setting(parser, ExportSettings, "ensemble", metavar="K")
    add_setting(parser, ExportSettings, "blend", metavar="B", choices=None)
    add_setting(parser, ExportSettings, "refit", metavar="R", choices=None)
    add_setting(parser, ExportSettings, "refit_seeds", metavar="N")
    add_root(parser)
    parser = add_command(commands, "verify", _verify)
    parser.add_argument("model", type=Path, help="exported model folder")
    parser.add_argument("--data-dir", type=Path, help="its data (default: as its config says)")


def add_format_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which files an export writes."""
    # Checked with the other settings, whose message names the ones that are allowed.
    add_setting(parser, ExportSettings, "formats", metavar="F", choices=None)
    add_setting(parser, ExportSettings, "int8")


def _export(options: argparse.Namespace) -> None:
    """Export the best model of a search, or of a run by hand, to a folder."""
    from tune_encoder.api.results import Experiment
    from tune_encoder.api.runs import Run
    from tune_encoder.experiment.folder import open_experiment
    from tune_encoder.experiment.run import find_run

    given = cast("ExportOptions", given_settings(options, ExportSettings))
    from_mapping(ExportSettings, given, "command line")  # so that an error names it
    run = find_run(options.root, options.name)
    if run is not None:
        export_to(Run(run.path), options.to, given)
        return
    export_to(Experiment(open_experiment(options.root, options.name).path), options.to, given)


def export_to(experiment: "Experiment | Run", to: Path | None, options: "ExportOptions") -> None:
    """Export, and print what was exported and its scores."""
    from tune_encoder.model.folder import is_model_folder

    to = experiment.export(to, **options)
    tell("exported", experiment=experiment.path.name, model=str(to))
    if is_model_folder(to):
        print_export(to)
    else:
        _print_exports(to, options["top_k"])


def _print_exports(to: Path, asked: int) -> None:
    """Print a line for each of several model folders."""
    from tune_encoder.model.folder import is_model_folder

    folders = sorted(
        (path for path in to.iterdir() if is_model_folder(path)), key=lambda p: int(p.name)
    )
    found = [_metrics(folder) for folder in folders]
    kinds = found[0]["voices"]
    rows = [["", "exported", *(f"{skill_name(kind)} on {name}" for name, kind in kinds.items())]]
    for folder, metrics in zip(folders, found, strict=True):
        skills = [f"{metrics['scores'][split]['model']['skill']:.3f}" for split in kinds]
        rows.append([folder.name, source_words(metrics), *skills])
    print()
    print_table("rl" + "r" * len(kinds), rows)
    print(textwrap.fill(f"1 is {found[0]['why']}", WIDTH))
    if len(found) < asked:
        print(f"{len(found)} of {asked}: no other trial has a usable checkpoint")
    print(f"\nmodels:    {to}")
    print(f"clone:     {clone_line(folders[0])}")


def _metrics(folder: Path) -> "Metrics":
    from tune_encoder.model.folder import METRICS

    metrics: Metrics = json.loads((folder / METRICS).read_text(encoding="utf-8"))
    return metrics


def print_export(folder: Path) -> None:
    """Print what a model folder contains, and its scores."""
    from tune_encoder.export.card import describe_alternative, describe_int8, describe_refit

    metrics = _metrics(folder)
    print(f"\nexported: {source_words(metrics)}")
    print(_wrap(f"because:  {metrics['why']}", 10))
    for rival in metrics["combined"]:
        print(_wrap(describe_alternative(rival), 10))
    for line in describe_refit(metrics):
        print(_wrap(line, 10))
    print_scores(metrics)
    for line in describe_int8(metrics):
        print(line)
    print(f"\nmodel:     {folder}")
    print(f"clone:     {clone_line(folder)}")


def source_words(metrics: "Metrics") -> str:
    """Name the checkpoint that a model was made from, or the first of several."""
    trained = metrics["trained_in"]
    place = "" if trained == metrics["experiment"] else f" of {trained}"
    where = f"trial {metrics['trial']}{place}"
    if metrics["trial"] is None:
        where = f"the run {trained}"
    words = f"{where}, epoch {metrics['epoch']}"
    members = metrics["members"]
    if metrics["kind"] == "ensemble" and len({member["trial"] for member in members}) == 1:
        return f"{len(members)} seeds of {words}"
    others = len(members) - 1
    return f"{metrics['kind']} of {words} and {others} more" if others else words


def _wrap(text: str, indent: int) -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent=" " * indent)


def print_scores(metrics: "Metrics") -> None:
    """Print the scores of a model and of the baselines."""
    from tune_encoder.export.card import describe_uncertainty

    rows = [["", "split", "voices", "skill", "ttl", "dp", "centred", "retrieval", "chance"]]
    for split, scored in metrics["scores"].items():
        for name, scores in scored.items():
            numbers = (f"{scores[key]:.3f}" for key in SCORES)
            rows.append([name, split, metrics["voices"][split], *numbers])
    print()
    print_table("lll" + "r" * len(SCORES), rows)
    for line in describe_uncertainty(metrics):
        print(_wrap(line, 2))
    print("skill: 0 is predicting the mean voice, 1 is perfect")


def _verify(options: argparse.Namespace) -> None:
    """Check the files of a model, and its scores if the data is available."""
    from tune_encoder.api.models import verify
    from tune_encoder.model.folder import CARD

    found = verify(options.model, options.data_dir)
    for mismatch in found.mismatches:
        print(mismatch)
    if found.card_edited:
        print(f"{CARD} has been edited since, which is fine")
    if found.unlisted:
        print(f"not part of the export, so not checked: {', '.join(found.unlisted)}")
    for name, target in found.links.items():
        print(f"{name} is a link out of the folder, to {target}")
    if found.not_scored:
        print(f"scores not checked: {found.not_scored}")
    if found.mismatches:
        count = f"{len(found.mismatches)} of {found.files + found.scores}"
        raise StorageError(
            f"{options.model}: {count} files and scores do not match; export it again"
        )
    scores = f", {count_noun(found.scores, 'score')}" if found.scores else ""
    print(
        f"{options.model}: unchanged since the export ({count_noun(found.files, 'file')}{scores})"
    )
