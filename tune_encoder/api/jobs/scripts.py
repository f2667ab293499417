"""Files that start a search on a cluster: a batch script for Slurm, a manifest for KubeRay."""

import hashlib
import math
import re
import shlex
import sys
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from tune_encoder.api.jobs.submission import Submission
from tune_encoder.tuning.cluster.ray_settings import node_environment

_NODES = 2  # a default that can be changed in the script
SHARED = Path("/mnt/shared")  # where the volume is mounted in every pod
_FOLDER = "/etc/tune-encoder"  # where the space and the script are mounted in every pod
_WORKERS = 2  # trials at once if the space does not say
_HASH_LENGTH = 6
_NAME_LENGTH = 40  # KubeRay allows 47 characters, and appends to the name for its own objects


def slurm_script(submission: Submission) -> str:
    """Return an sbatch script that starts a Ray head and workers, and runs the search on them.

    When Slurm starts the script again, it resumes the search.

    Args:
        submission: The search, whose folders are on a disk that all nodes share.
    """
    resources = submission.space.resources
    each = math.ceil((resources.concurrent or _NODES) / _NODES)  # trials at once on a node
    return fill_template(
        "slurm.sh",
        submission,
        resources=resources,
        nodes=_NODES,
        cpus=each * resources.cpus,
        gpus=math.ceil(each * resources.gpus),
    )


def kuberay_manifest(submission: Submission) -> str:
    """Return the manifest of a RayJob, its storage and search space, with a few values to fill in.

    Args:
        submission: The search, prepared with `shared=SHARED` so that relative paths are on the
            volume.
    """
    resources = submission.space.resources
    each = int(1 / resources.gpus) if 0 < resources.gpus < 1 else 1  # trials that share a GPU
    return fill_template(
        "kuberay.yaml",
        submission,
        title=_kubernetes_name(submission.name),
        shared=SHARED,
        folder=_FOLDER,
        workers=math.ceil((resources.concurrent or _WORKERS) / each),
        cpus=each * resources.cpus,
        gpus=math.ceil(resources.gpus),
        s3=submission.storage_settings.storage.startswith("s3://"),
    )


def _kubernetes_name(name: str) -> str:
    """Return a name that Kubernetes allows: lower case with hyphens, starting with a letter.

    If characters had to be changed, a hash keeps it different from other names.
    """
    full_name = f"search-{name}"
    title = re.sub("[^a-z0-9]+", "-", full_name.lower()).strip("-")
    if title == full_name and len(title) <= _NAME_LENGTH:
        return title
    digest = hashlib.sha256(name.encode()).hexdigest()[:_HASH_LENGTH]
    return f"{title[: _NAME_LENGTH - _HASH_LENGTH - 1].rstrip('-')}-{digest}"


def fill_template(name: str, submission: Submission, **values: Any) -> str:
    """Fill in a template for a search, and return the text.

    Args:
        name: Name of the template, which is in this package.
        submission: The search; the template quotes its values for a shell.
        values: The other variables of the template.
    """
    # The result is for shells and YAML, not for browsers, so nothing is escaped as HTML.
    environment = Environment(
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        comment_start_string="{*",  # Jinja's default, {#, is an array's length in a shell
        comment_end_string="*}",
    )
    environment.filters["quoted"] = shlex.quote
    environment.filters["command"] = shlex.join
    template = environment.from_string(_read_template(f"{name}.jinja"))
    versions = {"ray": version("ray"), "program": version("tune-encoder")}
    python = f"py{sys.version_info.major}{sys.version_info.minor}"
    text = template.render(
        submission=submission,
        versions=versions,
        python=python,
        ray_variables=node_environment(),
        postgresql=submission.storage_settings.record.startswith("postgresql"),
        **values,
    )
    return f"{text.rstrip()}\n"


def _read_template(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")
