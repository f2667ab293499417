"""A Ray cluster of one machine that several searches share, and whose page outlives them."""

from tune_encoder.cluster.starting import start_cluster
from tune_encoder.cluster.state import Cluster, Process, find_cluster, local_address
from tune_encoder.cluster.stopping import stop_cluster
from tune_encoder.cluster.usage import load

__all__ = [
    "Cluster",
    "Process",
    "find_cluster",
    "load",
    "local_address",
    "start_cluster",
    "stop_cluster",
]
