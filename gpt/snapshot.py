"""All there is to a member, by name: out of the rows of a trainer, and back into those of any other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor

from tunemax.gpt.config import Config
from tunemax.gpt.divergence import Stability
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.feedback.fields import Feedback
from tunemax.gpt.feedback.writing import Pool
from tunemax.gpt.layout import Layout
from tunemax.gpt.optimizer import Rows

POOL = "feedback"
"""The tensor of a pool."""


@dataclass(frozen=True)
class Snapshot:
    """All there is to a member, by name: enough to go on elsewhere, bit for bit."""

    config: Config
    values: Mapping[str, Any]
    iteration: int
    tensors: Mapping[str, Tensor] = field(repr=False)
    """`theta/NAME` for every parameter in use, `first/NAME` and whatever else its optimizer keeps of it, and `count`;
    on the CPU. `feedback`, if it draws from a pool: its windows, (n, T + 1)."""
    arithmetic: str = ""
    """How it was trained, as `Trainer.arithmetic_of` says it; empty where nobody knows."""
    stability: Stability = field(default_factory=Stability)
    notes: Mapping[str, Any] = field(default_factory=dict)
    """Whatever whoever keeps it wants to have beside it, as JSON can hold it."""

    @property
    def weights(self) -> Self:
        """The same without what its optimizer keeps: a third of it, and all that writes a text."""
        return replace(self, tensors={name: value for name, value in self.tensors.items() if name.startswith("theta/")})

    def begun(self, config: Config) -> Self:
        """These weights at the beginning of a training of this configuration, whose optimizer knows nothing yet."""
        return type(self)(config, config.held(), 0, self.weights.tensors)

    def rows(self, layout: Layout, dtype: torch.dtype) -> Rows:
        """The rows of one member, (1, P) each. At iteration 0 its weights are enough. Raises TunemaxError if names or
        shapes are not its configuration's."""
        used, kinds = layout.used(self.config), ("theta", *self.config.optimizer.moments)
        there = {name: tensor for name, tensor in self.tensors.items() if name != POOL}
        if not self.iteration and there.keys() <= {f"theta/{name}" for name in used}:
            for name, tensor in list(there.items()):
                there |= {name.replace("theta", kind, 1): torch.zeros_like(tensor) for kind in kinds[1:]}
            there["count"] = torch.zeros(1)
        expected = {"count"} | {f"{kind}/{name}" for kind in kinds for name in used}
        count = there.get("count", torch.empty(0))
        if there.keys() != expected:
            odd = sorted(there.keys() ^ expected)[0]
            model = f"a {self.config.softmax.name} model of this shape, trained by {self.config.optimizer.name}"
            raise TunemaxError(f"snapshot: parameter {odd} does not belong to {model}")
        if count.shape != (1,) or float(count) != self.iteration:
            raise TunemaxError(
                f"snapshot: count {count.tolist()} does not go with iteration {self.iteration}; use another copy"
            )
        rows = torch.zeros(len(kinds), 1, layout.size, dtype=dtype)
        for kind, row in zip(kinds, rows, strict=True):
            views = layout.split(row[0])
            for name, columns in used.items():
                tensor, into = there[f"{kind}/{name}"], views[name][columns]
                if tensor.shape != into.shape:
                    raise TunemaxError(
                        f"snapshot: {name} has shape {list(tensor.shape)}, this configuration needs {list(into.shape)}"
                    )
                into.copy_(tensor)
        return Rows(rows[0], tuple(rows[1:]), count[None])

    def pool(self, vocab_size: int) -> Pool | None:
        """What the member has written itself and draws from here. Raises TunemaxError for what cannot be that."""
        windows, own = self.tensors.get(POOL), self.config.feedback
        if windows is None:
            return None
        shape, length = tuple(windows.shape), self.config.model.block_size + 1
        fits = len(shape) == 2 and shape[1] == length and 0 < shape[0] <= own.feedback_pool
        if not fits or windows.dtype != torch.int32:
            expected = f"expected at most {own.feedback_pool} windows of {length} whole numbers"
            raise TunemaxError(f"snapshot: {POOL} has shape {list(shape)} of {windows.dtype}, {expected}")
        if windows.min() < 0 or windows.max() >= vocab_size:
            raise TunemaxError(f"snapshot: {POOL} has tokens that are none of this data's {vocab_size}")
        return Pool(self.iteration // own.feedback_every * own.feedback_every, windows.long())


def pooled(pool: Pool | None, iteration: int, own: Feedback) -> dict[str, Tensor]:
    """The tensor of a member's pool, if it draws from it at this iteration."""
    there = pool is not None and pool.holds(iteration, own.feedback_every)
    return {POOL: pool.windows.int()} if pool is not None and there else {}


def by_name(row: Rows, layout: Layout, config: Config) -> dict[str, Tensor]:
    """The tensors of a snapshot from the row (P,) of a member of this configuration; copies."""
    used = layout.used(config)
    tensors = {"count": row.count.cpu().clone()}
    for kind, numbers in zip(("theta", *config.optimizer.moments), row, strict=False):  # the count is not by name
        views = layout.split(numbers)
        tensors |= {f"{kind}/{name}": views[name][columns].cpu().clone() for name, columns in used.items()}
    return tensors
