"""jobs, logs, and stop and resume of a submitted search."""

import argparse
import dataclasses
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tune_encoder.cli.common import Commands, add_command, add_json, print_view, table_lines
from tune_encoder.config import DEFAULT_ROOT, EXTENSIONS
from tune_encoder.errors import ConfigError
from tune_encoder.system.formats import format_clock

if TYPE_CHECKING:
    from tune_encoder.api.jobs.client import Client
    from tune_encoder.api.jobs.jobs import Job

JOBS_SCHEMES = ("http://", "https://")  # of the Jobs API; other addresses are of Ray itself
_RESUME_OPTIONS = (*EXTENSIONS, "accept_data_change", "record")


def add_jobs(commands: Commands) -> None:
    """Add the commands `jobs` and `logs`."""
    parser = add_command(commands, "jobs", _jobs)
    add_jobs_address(parser, "the cluster's address")
    add_json(parser)
    parser = add_command(commands, "logs", _logs)
    parser.add_argument("name", help="submitted search")
    parser.add_argument(
        "-f", "--follow", action="store_true", help="keep printing until the search has ended"
    )
    add_jobs_address(parser, "the cluster's address")


def add_jobs_address(parser: argparse.ArgumentParser, what: str) -> None:
    """Add `--address`."""
    parser.add_argument("--address", metavar="URL", help=f"{what}, such as http://127.0.0.1:8265")


def _jobs(options: argparse.Namespace) -> None:
    """List the searches that were submitted to a cluster."""
    client = _client(options)
    jobs = client.jobs()
    content = [{**dataclasses.asdict(job), "root": str(job.root)} for job in jobs]
    print_view(options, content, _job_lines(client, jobs))


def _job_lines(client: "Client", jobs: list["Job"]) -> Iterator[str]:
    if not jobs:
        yield f"{client.address}: no searches; submit one with `tune-encoder submit`"
        return
    rows = [("name", "launch", "state", "submitted", "took")]
    for job in jobs:
        submitted = time.strftime("%Y-%m-%d %H:%M", time.localtime(job.started_at))
        rows.append((job.name, str(job.launch), job.state, submitted, _format_duration(job)))
    yield from table_lines("lrlll", rows)


def _format_duration(job: "Job") -> str:
    return format_clock((job.ended_at or time.time()) - (job.started_at or time.time()))


def _logs(options: argparse.Namespace) -> None:
    """Print the output of a submitted search."""
    for text in _client(options).logs(options.name, follow=options.follow):
        sys.stdout.write(text)
        sys.stdout.flush()


def stop_job(options: argparse.Namespace) -> None:
    """Stop a submitted search; everything is saved."""
    job = _client(options).stop(options.name)
    words = f"{job.name} saves and stops"
    print_view(options, {"experiment": job.name, "told": words}, [words])


def resume_job(options: argparse.Namespace) -> None:
    """Resume a submitted search on its cluster.

    Raises:
        ConfigError: if it is to export metrics.
    """
    if options.metrics:
        raise ConfigError(
            "metrics: a submitted search exports none; leave the option out, or resume it on a "
            "node with --address HOST:PORT"
        )
    client = _client(options)
    given = {name: getattr(options, name) for name in _RESUME_OPTIONS}
    root = None if options.root == DEFAULT_ROOT else options.root
    client.resume(options.name, root, export=not options.no_export, **given)
    print_submitted(client.address, options.name)


def print_submitted(address: str, name: str) -> None:
    """Print where a search was submitted, and the command that follows its output."""
    from tune_encoder.api.jobs.connection import DEFAULT_ADDRESS

    where = "" if address == DEFAULT_ADDRESS else f" --address {address}"
    print(f"submitted {name} to {address}")
    print(f"follow it: tune-encoder logs {name} -f{where}")


def _client(options: argparse.Namespace) -> "Client":
    from tune_encoder.api.jobs.client import Client

    return Client(options.address)
