"""One epoch: training steps on every clip, then validation.

Shapes: B batch, S steps of an epoch.
"""

import itertools
import math
import sys
import time
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from tune_encoder.config import CLOSED_FORM, TrainConfig
from tune_encoder.data.batches import Batch, prefetch, training_batches
from tune_encoder.data.crops import crop_frames, crops_per_epoch, steps_per_epoch
from tune_encoder.data.pack import Pack, PackedData
from tune_encoder.data.scores import score
from tune_encoder.data.style_statistics import Statistics
from tune_encoder.errors import TrainingDiverged
from tune_encoder.experiment.epoch_row import EpochRow, as_row
from tune_encoder.model.prediction import predict_pack
from tune_encoder.system.events import is_heard
from tune_encoder.training.augment import augment
from tune_encoder.training.loss import StyleLoss, style_loss
from tune_encoder.training.parallel import SINGLE_PROCESS, ProcessGroup
from tune_encoder.training.state import TrainState, autocast_dtype

BAR_REFRESH_S = 0.5  # reading a loss synchronises with the device, so not at every step


def train_epoch(
    state: TrainState, data: PackedData, device: torch.device, group: ProcessGroup = SINGLE_PROCESS
) -> EpochRow:
    """Train and validate one epoch; only the progress bar synchronises with the device."""
    began = time.perf_counter()
    epoch = state.epoch + 1
    torch.manual_seed(hash_seed(state.config.seed, epoch))
    state.module.train()
    timer = _Timer()
    step = measure_step if state.config.encoder_type == CLOSED_FORM else train_step
    steps = [
        step(state, batch, data.statistics, group)
        for batch in timer.between(_batches(state, data.train, device, group))
    ]
    # (S, 5): total, ttl, dp, cosine, gradient norm
    losses = group.sum(torch.stack(steps)).cpu().numpy()
    _check_divergence(losses[:, 0], epoch, state)
    trained = time.perf_counter()
    predicted = predict_pack(state.model, data.val, crop_frames(state.config), device)
    forwarded = time.perf_counter()
    scores = score(predicted, data.val.styles, data.statistics, data.known_voices)
    if not math.isfinite(scores["loss"]):
        raise TrainingDiverged(
            f"the validation loss is {scores['loss']} after epoch {epoch}; "
            f"{_divergence_remedy(state.config)}"
        )
    ended = time.perf_counter()
    return as_row(
        {
            "epoch": epoch,
            **{f"val_{name}": value for name, value in scores.items()},
            **_training_scores(losses),
            "learning_rate": state.schedule.get_last_lr()[0],
            "clips_per_s": crops_per_epoch(data.train.lengths, state.config) / (trained - began),
            "seconds": ended - began,
            "step_seconds": timer.seconds,
            "predict_seconds": forwarded - trained,
            "score_seconds": ended - forwarded,
        }
    )


def run_two_steps(state: TrainState, data: PackedData, device: torch.device) -> None:
    """Train two batches and validate, which needs as much memory as an epoch.

    From the second batch on, the optimizer's moments are allocated.
    """
    state.module.train()
    for batch in itertools.islice(_batches(state, data.train, device, SINGLE_PROCESS), 2):
        train_step(state, batch, data.statistics)
    predict_pack(state.model, data.val, crop_frames(state.config), device)


def _training_scores(losses: NDArray[np.float32]) -> dict[str, float]:
    total, ttl, dp, cosine = (float(x) for x in losses[:, :4].mean(axis=0))
    norms = losses[np.isfinite(losses[:, 4]), 4]  # steps were skipped where fp16 overflowed
    return {
        "train_loss": total,
        "train_ttl": ttl,
        "train_dp": dp,
        "train_cosine": 1 - cosine,
        "gradient_norm": float(norms.mean()) if len(norms) else 0.0,
        "skipped_steps": len(losses) - len(norms),
    }


class _Timer:
    """Sums the time of training steps, without waiting for batches."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def between(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        for batch in batches:
            began = time.perf_counter()
            yield batch
            self.seconds += time.perf_counter() - began


def _batches(
    state: TrainState, pack: Pack, device: torch.device, group: ProcessGroup
) -> Iterator[Batch]:
    """Augmented batches on the device, with a progress bar on a terminal."""
    config = state.config
    batches = training_batches(pack, config, state.epoch + 1, state.targets)
    shown = group.is_first and sys.stderr.isatty() and not is_heard()
    with tqdm(
        prefetch(batches, config.num_workers),
        f"epoch {state.epoch + 1}/{config.epochs}",
        steps_per_epoch(pack.lengths, config),
        disable=not shown,
        leave=False,
        ncols=80,
    ) as bar:
        refreshed = time.monotonic()
        for batch in bar:
            moved = batch.to(device)
            features = augment(moved.features, config, state.model.mel_mean)
            yield moved._replace(features=features)
            if shown and time.monotonic() - refreshed > BAR_REFRESH_S:
                refreshed = time.monotonic()
                _describe(bar, state)


def _describe(bar: "tqdm[Batch]", state: TrainState) -> None:
    assert state.last_loss is not None
    bar.set_postfix(
        loss=f"{state.last_loss.total.item():.4f}",
        lr=f"{state.schedule.get_last_lr()[0]:.2g}",
        cosine=f"{1 - state.last_loss.cosine.item():.4f}",
        refresh=False,
    )


def hash_seed(seed: int, epoch: int) -> int:
    """Hash seed and epoch, so that seed 1 epoch 2 differs from seed 2 epoch 1."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


def train_step(
    state: TrainState, batch: Batch, statistics: Statistics, group: ProcessGroup = SINGLE_PROCESS
) -> Tensor:
    """Take one optimizer step on a batch, with gradient accumulation.

    Returns:
        (5,) on the device: this process's contribution to the batch's mean losses and to the
        gradient norm; the sum over processes is the total.
    """
    config = state.config
    local_batch = group.shard(batch)
    parts = [Batch(*split) for split in zip(*_split(local_batch, config), strict=True)]
    losses = [_backward(state, part, statistics, group, len(batch.features)) for part in parts]
    state.scaler.unscale_(state.optimizer)
    limit = config.gradient_clip or math.inf
    norm = torch.nn.utils.clip_grad_norm_(state.model.parameters(), limit)
    scale_before = state.scaler.get_scale() if state.scaler.is_enabled() else 0.0
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.optimizer.zero_grad(set_to_none=True)
    overflowed = state.scaler.is_enabled() and state.scaler.get_scale() < scale_before
    if not overflowed:  # else the step was skipped, and so is the schedule's
        state.schedule.step()
    return torch.cat([torch.stack(losses).sum(dim=0), norm.detach()[None] / group.size])


@torch.no_grad()
def measure_step(
    state: TrainState, batch: Batch, statistics: Statistics, group: ProcessGroup = SINGLE_PROCESS
) -> Tensor:
    """Compute the losses of a batch as `train_step` does, for an encoder that needs no steps."""
    part = group.shard(batch)
    state.last_loss = loss = batch_loss(state, part, statistics)
    fraction = len(part.features) / len(batch.features)
    return torch.cat([torch.stack([*loss]) * fraction, loss.total.new_zeros(1)])


def _split(batch: Batch, config: TrainConfig) -> list[list[Tensor]]:
    count = min(config.gradient_accumulation, len(batch.features))
    return [list(torch.tensor_split(part, count)) for part in batch]


def _backward(
    state: TrainState, part: Batch, statistics: Statistics, group: ProcessGroup, n_clips: int
) -> Tensor:
    """Accumulate a part's gradients; return (4,), its contribution to the batch's mean losses."""
    loss = batch_loss(state, part, statistics)
    state.last_loss = loss
    fraction = len(part.features) / n_clips
    # DDP averages gradients over processes, so each scales its mean loss to its part of the batch.
    state.scaler.scale(loss.total * (fraction * group.size)).backward()
    return torch.stack([*loss]).detach() * fraction


def batch_loss(state: TrainState, batch: Batch, statistics: Statistics) -> StyleLoss:
    """Compute the loss of a batch, with autocast where that is faster."""
    dtype = autocast_dtype(state.config, batch.features.device)
    with torch.autocast(batch.features.device.type, dtype, enabled=dtype is not None):
        ttl, dp = state.module(batch.features)
    predicted = (ttl.float(), dp.float())
    return style_loss(predicted, (batch.ttl, batch.dp), state.config, statistics)


def _check_divergence(losses: NDArray[np.float32], epoch: int, state: TrainState) -> None:
    bad = ~np.isfinite(losses)
    if bad.any():
        raise TrainingDiverged(
            f"the loss is {losses[bad.argmax()]} at step {bad.argmax() + 1} of epoch {epoch}; "
            f"{_divergence_remedy(state.config)}"
        )


def _divergence_remedy(config: TrainConfig) -> str:
    clip = f"gradient_clip (now {config.gradient_clip:g}{'' if config.gradient_clip else ', off'})"
    return f"lower learning_rate (now {config.learning_rate:g}) or {clip}"
