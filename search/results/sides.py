"""What a comparison of models is between: the names that were given, what each of them stands for, on which text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tunemax.gpt import checkpoint
from tunemax.gpt.config import Config
from tunemax.gpt.data import Corpus, open_data
from tunemax.gpt.data.manifest import SLICES, is_prepared
from tunemax.gpt.errors import TunemaxError, did_you_mean
from tunemax.gpt.paths import path_typed
from tunemax.gpt.text_config import Text as TextFields
from tunemax.gpt.tokenizers import AUTO
from tunemax.search.results.trained import Trained, every, numbered
from tunemax.search.storage.lookup import storage_of
from tunemax.search.storage.paths import databases
from tunemax.search.storage.questions import load_from

FEWEST = 2


@dataclass(frozen=True)
class Named:
    """One side: a model, or those of all seeds of a confirmed candidate."""

    name: str
    runs: tuple[Trained, ...]

    @property
    def first(self) -> Trained:
        """The one of the lowest seed, which is looked at where one is."""
        return self.runs[0]


@dataclass(frozen=True)
class Text:
    """What all are read on: a slice of one text, as each of them has its tokens.

    by: of each side. alike: whether these are the same tokens, so that losses a token can be compared.
    """

    part: str
    by: tuple[Corpus, ...]
    alike: bool

    @property
    def name(self) -> str:
        return self.by[0].manifest.name


def named(words: Sequence[str], where: str | None = None) -> list[Named]:
    """The sides, in the order in which they were named. where: the storage of trials.

    Raises TunemaxError for fewer than two, for two names of one run, and for what has no weights here, has diverged, or
    was made with other code.
    """
    if len(words) < FEWEST:
        raise TunemaxError(_alone(words, where))
    sides, known = list[Named](), dict[Path, str]()
    for word in words:
        runs = tuple(every(word, where))
        sides.append(Named(runs[0].name if len(runs) == 1 else word, runs))
        for run in runs:
            file = run.where().resolve()
            checkpoint.heading(file)  # refuses what other code has made, before anything is read
            if file in known:
                raise TunemaxError(f"{word}: the same run as {known[file]}; name another one, or leave it out")
            known[file] = word
    return sides


def text(sides: Sequence[Named], part: str = "test", dataset: str | None = None) -> Text:
    """What they are read on: their own text, or a data set for all.

    Raises TunemaxError where they were trained on different text and none is given for all, and for a text whose tokens
    are not theirs.
    """
    if part not in SLICES:
        raise TunemaxError(f"slice = {part}: no such slice{did_you_mean(part, SLICES)}")
    corpora = [_own(side.first) for side in sides]
    if dataset is not None:
        corpus = open_data(_in_tokens_of(corpora[0], sides[0].first, dataset))
        return Text(part, (corpus,) * len(sides), alike=True)
    (first, *others), codec = corpora, corpora[0].manifest.codec
    for side, corpus in zip(sides[1:], others, strict=True):
        if not _same(corpus, first, part):
            mine, theirs = (f"{each.manifest.name} ({each.manifest.fingerprint[:12]})" for each in (corpus, first))
            between = f"trained on {mine}, {sides[0].name} on {theirs}"
            remedy = "losses on different text cannot be compared; name a text for both with --dataset"
            raise TunemaxError(f"{side.name}: {between}: {remedy}")
    return Text(part, tuple(corpora), all(corpus.manifest.codec == codec for corpus in others))


def _own(trained: Trained) -> Corpus:
    heading = checkpoint.heading(trained.where())
    return open_data(Config.stored(heading.config).train, heading.data)


def _in_tokens_of(corpus: Corpus, trained: Trained, dataset: str) -> TextFields:
    """Another text, to be tokenized as the one that this was trained on; prepared tokens are what they are."""
    own = Config.stored(checkpoint.heading(trained.where()).config).train.text
    kind = AUTO if is_prepared(path_typed(dataset)) else corpus.manifest.codec.kind
    return own.model_copy(update={"dataset": dataset, "tokenizer": kind, "column": ""})


def _same(one: Corpus, other: Corpus, part: str) -> bool:
    """Whether a slice is the same text in both, whatever its tokens."""
    if one.manifest.fingerprint == other.manifest.fingerprint:
        return True
    sizes = (corpus.manifest.byte_counts.get(part) for corpus in (one, other))  # type: ignore[call-overload]
    if len(set(sizes)) > 1:
        return False
    first, second = (corpus.manifest.codec.bytes_in(corpus.slices[part]) for corpus in (one, other))
    return first == second


def _alone(words: Sequence[str], where: str | None) -> str:
    """What to say to whoever has named fewer than two: the candidates of a question, if that is what he has named."""
    expected = "compare needs two or more runs, trials, candidates or checkpoints"
    if not words:
        return f"{expected}; name them"
    study = numbered(words[0])[0]
    if where or databases():
        try:
            siblings = sorted(load_from(where or storage_of(study), study.partition("/")[0]).siblings)
        except TunemaxError:
            siblings = []
        others = [name for name in siblings if name != words[0]]
        if len(siblings) > 1:
            first = words[0] if words[0] in siblings else siblings[0]
            return f"{words[0]}: {expected}; for example {first} {next(n for n in others if n != first)}"
    return f"{words[0]}: {expected}; name another one"
