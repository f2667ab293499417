"""A search as a batch script for Slurm."""

import math

from tune_encoder.service.submission import Submission
from tune_encoder.service.template import filled

_NODES = 2  # to begin with; the script says where to ask for more


def slurm_script(submission: Submission) -> str:
    """Write an sbatch script that starts a Ray head and workers, and runs the search on them.

    It goes on where it was when Slurm starts it again.

    Args:
        submission: Its folders lie on a disk that all nodes share.
    """
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
