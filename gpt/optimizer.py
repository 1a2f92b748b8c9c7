"""Optimizers on rows: every member has its own learning rates, decay, moments' decays and clip.

An update has two forms: in place, as fast as torch's own kernels are, for eager mode; and as a formula in tensors, for
a compiler.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from tunemax.gpt.config import TrainConfig
from tunemax.gpt.hardware import apart
from tunemax.gpt.parameters import KINDS, Kind

EPSILON = 1e-8
NORM_EPSILON = 1e-6
"""Added to the norm that a clip divides by, as torch.nn.utils.clip_grad_norm_ does."""


@dataclass(frozen=True)
class Rows:
    """All the numbers of K members that training changes."""

    theta: Tensor
    """Parameters, (K, P)."""
    first: Tensor
    """The optimizer's first moment, (K, P)."""
    second: Tensor
    """Its second moment, (K, P); zeros where it has none."""
    count: Tensor
    """Updates done so far, (K, 1)."""

    @classmethod
    def empty(cls, width: int, dtype: torch.dtype, device: torch.device) -> Rows:
        """No member yet, of this many parameters each."""
        none = torch.zeros(0, width, dtype=dtype, device=device)
        return cls(none, none, none, torch.zeros(0, 1, device=device))

    def __iter__(self) -> Iterator[Tensor]:
        yield from (self.theta, self.first, self.second, self.count)

    def __getitem__(self, rows: int | slice) -> Rows:
        """Some of the members, as views."""
        return Rows(*(each[rows] for each in self))

    def inserted(self, row: int, other: Rows) -> Rows:
        """A copy with the members of `other` put in before a place."""
        return Rows(*(_joined(own[:row], new.to(own), own[row:]) for own, new in zip(self, other, strict=True)))

    def without(self, row: int) -> Rows:
        """A copy without the member at a place."""
        return Rows(*(_joined(own[:row], own[row + 1 :]) for own in self))


def _joined(*parts: Tensor) -> Tensor:
    """Rows one below the other, on a CPU in memory of their own."""
    count, own = sum(map(len, parts)), parts[0]
    out = apart((count, *own.shape[1:]), own.dtype) if own.device.type == "cpu" else None
    return torch.cat(parts, out=out)


@dataclass(frozen=True)
class Update:
    """The numbers of one update of one member."""

    rates: Mapping[Kind, float]
    """Learning rate of each kind of columns."""
    decay: float
    """Decoupled weight decay, on matrices only."""
    beta1: float
    beta2: float
    clip: float
    """Largest norm of the gradient; 0 does not clip."""
    number: int
    """Which update of its member it is; the first is 1."""

    @classmethod
    def of(cls, values: Mapping[str, Any], rate: float, number: int) -> Update:
        """values: the active fields of a member as they are now. rate: its learning rate."""
        learnable = rate * values.get("variant_lr_ratio", 0.0)
        rates: dict[Kind, float] = {"matrix": rate, "vector": rate, "learnable": learnable}
        return cls(rates, values["weight_decay"], values["beta1"], values["beta2"], values["grad_clip"], number)


def clipped(grad: Tensor, limits: Tensor) -> tuple[Tensor, Tensor]:
    """As `clip_`, as a formula: the gradient after it, and the norms before. limits: (K,); infinite does not clip."""
    norms = grad.square().sum(1).sqrt()
    return grad * (limits / (norms + NORM_EPSILON)).clamp(max=1.0)[:, None], norms


def clip_(grad: Tensor, limits: Tensor) -> Tensor:
    """Scale each row of `grad` (K, P) in place to at most its limit (K,; 0 does not clip); the norms before, (K,).

    As torch.nn.utils.clip_grad_norm_, for each member by itself.
    """
    norms: Tensor = torch.linalg.vector_norm(grad, dim=1)
    scale = (limits / (norms + NORM_EPSILON)).clamp(max=1.0)
    grad.mul_(torch.where(limits > 0, scale, torch.ones_like(scale))[:, None])
    return norms


class Optimizer(ABC):
    """What moves the rows of members, given their gradients."""

    width: ClassVar[int]
    """How many coefficients an update has."""

    @abstractmethod
    def step_(self, rows: Rows, grad: Tensor, spans: Mapping[Kind, slice], updates: Sequence[Update]) -> None:
        """One update of rows in place, but for their count, by their gradient (K, P), clipped before.

        spans: the columns of each kind. updates: one a row.
        """

    @abstractmethod
    def coefficients(self, update: Update) -> tuple[float, ...]:
        """What `step` needs of an update, `width` numbers."""

    @abstractmethod
    def step(
        self, theta: Tensor, grad: Tensor, first: Tensor, second: Tensor, spans: Mapping[Kind, slice], steps: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The same as a formula: theta, first and second (K, P) after an update by a gradient that was clipped before.

        steps: (K, `width`), the coefficients of each member.
        """


class AdamW(Optimizer):
    """Loshchilov and Hutter, arXiv 1711.05101, algorithm 2."""

    width = len(KINDS) + 6

    def step_(self, rows: Rows, grad: Tensor, spans: Mapping[Kind, slice], updates: Sequence[Update]) -> None:
        """By the kernel of torch.optim.AdamW (`fused=True`), row by row: one pass over memory where a formula in
        tensors of (K, P) needs eight."""
        for row, update in enumerate(updates):
            for kind, columns in spans.items():
                torch._fused_adamw_(
                    [rows.theta[row, columns]],
                    [grad[row, columns]],
                    [rows.first[row, columns]],
                    [rows.second[row, columns]],
                    [],
                    [rows.count[row]],
                    lr=update.rates[kind],
                    beta1=update.beta1,
                    beta2=update.beta2,
                    weight_decay=update.decay if kind == "matrix" else 0.0,
                    eps=EPSILON,
                    amsgrad=False,
                    maximize=False,
                )

    def coefficients(self, update: Update) -> tuple[float, ...]:
        """The differences to 1 in double precision."""
        beta1, beta2 = update.beta1, update.beta2
        one, two = 1 - beta1**update.number, 1 - beta2**update.number
        rates = [update.rates[kind] / one for kind in KINDS]
        return (*rates, 1 - update.rates["matrix"] * update.decay, beta1, 1 - beta1, beta2, 1 - beta2, two**-0.5)

    def step(
        self, theta: Tensor, grad: Tensor, first: Tensor, second: Tensor, spans: Mapping[Kind, slice], steps: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        *rates, shrink, beta1, rest1, beta2, rest2, root = steps.unbind(1)
        first = first * beta1[:, None] + grad * rest1[:, None]
        second = second * beta2[:, None] + grad.square() * rest2[:, None]
        move = first / (second.sqrt() * root[:, None] + EPSILON)
        return moved(theta, move, rates, shrink, spans), first, second


def moved(theta: Tensor, move: Tensor, rates: Sequence[Tensor], shrink: Tensor, spans: Mapping[Kind, slice]) -> Tensor:
    """Theta (K, P) after a move (K, P) at the rate (K,) of each kind; matrices are multiplied by shrink (K,) first."""
    place = torch.arange(theta.shape[1], device=theta.device)
    rate, keep = rates[0][:, None], shrink[:, None]  # of matrices, which come first; (K, P) with what is behind them
    for kind, other in zip(KINDS[1:], rates[1:], strict=True):
        before = place < spans[kind].start
        rate, keep = torch.where(before, rate, other[:, None]), torch.where(before, keep, 1.0)
    return theta * keep - rate * move


def optimizer_of(train: TrainConfig) -> Optimizer:
    """The one that a configuration asks for."""
    return AdamW()
