"""AdamW: each number by the mean of its gradients over the root of the mean of their squares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tunemax.gpt.lazy import torch
from tunemax.gpt.optimizer.base import BY_ROLE, Averaging, Rows, Update, by_role, moved, runs
from tunemax.gpt.parameters import Columns

if TYPE_CHECKING:
    from torch import Tensor

EPSILON = 1e-8


class AdamW(Averaging, name="adamw"):
    """Loshchilov and Hutter, arXiv 1711.05101, algorithm 2."""

    source = "Loshchilov and Hutter, Decoupled weight decay regularization, arXiv 1711.05101, algorithm 2"
    moments = ("first", "second")
    width = BY_ROLE + 5

    def step_(self, rows: Rows, grad: Tensor, columns: Columns, updates: Sequence[Update]) -> None:
        """By the kernel of torch.optim.AdamW (`fused=True`), row by row: one pass over memory where a formula in
        tensors of (K, P) needs eight."""
        for row, update in enumerate(updates):
            own = rows[row]
            for span, rate, decay in runs(update, columns):
                adamw_(own, grad[row], span, rate, decay, update)

    def coefficients(self, update: Update) -> tuple[float, ...]:
        return adamw_coefficients(update)

    def step(
        self, theta: Tensor, grad: Tensor, moments: Sequence[Tensor], columns: Columns, steps: Tensor
    ) -> tuple[Tensor, ...]:
        move, first, second = adamw_move(grad, moments, steps[:, BY_ROLE:])
        return moved(theta, move, steps, columns), first, second

    @property
    def width_exponent(self) -> float | None:
        return 1.0


def adamw_(row: Rows, grad: Tensor, span: slice, rate: float, decay: float, update: Update) -> None:
    """Move some columns of the row of one member, given its gradient (P,)."""
    first, second = row.moments
    torch._fused_adamw_(
        [row.theta[span]],
        [grad[span]],
        [first[span]],
        [second[span]],
        [],
        [row.count],
        lr=rate,
        beta1=update.values["beta1"],
        beta2=update.values["beta2"],
        weight_decay=decay,
        eps=EPSILON,
        amsgrad=False,
        maximize=False,
    )


def adamw_coefficients(update: Update) -> tuple[float, ...]:
    """For `moved`, then for `adamw_move`: the differences to 1 in double precision."""
    beta1, beta2 = update.values["beta1"], update.values["beta2"]
    one, two = 1 - beta1**update.number, 1 - beta2**update.number
    return (*by_role(update, one), beta1, 1 - beta1, beta2, 1 - beta2, two**-0.5)


def adamw_move(grad: Tensor, moments: Sequence[Tensor], steps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The move, and both moments after it, (K, P) each. steps: (K, 5)."""
    beta1, rest1, beta2, rest2, root = steps.unbind(1)
    first = moments[0] * beta1[:, None] + grad * rest1[:, None]
    second = moments[1] * beta2[:, None] + grad.square() * rest2[:, None]
    return first / (second.sqrt() * root[:, None] + EPSILON), first, second
