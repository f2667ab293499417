"""Files that start a search elsewhere: a batch script for Slurm, a manifest for KubeRay."""

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

_NODES = 2  # to begin with; the script says where to ask for more
SHARED = Path("/mnt/shared")  # where every pod sees the volume
_FOLDER = "/etc/tune-encoder"  # where every pod sees the space and the script
_WORKERS = 2  # trials at once where the space does not say how many
_HASH_LENGTH = 6
_NAME_LENGTH = 40  # KubeRay takes up to 47 letters, and the names of what belongs to it are longer


def slurm_script(submission: Submission) -> str:
    """Write an sbatch script that starts a Ray head and workers, and runs the search on them.

    It goes on where it was when Slurm starts it again.

    Args:
        submission: Its folders lie on a disk that all nodes share.
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
    """Write a RayJob with its storage and its search space, to be filled in at a few places.

    Args:
        submission: Prepared with `shared=SHARED`: relative paths lie on the volume.
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
    """The nearest name Kubernetes allows: lower case with hyphens, a letter first.

    Where that is not the whole name a hash tells it from others that are as near.
    """
    whole = f"search-{name}"
    title = re.sub("[^a-z0-9]+", "-", whole.lower()).strip("-")
    if title == whole and len(title) <= _NAME_LENGTH:
        return title
    told = hashlib.sha256(name.encode()).hexdigest()[:_HASH_LENGTH]
    return f"{title[: _NAME_LENGTH - _HASH_LENGTH - 1].rstrip('-')}-{told}"


def fill_template(name: str, submission: Submission, **values: Any) -> str:
    """Return the file that the template of this name gives for a search.

    Args:
        name: Of the template, beside this module.
        submission: The search; its values stand in a shell's quotes.
        values: What else the template names.
    """
    # What is written is for shells and YAML, not for browsers, so nothing is escaped as HTML.
    environment = Environment(
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        comment_start_string="{*",  # what Jinja takes for one by itself is the length of an array
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
