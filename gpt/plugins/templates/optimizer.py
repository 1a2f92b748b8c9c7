"""Template: what it is for, in a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from tunemax.gpt.fields import Range, Value, setting
from tunemax.gpt.optimizer.base import BY_ROLE, Optimizer, Rows, Update, by_role, moved, runs
from tunemax.gpt.parameters import Columns

if TYPE_CHECKING:
    from torch import Tensor

__version__ = "1"


class Template(Optimizer, name="template"):
    """θ ← θ − η m / √(m² + ε), where m is a mean of gradients: the size of a step hardly depends on that of m."""

    source = "where the formula comes from"
    width = BY_ROLE + 2
    defaults: ClassVar[Mapping[str, Value]] = {"learning_rate": 2e-3}

    template_decay: float = setting(0.9, "decay of the mean of gradients", ge=0, lt=1, search=Range(0.8, 0.98))

    def step_(self, rows: Rows, grad: Tensor, columns: Columns, updates: Sequence[Update]) -> None:
        """In place, row by row."""
        (first,) = rows.moments
        for row, update in enumerate(updates):
            mean = first[row].lerp_(grad[row], 1 - update.values["template_decay"])
            move = mean / (mean.square() + EPSILON).sqrt()
            for span, rate, decay in runs(update, columns):
                rows.theta[row, span].mul_(1 - rate * decay).sub_(move[span], alpha=rate)

    def coefficients(self, update: Update) -> tuple[float, ...]:
        """The numbers of an update that `step` needs."""
        decay = update.values["template_decay"]
        return (*by_role(update), decay, 1 - decay)

    def step(
        self, theta: Tensor, grad: Tensor, moments: Sequence[Tensor], columns: Columns, steps: Tensor
    ) -> tuple[Tensor, ...]:
        """The same as a formula, for a compiler: theta (K, P), steps (K, width)."""
        kept, new = (number[:, None] for number in steps[:, BY_ROLE:].unbind(1))
        mean = moments[0] * kept + grad * new
        return moved(theta, mean / (mean.square() + EPSILON).sqrt(), steps, columns), mean


EPSILON = 1e-10
