"""What attention really does: row maxima, denominators and more of a member, measured on a fixed batch."""

from __future__ import annotations

import math
import weakref
from collections.abc import Collection, MutableMapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from tunemax.gpt.softmax import Variant
from tunemax.gpt.trainer import Member, Trainer

STANDS_FOR = {"beta": "row_max", "gamma": "denominator"}
"""Learnable → the measured quantity that it replaces."""
WINDOWS = 8
"""Windows of the probe batch: the first of the tuning slice."""
WEIGHT_EDGES = np.linspace(-8, 4, 241)
"""Powers of ten between which attention weights are counted; what lies outside, 0 too, goes to the outermost bins."""


@dataclass(frozen=True)
class Probe:
    """Means over the rows of the probe batch, (L, H) each, for one member.

    row_max: the largest allowed logit of a row; what constantmax's β stands for.
    denominator: Σ e^(x − row_max) over the allowed keys; what constantmax's γ stands for.
    row_sum: the sum of a row's weights, 1 for a normalised variant.
    guarded: the share of allowed entries at which the variant's guard acted.
    learnables: the variant's learnables, (L, H) or (L, 1).
    weights: how many attention weights of allowed keys lie in each bin of WEIGHT_EDGES, (L, H, bins), if the member's
        configuration asks for `tensorboard_histograms`.

    Of a head with several softmaxes they are means over these. A sink counts as a key.
    """

    row_max: Tensor
    denominator: Tensor
    row_sum: Tensor
    guarded: Tensor
    learnables: dict[str, Tensor] = field(default_factory=dict)
    weights: Tensor | None = None


class Probes:
    """What was last measured of each member. Members that are evaluated at one iteration are measured together."""

    def __init__(self) -> None:
        self._known: MutableMapping[Member, tuple[int, Probe]] = weakref.WeakKeyDictionary()

    def of(self, trainer: Trainer, member: Member) -> Probe:
        """What is true of a member of this trainer where it is now."""
        known = self._known.get(member)
        if known is None or known[0] != member.iteration:
            together = {other for other in trainer.members if other is member or other.evaluation_due}
            self._known.update({other: (other.iteration, found) for other, found in probe(trainer, together).items()})
        return self._known[member][1]


def probe(trainer: Trainer, members: Collection[Member] | None = None) -> dict[Member, Probe]:
    """Measure some members of a trainer, or all. Training is not affected."""
    members = [member for member in trainer.members if members is None or member in members]
    if not members:
        return {}
    counted = any(member.config.log.tensorboard_histograms for member in members)

    def measures(variant: Variant, logits: Tensor, mask: Tensor) -> list[Tensor]:
        return [measure.cpu() for measure in _measures(variant, logits, mask, counted)]

    windows = trainer.corpus.windows("tuning", trainer.model.block_size, WINDOWS)
    ((_, layers),) = trainer.passes(members, windows, measures)
    softmaxes = members[0].config.attention.softmaxes(trainer.model)
    row_max, denominator, row_sum, guarded, *counts = (
        by_head(torch.stack(of_layers, dim=1), softmaxes)
        for of_layers in zip(*layers, strict=True)  # (K, L, H), the counts (K, L, H, bins)
    )
    found = {}
    for row, member in enumerate(members):
        means = row_max[row], denominator[row], row_sum[row], guarded[row]
        weights = counts[0][row] if member.config.log.tensorboard_histograms else None
        found[member] = Probe(*means, trainer.learnables(member), weights)
    return found


def by_head(measure: Tensor, softmaxes: Sequence[int] | None) -> Tensor:
    """Means of (K, L, S, …) over the softmaxes of each head, (K, L, H, …)."""
    if softmaxes is None:
        return measure
    return torch.stack([of_head.mean(2) for of_head in torch.split(measure, list(softmaxes), dim=2)], dim=2)


def _measures(variant: Variant, logits: Tensor, mask: Tensor, counted: bool) -> list[Tensor]:
    """Row maxima, denominators, row sums, guarded shares of logits (k, B, H, T, T), (k, H); counts, (k, H, bins)."""
    allowed = logits.masked_fill(~mask, -math.inf)
    maxima = allowed.amax(-1)  # (k, B, H, T)
    denominators = (allowed - maxima[..., None]).exp().sum(-1)
    weights = variant.weights(logits, mask)
    guarded = variant.guarded(logits, mask).sum((1, 3, 4)) / (mask.sum() * logits.shape[1])
    found = [maxima.mean((1, 3)), denominators.mean((1, 3)), weights.sum(-1).mean((1, 3)), guarded]
    return [*found, _counts(weights, mask)] if counted else found


def _counts(weights: Tensor, mask: Tensor) -> Tensor:
    """How many weights of allowed keys lie in each bin, (k, H, bins), from weights (k, B, H, T, T)."""
    low, high, bins = float(WEIGHT_EDGES[0]), float(WEIGHT_EDGES[-1]), len(WEIGHT_EDGES) - 1
    heads = weights.transpose(1, 2)[..., mask]  # (k, H, B, allowed entries)
    powers = heads.float().abs().clamp_min(10.0**low).log10().clamp(low, high)
    return torch.stack([torch.stack([head.histc(bins, low, high) for head in member]) for member in powers])
