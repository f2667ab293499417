"""One epoch of each encoder by part, beside the bare steps of the same model on a batch in memory.

    python -m tests.benchmarks.epoch [--threads N] [--rounds N]

Each round trains an epoch of every encoder in turn; medians of the rounds. The bare loop does the
same number of steps as the epoch, so that their ratio is what all else costs.
"""

import argparse
import dataclasses
import statistics
import time

import torch

from tune_encoder.config import TrainConfig
from tune_encoder.data.batches import Batch, training_batches
from tune_encoder.data.demo import cached_demo
from tune_encoder.data.pack import PackedData, open_pack
from tune_encoder.data.packing import pack_data
from tune_encoder.experiment.epoch_row import score_of
from tune_encoder.system.memory import keep_freed_memory
from tune_encoder.training.epoch import batch_loss, train_epoch
from tune_encoder.training.reduced_styles import reduce_styles
from tune_encoder.training.state import TrainState, autocast_dtype, start_run

ENCODERS = ("convnext", "cnn", "transformer")
PARTS = ("data", "steps", "predict", "score", "epoch", "forward", "backward", "step", "bare")
MATRIX = 2048
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def epoch_parts(state: TrainState, data: PackedData) -> dict[str, float]:
    """Seconds of an epoch's parts, and of the bare steps."""
    row = train_epoch(state, data, DEVICE)
    state.history.append(row)
    timed = {name: score_of(row, f"{name}_seconds") for name in ("predict", "score")}
    steps = row["step_seconds"]
    rest = row["seconds"] - steps - sum(timed.values())
    batches = list(training_batches(data.train, state.config, 1, state.targets))
    bare = bare_parts(state, batches[0].to(DEVICE), data, len(batches))
    whole = {"data": rest, "steps": steps, **timed, "epoch": row["seconds"]}
    return {**whole, **bare, "bare": sum(bare.values())}


def bare_parts(state: TrainState, batch: Batch, data: PackedData, count: int) -> dict[str, float]:
    """Seconds of so many forwards, backwards and steps."""
    seconds = dict.fromkeys(("forward", "backward", "step"), 0.0)
    state.module.train()
    for _ in range(count):
        began = now()
        loss = batch_loss(state, batch, data.statistics)
        forwarded = now()
        state.scaler.scale(loss.total).backward()
        returned = now()
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.optimizer.zero_grad(set_to_none=True)
        for name, spent in zip(
            seconds, (forwarded - began, returned - forwarded, now() - returned), strict=True
        ):
            seconds[name] += spent
    return seconds


def now() -> float:
    """Seconds, when the device has done all it was told."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def peak_gflops(dtype: torch.dtype) -> float:
    """The best of ten matrix products."""
    left, right = (torch.randn(MATRIX, MATRIX, device=DEVICE, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(10):
        began = now()
        left @ right
        best = min(best, now() - began)
    return 2 * MATRIX**3 / best / 1e9


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=TrainConfig().batch_size)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    config = TrainConfig(batch_size=options.batch_size)
    data = open_pack(pack_data(cached_demo(), config))
    kinds = {torch.float32, autocast_dtype(config, DEVICE) or torch.float32}
    peaks = ", ".join(f"{kind} {peak_gflops(kind):.0f} GFLOP/s" for kind in kinds)
    print(f"{len(data.train)} clips, {DEVICE}, {options.threads} threads; products: {peaks}")
    states = {
        kind: start_run(dataclasses.replace(config, encoder_type=kind), data, DEVICE)
        for kind in ENCODERS
    }
    for state in states.values():
        reduce_styles(state, data.train)
    rounds: dict[str, list[dict[str, float]]] = {kind: [] for kind in ENCODERS}
    for _ in range(options.rounds):
        for kind, state in states.items():
            rounds[kind].append(epoch_parts(state, data))
    print(f"{'seconds':12}{''.join(f'{part:>9}' for part in PARTS)}{'ratio':>7}{'clips/s':>9}")
    for kind, found in rounds.items():
        median = {part: statistics.median(each[part] for each in found) for part in PARTS}
        shown = "".join(f"{median[part]:9.3f}" for part in PARTS)
        ratio = statistics.median(each["epoch"] / each["bare"] for each in found)
        print(f"{kind:12}{shown}{ratio:7.2f}{len(data.train) / median['epoch']:9.0f}")


if __name__ == "__main__":
    main()
