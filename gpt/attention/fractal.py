"""Fractal attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tunemax.gpt.attention.groups import Groups
from tunemax.gpt.fields import Choices, Value, setting
from tunemax.gpt.lazy import torch
from tunemax.gpt.shape import Shape

if TYPE_CHECKING:
    from torch import Tensor


class Fractal(Groups, name="fractal"):
    """Head i = 0 … H − 1 is cut into sⁱ slices, each of which attends by itself.

    A slice has its own softmax over its part of queries and keys, and takes its part of the values; products are
    divided by the root of the whole head's width. Parameters and products are those of ordinary attention with as
    many heads as wide; softmaxes are more. Each head shares what it has learned (of a variant, a sink, a scale) among
    its slices. Rotary positions turn neighbours, so that a slice has whole pairs.
    """

    fractal_split: int = setting(
        2, "s: head i is cut into s^i slices", ge=2, le=64, search=Choices((2, 4)), shared=True
    )

    def check(self, shape: Shape) -> None:
        super().check(shape)
        width, slices = self.head_width(shape), self.slices(shape)[-1]
        if width % slices or width < 2 * slices:
            raise ValueError(
                f"fractal_split = {self.fractal_split} cuts the last of n_head = {shape.n_head} heads into "
                f"{slices} slices of two numbers or more, but a head's width is {width}; choose fewer heads, or a "
                f"head_dim that is a multiple of {2 * slices}"
            )

    def canonical(self, config: Any) -> Mapping[str, Value]:
        alone: Mapping[str, Value] = {"attention": "multi_head"} if config.model.n_head == 1 else {}
        return {**super().canonical(config), **alone}

    def slices(self, shape: Shape) -> list[int]:
        """Into how many each head is cut."""
        return [self.fractal_split**head for head in range(shape.n_head)]

    def softmaxes(self, shape: Shape) -> Sequence[int] | None:
        return self.slices(shape) if shape.n_head > 1 else None  # the first head is not cut

    def logits(self, q: Tensor, k: Tensor, shape: Shape) -> Tensor:
        K, B, H, T, _ = q.shape
        S = k.shape[-2]
        if H == 1:
            return super().logits(q, k, shape)
        products = []
        for head, slices in enumerate(self.slices(shape)):
            queries, keys = _cut(q[:, :, head], slices), _cut(k[:, :, head * k.shape[2] // H], slices)
            products.append(torch.bmm(queries, keys.mT).reshape(K, B, slices, T, S))
        return torch.cat(products, dim=2)

    def mixed(self, weights: Tensor, v: Tensor, shape: Shape) -> Tensor:
        K, B, G, S, D = v.shape
        T = weights.shape[-2]
        counts = self.slices(shape)
        if len(counts) == 1:
            return super().mixed(weights, v, shape)
        heads = []
        for head, of_head in enumerate(torch.split(weights, counts, dim=2)):
            slices = counts[head]
            out = torch.bmm(of_head.reshape(-1, T, S), _cut(v[:, :, head * G // len(counts)], slices))
            heads.append(out.reshape(K, B, slices, T, D // slices).transpose(2, 3).reshape(K, B, T, D))
        return torch.stack(heads, dim=2)


def _cut(x: Tensor, slices: int) -> Tensor:
    """A head (K, B, T, D) in slices, each of which stands for itself: (K·B·slices, T, D / slices)."""
    T, D = x.shape[-2:]
    return x.reshape(*x.shape[:-1], slices, D // slices).transpose(2, 3).reshape(-1, T, D // slices)
