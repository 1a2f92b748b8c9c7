"""All that a kind of a part promises, as cases that can be tried, and what is told of those that fail."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from tunemax.gpt.modules import place_of
from tunemax.gpt.optimizer import Optimizer
from tunemax.gpt.parts import Part
from tunemax.gpt.plugins import behind
from tunemax.gpt.softmax import Variant
from tunemax.gpt.testing import optimizers, parts, softmax
from tunemax.gpt.testing.variants import settings_of


@dataclass(frozen=True)
class Case:
    """A promise that a kind has to keep in a setting. `run` raises AssertionError, or whatever the kind's code does,
    if it does not."""

    kind: type[Part]
    promise: str
    meaning: str
    setting: str
    run: Callable[[], None]

    def __str__(self) -> str:
        return f"{self.kind.name}:{self.setting}:{self.promise}"


def cases(kinds: Iterable[type[Part]]) -> Iterator[Case]:
    """All that some kinds have to keep."""
    for kind in kinds:
        if issubclass(kind, Variant):
            yield from _of_variant(kind)
        if issubclass(kind, Optimizer):
            yield from _of_optimizer(kind)
        else:
            yield from _of_part(kind)


def _of_variant(kind: type[Variant]) -> Iterator[Case]:
    for setting, variant in settings_of(kind).items():
        for promise in softmax.PROMISES:
            yield _case(kind, promise, setting, partial(promise, variant))


def _of_optimizer(kind: type[Optimizer]) -> Iterator[Case]:
    settings = optimizers.settings_of(kind)
    for setting, fields in settings.items():
        for alone in optimizers.OF_A_SETTING:
            yield _case(kind, alone, setting, partial(alone, kind.name, fields))
    for promise in optimizers.PROMISES:
        yield _case(kind, promise, "all", partial(promise, kind.name, list(settings.values())))


def _of_part(kind: type[Part]) -> Iterator[Case]:
    """A part of a model, where it is trained; of a variant, too."""
    settings = parts.settings_of(kind)
    for setting, fields in settings.items():
        for promise in (*parts.PROMISES, *(parts.TRACED if setting == next(iter(settings)) else ())):
            yield _case(kind, promise, setting, partial(promise, fields))


def _case(kind: type[Part], promise: Callable[..., None], setting: str, run: Callable[[], None]) -> Case:
    meaning = str(promise.__doc__).partition("\n\n")[0]
    return Case(kind, promise.__name__, " ".join(meaning.split()), setting, run)


# ------------------------------------------------------------------------------------------------------- what is told


def breaches(tried: Sequence[Case]) -> Iterator[str]:
    """A line for each promise that a kind does not keep, with file and line: of what has raised in its code, else of
    its class."""
    told: set[tuple[type[Part], str]] = set()
    for case in tried:
        if (case.kind, case.promise) in told:  # in another setting
            continue
        try:
            case.run()
        except Exception as error:
            told.add((case.kind, case.promise))
            yield f"{_place(case, error)}: {case.kind.name} ({case.setting}): {_reason(case, error)}"


def _reason(case: Case, error: Exception) -> str:
    promise = case.promise.replace("_", " ")
    said = next(iter(str(error).strip().splitlines()), "")
    what = said if isinstance(error, AssertionError) else f"{type(error).__name__}: {said}"
    return f"not kept: {promise}. {case.meaning}" + (f" ({what})" if what else "")


def _place(case: Case, error: Exception) -> str:
    files = {plugin.word for plugin in behind([case.kind])}
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else place_of(case.kind)
