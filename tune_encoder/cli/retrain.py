"""retrain."""

import argparse
from pathlib import Path

from tune_encoder.cli.common import Commands, add_command, add_root, add_setting, given_settings
from tune_encoder.cli.export import add_format_options, print_export
from tune_encoder.config import ExportSettings, RetrainSettings, from_mapping
from tune_encoder.experiment.epoch_row import EpochRow
from tune_encoder.system.formats import count_noun

DEFAULT_FOLDER = "retrained"  # in the experiment


def add_retrain(commands: Commands) -> None:
    """Add the command `retrain`."""
    parser = add_command(commands, "retrain", _retrain)
    parser.add_argument("name", help="experiment whose best config is retrained")
    add_setting(parser, RetrainSettings, "epochs")
    add_setting(parser, RetrainSettings, "seeds", metavar="N")
    add_setting(parser, RetrainSettings, "with_val")
    parser.add_argument(
        "--to", type=Path, help=f"folder to write (default: {DEFAULT_FOLDER}/ in the experiment)"
    )
    add_format_options(parser)
    add_root(parser)


def _retrain(options: argparse.Namespace) -> None:
    """Retrain the best config of a search at full budget, and export the model."""
    from tqdm import tqdm

    from tune_encoder.experiment.folder import open_experiment
    from tune_encoder.export.card import describe_retraining
    from tune_encoder.export.retraining import plan_retraining, retrain

    experiment = open_experiment(options.root, options.name)
    given = given_settings(options, RetrainSettings)
    planned = plan_retraining(experiment, from_mapping(RetrainSettings, given, "command line"))
    kinds = {"formats": options.formats, "int8": options.int8}
    settings = from_mapping(ExportSettings, kinds, "command line")
    to = options.to or experiment.path / DEFAULT_FOLDER
    n_runs, epochs = len(planned.seeds), planned.config.epochs
    print(f"retraining: {planned.winner.why}")
    print(f"{count_noun(n_runs, 'run')} of {count_noun(epochs, 'epoch')}, in {planned.folder}")
    with tqdm(
        total=n_runs * epochs, desc="retraining", unit="epoch", ncols=80, disable=None
    ) as bar:

        def watch(seed: int, row: EpochRow) -> None:
            bar.set_postfix_str(f"seed {seed}", refresh=False)
            bar.update()
            if row["finished"]:
                bar.write(_run_line(seed, row, planned.with_val))

        metrics = retrain(experiment, planned, to, settings, watch)
    retrained = metrics["retrained"]
    kind = metrics["voices"][retrained["split"]]
    print("\n" + "\n".join(describe_retraining(retrained, kind)))
    print_export(to)


def _run_line(seed: int, row: EpochRow, with_val: bool) -> str:
    """Describe a run that has ended; if val was trained on, its score there is left out."""
    skill = "" if with_val else f", final skill on val {row['val_skill']:.3f}"
    return f"seed {seed}: {count_noun(row['epoch'], 'epoch')}{skill}"
