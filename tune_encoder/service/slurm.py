"""A search as a batch script for Slurm."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tune_encoder.service.submission import prepare_submission
from tune_encoder.service.template import filled

_NODES = 2  # to begin with; the script says where to ask for more


def slurm_script(
    space: str | Path | Mapping[str, Any],
    data_dir: str | Path | None,
    name: str,
    root: str | Path,
    options: Mapping[str, Any],
) -> str:
    """Write an sbatch script that starts a Ray head and workers, and runs the search on them.

    It goes on where it was when Slurm starts it again.

    Args:
        space: As in `Client.submit`.
        data_dir: As in `Client.submit`.
        name: As in `Client.submit`.
        root: As in `Client.submit`, on a disk that all nodes share.
        options: As in `Client.submit`.

    Raises:
        ConfigError, DataError: as `Client.submit` does.
    """
    submission = prepare_submission(space, data_dir, name, root, options)
    resources = submission.space.resources
    each = math.ceil((resources.concurrent or _NODES) / _NODES)  # trials at once on a node
    return filled(
        "slurm.sh",
        submission,
        resources=resources,
        nodes=_NODES,
        cpus=each * resources.cpus,
        gpus=math.ceil(each * resources.gpus),
    )
