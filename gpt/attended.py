"""Where a member looks: attention as shares of what each query gives out, their maps, and their entropy."""

from __future__ import annotations

import torch
from torch import Tensor

from tunemax.gpt.probe import by_head
from tunemax.gpt.softmax import Variant
from tunemax.gpt.tokenizers import Ids
from tunemax.gpt.trainer import Member, Trainer


def entropies(trainer: Trainer, member: Member, windows: Ids) -> Tensor:
    """Entropy of attention in nats, (L, H): the mean over the queries of windows (n, T + 1), T up to the context.

    Of the sizes of a query's weights over their sum, since not every variant gives weights that add up to 1, and some
    give negative ones; queries that give out nothing do not count. ln of the keys it sees is the most it can be, and 0
    is a query that looks at one key. A sink is a key. Of a head with several softmaxes it is the mean of these.
    """
    sums = queries = torch.zeros(())
    for _, layers in trainer.passes([member], windows, _entropy, at_once=_at_once(trainer)):
        of_pass = [torch.stack([layer[which][0] for layer in layers]) for which in (0, 1)]  # (L, H) each
        sums, queries = sums + of_pass[0], queries + of_pass[1]
    return by_head((sums / queries.clamp_min(1))[None], member.config.attention.softmaxes(trainer.model))[0]


def maps(trainer: Trainer, member: Member, window: Ids) -> Tensor:
    """Attention weights of one window (T + 1,), (L, H, T, T), as the variant gives them. Of a head with several
    softmaxes the mean; a sink is left out."""
    T = len(window) - 1
    ((_, layers),) = trainer.passes([member], window[None], _weights)
    weights = torch.stack([layer[0][0, 0] for layer in layers])[None, ..., :T]  # (1, L, S, T, T)
    return by_head(weights, member.config.attention.softmaxes(trainer.model))[0].cpu()


def _at_once(trainer: Trainer) -> int:
    """Windows of one pass: what it looks at has T² numbers a head and window."""
    return max(1, 2**22 // (trainer.model.block_size**2 * trainer.model.n_head))


def _entropy(variant: Variant, logits: Tensor, mask: Tensor) -> list[Tensor]:
    """Sums of the entropies of queries, and how many count, (k, H) each, of logits (k, B, H, T, T)."""
    sizes = variant.weights(logits, mask).double().abs()
    given = sizes.sum(-1, keepdim=True)
    shares = sizes / given.where(given > 0, 1.0)
    entropy = torch.special.entr(shares).sum(-1)  # (k, B, H, T)
    counted = (given[..., 0] > 0).double()
    return [(entropy * counted).sum((1, 3)).cpu(), counted.sum((1, 3)).cpu()]


def _weights(variant: Variant, logits: Tensor, mask: Tensor) -> list[Tensor]:
    return [variant.weights(logits, mask).float()]
