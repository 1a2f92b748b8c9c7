"""Muon: hidden matrices move by the nearest orthogonal matrix to their momentum, all else by AdamW."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tunemax.gpt.fields import Choices, Range, Value, setting
from tunemax.gpt.lazy import torch
from tunemax.gpt.optimizer.adamw import AdamW, adamw_, adamw_coefficients, adamw_move
from tunemax.gpt.optimizer.base import BY_ROLE, Averaging, Rows, Update, WithMomentum, moved, runs
from tunemax.gpt.optimizer.sgd import ahead, with_momentum
from tunemax.gpt.parameters import ROLES, Columns, Matrix

if TYPE_CHECKING:
    from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of a step of Newton–Schulz, as Jordan et al. chose them: singular values go to about 1, within 0.3, and fast."""
ITERATIONS = 5
RMS = 0.2
"""Root mean square of a move, at a rate of 1: about that of AdamW's (arXiv 2502.16982, section 2.2)."""
SMALLEST = 1e-12
"""Norm of a matrix up to which it is taken for 0."""
HIDDEN = ROLES.index("hidden")
OTHERS = tuple(role for role in ROLES if role != "hidden")


class Muon(WithMomentum, Averaging, name="muon"):
    """Jordan et al., 2024: momentum, Nesterov's, then five steps of Newton–Schulz on each hidden matrix.

    Embeddings, output, vectors and scalars move by AdamW. Queries, keys and values are a matrix each. All matrices of
    one shape, of all layers and members, and those that have it turned around, are one batch of products.
    """

    source = "Jordan et al., Muon: an optimizer for hidden layers in neural networks, 2024"
    moments = AdamW.moments
    multiplies = True
    scratch = 5
    width = AdamW.width + 3
    defaults: ClassVar[Mapping[str, Value]] = {"learning_rate": 1e-2, "momentum": 0.95}
    ranges: ClassVar[Mapping[str, Range | Choices]] = {"learning_rate": Range(2e-3, 6e-2, log=True)}

    muon_scale: Literal["rms", "spectral"] = setting(
        "rms",
        "size of a move of a hidden matrix: rms, 0.2 √max(inputs, outputs), so that AdamW's rates carry over; or "
        "spectral, √max(1, outputs / inputs)",
        search=Choices(("rms", "spectral")),
        shared=True,
    )
    adamw_lr_ratio: float = setting(
        1.0,
        "learning rate of what Muon leaves to AdamW (all but hidden matrices), relative to learning_rate",
        ge=0,
        le=1e4,
        search=Range(0.1, 10, log=True),
    )

    def canonical(self, config: Any) -> Mapping[str, Value]:
        """Where AdamW moves nothing, it does not matter how."""
        if self.adamw_lr_ratio:
            return {}
        ratios = type(config.train).model_fields
        by_role = {f"{role}_{what}_ratio" for role in OTHERS for what in ("lr", "decay")} & ratios.keys()
        return {
            **{name: field.default for name, field in Averaging.model_fields.items()},
            **{name: ratios[name].default for name in (*by_role, "variant_lr_ratio")},
        }

    def step_(self, rows: Rows, grad: Tensor, columns: Columns, updates: Sequence[Update]) -> None:
        hidden = columns.spans["hidden"]
        first = rows.moments[0]
        move = grad[:, hidden]
        for row, update in enumerate(updates):
            momentum = update.values["momentum"]
            total = first[row, hidden].mul_(momentum).add_(move[row])
            if update.values["nesterov"]:
                move[row].add_(total, alpha=momentum)
            else:
                move[row].copy_(total)
        move = self.orthogonal(move, columns.matrices)
        for row, update in enumerate(updates):
            rate, decay = update.rates["hidden"], update.decays["hidden"]
            rows.theta[row, hidden].mul_(1 - rate * decay).sub_(move[row], alpha=rate)
            own, update = rows[row], _by_adamw(update)
            for span, rate, decay in runs(update, columns, OTHERS):
                adamw_(own, grad[row], span, rate, decay, update)

    def coefficients(self, update: Update) -> tuple[float, ...]:
        momentum = ahead(update.values["momentum"], update.values["nesterov"])
        numbers = list(adamw_coefficients(_by_adamw(update)))
        numbers[HIDDEN] = update.rates["hidden"]  # without AdamW's correction for the first updates
        return (*numbers, *momentum)

    def step(
        self, theta: Tensor, grad: Tensor, moments: Sequence[Tensor], columns: Columns, steps: Tensor
    ) -> tuple[Tensor, ...]:
        start, end = columns.spans["hidden"].start, columns.spans["hidden"].stop
        pieces = []
        for span in (slice(0, start), slice(end, theta.shape[1])):
            pieces.append(adamw_move(grad[:, span], [m[:, span] for m in moments], steps[:, BY_ROLE : AdamW.width]))
        move, first = with_momentum(grad[:, start:end], moments[0][:, start:end], steps[:, AdamW.width :])
        pieces.insert(1, (self.orthogonal(move, columns.matrices), first, moments[1][:, start:end]))
        move, first, second = (torch.cat(parts, dim=1) for parts in zip(*pieces, strict=True))
        return moved(theta, move, steps, columns), first, second

    @property
    def width_exponent(self) -> float | None:
        """By `spectral` a move changes what a layer computes as much at every width, by `rms` √width times as much."""
        return 0.0 if self.muon_scale == "spectral" else 0.5

    def orthogonal(self, hidden: Tensor, matrices: Sequence[Matrix]) -> Tensor:
        """The move of hidden columns (K, ·), given their momentum."""
        sizes = [matrix.rows * sum(matrix.blocks) for matrix in matrices]
        whole = [
            torch.split(piece.view(-1, matrix.rows, sum(matrix.blocks)), list(matrix.blocks), dim=2)
            for matrix, piece in zip(matrices, torch.split(hidden, sizes, dim=1), strict=True)
        ]
        parts = [part for pieces in whole for part in pieces]  # (K, inputs, outputs) each
        moves = list(parts)
        shapes = [tuple(sorted(part.shape[1:])) for part in parts]
        for shape in dict.fromkeys(shapes):
            alike = [place for place, other in enumerate(shapes) if other == shape]
            turned = [place for place in alike if tuple(parts[place].shape[1:]) != shape]
            stack = torch.stack([parts[place].mT if place in turned else parts[place] for place in alike], dim=1)
            done = newton_schulz(stack.flatten(0, 1)).view_as(stack)  # (K, matrices, rows ≤ columns)
            for place, move in zip(alike, done.unbind(1), strict=True):
                inputs, outputs = parts[place].shape[1:]
                moves[place] = (move.mT if place in turned else move) * self.size(inputs, outputs)
        back = iter(moves)
        beside = [[next(back) for _ in pieces] for pieces in whole]
        # Inductor takes a cat of one for nothing, and then cannot flatten what is turned
        return torch.cat([(b[0] if len(b) == 1 else torch.cat(b, dim=2)).flatten(1) for b in beside], dim=1)

    def size(self, inputs: int, outputs: int) -> float:
        """What an orthogonal matrix is multiplied with to be a move."""
        if self.muon_scale == "spectral":
            return math.sqrt(max(1.0, outputs / inputs))
        return RMS * math.sqrt(max(inputs, outputs))


def _by_adamw(update: Update) -> Update:
    """With the rates of what AdamW moves."""
    ratio = update.values["adamw_lr_ratio"]
    rates = {role: rate if role == "hidden" else rate * ratio for role, rate in update.rates.items()}
    return replace(update, rates=rates)


def newton_schulz(x: Tensor) -> Tensor:
    """Nearly the nearest matrices to x (N, rows ≤ columns) whose rows are orthogonal and of length 1; 0 of 0."""
    a, b, c = COEFFICIENTS
    x = x / x.square().sum((1, 2), keepdim=True).sqrt().clamp(min=SMALLEST)
    for _ in range(ITERATIONS):
        square = torch.bmm(x, x.mT)
        x = a * x + torch.bmm(b * square + c * torch.bmm(square, square), x)
    return x
