"""One training run: build or resume, loop over epochs, hand each epoch's row to `report`.

It knows no search. Everything random in an epoch comes from (seed, epoch), so a run resumed after
any epoch goes on exactly as if it had never stopped.

Shapes: B batch.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from tune_encoder.augment import augment
from tune_encoder.config import TrainConfig, to_mapping
from tune_encoder.data.batches import (
    Batch,
    crop_frames,
    evaluation_windows,
    n_batches,
    training_batches,
)
from tune_encoder.data.pack import Pack, PackedData
from tune_encoder.errors import StorageError, TrainingDiverged
from tune_encoder.files import write_whole
from tune_encoder.losses import StyleLoss, style_loss
from tune_encoder.metrics import Styles, score
from tune_encoder.models import Encoder, build_encoder
from tune_encoder.statistics import Statistics

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

LONGEST_WARMUP = 0.5  # of the run: a short run still reaches its learning rate

Row = dict[str, Any]
"""One epoch's metrics; plain numbers under the names a person reads."""


@dataclass
class TrainState:
    """All that changes while training; what is not in here is not resumed."""

    config: TrainConfig
    fingerprint: str
    model: Encoder
    optimizer: torch.optim.Optimizer
    schedule: LambdaLR
    scaler: torch.amp.GradScaler
    history: list[Row] = field(default_factory=list)

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return len(self.history)

    @property
    def best(self) -> Row | None:
        """The row of the lowest validation loss so far."""
        return min(self.history, key=lambda row: row["val_loss"], default=None)

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values, for `checkpoints.save_state`."""
        return {
            "epoch": self.epoch,
            "config": to_mapping(self.config),
            "fingerprint": self.fingerprint,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "history": self.history,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint.

        Raises:
            StorageError: if it was trained on other data or has another architecture.
        """
        if state["fingerprint"] != self.fingerprint:
            raise StorageError(
                f"the checkpoint was trained on data {state['fingerprint'][:12]}, not on "
                f"{self.fingerprint[:12]}; give the data it was trained on"
            )
        try:
            self.model.load_state_dict(state["model"])
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise StorageError(f"the checkpoint has another architecture: {reason}") from error
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        self.history = list(state["history"])


Report = Callable[[Row, TrainState], None]


def train(
    config: TrainConfig,
    data: PackedData,
    run_dir: Path,
    report: Report,
    checkpoint: dict[str, Any] | None = None,
) -> TrainState:
    """Train one encoder to the end of its epochs or of its patience.

    Args:
        config: The run's settings.
        data: The pack made with the same front-end settings.
        run_dir: Gets `metrics.jsonl`, and `logs/` for TensorBoard if the config says so.
        report: Called after every epoch, when all is written but before the next begins. It may
            save the state, and it may end the run by raising.
        checkpoint: The state of an earlier run to go on from.

    Raises:
        TrainingDiverged: at the first epoch whose loss is NaN or infinite.
    """
    device = pick_device(config.device)
    if config.num_threads:
        torch.set_num_threads(config.num_threads)
    state = start(config, data, device)
    if checkpoint is not None:
        state.load_state_dict(checkpoint)
    run_dir.mkdir(parents=True, exist_ok=True)
    with _events(run_dir / "logs", state) as log:
        while not finished(state):
            row = train_epoch(state, data, device)
            state.history.append(row)
            row["finished"] = finished(state)
            _write_metrics(run_dir / "metrics.jsonl", state.history)
            log(row)
            report(row, state)
    return state


def finished(state: TrainState) -> bool:
    """Whether the run has used up its epochs or its patience."""
    best, patience = state.best, state.config.early_stopping_patience
    waited = best is not None and patience > 0 and state.epoch - best["epoch"] >= patience
    return waited or state.epoch >= state.config.epochs


# --- setting up --------------------------------------------------------------------------------


def start(config: TrainConfig, data: PackedData, device: torch.device) -> TrainState:
    """Build everything for epoch 1; equal configs give equal weights."""
    torch.manual_seed(config.seed)
    model = build_encoder(config, data.statistics).to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    steps = n_batches(data.train, config)
    warmup = steps * min(config.warmup_epochs, LONGEST_WARMUP * config.epochs)
    schedule = LambdaLR(
        optimizer, lambda step: learning_rate_factor(step, warmup, steps * config.epochs)
    )
    scaler = torch.amp.GradScaler(device.type, enabled=amp_type(config, device) == torch.float16)
    return TrainState(config, data.info["fingerprint"], model, optimizer, schedule, scaler)


def learning_rate_factor(step: int, warmup_steps: float, total_steps: int) -> float:
    """Share of the peak rate at a step counted from 0: linear warm-up, then a cosine to 0.

    The first step is above 0, and past the end the rate stays 0 instead of rising again.
    """
    if step < warmup_steps:
        return min(1.0, (step + 1) / (warmup_steps + 1))
    progress = (step - warmup_steps) / max(1.0, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def pick_device(name: str) -> torch.device:
    """Return the named device; `auto` takes CUDA, then MPS, then the CPU."""
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def amp_type(config: TrainConfig, device: torch.device) -> torch.dtype | None:
    """Return the narrow type that pays on this device, or None for float32 throughout."""
    if not config.use_amp:
        return None
    if device.type == "cuda":
        return torch.float16
    # Without these instructions torch emulates bfloat16, ten times slower than float32.
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    fast = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
    return torch.bfloat16 if device.type == "cpu" and fast else None


# --- one epoch ---------------------------------------------------------------------------------


def train_epoch(state: TrainState, data: PackedData, device: torch.device) -> Row:
    """Train and validate one epoch; nothing waits for the device between two steps."""
    began = time.perf_counter()
    epoch = state.epoch + 1
    torch.manual_seed(hash_seed(state.config.seed, epoch))
    state.model.train()
    steps = [
        train_step(state, batch.to(device), data.statistics)
        for batch in training_batches(data.train, state.config, epoch)
    ]
    losses = torch.stack(steps).cpu().numpy()  # (steps, 5): total, ttl, dp, cosine, gradient norm
    _refuse_divergence(losses[:, 0], epoch, state)
    trained = time.perf_counter()
    predicted = predict(state.model, data.val, crop_frames(state.config), device)
    scores = score(predicted, data.val.styles, data.statistics)
    if not math.isfinite(scores["loss"]):
        raise TrainingDiverged(
            f"the validation loss is {scores['loss']} after epoch {epoch}; {_calmer(state.config)}"
        )
    total, ttl, dp, cosine = (float(x) for x in losses[:, :4].mean(axis=0))
    norms = losses[np.isfinite(losses[:, 4]), 4]  # where fp16 overflowed, no step was taken
    return {
        "epoch": epoch,
        **{f"val_{name}": value for name, value in scores.items()},
        "train_loss": total,
        "train_ttl": ttl,
        "train_dp": dp,
        "train_cosine": 1 - cosine,
        "gradient_norm": float(norms.mean()) if len(norms) else 0.0,
        "learning_rate": state.schedule.get_last_lr()[0],
        "clips_per_s": len(data.train) / (trained - began),
        "seconds": time.perf_counter() - began,
    }


def hash_seed(seed: int, epoch: int) -> int:
    """Mix seed and epoch, so that seed 1 epoch 2 is not seed 2 epoch 1."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


def train_step(state: TrainState, batch: Batch, statistics: Statistics) -> Tensor:
    """Take one optimizer step; returns (5,) on the device: the losses and the gradient norm."""
    config, model = state.config, state.model
    features = augment(batch.features, config, model.mel_mean)
    loss = _loss(state, features, batch, statistics)
    state.scaler.scale(loss.total).backward()
    state.scaler.unscale_(state.optimizer)
    limit = config.gradient_clip or math.inf
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), limit)
    scale_before = state.scaler.get_scale()
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.optimizer.zero_grad(set_to_none=True)
    if state.scaler.get_scale() >= scale_before:  # else fp16 overflowed and the step was skipped
        state.schedule.step()
    return torch.stack([*loss, norm]).detach()


def _loss(state: TrainState, features: Tensor, batch: Batch, statistics: Statistics) -> StyleLoss:
    narrow = amp_type(state.config, features.device)
    with torch.autocast(features.device.type, narrow, enabled=narrow is not None):
        ttl, dp = state.model(features)
    predicted = (ttl.float(), dp.float())
    return style_loss(predicted, (batch.ttl, batch.dp), state.config, statistics)


def _refuse_divergence(losses: np.ndarray[Any, Any], epoch: int, state: TrainState) -> None:
    bad = ~np.isfinite(losses)
    if bad.any():
        raise TrainingDiverged(
            f"the loss is {losses[bad.argmax()]} at step {bad.argmax() + 1} of epoch {epoch}; "
            f"{_calmer(state.config)}"
        )


def _calmer(config: TrainConfig) -> str:
    clip = f"gradient_clip (now {config.gradient_clip:g}{'' if config.gradient_clip else ', off'})"
    return f"lower learning_rate (now {config.learning_rate:g}) or {clip}"


@torch.no_grad()
def predict(model: Encoder, pack: Pack, n_frames: int, device: torch.device) -> Styles:
    """Predict the style of every clip: the mean over the windows that cover it."""
    model.eval()
    ttl = torch.zeros(len(pack), *pack.styles.ttl.shape[1:], device=device)
    dp = torch.zeros(len(pack), *pack.styles.dp.shape[1:], device=device)
    counts = torch.zeros(len(pack), 1, 1, device=device)
    for features, owners in evaluation_windows(pack, n_frames):
        owner = torch.tensor(owners, device=device)
        window_ttl, window_dp = model(features.to(device))
        ttl.index_add_(0, owner, window_ttl)
        dp.index_add_(0, owner, window_dp)
        counts.index_add_(0, owner, torch.ones(len(owners), 1, 1, device=device))
    return Styles((ttl / counts).cpu().numpy(), (dp / counts).cpu().numpy())


# --- what a run leaves behind ------------------------------------------------------------------


def _write_metrics(path: Path, history: list[Row]) -> None:
    """Write all rows anew, so that the file never has an epoch twice or half a line."""
    lines = (json.dumps(row, allow_nan=False) + "\n" for row in history)
    write_whole(path, "".join(lines).encode())


@contextmanager
def _events(logs: Path, state: TrainState) -> Iterator[Callable[[Row], None]]:
    """Give a function that writes a row for TensorBoard, or does nothing if that is off."""
    if not state.config.use_tensorboard:
        yield lambda row: None
        return
    from torch.utils.tensorboard.writer import SummaryWriter

    # Epochs that an interrupted run wrote after its last checkpoint are hidden.
    with SummaryWriter(str(logs), purge_step=state.epoch + 1) as writer:
        yield lambda row: _write_scalars(writer, row)


def _write_scalars(writer: "SummaryWriter", row: Row) -> None:
    for name, value in row.items():
        if isinstance(value, float):
            split, _, kind = name.partition("_")
            tag = f"{split}/{kind}" if split in ("train", "val") else f"run/{name}"
            writer.add_scalar(tag, value, row["epoch"])
    writer.flush()
