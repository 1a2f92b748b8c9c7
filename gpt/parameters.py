"""The parameters of a member, as the parts of the model that use them declare them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["matrix", "vector", "learnable"]
"""matrix: has weight decay. vector: biases and norms, no decay. learnable: a variant's scalars, own learning rate."""
KINDS: tuple[Kind, ...] = get_args(Kind)

Role = Literal["input", "hidden", "output", "vector", "scalar"]
"""What a parameter is to a model's width: a matrix to it, from it to itself or from it; a vector along it; neither."""
KIND_OF: Mapping[Role, Kind] = {"vector": "vector", "scalar": "learnable"}  # all others are matrices


@dataclass(frozen=True)
class Parameter:
    """One named tensor of a member, as the part of the model that uses it declares it.

    Its initial value is normal with the configuration's `init_std`, divided by `shrink`; `fill` everywhere if that is
    0; or what a configuration says of `field`, the flat name of a variant's learnable. A learnable has shape (H,), the
    same fields in each layer. A matrix may be several side by side: `blocks` says how many columns each of them has.
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

    @property
    def kind(self) -> Kind:
        return KIND_OF.get(self.role, "matrix")
