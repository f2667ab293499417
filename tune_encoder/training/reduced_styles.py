"""Training with K + 2 numbers of a `style_ttl` instead of 12,800, where the head has a fixed basis.

Such a head predicts within the span of the mean voice and K components. In an orthonormal basis of
that span a predicted style has K + 1 coordinates. A true one has one more, the length of what lies
outside; there every prediction is 0. Lengths, distances and products of the two are those of whole
styles, and so are losses and gradients.

Shapes: V unique styles, K components, D numbers of a style_ttl.
"""

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from tune_encoder.data.pack import Pack
from tune_encoder.data.scores import Array
from tune_encoder.model.heads import JointHead, PcaMap, PooledHead
from tune_encoder.training.state import TrainState

_BLOCK = 128  # voices projected at once, in 13 MB


def reduce_styles(state: TrainState, pack: Pack) -> None:
    """Have a state train on the reduced styles of a pack, if its head has a fixed basis.

    The basis is that of the state's weights, so those of a checkpoint must be loaded before.
    """
    shared = [*state.model.parameters(), *state.model.buffers()]
    module = copy.deepcopy(state.model, {id(tensor): tensor for tensor in shared})
    axes = _reduce_head(getattr(module, "head", None))  # the closed form has no head
    if axes is not None:
        state.module = module
        state.targets = _targets(pack.unique_styles.ttl, axes)


def _reduce_head(head: nn.Module | None) -> Tensor | None:
    """Have a head predict a reduced style_ttl; return the axes (D, K + 1) of its span."""
    if isinstance(head, JointHead):
        ttl, dp = head.basis.split([head.ttl_mean.numel(), head.dp_mean.numel()], dim=1)
        axes = _axes(head.ttl_mean, ttl)
        head.ttl_mean = _coordinates(head.ttl_mean.flatten(), axes)
        head.basis = torch.cat([_coordinates(ttl, axes), dp], dim=1)
        return axes
    if isinstance(head, PooledHead) and isinstance(head.ttl, PcaMap):
        axes = _axes(head.ttl.mean, head.ttl.basis)
        head.ttl.mean = _coordinates(head.ttl.mean.flatten(), axes)
        head.ttl.basis = _coordinates(head.ttl.basis, axes)
        return axes
    return None


def _axes(mean: Tensor, basis: Tensor) -> Tensor:
    """An orthonormal basis (D, K + 1) of the span of mean and basis (K, D), in float64."""
    rows = torch.cat([mean.flatten()[None], basis])
    axes: Tensor = torch.linalg.qr(rows.cpu().double().T).Q
    return axes


def _coordinates(rows: Tensor, axes: Tensor) -> Tensor:
    """Coordinates (..., K + 2) of rows (..., D) that lie in the span."""
    return F.pad(rows.cpu().double() @ axes, (0, 1)).to(rows)


def _targets(ttl: Array, axes: Tensor) -> NDArray[np.float64]:
    """Coordinates (V, K + 2) of styles (V, 50, 256) that need not lie in the span."""
    blocks = []
    for start in range(0, len(ttl), _BLOCK):
        rows = torch.from_numpy(ttl[start : start + _BLOCK]).flatten(1).double()
        within = rows @ axes
        outside = rows.norm(dim=1).square() - within.norm(dim=1).square()
        blocks.append(torch.cat([within, outside.clamp(min=0).sqrt()[:, None]], dim=1))
    return torch.cat(blocks).numpy()
