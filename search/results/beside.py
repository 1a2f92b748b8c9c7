"""Models side by side: what each of them expects of the same text, where they disagree, and what they write."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tunemax.gpt import checkpoint
from tunemax.gpt.attended import entropies
from tunemax.gpt.config import Config
from tunemax.gpt.cost import Cost
from tunemax.gpt.data import Corpus
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.forced import Forced, even_windows, forced
from tunemax.gpt.plugins import PluginRecord
from tunemax.gpt.probe import STANDS_FOR, probe
from tunemax.gpt.sample import Choice
from tunemax.gpt.trainer import Member, Trainer
from tunemax.search.results.disagreement import Disagreement, disagreements
from tunemax.search.results.history import History, history
from tunemax.search.results.paired import Paired, paired
from tunemax.search.results.sides import Named, Text, named, text
from tunemax.search.results.texts import BOLDNESS, Writer
from tunemax.search.results.trained import Trained

TOKENS = 32768
"""Bytes of text that are read, where nothing else is asked for."""
LOOKED_AT = 8192
"""Of the windows by position, tokens whose attention is looked at."""
WRITTEN = 80
"""Tokens that each writes behind a prompt."""
EXAMPLES = 4
"""Tokens of either side that are shown where two disagree."""


@dataclass(frozen=True)
class Asked:
    """What is asked of all sides.

    part: the slice that is read. tokens: bytes of it, 0 for all. k: of the top-k accuracy. dataset: to read in place of
    their own text. prompts: to go on from; without any, the beginning of the slice. length, temperature, seed: of what
    is written. examples: of disagreements.
    """

    part: str = "test"
    tokens: int = TOKENS
    k: int = 5
    dataset: str | None = None
    prompts: tuple[bytes, ...] = ()
    length: int = WRITTEN
    temperature: float = BOLDNESS
    seed: int = 0
    examples: int = EXAMPLES


@dataclass(frozen=True, eq=False)
class Model:
    """One run, as it was read."""

    name: str
    config: Config
    parameters: int
    iteration: int
    tokens: int
    """It was trained on, as iteration and cost say; of one that was trained on, since then."""
    flops: float
    read: Forced
    """Of targets that are the same for every batch, context and tokenizer."""
    placed: Forced
    """Of windows that begin at the same places for all."""
    bits_a_byte: float
    guarded: float
    """The share of attention entries at which the variant's guard acts, of all layers and heads."""
    entropy: tuple[float, ...]
    """Of attention in nats, by layer: the mean over heads."""
    keys: int
    """That a query of the entropy sees at most."""
    learnables: Mapping[str, tuple[float, ...]]
    """By layer, means over heads; what a learnable stands for, such as `row_max`, is among them as measured."""
    tunemax: str
    """The version that has written its weights; empty if that is not known."""
    plugins: tuple[PluginRecord, ...] = ()

    @property
    def seed(self) -> int:
        return self.config.train.seed


@dataclass(frozen=True, eq=False)
class Side:
    """What stands behind one name: a model, or one for each seed; with what it has written behind each prompt."""

    name: str
    models: tuple[Model, ...]
    texts: tuple[str, ...]
    tokens_per_s: float
    """Written a second, here and now."""
    histories: tuple[History, ...] = ()
    """Of each model."""
    studied: tuple[str, str] | None = None
    """Of a confirmed candidate: the question that confirms it, and its study."""

    @property
    def first(self) -> Model:
        return self.models[0]


@dataclass(frozen=True, eq=False)
class Beside:
    """All sides. alike: whether they have the same tokens, so that losses and accuracies a token can be compared."""

    asked: Asked
    text: Text
    sides: tuple[Side, ...]
    prompts: tuple[str, ...]
    disagreements: tuple[Disagreement, ...] = ()
    """Of every other side with the first."""
    paired: tuple[Paired, ...] = ()
    """Of every other side with the first, where both have several seeds."""
    bytes: int = 0
    """Of text that were read."""
    notes: tuple[str, ...] = field(default=())
    """What somebody who reads it should know."""

    @property
    def alike(self) -> bool:
        return self.text.alike

    @property
    def first(self) -> Side:
        return self.sides[0]


def beside(words: Sequence[str], asked: Asked | None = None, where: str | None = None) -> Beside:
    """Read everything that some words name, on the same text.

    words: folders of runs, checkpoints, trials, candidates; the first is what others are compared with. where: the
    storage of trials. Raises TunemaxError for fewer than two, two names of one run, different text, what has diverged
    or has no weights here, other code than it was made with, and for a k above the vocabulary.
    """
    asked = asked or Asked()
    found = named(words, where)
    read_on = text(found, asked.part, asked.dataset)
    _check(asked, read_on)
    longest = max(Config.stored(side.first.fields).model.block_size for side in found)
    shortest = min(Config.stored(side.first.fields).model.block_size for side in found)
    prompts = asked.prompts or (_beginning(read_on, shortest),)
    sides = tuple(
        _side(side, asked, corpus if asked.dataset else None, prompts, longest, shortest)
        for side, corpus in zip(found, read_on.by, strict=True)
    )
    first, others, corpus = sides[0], sides[1:], read_on.by[0]
    return Beside(
        asked=asked,
        text=read_on,
        sides=sides,
        prompts=tuple(prompt.decode(errors="replace") for prompt in prompts),
        disagreements=tuple(
            disagreements(corpus, asked.part, first.first.read, other.first.read, asked.examples) for other in others
        )
        if read_on.alike
        else (),
        paired=tuple(
            paired(found[0], side, first.models, other.models, asked.k, alike=read_on.alike)
            for side, other in zip(found[1:], others, strict=True)
            if len(first.models) > 1 and len(other.models) > 1
        ),
        bytes=corpus.targets(asked.part, asked.tokens, longest).bytes,
        notes=tuple(_notes(sides)),
    )


def _check(asked: Asked, read_on: Text) -> None:
    """Refuse what cannot be, before anything is read."""
    for corpus in read_on.by:
        if asked.k > (known := corpus.manifest.vocab_size):
            raise TunemaxError(f"k = {asked.k}: {corpus.manifest.name} has {known} tokens; take at most so many")


def _beginning(read_on: Text, tokens: int) -> bytes:
    """Of the slice, up to the last blank of what fits into half of the smallest context."""
    corpus = read_on.by[0]
    words = corpus.decode(corpus.slices[read_on.part][: max(2, tokens // 2)])
    return (words[: words.rfind(" ") + 1] or words).encode()


def _side(
    side: Named, asked: Asked, corpus: Corpus | None, prompts: Sequence[bytes], longest: int, shortest: int
) -> Side:
    models, texts, seconds = list[Model](), list[str](), 0.0
    for run in side.runs:
        trainer, member = run.member(corpus)
        models.append(_model(run, trainer, member, asked, longest, shortest))
        if run is side.first:
            choice, begun = Choice(asked.temperature), time.perf_counter()
            for prompt in prompts:
                pieces = Writer.at(trainer, member, prompt).written(asked.length, choice, 1, asked.seed)
                texts.append("".join(piece for (piece,) in pieces))
            seconds = time.perf_counter() - begun
    speed = asked.length * len(prompts) / seconds if seconds and asked.length else math.nan
    return Side(side.name, tuple(models), tuple(texts), speed, tuple(map(history, side.runs)))


def _model(run: Trained, trainer: Trainer, member: Member, asked: Asked, longest: int, shortest: int) -> Model:
    corpus, config, part = trainer.corpus, member.config, asked.part
    T, heading = config.model.block_size, checkpoint.heading(run.where())
    cost = Cost.of(config, corpus.manifest.vocab_size)
    targets = corpus.targets(part, asked.tokens, T)
    read = forced(trainer, member, part, targets)
    placed = even_windows(corpus, part, asked.tokens, longest, T)
    count = max(1, LOOKED_AT // shortest)
    windows = corpus.windows_at(part, placed.offsets[:: max(1, len(placed.offsets) // count)][:count], shortest)
    measured = probe(trainer, [member])[member]
    meant = {
        STANDS_FOR[name]: getattr(measured, STANDS_FOR[name]) for name in measured.learnables if name in STANDS_FOR
    }
    return Model(
        name=run.name,
        config=config,
        parameters=cost.parameters,
        iteration=heading.iteration,
        tokens=heading.iteration * cost.tokens,
        flops=heading.iteration * cost.flops,
        read=read,
        placed=forced(trainer, member, part, placed),
        bits_a_byte=float(read.losses.sum()) / math.log(2) / targets.bytes,
        guarded=float(measured.guarded.mean()),
        entropy=tuple(entropies(trainer, member, windows).mean(1).tolist()),
        keys=shortest,
        learnables={name: tuple(values.mean(1).tolist()) for name, values in {**measured.learnables, **meant}.items()},
        tunemax=heading.tunemax,
        plugins=heading.plugins,
    )


def edges_of(longest: int) -> list[int]:
    """Powers of two between which positions are put together: 1, 2, 3–4, 5–8 …"""
    return [1, *(2**power + 1 for power in range(math.ceil(math.log2(max(longest, 2))) + 1))]


def by_position(model: Model, k: int = 1) -> list[tuple[int, int, float, float]]:
    """First and last position of each group, the loss there in nats a token, and the top-k accuracy."""
    context = model.config.model.block_size
    edges = edges_of(context)
    found = []
    for low, high, at in zip(edges, edges[1:], model.placed.by_position(edges), strict=False):
        if at.any():
            right = float(np.mean(model.placed.ranks[at] < k))
            found.append((low, min(high - 1, context), float(model.placed.losses[at].mean()), right))
    return found


def _notes(sides: Sequence[Side]) -> list[str]:
    """On code that is not the same."""
    notes = []
    here = checkpoint.installed()
    for side in sides:
        written = sorted({model.tunemax for model in side.models if model.tunemax} - {here})
        if written:
            notes.append(f"The weights of {side.name} are of tunemax {', '.join(written)}; they are read by {here}.")
    return notes
