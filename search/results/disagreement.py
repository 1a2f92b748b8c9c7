"""Where two models disagree: tokens that one knows and the other does not, in the text in which they stand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tunemax.gpt.data import Corpus
from tunemax.gpt.evaluation import SPAN
from tunemax.gpt.forced import Forced
from tunemax.gpt.tokenizers import Ids

BEFORE = 32
"""Tokens of the text that are shown in front of a token."""


@dataclass(frozen=True)
class Example:
    """A token that one of two models knows.

    place: where it stands in its slice. before: the text in front of it. token: itself. guesses: what each held for the
    likeliest, the first model's first. losses: in nats.
    """

    place: int
    before: str
    token: str
    guesses: tuple[str, str]
    losses: tuple[float, float]


@dataclass(frozen=True)
class Disagreement:
    """Of two models: shares of targets whose likeliest token is right for both, one or none of them."""

    both: float
    first: float
    """Only for the first."""
    second: float
    neither: float
    examples: tuple[tuple[Example, ...], tuple[Example, ...]]
    """That only the first knows, and only the second: those on which their losses are furthest apart, one a span."""


def disagreements(corpus: Corpus, part: str, first: Forced, second: Forced, count: int) -> Disagreement:
    """Of two readings of the same targets of a slice; so many examples of either side, at most.

    They may stand in another order, as windows of other contexts do.
    """
    one, two = (_ordered(each) for each in (first, second))
    assert np.array_equal(first.places[one], second.places[two])
    knows, others = first.ranks[one] == 0, second.ranks[two] == 0
    examples = tuple(
        _examples(corpus, part, (first, one), (second, two), np.flatnonzero(only), sign, count)
        for only, sign in ((knows & ~others, 1), (others & ~knows, -1))
    )
    return Disagreement(
        both=float((knows & others).mean()),
        first=float((knows & ~others).mean()),
        second=float((others & ~knows).mean()),
        neither=float((~knows & ~others).mean()),
        examples=(examples[0], examples[1]),
    )


def _ordered(read: Forced) -> Ids:
    found: Ids = np.argsort(read.places, kind="stable")
    return found


def _examples(
    corpus: Corpus,
    part: str,
    first: tuple[Forced, Ids],
    second: tuple[Forced, Ids],
    among: Ids,
    sign: int,
    count: int,
) -> tuple[Example, ...]:
    (one, at), (two, there) = first, second
    apart = sign * (two.losses[there] - one.losses[at])[among]
    found: dict[int, Example] = {}  # by span: what stands side by side tells the same twice
    for target in among[np.argsort(-apart, kind="stable")].tolist():
        place = int(one.places[at[target]])
        if len(found) == count or place // SPAN in found:
            continue
        tokens = corpus.slices[part]
        guesses = (int(one.guesses[at[target]]), int(two.guesses[there[target]]))
        found[place // SPAN] = Example(
            place=place,
            before=corpus.decode(tokens[max(0, place - BEFORE) : place]),
            token=corpus.decode(tokens[place : place + 1]),
            guesses=(corpus.decode([guesses[0]]), corpus.decode([guesses[1]])),
            losses=(float(one.losses[at[target]]), float(two.losses[there[target]])),
        )
    return tuple(found.values())
