"""repair."""

import argparse

from tune_encoder.cli.common import Commands, add_command, add_root
from tune_encoder.system.formats import count_noun


def add_repair(commands: Commands) -> None:
    """Add the command `repair`."""
    parser = add_command(commands, "repair", _repair, outlives_reader=True)
    parser.add_argument("name", help="experiment whose record is damaged")
    parser.add_argument("--force", action="store_true", help="also replace an intact record")
    add_root(parser)


def _repair(options: argparse.Namespace) -> None:
    """Rebuild a damaged or missing study.db from the trials' files or from its database."""
    from tune_encoder.api.experiments import repair
    from tune_encoder.experiment.folder import open_experiment

    done = repair(options.name, options.root, options.force)
    experiment = open_experiment(options.root, options.name)
    counts = ", ".join(f"{count} {state}" for state, count in done.states.items())
    print(f"rebuilt  {experiment.study_path}")
    print(f"         {count_noun(sum(done.states.values()), 'trial')} ({counts or 'none started'})")
    print(
        f"         {count_noun(done.epochs, 'epoch')}, {done.checkpoints} of them with a checkpoint"
    )
    if done.backup is not None:
        print(f"backup   {done.backup}, the old record")
    for line in done.lost:
        print(f"lost     {line}")
    if done.database:
        print(f"from     {done.database}, which has the complete record: nothing is lost")
    else:
        print("lost     which trials were pruned or failed, and why; `resume` decides again")
    print(f"\nresume:  {experiment.command('resume')}")
