"""The state of a run: built before epoch 1, saved after each epoch, and resumed."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from inspect import unwrap

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from tune_encoder.config import (
    CLOSED_FORM,
    EncoderSettings,
    SettingValue,
    TrainConfig,
    complete_settings,
    to_mapping,
)
from tune_encoder.data.crops import steps_per_epoch
from tune_encoder.data.pack import PackedData
from tune_encoder.errors import StorageError
from tune_encoder.experiment.epoch_row import EpochRow
from tune_encoder.model.encoder import Encoder
from tune_encoder.system.damage import refuse_damage
from tune_encoder.training.checkpoints import State
from tune_encoder.training.initial_model import first_encoder
from tune_encoder.training.loss import StyleLoss

MAX_WARMUP_FRACTION = 0.5  # of the run, so that a short run still reaches its learning rate


class RunState(ABC):
    """What the training loop needs of a run's state, of one encoder or of several."""

    config: TrainConfig
    history: list[EpochRow]

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return len(self.history)

    @property
    def best(self) -> EpochRow | None:
        """The row with the lowest validation loss so far."""
        return min(self.history, key=lambda row: row["val_loss"], default=None)

    @property
    @abstractmethod
    def encoder(self) -> Encoder:
        """An encoder of the run, to measure."""

    @abstractmethod
    def state_dict(self) -> State:
        """Return the state as tensors and plain values, for `checkpoints.save_state`."""


@dataclass
class TrainState(RunState):
    """All that changes in training; anything else is not resumed."""

    config: TrainConfig
    data: dict[str, SettingValue]
    """The identity of the training data's pack."""
    model: Encoder
    optimizer: torch.optim.Optimizer
    schedule: LambdaLR
    scaler: torch.amp.GradScaler
    history: list[EpochRow] = field(default_factory=list)
    module: nn.Module = field(init=False)
    """The module to call in training: the model or one with its weights, or that wrapped in DDP."""
    targets: NDArray[np.float64] | None = field(init=False, default=None)
    """(V, K + 2) the `style_ttl` of each voice as `module` predicts it; None: as in the pack."""
    last_loss: StyleLoss | None = field(init=False, default=None)
    """Loss of the last step, for the progress bar."""

    def __post_init__(self) -> None:
        self.module = self.model

    @property
    def encoder(self) -> Encoder:
        return self.model

    def state_dict(self) -> State:
        return {
            "epoch": self.epoch,
            "config": to_mapping(self.config),
            "data": self.data,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "history": self.history,
        }

    def load_state_dict(self, state: State) -> None:
        """Load a checkpoint to resume training.

        Raises:
            StorageError: if it was trained on other data or has another architecture.
        """
        check_same_training(state, self.data)
        with refuse_damage(_not_its_state):
            self._load_weights(state)
            self.optimizer.load_state_dict(state["optimizer"])
            self.schedule.load_state_dict(state["schedule"])
            self.scaler.load_state_dict(state["scaler"])
        self.history = list(state["history"])

    def _load_weights(self, state: State) -> None:
        try:
            self.model.load_state_dict(state["model"])
        except RuntimeError as error:
            now = {name: getattr(self.config, name) for name in to_mapping(EncoderSettings())}
            reason = _difference(state["config"], now) or " ".join(str(error).split())[:300]
            raise StorageError(f"the checkpoint has another architecture: {reason}") from error


def _not_its_state(why: str) -> StorageError:
    return StorageError(f"the checkpoint is not one of this encoder ({why}); use an older one")


def check_same_training(state: State, data: Mapping[str, SettingValue]) -> None:
    """Raise a `StorageError` if a checkpoint was trained on other data or other folds."""
    before = complete_settings({"folds": None, **state["data"]})  # no folds: of one encoder
    now = complete_settings({"folds": None, **data})
    if difference := _difference(before, {name: now.get(name) for name in (*now, *before)}):
        raise StorageError(
            f"the checkpoint was trained on other data: {difference}; use the same data"
        )


def _difference(before: Mapping[str, object], now: Mapping[str, object]) -> str:
    """Describe which values have changed."""
    changed = {name: new for name, new in now.items() if before.get(name) != new}
    return ", ".join(f"{name} was {before.get(name)}, is {new}" for name, new in changed.items())


def is_finished(state: RunState) -> bool:
    """Whether the run has reached its last epoch or its early-stopping patience."""
    best, patience = state.best, state.config.early_stopping_patience
    out_of_patience = best is not None and patience > 0 and state.epoch - best["epoch"] >= patience
    n_epochs = 1 if state.config.encoder_type == CLOSED_FORM else state.config.epochs
    return out_of_patience or state.epoch >= n_epochs


def start_run(
    config: TrainConfig, data: PackedData, device: torch.device, checkpoint: State | None = None
) -> TrainState:
    """Build the initial state, into which the checkpoint fits; equal configs give equal weights."""
    torch.manual_seed(config.seed)
    model = first_encoder(config, data, checkpoint).to(device)
    optimizer = AdamW(
        model.parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    steps = steps_per_epoch(data.train.lengths, config)
    warmup = steps * min(config.warmup_epochs, MAX_WARMUP_FRACTION * config.epochs)
    schedule = LambdaLR(
        optimizer, lambda step: learning_rate_factor(step, warmup, steps * config.epochs)
    )
    scaler = torch.amp.GradScaler(
        device.type, enabled=autocast_dtype(config, device) == torch.float16
    )
    return TrainState(config, data.identity, model, optimizer, schedule, scaler)


def learning_rate_factor(step: int, warmup_steps: float, total_steps: int) -> float:
    """Return the fraction of the peak rate at a step, from 0: linear warm-up, cosine decay to 0.

    The factor of the first step is above 0; past the end it stays 0 instead of rising again.
    """
    if step < warmup_steps:
        return min(1.0, (step + 1) / (warmup_steps + 1))
    progress = (step - warmup_steps) / max(1.0, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def autocast_dtype(config: TrainConfig, device: torch.device) -> torch.dtype | None:
    """Return the autocast dtype that is fast on this device, or None for float32."""
    if not config.use_amp:
        return None
    if config.amp_dtype == "bfloat16":
        return torch.bfloat16
    if device.type == "cuda":
        return torch.float16
    # Without these CPU instructions torch emulates bfloat16, ten times slower than float32.
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    fast = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
    return torch.bfloat16 if device.type == "cpu" and fast else None


_TorchAdamW = torch.optim.AdamW


class AdamW(_TorchAdamW):
    """torch's AdamW without its decorators, which load `torch.compile` and SymPy needlessly.

    Loading them takes 1.5 s and 80 MB per process. `differentiable` has no effect.
    """

    add_param_group = unwrap(_TorchAdamW.add_param_group)
    zero_grad = unwrap(_TorchAdamW.zero_grad)
    state_dict = unwrap(_TorchAdamW.state_dict)
    load_state_dict = unwrap(_TorchAdamW.load_state_dict)
    step = torch.no_grad()(unwrap(_TorchAdamW.step))
