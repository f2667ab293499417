"""retrain."""

import argparse
import time
from pathlib import Path

from tune_encoder.cli.common import Commands, add_command, add_root, add_setting, given_settings
from tune_encoder.cli.export import add_format_options, print_export
from tune_encoder.cli.output import add_output_options, tell_epoch
from tune_encoder.config import ExportSettings, RetrainSettings, from_mapping
from tune_encoder.experiment.epoch_row import EpochRow
from tune_encoder.system.events import tell
from tune_encoder.system.formats import count_noun, format_clock, quote_path

PLAIN_LINE_S = 30.0  # between lines of progress where there is no terminal


def add_retrain(commands: Commands) -> None:
    """Add the command `retrain`."""
    parser = add_command(commands, "retrain", _retrain, outlives_reader=True)
    parser.add_argument("name", help="experiment whose best config is retrained")
    add_setting(parser, RetrainSettings, "epochs")
    add_setting(parser, RetrainSettings, "seeds", metavar="N")
    add_setting(parser, RetrainSettings, "with_val")
    parser.add_argument(
        "--to", type=Path, help="folder to write (default: retrained/ in the experiment)"
    )
    add_format_options(parser)
    add_root(parser)
    add_output_options(parser)


def _retrain(options: argparse.Namespace) -> None:
    """Retrain the best config of a search at full budget, and export the model."""
    from tune_encoder.experiment.folder import open_experiment
    from tune_encoder.export.card import describe_retraining
    from tune_encoder.export.retraining import RETRAINED, plan_retraining, retrain

    experiment = open_experiment(options.root, options.name)
    given = given_settings(options, RetrainSettings)
    planned = plan_retraining(experiment, from_mapping(RetrainSettings, given, "command line"))
    kinds = {"formats": options.formats, "int8": options.int8}
    settings = from_mapping(ExportSettings, kinds, "command line")
    to = options.to or experiment.path / RETRAINED
    n_runs, epochs = len(planned.seeds), planned.config.epochs
    print(f"retraining: {planned.winner.why}")
    print(f"{count_noun(n_runs, 'run')} of {count_noun(epochs, 'epoch')}, in {planned.folder}")
    progress = RetrainingProgress(n_runs * epochs, with_skill=not planned.with_val)
    with progress:
        metrics = retrain(experiment, planned, to, settings, progress.watch)
    retrained = metrics["retrained"]
    kind = metrics["voices"][retrained["split"]]
    print("\n" + "\n".join(describe_retraining(retrained, kind)))
    print_export(to)
    tell("exported", experiment=experiment.name, model=str(to))
    options.result = f"{experiment.name}: retrained; model {quote_path(to)}"


class RetrainingProgress:
    """Shows the epochs of all seeds: a bar on a terminal, else a line now and then.

    If val was trained on, its scores there mean nothing and are left out.
    """

    def __init__(self, n_epochs: int, with_skill: bool) -> None:
        from tune_encoder.system.bars import progress_bar

        self._n_epochs, self._with_skill = n_epochs, with_skill
        self._bar = progress_bar(total=n_epochs, description="retraining", unit="epoch")
        self._rows: dict[int, list[EpochRow]] = {}
        self._printed = time.monotonic()

    def __enter__(self) -> "RetrainingProgress":
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def watch(self, seed: int, row: EpochRow) -> None:
        """Show an epoch of a seed."""
        tell_epoch(row, seed=seed)
        self._rows.setdefault(seed, []).append(row)
        self._bar.set_postfix_str(f"seed {seed}{self._best(seed)}", refresh=False)
        self._bar.update()
        if row["finished"]:
            skill = f", final skill on val {row['val_skill']:.3f}" if self._with_skill else ""
            self._print(f"seed {seed}: {count_noun(row['epoch'], 'epoch')}{skill}")
        elif self._bar.disable and time.monotonic() - self._printed > PLAIN_LINE_S:
            self._print(self._line(seed))

    def _line(self, seed: int) -> str:
        from tune_encoder.experiment.run_status import seconds_left

        rows = [row for rows in self._rows.values() for row in rows]
        left = format_clock(seconds_left(rows, self._n_epochs) or 0.0)
        return f"seed {seed}: epoch {self._rows[seed][-1]['epoch']}{self._best(seed)}, {left} left"

    def _best(self, seed: int) -> str:
        if not self._with_skill:
            return ""
        return f", best {max(row['val_skill'] for row in self._rows[seed]):.3f}"

    def _print(self, line: str) -> None:
        self._printed = time.monotonic()
        self._bar.write(line)
