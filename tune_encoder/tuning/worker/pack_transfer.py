"""Copying a pack, and an initial model, to nodes that do not have it.

Each node downloads it once for all its trials.
"""

import fcntl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tune_encoder.config import TrainConfig
from tune_encoder.errors import StorageError
from tune_encoder.system.files import atomic_folder, cache_dir, make_cache_folder

CHUNK_BYTES = 64 * 2**20  # in Ray's object store at a time, on either node
INFO = "pack.json"


def fetch_pack(pack: Path, home: str) -> Path:
    """Return the folder of a pack on this node, downloading it if necessary.

    Args:
        pack: Its folder on the driver's node; the folder's name identifies the content.
        home: Ray's id of that node.

    Raises:
        StorageError: if it can neither be found nor downloaded.
    """
    if (pack / INFO).is_file():
        return pack
    return _download_once(pack, cache_dir() / "packs" / pack.name, home)


def fetch_model(config: TrainConfig, home: str) -> TrainConfig:
    """Return the config with the initial model's folder on this node, downloaded if necessary.

    Args:
        config: Of a trial; without an initial model it is returned as it is.
        home: Ray's id of the driver's node.

    Raises:
        StorageError: if the model can neither be found nor downloaded.
    """
    from tune_encoder.model.folder import WEIGHTS  # loads torch

    model = Path(config.init_from)
    if not config.init_from or (model / WEIGHTS).is_file():
        return config
    here = _download_once(model, cache_dir() / "models" / config.init_sha256, home)
    return replace(config, init_from=str(here))


def _download_once(folder: Path, here: Path, home: str) -> Path:
    """Return `here`, the copy of a folder, whose name identifies the content; copy it if needed."""
    make_cache_folder(here.parent)
    with (here.parent / f".{here.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the node's other trials wait for the download
        if not here.is_dir():
            _fetch(folder, here, home)
    return here


def _fetch(pack: Path, here: Path, home: str) -> None:
    """Copy a folder's files from the driver's node, in chunks through Ray's object store."""
    at_home = {"scheduling_strategy": NodeAffinitySchedulingStrategy(home, soft=False)}
    sizes, read = ray.remote(num_cpus=0)(_file_sizes), ray.remote(num_cpus=0)(_read_chunk)
    try:
        with atomic_folder(here) as partial:
            for name, size in ray.get(sizes.options(**at_home).remote(pack)).items():
                with (partial / name).open("wb") as file:
                    for start in _chunk_starts(size):
                        file.write(ray.get(read.options(**at_home).remote(pack / name, start)))
    except (ray.exceptions.RayError, OSError) as error:
        raise StorageError(
            f"{pack}: not on node {_node_address()}, and cannot be copied to it "
            f"({_first_line(error)}); set TUNE_ENCODER_CACHE to a folder that all nodes share"
        ) from error


def _file_sizes(pack: Path) -> dict[str, int]:
    files = (path for path in sorted(pack.iterdir()) if path.is_file())
    return {path.name: path.stat().st_size for path in files}


def _read_chunk(path: Path, start: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(CHUNK_BYTES)


def _chunk_starts(size: int) -> Iterator[int]:
    yield from range(0, size, CHUNK_BYTES)


def _node_address() -> str:
    return str(ray.util.get_node_ip_address())


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__


def check_sees_experiment(experiment: Path) -> None:
    """Raise a `StorageError` on a node that does not share the experiment's folder."""
    if not (experiment / "search.yaml").is_file():
        raise StorageError(
            f"{experiment}: does not exist on node {_node_address()}; put --root on a disk that "
            "all nodes of the cluster share"
        )
