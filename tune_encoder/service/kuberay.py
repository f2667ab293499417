"""A search as a manifest for Kubernetes, where KubeRay runs it."""

import hashlib
import math
import re
from pathlib import Path

from tune_encoder.service.submission import Submission
from tune_encoder.service.template import filled

SHARED = Path("/mnt/shared")  # where every pod sees the volume
_FOLDER = "/etc/tune-encoder"  # where every pod sees the space and the script
_WORKERS = 2  # trials at once where the space does not say how many
_HASH_LENGTH = 6
_NAME_LENGTH = 40  # KubeRay takes up to 47 letters, and the names of what belongs to it are longer


def kuberay_manifest(submission: Submission) -> str:
    """Write a RayJob with its storage and its search space, to be filled in at a few places.

    Args:
        submission: Prepared with `shared=SHARED`: relative paths lie on the volume.
    """
    resources = submission.space.resources
    each = int(1 / resources.gpus) if 0 < resources.gpus < 1 else 1  # trials that share a GPU
    return filled(
        "kuberay.yaml",
        submission,
        title=_title(submission.name),
        shared=SHARED,
        folder=_FOLDER,
        workers=math.ceil((resources.concurrent or _WORKERS) / each),
        cpus=each * resources.cpus,
        gpus=math.ceil(resources.gpus),
        s3=submission.keeping.storage.startswith("s3://"),
    )


def _title(name: str) -> str:
    """The nearest name Kubernetes allows: lower case with hyphens, a letter first.

    Where that is not the whole name a hash tells it from others that are as near.
    """
    whole = f"search-{name}"
    title = re.sub("[^a-z0-9]+", "-", whole.lower()).strip("-")
    if title == whole and len(title) <= _NAME_LENGTH:
        return title
    told = hashlib.sha256(name.encode()).hexdigest()[:_HASH_LENGTH]
    return f"{title[: _NAME_LENGTH - _HASH_LENGTH - 1].rstrip('-')}-{told}"
