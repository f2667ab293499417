"""The command line: each command parses, calls one function, and prints.

Heavy imports stand inside the commands, so that `--help` answers at once.
"""

import argparse
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tune_encoder import __version__
from tune_encoder.config import (
    DEFAULT_ROOT,
    FrontendSettings,
    RunSettings,
    TrainConfig,
    label_warnings,
    load_config,
    parse_assignment,
)
from tune_encoder.errors import ConfigError, DataError, TuneEncoderError

if TYPE_CHECKING:
    from tune_encoder.experiment import Experiment
    from tune_encoder.space import SearchSpace

COLLAPSED_SPREAD = 0.01  # of the target's variance: all predictions are nearly one
COLLAPSED_EPOCHS = 5  # an encoder starts at the mean voice, so early epochs are no sign
_BASELINES = ("mean", "ridge")
_SCORES = {
    "skill": "skill",
    "skill_ttl": "ttl",
    "skill_dp": "dp",
    "centered_cosine": "centred cosine",
    "retrieval": "retrieval",
}


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit with its code; see `errors` for what the codes mean."""
    options = make_parser().parse_args(arguments)
    try:
        options.command(options)
    except TuneEncoderError as error:
        if options.debug:
            traceback.print_exc()
        print(f"tune-encoder: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("tune-encoder: interrupted", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(prog="tune-encoder", description=_package_doc())
    parser.add_argument("--version", action="version", version=f"tune-encoder {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_search(commands)
    _add_resume(commands)
    _add_export(commands)
    _add_clone(commands)
    _add_evaluate(commands)
    _add_train(commands)
    _add_data(commands)
    return parser


def _package_doc() -> str:
    import tune_encoder

    return tune_encoder.__doc__ or ""


def _command(commands: Any, name: str, run: Callable[..., None]) -> argparse.ArgumentParser:
    """Add a command whose help is the first line of its function's docstring."""
    doc = (run.__doc__ or "").splitlines()[0]
    parser: argparse.ArgumentParser = commands.add_parser(name, help=doc, description=doc)
    parser.set_defaults(command=run)
    return parser


def _add_root(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--root", type=Path, default=DEFAULT_ROOT, help="folder of experiments (default: runs)"
    )


# --- search, resume, export --------------------------------------------------------------------


def _add_search(commands: Any) -> None:
    parser = _command(commands, "search", _search)
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
    _add_root(parser)


def _search(options: argparse.Namespace) -> None:
    """Search for the best encoder and export it."""
    from tune_encoder.search.run import start_search

    space = _space_of(options)
    data_dir = options.data_dir or (Path(d) if (d := space.base.get("data_dir")) else None)
    data_dir = data_dir or _demo_voices()
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


def _demo_voices() -> Path:
    from tune_encoder.data.demo import cached_demo

    folder = cached_demo()
    print(f"no --data-dir given: using the demo voices in {folder}")
    return folder


def _print_baselines(data_dir: Path, settings: dict[str, Any]) -> None:
    """Say what any encoder has to beat, before anything is trained."""
    from tune_encoder.data.pack import open_pack, pack_data

    data = open_pack(pack_data(data_dir, TrainConfig(**settings)))
    for warning in data.info["warnings"]:
        print(f"warning: {warning}")
    clips = ", ".join(f"{n} {name}" for name, n in data.info["clips"].items())
    print(f"clips: {clips}")
    for name in _BASELINES:
        print(f"baseline {name}: {_score_words(data.baselines[name])} on val")


def _score_words(scores: dict[str, float]) -> str:
    words = [f"{word} {scores[name]:.3f}" for name, word in _SCORES.items()]
    return ", ".join(words[:3])


def _add_resume(commands: Any) -> None:
    parser = _command(commands, "resume", _resume)
    parser.add_argument("name", help="experiment to go on with")
    parser.add_argument("--no-export", action="store_true", help="make no model at the end")
    _add_root(parser)


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
    if export:
        _export_to(experiment, experiment.path / "best")
    else:
        print(f"\nexport it: {experiment.command('export')}")
    print(f"curves:    tensorboard --logdir {experiment.path / 'trials'}")


def _searched(experiment: "Experiment") -> list[str]:
    return list(experiment.search()["space"]["space"])


def _add_export(commands: Any) -> None:
    parser = _command(commands, "export", _export)
    parser.add_argument("name", help="experiment to export from")
    parser.add_argument("--to", type=Path, help="folder of the model (default: best/ within)")
    _add_root(parser)


def _export(options: argparse.Namespace) -> None:
    """Export the best epoch of all trials as a model folder."""
    from tune_encoder.experiment import open_experiment

    experiment = open_experiment(options.root, options.name)
    _export_to(experiment, options.to or experiment.path / "best")


def _export_to(experiment: "Experiment", to: Path) -> None:
    from tune_encoder.export import export_best

    metrics = export_best(experiment, to)
    print(f"\n{'':12}{'split':7}{'skill':>7}{'ttl':>7}{'dp':>7}{'centred':>9}{'retrieval':>11}")
    for split, rows in metrics["scores"].items():
        for name, scores in rows.items():
            numbers = [scores[key] for key in _SCORES]
            skills = "".join(f"{number:7.3f}" for number in numbers[:3])
            print(f"{name:12}{split:7}{skills}{numbers[3]:9.3f}{numbers[4]:11.3f}")
    print("skill: 0 is predicting the mean voice, 1 is perfect")
    print(f"\nmodel:     {to}")
    print(f"clone:     tune-encoder clone {to} voice.wav -o voice.json")


# --- clone, train ------------------------------------------------------------------------------


def _add_clone(commands: Any) -> None:
    parser = _command(commands, "clone", _clone)
    parser.add_argument("model", type=Path, help="exported model folder")
    parser.add_argument("recording", type=Path, help="wav, flac, ogg or mp3 of one speaker")
    parser.add_argument("-o", "--out", type=Path, required=True, help="voice style JSON to write")


def _clone(options: argparse.Namespace) -> None:
    """Turn a recording into a Supertonic voice style."""
    from tune_encoder.clone import clone

    clone(options.model, options.recording, options.out)
    print(f"wrote {options.out}")


def _add_evaluate(commands: Any) -> None:
    parser = _command(commands, "evaluate", _evaluate)
    parser.add_argument("model", type=Path, help="exported model folder")
    parser.add_argument("--data-dir", type=Path, help="data set (default: the demo voices)")
    parser.add_argument("--split", choices=("val", "test"), default="test")
    parser.add_argument("-o", "--out", type=Path, help="folder of the results (default: the model)")


def _evaluate(options: argparse.Namespace) -> None:
    """Score a model on held-out voices, beside the baselines."""
    from tune_encoder.evaluate import evaluate, write_evaluation

    result = evaluate(options.model, options.data_dir or _demo_voices(), options.split)
    print(f"{'':10}{'skill':>8}{'ttl':>8}{'dp':>8}{'centred':>9}{'retrieval':>11}{'cosine':>8}")
    for name, scores in result.scores.items():
        numbers = [scores[key] for key in (*_SCORES, "cosine")]
        widths = (8, 8, 8, 9, 11, 8)
        cells = (f"{n:{width}.3f}" for n, width in zip(numbers, widths, strict=True))
        print(f"{name:10}{''.join(cells)}")
    low, high = result.interval
    print(f"skill of the model: 95 % between {low:.3f} and {high:.3f}, over voices")
    print(f"crop consistency: {result.crop_consistency:.3f} (1: every window gives one style)")
    print(f"retrieval by chance: {1 / len(result.target.ttl):.3f}")
    for path in write_evaluation(result, options.out or options.model, options.split):
        print(f"wrote {path}")


def _add_train(commands: Any) -> None:
    parser = _command(commands, "train", _train)
    parser.add_argument("--config", type=Path, help="YAML file of settings")
    parser.add_argument("--data-dir", type=Path, help="data set (default: the demo voices)")
    parser.add_argument("--checkpoint-dir", help="folder of the run")
    parser.add_argument("--epochs", type=int, help="passes over the training clips")
    parser.add_argument("--batch-size", type=int, help="clips per optimizer step")
    parser.add_argument("--lr", type=float, help="peak learning rate")
    parser.add_argument("--resume", type=Path, help="checkpoint to go on from, with its settings")
    parser.add_argument("--device", choices=("auto", "cuda", "mps", "cpu"), help="where to train")
    parser.add_argument(
        "--gpus", "--workers", dest="processes", type=int, default=1, metavar="N",
        help="processes that train together, each on its GPU or with its share of the CPU",
    )  # fmt: skip
    parser.add_argument("--profile", action="store_true", help="say where the time went")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="any other setting"
    )


def _train(options: argparse.Namespace) -> None:
    """Train one encoder by hand."""
    from tune_encoder.run_folder import prepare, read_checkpoint, train_by_hand

    checkpoint, warnings = read_checkpoint(options.resume) if options.resume else (None, [])
    config = _config_of(options, checkpoint["config"] if checkpoint else {})
    for warning in [*warnings, *label_warnings(config)]:
        print(f"warning: {warning}")
    data = prepare(config)
    for name in _BASELINES:
        print(f"baseline {name}: {_score_words(data.baselines[name])} on val")
    if checkpoint:
        print(f"going on after epoch {checkpoint['epoch']}")
    train_by_hand(config, _print_epoch, checkpoint, options.processes)
    if options.profile:
        _print_profile(Path(config.checkpoint_dir))
    print(f"run: {config.checkpoint_dir}")


def _config_of(options: argparse.Namespace, before: Mapping[str, Any]) -> TrainConfig:
    """Settings: those of the checkpoint, then the file, then the command line."""
    options_given = {
        "data_dir": str(options.data_dir.resolve()) if options.data_dir else None,
        "checkpoint_dir": options.checkpoint_dir,
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "learning_rate": options.lr,
        "device": options.device,
    }
    given = dict(parse_assignment(text) for text in options.set)
    given |= {name: value for name, value in options_given.items() if value is not None}
    config = load_config(options.config, given, before)
    return config if config.data_dir else replace(config, data_dir=str(_demo_voices()))


def _print_epoch(config: TrainConfig, history: list[dict[str, Any]]) -> None:
    """Say how an epoch went, with the guide's content."""
    row = history[-1]
    best = min(history, key=lambda each: float(each["val_loss"]))
    print(f"Epoch {row['epoch']}/{config.epochs} - {row['seconds']:.1f}s")
    print(
        f"  Train Loss: {row['train_loss']:.4f} (TTL: {row['train_ttl']:.4f}, "
        f"DP: {row['train_dp']:.4f}, Cosine: {1 - row['train_cosine']:.4f})"
    )
    print(
        f"  Val Loss: {row['val_loss']:.4f} (TTL: {row['val_ttl_mse']:.2e}, "
        f"DP: {row['val_dp_mse']:.2e}, Cosine: {1 - row['val_cosine']:.4f})"
    )
    print(f"  Cosine Sim: train {row['train_cosine']:.4f}, val {row['val_cosine']:.4f}")
    print(f"  Skill: {row['val_skill']:.3f}, Learning Rate: {row['learning_rate']:.6f}")
    if row["skipped_steps"]:
        print(f"  {row['skipped_steps']} steps overflowed fp16 and were skipped")
    if row["val_spread"] < COLLAPSED_SPREAD and row["epoch"] >= COLLAPSED_EPOCHS:
        print(
            "  warning: every voice gets nearly the same style; raise learning_rate or lower "
            "weight_decay"
        )
    if best is row:
        print(f"  ✓ New best validation loss: {row['val_loss']:.4f}")
    sys.stdout.flush()


def _print_profile(folder: Path) -> None:
    """Say where a run's time went."""
    import json

    from tune_encoder.run_folder import HISTORY

    history = json.loads((folder / HISTORY).read_text(encoding="utf-8"))
    total = sum(row["seconds"] for row in history)
    parts = {
        "forward, backward, step": sum(row["step_seconds"] for row in history),
        "validation": sum(row["val_seconds"] for row in history),
    }
    parts["data and augmentation"] = total - sum(parts.values())
    for name, seconds in parts.items():
        print(f"{name:24}{seconds:8.2f} s{seconds / total:7.1%}")


# --- data --------------------------------------------------------------------------------------


def _add_data(commands: Any) -> None:
    data = commands.add_parser("data", help="Make, import or check a data set.")
    kinds = data.add_subparsers(required=True, metavar="WHAT")
    _add_demo(kinds)
    _add_import(kinds)
    check = _command(kinds, "check", _data_check)
    check.add_argument("folder", type=Path, help="data set to check")


def _add_demo(kinds: Any) -> None:
    from tune_encoder.config import DEMO_COUNTS

    demo = _command(kinds, "demo", _data_demo)
    demo.add_argument("folder", type=Path, help="new folder")
    for option, split in (
        ("--voices", "train"),
        ("--val-voices", "val"),
        ("--test-voices", "test"),
    ):
        demo.add_argument(option, type=_count, default=DEMO_COUNTS[split], help=f"of {split}")
    demo.add_argument("--seed", type=_count, default=RunSettings().seed, help="which voices")


def _add_import(kinds: Any) -> None:
    into = _command(kinds, "import", _data_import)
    into.add_argument("--audio", type=Path, required=True, help="folder of NAME*.wav|flac|ogg|mp3")
    into.add_argument("--styles", type=Path, required=True, help="folder of NAME.json")
    into.add_argument("--out", type=Path, required=True, help="new folder")
    into.add_argument("--sample-rate", type=int, default=FrontendSettings().sample_rate, help="Hz")
    into.add_argument(
        "--seed", type=_count, default=RunSettings().seed, help="which voices are held out"
    )


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is below 0")
    return value


def _data_demo(options: argparse.Namespace) -> None:
    """Make a data set of synthetic voices."""
    from tune_encoder.data.demo import make_demo

    counts = (options.voices, options.val_voices, options.test_voices)
    if min(counts[:2]) < 1:
        raise ConfigError("--voices and --val-voices must be at least 1")
    make_demo(
        options.folder,
        voices=options.voices,
        val_voices=options.val_voices,
        test_voices=options.test_voices,
        seed=options.seed,
    )
    print(f"wrote {sum(counts)} clips to {options.folder}")


def _data_import(options: argparse.Namespace) -> None:
    """Make a data set from recordings and their voice styles."""
    from tune_encoder.data.importing import import_voices

    report = import_voices(
        options.audio, options.styles, options.out, options.sample_rate, options.seed
    )
    for warning in report.warnings:
        print(f"warning: {warning}")
    counts = ", ".join(f"{count} {split}" for split, count in report.counts.items())
    print(f"wrote {counts} clips of {len(report.voices)} voices to {options.out}")


def _data_check(options: argparse.Namespace) -> None:
    """Check a data set and say what is in it."""
    from tune_encoder.data.checking import check_data

    report = check_data(options.folder, FrontendSettings().sample_rate)
    if report.splits:
        print(f"{'split':8}{'clips':>7}{'voices':>8}{'styles':>8}{'hours':>8}  sample rates")
    for split in report.splits:
        rates = ", ".join(f"{rate or 'unknown'}" for rate in sorted(split.sample_rates, key=str))
        voices = len(split.voices) or "?"
        hours = split.seconds / 3600
        print(f"{split.name:8}{split.clips:7}{voices:>8}{len(split.styles):8}{hours:8.2f}  {rates}")
    for problem in report.problems:
        print(f"{'error' if problem.is_error else 'warning'}: {problem.message}")
    if report.errors:
        raise DataError(f"{options.folder}: {len(report.errors)} errors; mend or remove the files")
    print("ok")
