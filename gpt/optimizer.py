"""AdamW on rows: every member has its own learning rates, decay, moments' decays and clip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from gpt.layout import Kind

EPSILON = 1e-8


@dataclass(frozen=True)
class Update:
    """The numbers of one update of one member."""

    rates: Mapping[Kind, float]
    """Learning rate of each kind of columns."""
    decay: float
    """Decoupled weight decay, on matrices only."""
    beta1: float
    beta2: float


def clip_(grad: Tensor, limits: Tensor) -> Tensor:
    """Scale each row of `grad` (K, P) to at most its limit (K,; 0 does not clip), in place. Returns the norms before, (K,).

    As torch.nn.utils.clip_grad_norm_, for each member by itself.
    """
    norms: Tensor = torch.linalg.vector_norm(grad, dim=1)
    scale = (limits / (norms + 1e-6)).clamp(max=1.0)
    grad.mul_(torch.where(limits > 0, scale, torch.ones_like(scale))[:, None])
    return norms


def adamw_(
    theta: Tensor, grad: Tensor, first: Tensor, second: Tensor, count: Tensor, spans: Mapping[Kind, slice], updates: list[Update]
) -> None:
    """One update of theta (K, P) in place (Loshchilov and Hutter, arXiv 1711.05101, algorithm 2).

    first, second: the moments (K, P). count: updates done so far (K, 1). spans: the columns of each kind. updates: one a row.
    The kernel is torch.optim.AdamW's own (`fused=True`), row by row: one pass over memory where a formula in tensors of
    (K, P) needs eight.
    """
    count += 1
    for row, update in enumerate(updates):
        for kind, columns in spans.items():
            torch._fused_adamw_(
                [theta[row, columns]],
                [grad[row, columns]],
                [first[row, columns]],
                [second[row, columns]],
                [],
                [count[row]],
                lr=update.rates[kind],
                beta1=update.beta1,
                beta2=update.beta2,
                weight_decay=update.decay if kind == "matrix" else 0.0,
                eps=EPSILON,
                amsgrad=False,
                maximize=False,
            )
