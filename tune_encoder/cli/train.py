"""train, evaluate."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tune_encoder.cli.common import (
    SCORES,
    Commands,
    add_command,
    add_data_dir,
    add_setting,
    announce_demo,
    demo_voices,
    format_skills,
    print_table,
)
from tune_encoder.cli.output import add_output_options, tell_epoch
from tune_encoder.config import TrainConfig, parse_assignment
from tune_encoder.data.score_words import NEW, below_baseline, describe_interval, skill_name
from tune_encoder.system.formats import count_noun, format_clock

if TYPE_CHECKING:
    from tune_encoder.experiment.epoch_row import EpochRow

# The settings of a run that have options of their own; `--set` takes all others.
_SETTING_FLAGS = {
    "checkpoint_dir": "--checkpoint-dir",
    "epochs": "--epochs",
    "batch_size": "--batch-size",
    "learning_rate": "--lr",
    "device": "--device",
    "init_from": "--init-from",
}
COLLAPSED_SPREAD = 0.01  # of the target's variance: all predictions are nearly equal
COLLAPSED_EPOCHS = 5  # an encoder starts at the mean voice, so earlier epochs say nothing


def add_evaluate(commands: Commands) -> None:
    """Add the command `evaluate`."""
    parser = add_command(commands, "evaluate", _evaluate, outlives_reader=True)
    parser.add_argument("model", type=Path, help="exported model folder")
    add_data_dir(parser)
    parser.add_argument("--split", choices=("val", "test"), default="test")
    parser.add_argument(
        "--folds",
        type=int,
        metavar="K",
        help="train its settings on K folds of the voices of train and val instead, and score "
        "each on the voices left out",
    )
    parser.add_argument("-o", "--out", type=Path, help="folder of the results (default: the model)")


def _evaluate(options: argparse.Namespace) -> None:
    """Score a model on held-out voices and compare it with the baselines."""
    from tune_encoder.api.models import check_scorable, evaluate
    from tune_encoder.model.evaluate import write_evaluation

    if options.folds is not None:
        _evaluate_over_folds(options)
        return
    check_scorable(options.model)  # before the demo voices are made
    result = evaluate(options.model, options.data_dir or demo_voices(), options.split)
    if result.warning:
        print(f"warning: {result.warning}")
    name_of_skill = skill_name(result.voices)
    rows = [["", name_of_skill, "ttl", "dp", "centred", "retrieval", "chance", "cosine"]]
    for name, scores in result.scores.items():
        rows.append([name, *(f"{scores[key]:.3f}" for key in (*SCORES, "cosine"))])
    print_table("lrrrrrrr", rows)
    interval = describe_interval(result.interval, result.voices)
    print(f"{name_of_skill} of the model: {interval}")
    baselines = {name: each for name, each in result.scores.items() if name != "model"}
    skill = result.scores["model"]["skill"]
    if defeat := below_baseline(skill, baselines, options.split, result.voices):
        print(defeat)
    print(f"crop consistency: {result.crop_consistency:.3f} (1: all windows give the same style)")
    for path in write_evaluation(result, options.out or options.model, options.split):
        print(f"wrote {path}")


def _evaluate_over_folds(options: argparse.Namespace) -> None:
    """Score a model's settings on voices that none of several encoders was trained on."""
    from tune_encoder.api.models import evaluate_folds
    from tune_encoder.system.bars import progress_bar
    from tune_encoder.training.fold_evaluation import write_fold_evaluation

    with progress_bar(description=f"{options.folds} folds", unit="epoch") as bar:

        def watch(row: "EpochRow", last: int) -> None:
            bar.total = last
            bar.update()

        result = evaluate_folds(options.model, options.folds, options.data_dir, on_epoch=watch)
    names = {"skill": skill_name(NEW), "skill_ttl": "ttl", "skill_dp": "dp"}
    rows = [["", *(word for name in names.values() for word in (name, "+-"))]]
    for name, scores in result.scores.items():
        values = (scores[key] for score in names for key in (score, f"{score}_se"))
        rows.append([name, *(f"{value:.3f}" for value in values)])
    print_table("lrrrrrr", rows)
    print(
        f"over {result.folds} folds of voices, {count_noun(result.epochs, 'epoch')} each; "
        "+-: standard error over folds"
    )
    baselines = {name: each for name, each in result.scores.items() if name != "model"}
    skill = result.scores["model"]["skill"]
    if defeat := below_baseline(skill, baselines, "the folds", NEW):
        print(defeat)
    print(f"wrote {write_fold_evaluation(result, options.out or options.model)}")


def add_train(commands: Commands) -> None:
    """Add the command `train`."""
    parser = add_command(commands, "train", _train, outlives_reader=True)
    parser.add_argument("--config", type=Path, help="YAML file of settings")
    add_data_dir(parser)
    for name, flag in _SETTING_FLAGS.items():
        add_setting(parser, TrainConfig, name, overrides=True, flag=flag)
    parser.add_argument("--resume", type=Path, help="checkpoint to resume from, with its settings")
    parser.add_argument(
        "--gpus", "--workers", dest="processes", type=int, default=1, metavar="N",
        help="processes that train one model, each on its own GPU or with its share of the CPUs",
    )  # fmt: skip
    parser.add_argument("--profile", action="store_true", help="show where the time was spent")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="any other setting"
    )
    add_output_options(parser)


def _train(options: argparse.Namespace) -> None:
    """Train one config without a search."""
    from tune_encoder.api.training_runs import prepare_training

    prepared = prepare_training(options.config, _given_settings(options), options.resume)
    config, checkpoint = prepared.config, prepared.checkpoint
    if prepared.is_demo:
        announce_demo(Path(config.data_dir))
    for warning in prepared.warnings:
        print(f"warning: {warning}")
    data = prepared.data()
    kind = data.voice_kind("val")
    for name, scores in data.baselines.items():
        print(f"baseline {name}: {format_skills(scores, kind)} on val")
    if checkpoint:
        print(f"resuming after epoch {checkpoint['epoch']}")
    prepared.start(_print_epoch, options.processes)
    if options.profile:
        _print_profile(Path(config.checkpoint_dir))
    options.result = _print_end(Path(config.checkpoint_dir))


def _given_settings(options: argparse.Namespace) -> dict[str, object]:
    """Return the settings of the command line; None of those that were not given."""
    others = dict(parse_assignment(text, "--set") for text in options.set)
    named = {name: getattr(options, name) for name in ("data_dir", *_SETTING_FLAGS)}
    return {**others, **{name: value for name, value in named.items() if value is not None}}


def _print_epoch(config: TrainConfig, history: "list[EpochRow]") -> None:
    """Print the losses and scores of the last epoch."""
    from tune_encoder.experiment.run_status import best_of_rows, best_words, seconds_left

    tell_epoch(history[-1])
    row, left = history[-1], seconds_left(history, config.epochs) or 0.0
    remaining = f", {format_clock(left)} left" if not row["finished"] else ""
    print(f"Epoch {row['epoch']}/{config.epochs} - {row['seconds']:.1f}s{remaining}")
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
        print(f"  skipped {count_noun(row['skipped_steps'], 'step')}, which overflowed fp16")
    if row["val_spread"] < COLLAPSED_SPREAD and row["epoch"] >= COLLAPSED_EPOCHS:
        print(
            "  warning: all voices get nearly the same style; raise learning_rate or lower "
            "weight_decay"
        )
    best = best_of_rows(history)
    if best is not None and best["epoch"] == row["epoch"]:
        print(f"  ✓ New best validation loss: {row['val_loss']:.4f}")
    elif best is not None:
        print(f"  Best so far: {best_words(best)}")
    sys.stdout.flush()


def _print_end(folder: Path) -> str:
    """Print the best epoch of a run, and the command that leads on from it; return both briefly."""
    from tune_encoder.experiment.commands import export_run_line
    from tune_encoder.experiment.run import Run
    from tune_encoder.experiment.run_status import best_of_rows, best_words

    best = best_of_rows(Run(folder).rows())
    words = "no epoch" if best is None else best_words(best)
    if best is not None:
        print(f"\nbest:   {words}")
    print(f"run:    {folder}")
    print(f"export: {export_run_line(folder)}")
    return f"{words}; export with `{export_run_line(folder)}`"


def _print_profile(folder: Path) -> None:
    """Print where the time of a run was spent."""
    import json

    from tune_encoder.experiment.run import HISTORY

    history = json.loads((folder / HISTORY).read_text(encoding="utf-8"))
    total = sum(row["seconds"] for row in history)
    parts = {
        "forward, backward, step": sum(row["step_seconds"] for row in history),
        "validation forward": sum(row["predict_seconds"] for row in history),
        "validation scores": sum(row["score_seconds"] for row in history),
    }
    parts["data and augmentation"] = total - sum(parts.values())
    print_table("lrr", [(name, f"{s:.2f} s", f"{s / total:.1%}") for name, s in parts.items()])
