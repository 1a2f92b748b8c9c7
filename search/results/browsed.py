"""Models to be looked into: where they look, what weights they give, what they write, as they came to be."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from tunemax.gpt import checkpoint
from tunemax.gpt.attended import maps
from tunemax.gpt.config import Config
from tunemax.gpt.data import Corpus
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.paths import KEPT
from tunemax.gpt.probe import STANDS_FOR
from tunemax.gpt.sample import Choice
from tunemax.gpt.softmax import Variant
from tunemax.search.results.history import History, Values, history
from tunemax.search.results.texts import BOLDNESS, Writer
from tunemax.search.results.trained import Trained, find

SHOWN = 24
"""Tokens whose attention is shown."""
MOMENTS = 5
"""Of a training, at the most."""
KEYS = 32
"""In the row of the key whose weight is shown."""
LOGITS = tuple(step / 4 for step in range(-24, 25))
"""Of that key; the others are at 0."""
OVER_LAYERS = re.compile(r"softmax/layer(\d+)/(\w+)")


@dataclass(frozen=True)
class Glance:
    """What is asked of each: the text that is read (empty: the beginning of the test slice), how many tokens of it are
    shown, and how many are written behind it, of which seed."""

    prompt: str = ""
    tokens: int = SHOWN
    length: int = 80
    temperature: float = BOLDNESS
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Moment:
    """A model as it was at an iteration. tokens: that it reads. attention: (L, H, T, T). text: what it writes then."""

    iteration: int
    tokens: tuple[str, ...]
    attention: torch.Tensor
    text: str


@dataclass(frozen=True, eq=False)
class Browsed:
    """One training. moments: of all weights that are kept of it, in order.

    learnables: by name and layer, iteration → value, with what each stands for, such as `row_max`, where that was
    logged. weights: by iteration, for each layer, the weight of a key at LOGITS among KEYS − 1 others at 0.
    """

    name: str
    config: Config
    moments: tuple[Moment, ...]
    learnables: Mapping[str, Mapping[int, Values]]
    weights: Mapping[int, tuple[tuple[float, ...], ...]]


def browsed(words: Sequence[str], glance: Glance | None = None, where: str | None = None) -> list[Browsed]:
    """Look into everything that some words name. Raises TunemaxError for none, for what `find` refuses, and for a text
    that a model cannot read."""
    glance = glance or Glance()
    if not words:
        raise TunemaxError("browse needs a run, a trial, a candidate or a checkpoint; name one or more")
    if glance.tokens < 2:
        raise TunemaxError(f"tokens = {glance.tokens}: expected a whole number ≥ 2, a token and one that sees it")
    return [_browsed(find(word, where), glance) for word in dict.fromkeys(words)]


def kept(trained: Trained) -> list[Trained]:
    """All weights that are kept of a training, in the order of iterations; the last ones are its own."""
    last = trained.where()
    if trained.folder is None:
        return [trained]
    own = checkpoint.heading(last).iteration
    found = {own: trained}
    for path in sorted(trained.folder.glob(KEPT)):
        at = checkpoint.heading(path).iteration
        if at < own:
            found[at] = Trained(f"{trained.name} at {at}", trained.fields, partial(Path, path))
    return [found[at] for at in sorted(found)]


def _browsed(trained: Trained, glance: Glance) -> Browsed:
    every, logged = kept(trained), history(trained)
    chosen = [every[place] for place in _spread(len(every))]
    moments = tuple(_moment(each, glance) for each in chosen)
    config = Config.stored(trained.fields)
    learnables = _by_layer(logged, config)
    return Browsed(trained.name, config, moments, learnables, _weights(config, learnables))


def _spread(count: int, most: int = MOMENTS) -> list[int]:
    """Places among so many, evenly spread, first and last among them."""
    if count <= most:
        return list(range(count))
    return sorted({round(place * (count - 1) / (most - 1)) for place in range(most)})


def _moment(trained: Trained, glance: Glance) -> Moment:
    trainer, member = trained.member()
    corpus, T = trainer.corpus, trainer.model.block_size
    given = glance.prompt or _beginning(corpus, min(glance.tokens, T))
    writer = Writer.at(trainer, member, given.encode())
    shown = writer.prompt[: min(glance.tokens, T)]
    if len(shown) < 2:
        raise TunemaxError(f"prompt: {given!r} is one token, which sees nothing before it; give a longer one")
    window = torch.cat((torch.from_numpy(shown), torch.tensor(shown[-1:]))).numpy()  # the last is a target only
    pieces = writer.written(glance.length, Choice(glance.temperature), 1, glance.seed)
    text = "".join(piece for (piece,) in pieces)
    tokens = tuple(corpus.decode([token]) for token in shown)
    return Moment(
        checkpoint.heading(trained.where()).iteration, tokens, maps(trainer, member, window), f"{given}{text}"
    )


def _beginning(corpus: Corpus, tokens: int) -> str:
    """Of the test slice; whole characters."""
    return corpus.decode(corpus.slices["test"][:tokens]).rstrip("�")


def _by_layer(logged: History, config: Config) -> dict[str, dict[int, Values]]:
    """The learnables, and what they stand for, by layer."""
    names = list(config.softmax.learned())
    wanted = {*names, *(STANDS_FOR[name] for name in names if name in STANDS_FOR)}
    found: dict[str, dict[int, Values]] = {}
    for tag, values in logged.values.items():
        match = OVER_LAYERS.fullmatch(tag)
        if match and match[2] in wanted:
            found.setdefault(match[2], {})[int(match[1])] = values
    return {name: dict(sorted(layers.items())) for name, layers in found.items()}


def _weights(
    config: Config, learnables: Mapping[str, Mapping[int, Values]]
) -> dict[int, tuple[tuple[float, ...], ...]]:
    """The weight of a key by its logit, at moments at which the learnables are known; of what learns nothing, once."""
    softmax = config.softmax
    own = {name: learnables[name] for name in softmax.learned() if name in learnables}
    if len(own) < len(softmax.learned()) or not own:
        return {} if softmax.learned() else {0: (_curve(softmax),)}
    steps = sorted(set.intersection(*(set(values) for layers in own.values() for values in layers.values())))
    layers = range(config.model.n_layer)
    return {
        steps[place]: tuple(
            _curve(softmax.bind({name: torch.tensor(values[layer][steps[place]]) for name, values in own.items()}))
            for layer in layers
        )
        for place in _spread(len(steps))
    }


def _curve(variant: Variant) -> tuple[float, ...]:
    logits = torch.zeros(len(LOGITS), KEYS)
    logits[:, 0] = torch.tensor(LOGITS)
    weights = variant.weights(logits, torch.ones(1, KEYS, dtype=torch.bool))
    return tuple(weights[:, 0].tolist())
