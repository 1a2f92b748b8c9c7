"""The parameters of a member, as the parts of the model that use them declare them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Role = Literal["input", "hidden", "output", "vector", "scalar"]
"""What a parameter is to a model's width: a matrix to it, from it to itself, or from it; a vector along it, such as a
bias, or anything small; a variant's own number, which is a learnable."""
ROLES: tuple[Role, ...] = get_args(Role)
"""In the order of a row: matrices, vectors, learnables."""
MATRICES: tuple[Role, ...] = ("input", "hidden", "output")


@dataclass(frozen=True)
class Parameter:
    """One named tensor of a member, as the part of the model that uses it declares it.

    Its initial value is normal with the configuration's `init_std`, divided by `shrink`; `fill` everywhere if that is
    0; or what a configuration says of `field`, the flat name of a variant's learnable. A learnable has shape (H,), or
    (H, n) if it is n numbers, the same fields in each layer. A matrix may be several side by side: `blocks` says how
    many columns each of them has.
    """

    name: str
    shape: tuple[int, ...]
    role: Role
    shrink: float = 0.0
    fill: float = 0.0
    field: str = ""
    blocks: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Matrix:
    """A hidden parameter, (rows, sum of blocks). Its blocks are matrices by themselves that lie side by side, as those
    of queries, keys and values do."""

    rows: int
    blocks: tuple[int, ...]


@dataclass(frozen=True)
class Columns:
    """Those of `theta` (K, P), as an optimizer sees them."""

    spans: Mapping[Role, slice]
    matrices: tuple[Matrix, ...] = ()
    """Of the hidden ones, one behind the other."""
