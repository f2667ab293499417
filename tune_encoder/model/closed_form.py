"""A closed-form regression as a torch module; `data.closed_form` fits it.

Shapes: B batch, M mel bands, T frames, S statistics, L landmarks, K style components.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from tune_encoder.data.closed_form import KERNEL_WIDTH, ClosedForm, StyleComponents
from tune_encoder.data.voice_style import DP_SHAPE, TTL_SHAPE
from tune_encoder.data.window_statistics import window_statistics


class ClosedFormRegression(nn.Module):
    """Statistics of the features, standardised, then a linear map or a kernel to components."""

    center: Tensor
    scale: Tensor
    landmarks: Tensor
    ttl_mean: Tensor
    ttl_basis: Tensor
    dp_mean: Tensor
    dp_basis: Tensor

    def __init__(self, fitted: ClosedForm) -> None:
        super().__init__()
        buffers = {
            "center": fitted.center,
            "scale": fitted.scale,
            "landmarks": fitted.landmarks,
            "ttl_mean": fitted.ttl.mean,
            "ttl_basis": fitted.ttl.basis,
            "dp_mean": fitted.dp.mean,
            "dp_basis": fitted.dp.basis,
        }
        for name, value in buffers.items():
            self.register_buffer(name, torch.tensor(value, dtype=torch.float32))
        self.weight = nn.Parameter(torch.tensor(fitted.weights))
        self.bias = nn.Parameter(torch.tensor(fitted.bias))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map log-mel features (B, M, T) to `style_ttl` (B, 50, 256) and `style_dp` (B, 8, 16)."""
        inputs = (window_statistics(features) - self.center) / self.scale
        if len(self.landmarks):
            inputs = self._kernel(inputs)
        ttl, dp = (inputs @ self.weight + self.bias).split(
            [len(self.ttl_basis), len(self.dp_basis)], dim=1
        )
        return (
            self.ttl_mean + (ttl @ self.ttl_basis).unflatten(1, self.ttl_mean.shape),
            self.dp_mean + (dp @ self.dp_basis).unflatten(1, self.dp_mean.shape),
        )

    def _kernel(self, rows: Tensor) -> Tensor:
        """As `data.closed_form.gaussian_kernel`: (B, S) -> (B, L)."""
        squares = rows.square().sum(dim=1, keepdim=True) + self.landmarks.square().sum(dim=1)
        distances = (squares - 2 * rows @ self.landmarks.T).clamp(min=0)
        return torch.exp(-KERNEL_WIDTH / len(self.center) * distances)


def empty_regression(weights: Mapping[str, Tensor]) -> ClosedFormRegression:
    """Return a regression into which saved weights can be loaded.

    Raises:
        RuntimeError: if they are those of another module.
    """
    shapes = {name: np.zeros(tensor.shape, dtype=np.float32) for name, tensor in weights.items()}
    try:
        ttl = StyleComponents(np.zeros(TTL_SHAPE, np.float32), shapes["ttl_basis"])
        dp = StyleComponents(np.zeros(DP_SHAPE, np.float32), shapes["dp_basis"])
        names = ("center", "scale", "landmarks", "weight", "bias")
        center, scale, landmarks, weight, bias = (shapes[name] for name in names)
    except KeyError as error:
        raise RuntimeError(f"there is no {error} among the weights") from error
    return ClosedFormRegression(ClosedForm(center, scale, landmarks, weight, bias, ttl, dp, 0.0))
