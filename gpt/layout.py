"""Where each parameter of a member lies in its row of `theta`, and its value at the start."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import torch
from torch import Tensor

from tunemax.gpt.config import Config
from tunemax.gpt.parameters import ROLES, Columns, Matrix, Parameter
from tunemax.gpt.random import generator
from tunemax.gpt.softmax import to_column


class Layout:
    """The columns of `theta` (K, P) for the parameters of one model, by role: matrices, vectors, learnables.

    Every row has one column a head for every learnable of every variant and layer, whichever variant the member has:
    rows of one bucket look alike. A learnable shared by a layer uses those of the first head; the columns that a
    member does not use stay zero, have zero gradient, and are left out of `used`.
    """

    def __init__(self, parameters: Iterable[Parameter]) -> None:
        self.parameters = tuple(sorted(parameters, key=lambda p: ROLES.index(p.role)))
        self._sizes = [p.size for p in self.parameters]
        self._learnables = [p for p in self.parameters if p.role == "scalar"]
        self.size = sum(self._sizes)
        widths = [sum(p.size for p in self.parameters if p.role == role) for role in ROLES]
        ends = itertools.accumulate(widths)
        self.spans = {role: slice(end - width, end) for role, width, end in zip(ROLES, widths, ends, strict=True)}
        """The columns of each role."""
        hidden = [p for p in self.parameters if p.role == "hidden"]
        self.columns = Columns(self.spans, tuple(Matrix(p.shape[0], p.blocks or p.shape[1:]) for p in hidden))
        """What an optimizer needs to know of them."""

    def split(self, rows: Tensor) -> dict[str, Tensor]:
        """Views by name, (K, *shape), of rows (K, P). One split: slices by name make backward ten times slower."""
        parts = torch.split(rows, self._sizes, dim=-1)
        return {p.name: part.view(*part.shape[:-1], *p.shape) for p, part in zip(self.parameters, parts, strict=True)}

    def start(self, config: Config) -> Tensor:
        """The initial row (P,) of a member, float32.

        Each parameter is drawn from (seed, its name), so members of different variants share what they have in common.
        """
        row = torch.zeros(self.size)
        views = self.split(row)
        for p in self.parameters:
            if p.shrink:
                std = config.initial_std(p.role) / p.shrink
                views[p.name].normal_(0.0, std, generator=generator(config.train.seed, "init", p.name))
            else:
                views[p.name].fill_(p.fill)
        softmax = config.softmax
        for field, form in softmax.learned().items():
            self.learnable(row[self.spans["scalar"]], config, field).fill_(to_column(getattr(softmax, field), form))
        return row

    def learnable(self, columns: Tensor, config: Config, field: str) -> Tensor:
        """A view of what a variant uses for its learnable, in learnable columns (..., columns): (..., L, H or 1), or
        (..., L, H or 1, n) of one of n numbers."""
        fields = [p.field for p in self._learnables]
        name = f"{config.softmax.name}.{field}"
        place = fields.index(name)
        layers, parameter = fields.count(name), self._learnables[place]
        begin = sum(p.size for p in self._learnables[:place])
        of_field = columns.view(*columns.shape[:-1], layers, -1)[..., begin : begin + parameter.size]
        by_head = of_field.view(*of_field.shape[:-1], *parameter.shape)  # (..., L, H), or (..., L, H, n)
        return by_head.narrow(of_field.dim() - 1, 0, parameter.shape[0] if config.softmax.per_head else 1)

    def used(self, config: Config) -> dict[str, slice]:
        """The parameters that a member of this configuration trains, and which part of each."""
        learned = {f"{config.softmax.name}.{field}" for field in config.softmax.learned()}
        return {
            p.name: self._part(config) if p.role == "scalar" else slice(None)
            for p in self.parameters
            if p.role != "scalar" or p.field in learned
        }

    def _part(self, config: Config) -> slice:
        """Which part of a learnable's columns is used: one for each head, or the first for all."""
        return slice(None) if config.softmax.per_head else slice(1)
