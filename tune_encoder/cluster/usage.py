"""What a cluster has and what of it is in use, asked of its page."""

import json
import urllib.error
import urllib.request
from typing import Any

from tune_encoder.cluster.state import Cluster
from tune_encoder.errors import StorageError
from tune_encoder.ray_settings import reach_loopback_directly, token

ANSWER_S = 5.0


def load(cluster: Cluster) -> dict[str, Any]:
    """Return what the cluster has and what of it is in use: {"CPU": [used, total], ...}.

    Raises:
        StorageError: if its page does not answer.
    """
    used = usage(cluster)
    return {name: used[name] for name in ("CPU", "GPU") if name in used}


def usage(cluster: Cluster) -> dict[str, Any]:
    """Return all that Ray counts, as [used, total] of each."""
    address = f"{cluster.page}/api/cluster_status"
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {token()}"})
    reach_loopback_directly()
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
            report = json.load(answer)["data"]["clusterStatus"]["loadMetricsReport"]
    except (urllib.error.URLError, OSError, ValueError, KeyError) as error:
        raise StorageError(
            f"{cluster.page}: does not answer ({error}); end the cluster with "
            "`tune-encoder cluster stop` and start it anew"
        ) from error
    counted: dict[str, Any] = report["usage"]
    return counted
