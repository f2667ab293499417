"""submit."""

import argparse
from typing import Any

from tune_encoder.cli.common import Commands, add_command, given_settings
from tune_encoder.cli.jobs import add_jobs_address, print_submitted
from tune_encoder.cli.search import add_search_options
from tune_encoder.config import OVERRIDES, StorageSettings


def add_submit(commands: Commands) -> None:
    """Add the command `submit`."""
    parser = add_command(commands, "submit", _submit)
    add_search_options(parser)
    add_jobs_address(parser, "the cluster's address")
    parser.add_argument(
        "--print",
        choices=("kuberay", "slurm"),
        help="print a KubeRay manifest or Slurm script of the search instead of submitting it",
    )


def _submit(options: argparse.Namespace) -> None:
    """Submit a search to a cluster, where it runs without this machine."""
    given: dict[str, Any] = {name: getattr(options, name) for name in (*OVERRIDES, "warm_start")}
    given |= {**given_settings(options, StorageSettings), "export": not options.no_export}
    what = (options.space, options.data_dir, options.name, options.root)
    if options.print is not None:
        print(_submission_script(options.print, what, given), end="")
        return
    from tune_encoder.api.jobs.client import Client

    client = Client(options.address)
    client.submit(*what, **given)
    print_submitted(client.address, options.name)


def _submission_script(kind: str, what: tuple[Any, Any, Any, Any], given: dict[str, Any]) -> str:
    from tune_encoder.api.jobs.submission import prepare_submission

    if kind == "kuberay":
        from tune_encoder.api.jobs.scripts import SHARED, kuberay_manifest

        return kuberay_manifest(prepare_submission(*what, given, shared=SHARED))
    from tune_encoder.api.jobs.scripts import slurm_script

    return slurm_script(prepare_submission(*what, given))
