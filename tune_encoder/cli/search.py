"""search, resume, export."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tune_encoder.cli.common import (
    BASELINES,
    SCORES,
    add_command,
    add_root,
    demo_voices,
    score_words,
)
from tune_encoder.cli.trust import confirm_if_asked, print_findings
from tune_encoder.config import TrainConfig

if TYPE_CHECKING:
    from tune_encoder.experiment import Experiment
    from tune_encoder.space import SearchSpace


def add_search(commands: Any) -> None:
    """Add the command `search`."""
    parser = add_command(commands, "search", _search)
    parser.add_argument(
        "--space",
        default="quick",
        help="YAML file, or the name of one that comes with the program (default: quick)",
    )
    parser.add_argument("--data-dir", type=Path, help="data set (default: the demo voices)")
    parser.add_argument("--name", default="search", help="name of the experiment")
    parser.add_argument("--trials", type=int, help="configs to try")
    parser.add_argument("--epochs", type=int, help="epochs of a trial that is not stopped")
    parser.add_argument("--concurrent", type=int, help="trials at once")
    parser.add_argument("--seed", type=int, help="seed of proposals and trials")
    parser.add_argument("--no-export", action="store_true", help="make no model at the end")
    add_root(parser)


def _search(options: argparse.Namespace) -> None:
    """Search for the best encoder and export it."""
    from tune_encoder.search.run import start_search

    space = _space_of(options)
    data_dir = options.data_dir or (Path(d) if (d := space.base.get("data_dir")) else None)
    data_dir = data_dir or demo_voices()
    _print_baselines(data_dir, space.base)
    experiment = start_search(space, data_dir, options.root, options.name)
    _finish(experiment, export=not options.no_export)


def _space_of(options: argparse.Namespace) -> "SearchSpace":
    """The space of the file, with what the command line overrides."""
    from tune_encoder.space import find_space, load_space, override

    return override(
        load_space(find_space(options.space)),
        {
            "budget": {"trials": options.trials, "epochs": options.epochs},
            "resources": {"concurrent": options.concurrent},
            "searcher": {"seed": options.seed},
            "base": {"seed": options.seed},
        },
        "command line",
    )


def add_resume(commands: Any) -> None:
    """Add the command `resume`."""
    parser = add_command(commands, "resume", _resume)
    parser.add_argument("name", help="experiment to go on with")
    parser.add_argument("--no-export", action="store_true", help="make no model at the end")
    add_root(parser)


def _resume(options: argparse.Namespace) -> None:
    """Go on with a search that was stopped or killed."""
    from tune_encoder.search.run import resume_search

    experiment = resume_search(options.root, options.name)
    _finish(experiment, export=not options.no_export)


def _finish(experiment: "Experiment", export: bool) -> None:
    """Say what a search found and what comes next."""
    from tune_encoder.experiment import best_trial

    trials = experiment.trials()
    best = best_trial(trials)
    assert best is not None
    assert best.best is not None
    print(f"\nbest: trial {best.number}, epoch {best.best['epoch']}")
    for name in _searched(experiment):
        if name in best.settings:
            print(f"  {name}: {best.settings[name]}")
    print_findings(experiment)
    confirm_if_asked(experiment)
    if export:
        _export_to(experiment, experiment.path / "best")
    else:
        print(f"\nexport it: {experiment.command('export')}")
    print(f"curves:    tensorboard --logdir {experiment.path / 'trials'}")


def _searched(experiment: "Experiment") -> list[str]:
    return list(experiment.search()["space"]["space"])


def add_export(commands: Any) -> None:
    """Add the command `export`."""
    parser = add_command(commands, "export", _export)
    parser.add_argument("name", help="experiment to export from")
    parser.add_argument("--to", type=Path, help="folder of the model (default: best/ within)")
    add_root(parser)


def _export(options: argparse.Namespace) -> None:
    """Export the best epoch of all trials as a model folder."""
    from tune_encoder.experiment import open_experiment

    experiment = open_experiment(options.root, options.name)
    _export_to(experiment, options.to or experiment.path / "best")


def _export_to(experiment: "Experiment", to: Path) -> None:
    from tune_encoder.export import export_best

    metrics = export_best(experiment, to)
    print(f"\nexported: trial {metrics['trial']}, epoch {metrics['epoch']}")
    print(f"\n{'':12}{'split':7}{'skill':>7}{'ttl':>7}{'dp':>7}{'centred':>9}{'retrieval':>11}")
    for split, rows in metrics["scores"].items():
        for name, scores in rows.items():
            numbers = [scores[key] for key in SCORES]
            skills = "".join(f"{number:7.3f}" for number in numbers[:3])
            print(f"{name:12}{split:7}{skills}{numbers[3]:9.3f}{numbers[4]:11.3f}")
    print("skill: 0 is predicting the mean voice, 1 is perfect")
    print(f"\nmodel:     {to}")
    print(f"clone:     tune-encoder clone {to} voice.wav -o voice.json")


def _print_baselines(data_dir: Path, settings: dict[str, Any]) -> None:
    """Say what any encoder has to beat, before anything is trained."""
    from tune_encoder.data.pack import open_pack, pack_data

    data = open_pack(pack_data(data_dir, TrainConfig(**settings)))
    for warning in data.info["warnings"]:
        print(f"warning: {warning}")
    clips = ", ".join(f"{n} {name}" for name, n in data.info["clips"].items())
    print(f"clips: {clips}")
    for name in BASELINES:
        print(f"baseline {name}: {score_words(data.baselines[name])} on val")
