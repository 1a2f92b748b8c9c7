"""Whether a study that exists may go on under a new definition, and what is different.

Fewer trials than the study has already are no change: a budget only grows. Allowed and recorded: more trials, another
number of workers or slots, another time limit, new values to compare, another sampler or pruner (a trial's value means
the same under any of them; only which trials exist changes), another wording of the question, fields that change
nothing that is measured.
Refused: whatever would make new trials incomparable with old ones, at cooled rungs too, or would make Optuna refuse
them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pydantic

from tunemax.gpt.config import Config, all_specs
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.fields import Choices, Range
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.dimension import shown


@dataclass(frozen=True)
class Change:
    """One difference between two definitions."""

    key: str
    old: Any
    new: Any
    why_not: str = ""
    """Why it is refused; empty if it is allowed."""

    def __str__(self) -> str:
        text = f"{self.key}: {_shown(self.old)} -> {_shown(self.new)}"
        return f"{text} ({self.why_not})" if self.why_not else text


@dataclass(frozen=True)
class Changes:
    """All differences, those that are refused and those to be recorded."""

    refused: tuple[Change, ...]
    allowed: tuple[Change, ...]

    def check(self, study: str) -> None:
        """Raise TunemaxError if anything is refused, with every difference in one line."""
        if self.refused:
            differences = "; ".join(map(str, self.refused))
            raise TunemaxError(
                f"study {study} exists with another definition: {differences}; undo this, or give the new study a name"
            )


def joined(old: StudyDefinition, new: StudyDefinition) -> StudyDefinition:
    """The definition under which the study of `old` goes on when it is asked for as `new`. Raises TunemaxError if it
    cannot.

    It is `new` with the larger of both budgets (the study may have been extended) and new values to compare behind old
    ones.
    """
    changes(old, new).check(old.name)
    compare = (*old.compare, *(value for value in new.compare if value not in old.compare))
    budget = new.budget.model_copy(update={"trials": max(old.budget.trials, new.budget.trials)})
    return new.model_copy(
        update={"budget": budget, "compare": compare, "fingerprint": new.fingerprint or old.fingerprint}
    )


def changes(old: StudyDefinition, new: StudyDefinition) -> Changes:
    """What is different in `new`, a definition under which the study of `old` is to go on."""
    every = [
        *_simple(old, new),
        *_compared(old, new),
        *_budget(old, new),
        *_base(old, new),
        *_space(old, new),
        *_samplers_and_pruners(old, new),
    ]
    return Changes(
        tuple(change for change in every if change.why_not), tuple(change for change in every if not change.why_not)
    )


def _simple(old: StudyDefinition, new: StudyDefinition) -> Iterator[Change]:
    reasons = {
        "name": "it is another study",
        "direction": "the finished trials were ranked by the other one",
        "per": "the sibling studies would be others",
        "seed": "all trials share one seed, so that they differ by their settings only",
        "question": "",
        "confirm": "",
        "repeats": "",
        "workers": "",
        "slots": "",
    }
    for key, why_not in reasons.items():
        if getattr(old, key) != getattr(new, key):
            yield Change(key, getattr(old, key), getattr(new, key), why_not)
    known = None not in (old.fingerprint, new.fingerprint)
    if known and old.fingerprint != new.fingerprint:
        yield Change(
            "data",
            f"{old.data} {old.fingerprint}",
            f"{new.data} {new.fingerprint}",
            "losses on other text cannot be compared",
        )
    elif old.data != new.data:
        yield Change("data", old.data, new.data, "" if known else "whether it is the same text is not known")


def _compared(old: StudyDefinition, new: StudyDefinition) -> Iterator[Change]:
    if old.per == new.per and set(old.compare) != set(new.compare):
        gone = [shown(value) for value in old.compare if value not in new.compare]
        yield Change("compare", old.compare, new.compare, f"{', '.join(gone)} has its study already" if gone else "")


def _budget(old: StudyDefinition, new: StudyDefinition) -> Iterator[Change]:
    if old.budget.trials < new.budget.trials:
        yield Change("budget.trials", old.budget.trials, new.budget.trials)
    if old.budget.horizon != new.budget.horizon:
        yield Change(
            "budget.horizon", old.budget.horizon, new.budget.horizon, "losses at another horizon cannot be compared"
        )
    if old.budget.seconds != new.budget.seconds:
        yield Change("budget.seconds", old.budget.seconds, new.budget.seconds)


def _base(old: StudyDefinition, new: StudyDefinition) -> Iterator[Change]:
    """Fields outside the space, by their effect: naming a default, or setting what is inert in all old siblings, is no
    change."""
    specs, siblings = all_specs(), new.siblings()
    reported = {"dataset", "seed", "max_iters", *([old.per] if old.per else [])}
    for name, fixed in old.siblings().items():
        before, after = Config.of(fixed).active(), Config.of(siblings.get(name, {**fixed, **new.base})).active()
        for field in sorted((before.keys() | after.keys()) - old.space.keys() - new.space.keys() - reported):
            if before.get(field) != after.get(field):
                # Reports at other iterations would be compared with old ones by the pruner.
                matters = specs[field].declared.identity or field == "eval_interval"
                why_not = "the finished trials were trained with the other" if matters else ""
                yield Change(f"base.{field}", before.get(field), after.get(field), why_not)
                reported.add(field)


def _space(old: StudyDefinition, new: StudyDefinition) -> Iterator[Change]:
    before = [old.dimensions(fixed) for fixed in old.siblings().values()]
    names = [name for name in old.siblings() if name in new.siblings()]
    after = [new.dimensions(new.siblings()[name]) for name in names]
    for field in [*old.space, *(name for name in new.space if name not in old.space)]:
        was, now = old.space.get(field), new.space.get(field)
        if was == now:
            continue
        lived = any(field in dimensions for dimensions in [*before, *after])
        why_not = ""
        if lived and field == "softmax_variant":
            why_not = "Optuna cannot change a choice; compare variants with per: softmax_variant, where one can join"
        elif lived:
            why_not = (
                "the finished trials do not have it" if was is None else "the finished trials were drawn from the other"
            )
        yield Change(f"space.{field}", was, now, why_not)


def _samplers_and_pruners(old: StudyDefinition, new: StudyDefinition) -> Iterator[Change]:
    if old.sampler != new.sampler:
        grid = old.sampler.is_grid or new.sampler.is_grid
        yield Change(
            "sampler", old.sampler, new.sampler, "a grid's trials are laid out when it is created" if grid else ""
        )
    if old.pruner != new.pruner:
        mixed = old.pruner.prunes and new.pruner.prunes and old.pruner.cooled != new.pruner.cooled
        yield Change(
            "pruner",
            old.pruner,
            new.pruner,
            "the finished trials have reported other losses at the rungs" if mixed else "",
        )


def _shown(value: Any) -> str:
    if isinstance(value, pydantic.BaseModel):
        return " ".join(
            f"{key}={part:g}" if isinstance(part, float) else f"{key}={part}" for key, part in value if part is not None
        )
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, Choices):
        return _shown(value.values)
    if isinstance(value, Range):
        return (
            f"{value.low:g} to {value.high:g}" + ", log" * value.log + (f", step {value.step:g}" if value.step else "")
        )
    return shown(value)
