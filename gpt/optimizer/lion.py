"""Lion: steps of one size, by the sign of a mean of gradients, and no second moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from tunemax.gpt.fields import Choices, Range, Value
from tunemax.gpt.lazy import torch
from tunemax.gpt.optimizer.base import BY_ROLE, Averaging, Rows, Update, by_role, moved, runs
from tunemax.gpt.parameters import Columns

if TYPE_CHECKING:
    from torch import Tensor


class Lion(Averaging, name="lion"):
    """Chen et al., arXiv 2302.06675, algorithm 2."""

    source = "Chen et al., Symbolic discovery of optimization algorithms, arXiv 2302.06675, algorithm 2"
    width = BY_ROLE + 4
    defaults: ClassVar[Mapping[str, Value]] = {"learning_rate": 2e-3, "weight_decay": 0.5}
    ranges: ClassVar[Mapping[str, Range | Choices]] = {
        "learning_rate": Range(2e-4, 8e-3, log=True),
        "weight_decay": Range(1e-2, 5.0, log=True),
    }

    def canonical(self, config: Any) -> Mapping[str, Value]:
        """Where the mean has no share in a step, it does not matter how it is taken."""
        return {} if self.beta1 else {"beta2": type(self).model_fields["beta2"].default}

    def step_(self, rows: Rows, grad: Tensor, columns: Columns, updates: Sequence[Update]) -> None:
        (first,) = rows.moments
        for row, update in enumerate(updates):
            beta1, beta2 = update.values["beta1"], update.values["beta2"]
            move = torch.lerp(grad[row], first[row], beta1).sign_()
            for span, rate, decay in runs(update, columns):
                rows.theta[row, span].mul_(1 - rate * decay).sub_(move[span], alpha=rate)
            first[row].lerp_(grad[row], 1 - beta2)

    def coefficients(self, update: Update) -> tuple[float, ...]:
        beta1, beta2 = update.values["beta1"], update.values["beta2"]
        return (*by_role(update), beta1, 1 - beta1, beta2, 1 - beta2)

    def step(
        self, theta: Tensor, grad: Tensor, moments: Sequence[Tensor], columns: Columns, steps: Tensor
    ) -> tuple[Tensor, ...]:
        (first,) = moments
        beta1, rest1, beta2, rest2 = (number[:, None] for number in steps[:, BY_ROLE:].unbind(1))
        move = (first * beta1 + grad * rest1).sign()
        return moved(theta, move, steps, columns), first * beta2 + grad * rest2

    @property
    def width_exponent(self) -> float | None:
        return 1.0
