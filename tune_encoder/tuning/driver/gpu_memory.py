"""Whether trials that share a GPU fit into its memory together, measured before the search."""

import ray

from tune_encoder.config import SettingValue, TrainConfig, from_mapping
from tune_encoder.errors import ConfigError, OutOfMemory, StorageError
from tune_encoder.space import SearchSpace, largest_configs
from tune_encoder.tuning.worker.settings import WorkerSettings

N_SAMPLES = 64  # of the choices that are not numbers
CONTEXT_BYTES = 600 * 2**20  # a process's CUDA context, which torch does not count
_GIB = 2**30


def check_gpu_share(space: SearchSpace, worker: WorkerSettings) -> None:
    """Train the largest configs of a space for two steps, if trials get a fraction of a GPU.

    Nothing is done if trials have whole GPUs, or none.

    Args:
        space: What is searched.
        worker: The settings that every trial's worker gets.

    Raises:
        StorageError: if the fraction is less than such a config takes.
    """
    share, cpus = space.resources.gpus, space.resources.cpus
    if not 0 < share < 1:
        return
    configs = [each for each in largest_configs(space, N_SAMPLES) if _is_valid(space, each)]
    # In another process, so that its memory is freed.
    measure = ray.remote(num_cpus=cpus, num_gpus=share, max_calls=1)(_measure_peak)
    found = ray.get(measure.remote(configs, worker))
    if isinstance(found, str):
        raise StorageError(f"the largest config of the space: {found}")
    if found is not None:
        check_share(share, *found)


def check_share(share: float, peak: int, total: int) -> None:
    """Check that a fraction of a GPU is large enough.

    Args:
        share: The fraction.
        peak: Bytes that the largest config needs.
        total: Bytes of the GPU.

    Raises:
        StorageError: if it is too small.
    """
    if peak <= share * total:
        return
    least = -(-peak * 100 // total) / 100
    remedy = f"set it to {least:g}" if least <= 1 else "no GPU here is large enough"
    raise StorageError(
        f"resources.gpus is {share:g}, {share * total / _GIB:.1f} of a GPU's {total / _GIB:.1f} "
        f"GiB, but the largest config needs {peak / _GIB:.1f}; {remedy}, or lower batch_size, "
        "hidden_dim or crop_seconds in the search space"
    )


def _is_valid(space: SearchSpace, settings: dict[str, SettingValue]) -> bool:
    try:
        space.config(settings)
    except ConfigError:
        return False
    return True


def _measure_peak(
    configs: list[dict[str, SettingValue]], worker: WorkerSettings
) -> tuple[int, int] | str | None:
    """In a worker: return peak and GPU bytes, why training is impossible, or None without CUDA."""
    import torch

    from tune_encoder.data.folds import make_folds
    from tune_encoder.data.pack import open_pack
    from tune_encoder.training.loop import train_two_steps
    from tune_encoder.tuning.worker.pack_transfer import fetch_model, fetch_pack

    if not torch.cuda.is_available():
        return None
    data = open_pack(fetch_pack(worker.pack, worker.home))
    parts = make_folds(data, worker.folds).folds if worker.folds > 1 else (data,)
    peak = 0
    for settings in configs:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        try:
            config = from_mapping(TrainConfig, settings, "search space")
            train_two_steps(fetch_model(config, worker.home), *parts)
        except OutOfMemory as error:
            return str(error)
        peak = max(peak, torch.cuda.max_memory_reserved())
    return peak + CONTEXT_BYTES, torch.cuda.mem_get_info()[1]
