"""SGD: along the gradient, with momentum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from tunemax.gpt.fields import Choices, Range, Value
from tunemax.gpt.optimizer.base import BY_ROLE, Rows, Update, WithMomentum, by_role, moved, runs
from tunemax.gpt.parameters import Columns

if TYPE_CHECKING:
    from torch import Tensor


class SGD(WithMomentum, name="sgd"):
    """m ← μ m + g; θ ← θ − η m, or, after Nesterov, θ − η (g + μ m). Decay is decoupled, as it is everywhere here."""

    source = "Sutskever et al., On the importance of initialization and momentum in deep learning, 2013"
    width = BY_ROLE + 3
    defaults: ClassVar[Mapping[str, Value]] = {"learning_rate": 0.5, "weight_decay": 1e-3}
    ranges: ClassVar[Mapping[str, Range | Choices]] = {
        "learning_rate": Range(0.05, 5.0, log=True),
        "weight_decay": Range(1e-5, 1e-2, log=True),
    }

    def step_(self, rows: Rows, grad: Tensor, columns: Columns, updates: Sequence[Update]) -> None:
        (first,) = rows.moments
        for row, update in enumerate(updates):
            momentum = update.values["momentum"]
            move = first[row].mul_(momentum).add_(grad[row])
            if update.values["nesterov"]:
                move = grad[row].add_(move, alpha=momentum)
            for span, rate, decay in runs(update, columns):
                rows.theta[row, span].mul_(1 - rate * decay).sub_(move[span], alpha=rate)

    def coefficients(self, update: Update) -> tuple[float, ...]:
        return (*by_role(update), *ahead(update.values["momentum"], update.values["nesterov"]))

    def step(
        self, theta: Tensor, grad: Tensor, moments: Sequence[Tensor], columns: Columns, steps: Tensor
    ) -> tuple[Tensor, ...]:
        move, first = with_momentum(grad, moments[0], steps[:, BY_ROLE:])
        return moved(theta, move, steps, columns), first


def ahead(momentum: float, nesterov: bool) -> tuple[float, float, float]:
    """For `with_momentum`: μ, and how much of the gradient and of the sum there is in a move."""
    return (momentum, 1.0, momentum) if nesterov else (momentum, 0.0, 1.0)


def with_momentum(grad: Tensor, first: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
    """The move, and the decayed sum of gradients after it, (K, P) each. steps: (K, 3)."""
    momentum, of_grad, of_sum = (number[:, None] for number in steps.unbind(1))
    first = first * momentum + grad
    return grad * of_grad + first * of_sum, first
