"""track."""

import argparse

from tune_encoder.cli.common import Commands, add_command, add_root, add_setting
from tune_encoder.config import TrackingSettings
from tune_encoder.experiment.folder import open_experiment


def add_track(commands: Commands) -> None:
    """Add the command `track`."""
    parser = add_command(commands, "track", _track, outlives_reader=True)
    parser.add_argument("name", help="experiment; it may be running")
    add_setting(parser, TrackingSettings, "mlflow", overrides=True, metavar="URI")
    add_setting(parser, TrackingSettings, "wandb", overrides=True, metavar="PROJECT")
    add_root(parser)


def _track(options: argparse.Namespace) -> None:
    """Send a search to MLflow or Weights & Biases; what is there already is not sent again."""
    from tune_encoder.tracking.sender import send_search

    experiment = open_experiment(options.root, options.name)
    for page in send_search(experiment, options.mlflow, options.wandb):
        print(f"sent to {page}")
