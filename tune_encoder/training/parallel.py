"""Data-parallel training of one encoder in several processes, with torch's DDP.

Every process assembles and augments the full batch with the same seeds and takes its shard, so
the loss curve is that of one process at the same batch size, whatever the number of processes.
Only dropout differs: each process has its own random numbers.
"""

import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from torch import Tensor, distributed, multiprocessing, nn
from torch.multiprocessing.spawn import ProcessExitedException, spawn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from tune_encoder.data.batches import Batch
from tune_encoder.errors import ConfigError, TuneEncoderError
from tune_encoder.system.formats import count_noun

POLL_S = 0.05  # short compared with an epoch


@dataclass(frozen=True)
class ProcessGroup:
    """The rank of this process and the number of processes that train together."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        """Return the module to call in training: the model, or the model wrapped in DDP."""
        if self.size == 1:
            return model
        return DistributedDataParallel(model, [device.index] if device.type == "cuda" else None)

    def shard(self, batch: Batch) -> Batch:
        """Return this process's shard of a batch.

        Raises:
            ConfigError: if the batch has fewer clips than there are processes.
        """
        if len(batch.features) < self.size:
            raise ConfigError(
                f"a batch has {count_noun(len(batch.features), 'clip')} for {self.size} processes; "
                "raise batch_size or train with fewer"
            )
        return Batch(*(part[self.rank :: self.size] for part in batch))

    def sum(self, values: Tensor) -> Tensor:
        """Sum a tensor over all processes (all-reduce)."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values


SINGLE_PROCESS = ProcessGroup()


def do_nothing() -> None:
    """Do nothing."""


def run_processes(
    size: int,
    device: torch.device,
    work: Callable[..., None],
    arguments: tuple[object, ...],
    on_poll: Callable[[], None] = do_nothing,
) -> None:
    """Run `work(group, *arguments)` in `size` new processes and wait for them.

    Args:
        size: Number of processes.
        device: Each process gets a device of this type; the CPU is shared.
        work: A module-level function.
        arguments: Passed to it, pickled.
        on_poll: Called repeatedly while they run; an error it raises ends them.

    Raises:
        ConfigError: if the machine has fewer such devices.
        TuneEncoderError: the error that one of them raised.
    """
    present = torch.cuda.device_count() if device.type == "cuda" else os.cpu_count() or 1
    if not 1 <= size <= present:
        raise ConfigError(f"{size} processes on {device.type}: must be from 1 to {present}")
    error_receiver, error_sender = multiprocessing.get_context("spawn").Pipe(duplex=False)
    with tempfile.TemporaryDirectory() as folder:
        process_args = (size, f"file://{Path(folder) / 'store'}", device.type)
        context = spawn(
            _worker, (process_args, error_sender, work, arguments), nprocs=size, join=False
        )
        try:
            while not context.join(timeout=POLL_S):
                on_poll()
        except ProcessExitedException:
            if not error_receiver.poll():
                raise
            raise error_receiver.recv() from None
        finally:
            for process in context.processes:
                process.terminate()


def _worker(
    rank: int,
    process_args: tuple[int, str, str],
    error_sender: Connection,
    work: Callable[..., None],
    arguments: tuple[object, ...],
) -> None:
    tqdm.set_lock(threading.RLock())  # the default is a semaphore, which a killed process leaks
    try:
        with _joined_group(rank, *process_args) as group:
            work(group, *arguments)
    except TuneEncoderError as error:
        error_sender.send(error)
        os._exit(error.exit_code)  # immediately: the others wait for this one's gradients


@contextmanager
def _joined_group(rank: int, size: int, store: str, device_type: str) -> Iterator[ProcessGroup]:
    """Join the process group of this machine, which uses only the loopback interface."""
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = loopback
    backend = "nccl" if device_type == "cuda" else "gloo"
    distributed.init_process_group(backend, init_method=store, rank=rank, world_size=size)
    try:
        yield ProcessGroup(rank, size)
    finally:
        distributed.destroy_process_group()
