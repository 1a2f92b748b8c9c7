"""Softmax1: a row may attend to nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tunemax.gpt.fields import Choices, Control, Range, setting
from tunemax.gpt.lazy import F, torch
from tunemax.gpt.softmax.base import Form, Variant, Work
from tunemax.gpt.softmax.numerics import lowered, masked_softmax, number, wide

if TYPE_CHECKING:
    from torch import Tensor


class Softmax1(Variant, name="softmax1", aliases=("softmax_one", "off_by_one")):
    """e^x / (obo + Σ e^x) over the row (Miller, Attention is off by one, 2023).

    Computed as the softmax times Σ / (obo + Σ), with the sum in log form: no logit can overflow, so there is no guard.
    """

    source = "Miller, Attention is off by one, 2023"
    formula = "e^x / (obo + Σ e^x)"
    work = Work(exponentials=1, divisions=1, reductions=2)
    positive = True

    obo: float = setting(
        1.0,
        "the weight of attending to nothing",
        ge=1e-6,
        le=1e6,
        search=Range(0.1, 10, log=True),
        control=Control("multiplicative", 1e-3, 1e3),
        learnable=True,
    )
    learn_obo: bool = setting(False, "SGD moves obo from its start, in log form", search=Choices((False, True)))
    sharing: Literal["layer", "head"] = setting(
        "layer",
        "one learned obo a layer, or one a head",
        when={"learn_obo": (True,)},
        search=Choices(("layer", "head")),
    )

    def weights(self, logits: Tensor, mask: Tensor) -> Tensor:
        x = wide(logits)
        log_sum = torch.logsumexp(lowered(x, mask), dim=-1, keepdim=True)
        # torch.sigmoid rounds by an element's place in memory
        share = F.logsigmoid(log_sum - number(self.obo, x).log()).exp()
        return (masked_softmax(x, mask) * share).to(logits.dtype)

    def learned(self) -> dict[str, Form]:
        return {"obo": "log"} if self.learn_obo else {}
