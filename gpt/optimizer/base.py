"""The contract of an optimizer, the rows that it moves, and the registry of all of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tunemax.gpt.fields import Above, Choices, Range, Value, setting
from tunemax.gpt.hardware import apart
from tunemax.gpt.lazy import torch
from tunemax.gpt.parameters import MATRICES, ROLES, Columns, Role
from tunemax.gpt.parts import Part

if TYPE_CHECKING:
    from torch import Tensor

NORM_EPSILON = 1e-6
"""Added to the norm that a clip divides by, as torch.nn.utils.clip_grad_norm_ does."""

Moment = Literal["first", "second"]
"""What an optimizer remembers of gradients: a mean of them, and one of their squares."""


@dataclass(frozen=True)
class Rows:
    """All the numbers of K members that training changes."""

    theta: Tensor
    """Parameters, (K, P)."""
    moments: tuple[Tensor, ...]
    """What the optimizer keeps of each of them, (K, P), in the order of `Optimizer.moments`."""
    count: Tensor
    """Updates done so far, (K, 1)."""

    @classmethod
    def begin(cls, theta: Tensor, moments: int) -> Rows:
        """Members that have not been trained, with so many moments."""
        rest = tuple(torch.zeros_like(theta) for _ in range(moments))
        return cls(theta, rest, torch.zeros(len(theta), 1, device=theta.device))

    def __iter__(self) -> Iterator[Tensor]:
        yield from (self.theta, *self.moments, self.count)

    def __getitem__(self, rows: int | slice) -> Rows:
        """Some of the members, as views."""
        return _rows([each[rows] for each in self])

    def inserted(self, row: int, other: Rows) -> Rows:
        """A copy with the members of `other` put in before a place."""
        return _rows([_joined(own[:row], new.to(own), own[row:]) for own, new in zip(self, other, strict=True)])

    def without(self, row: int) -> Rows:
        """A copy without the member at a place."""
        return _rows([_joined(own[:row], own[row + 1 :]) for own in self])


def _rows(tensors: Sequence[Tensor]) -> Rows:
    theta, *moments, count = tensors
    return Rows(theta, tuple(moments), count)


def _joined(*parts: Tensor) -> Tensor:
    """Rows one below the other, on a CPU in memory of their own."""
    count, own = sum(map(len, parts)), parts[0]
    out = apart((count, *own.shape[1:]), own.dtype) if own.device.type == "cpu" else None
    return torch.cat(parts, out=out)


@dataclass(frozen=True)
class Update:
    """The numbers of one update of one member."""

    rates: Mapping[Role, float]
    """Learning rate of each role."""
    decays: Mapping[Role, float]
    """Decoupled weight decay of each: what a parameter loses in an update, relative to it, is this times the rate."""
    clip: float
    """Largest norm of the gradient; 0 does not clip."""
    number: int
    """Which update of its member it is; the first is 1."""
    values: Mapping[str, Any]
    """The active fields of the member as they are now: an optimizer reads its own."""

    @classmethod
    def of(cls, values: Mapping[str, Any], rate: float, number: int, hidden: float = 1.0) -> Update:
        """values: the active fields of a member as they are now. rate: its learning rate. hidden: how much smaller the
        rate of hidden matrices is at this width, and larger their decay, so that the product of both stays."""
        decay, ratio = values["weight_decay"], values.get
        rates: dict[Role, float] = {
            "input": rate * ratio("input_lr_ratio", 1.0),
            "hidden": rate * hidden,
            "output": rate * ratio("output_lr_ratio", 1.0),
            "vector": rate * ratio("vector_lr_ratio", 1.0),
            "scalar": rate * ratio("variant_lr_ratio", 0.0),
        }
        decays: dict[Role, float] = {
            "input": decay * ratio("input_decay_ratio", 1.0),
            "hidden": decay / hidden,
            "output": decay * ratio("output_decay_ratio", 1.0),
            "vector": decay * ratio("vector_decay_ratio", 0.0),
            "scalar": 0.0,
        }
        return cls(rates, decays, values["grad_clip"], number, values)


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


class Optimizer(Part, field="optimizer", noun="optimizer"):
    """What moves the rows of members, given their gradients.

    An update has two forms: in place, as fast as torch's own kernels are, for eager mode; and as a formula in tensors,
    for a compiler. Every number of an update is a member's own. Whatever has no gradient and no decay stays where it
    is: rows have columns that their member does not use. The contract tests run over every kind.
    """

    group = "training"
    by_member = True
    source: ClassVar[str]
    """Where the formula comes from."""
    moments: ClassVar[tuple[Moment, ...]] = ("first",)
    """What it keeps of each parameter."""
    multiplies: ClassVar[bool] = False
    """Whether an update has products of hidden matrices."""
    scratch: ClassVar[int] = 1
    """Numbers of each parameter that come and go in an update, roughly."""
    width: ClassVar[int]
    """How many coefficients an update has."""
    defaults: ClassVar[Mapping[str, Value]] = {}
    """Fields whose default is another one with it."""
    ranges: ClassVar[Mapping[str, Range | Choices]] = {}
    """The same of the range in which a study searches by default."""

    @abstractmethod
    def step_(self, rows: Rows, grad: Tensor, columns: Columns, updates: Sequence[Update]) -> None:
        """One update of rows in place, but for their count, by their gradient (K, P), clipped before; it may be
        overwritten. updates: one a row."""

    @abstractmethod
    def coefficients(self, update: Update) -> tuple[float, ...]:
        """What `step` needs of an update, `width` numbers."""

    @abstractmethod
    def step(
        self, theta: Tensor, grad: Tensor, moments: Sequence[Tensor], columns: Columns, steps: Tensor
    ) -> tuple[Tensor, ...]:
        """The same as a formula: theta and the moments (K, P) after an update by a gradient that was clipped before.

        steps: (K, `width`), the coefficients of each member.
        """

    @property
    def width_exponent(self) -> float | None:
        """With muP the learning rate of hidden matrices goes with the width to the power of minus this, so that what a
        layer learns in an update is the same at every width; None if nobody has said."""
        return None


class Averaging(Optimizer):
    """One that keeps a mean of gradients."""

    beta1: float = setting(
        0.9,
        "decay of the mean of gradients; of Lion, its share in the direction of a step",
        ge=0,
        lt=1,
        search=Range(0.8, 0.98),
    )
    beta2: float = setting(
        0.99,
        "decay of the mean of squared gradients; of Lion, of the mean of gradients",
        ge=0,
        lt=1,
        search=Range(0.9, 0.999),
    )


class WithMomentum(Optimizer):
    """One that adds up gradients."""

    momentum: float = setting(0.9, "decay of the sum of gradients", ge=0, lt=1, search=Range(0.8, 0.98))
    nesterov: bool = setting(
        True,
        "look ahead: the gradient comes on top of the decayed sum",
        when={"momentum": Above(0)},  # else there is no sum
        inert_as=True,
        search=Choices((True, False)),
    )


# ---------------------------------------------------------------------------------- what several of them are made of

BY_ROLE = 2 * len(ROLES)
"""Coefficients of `by_role`."""


def by_role(update: Update, over: float = 1.0) -> list[float]:
    """For `moved`: of each role the rate, divided by `over`, then what is left of a parameter after its decay."""
    rates = [update.rates[role] / over for role in ROLES]
    return rates + [1 - update.rates[role] * update.decays[role] for role in ROLES]


def moved(theta: Tensor, move: Tensor, steps: Tensor, columns: Columns) -> Tensor:
    """Theta (K, P) after its decay and a move (K, P) at the rate of each role. steps: (K, `BY_ROLE`)."""
    place = torch.arange(theta.shape[1], device=theta.device)
    rate = keep = None  # (K, P) with what is behind the first role
    for index, role in enumerate(ROLES):
        span = columns.spans[role]
        if span.start == span.stop:
            continue
        own, left = steps[:, index, None], steps[:, len(ROLES) + index, None]
        if rate is None or keep is None:
            rate, keep = own, left
        else:
            before = place < span.start
            rate, keep = torch.where(before, rate, own), torch.where(before, keep, left)
    assert rate is not None
    assert keep is not None
    return theta * keep - rate * move


def runs(update: Update, columns: Columns, roles: Sequence[Role] = ROLES) -> list[tuple[slice, float, float]]:
    """The columns of some roles with their rate and decay; neighbouring matrices that have the same of both are one
    piece, since each piece is a call."""
    pieces: list[tuple[slice, float, float]] = []
    for role in roles:
        span, numbers = columns.spans[role], (update.rates[role], update.decays[role])
        if span.start == span.stop:
            continue
        if role in MATRICES and pieces and pieces[-1][1:] == numbers and pieces[-1][0].stop == span.start:
            span = slice(pieces.pop()[0].start, span.stop)
        pieces.append((span, *numbers))
    return pieces
