"""Whether a study that exists may go on under a new definition, and what stands against it.

Refused is whatever would make new trials incomparable with old ones, at cooled rungs too, or would make Optuna refuse
them. All else may change: the number of trials (fewer than there are change nothing), of workers or slots, a time
limit, new candidates, another sampler or pruner (a trial's value means the same under any of them; only which
trials exist changes), the wording of the question, and fields that change nothing that is measured.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pydantic

from tunemax.gpt.config import PARTS, Config, all_specs
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.evaluation import chosen_itself
from tunemax.gpt.fields import Choices, Range
from tunemax.search.question.budget import Budget
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.dimension import Dimension, shown

FIXED = {
    "name": "it is another study",
    "direction": "the finished trials were ranked by the other one",
    "seed": "all trials share one seed, so that they differ by their settings only",
}
"""Parts of a definition that never change, and why."""


def joined(old: StudyDefinition, new: StudyDefinition) -> StudyDefinition:
    """The definition under which the study of `old` goes on when it is asked for as `new`.

    It is `new` with the larger of both budgets (the study may have been extended) and new candidates behind old ones,
    by the rules and defaults of the time when the study began. Raises TunemaxError, with every difference in one line,
    if the study cannot go on.
    """
    new = new.model_copy(update={"schema_version": old.schema_version})
    if differences := "; ".join(
        [*_since(old, new), *_fixed(old, new), *_base(old, new), *_space(old, new), *_chosen(old, new)]
    ):
        reason = f"exists with another definition: {differences}; undo this, or give the new study a name"
        raise TunemaxError(f"study {old.name} {reason}")
    order = dict.fromkeys([*old.compared, *new.compared])
    values = dict(zip(new.compared, new.compare, strict=False))
    both = {
        "compare": tuple(values[name] for name in order if new.per),
        "candidates": {name: new.candidates[name] for name in order if new.candidates},
        "fingerprint": new.fingerprint or old.fingerprint,
        "data": _data(old, new),
    }
    return new.with_trials(max(old.budget.trials, new.budget.trials)).model_copy(update=both)


def _data(old: StudyDefinition, new: StudyDefinition) -> str:
    """Where the text is: as it was said, if that still leads there, since configurations are told apart by it."""
    return old.data if os.path.abspath(os.path.expanduser(old.data)) == new.data else new.data


def _change(key: str, old: Any, new: Any, why_not: str) -> str:
    return f"{key}: {_shown(old)} -> {_shown(new)} ({why_not})"


def _fixed(old: StudyDefinition, new: StudyDefinition) -> Iterator[str]:
    """What decides which studies there are, on which text, and for how long each trial trains."""
    for key, why_not in FIXED.items():
        if getattr(old, key) != getattr(new, key):
            yield _change(key, getattr(old, key), getattr(new, key), why_not)
    if None not in (old.fingerprint, new.fingerprint):
        if old.fingerprint != new.fingerprint:
            before, after = (f"{each.data} {each.fingerprint}" for each in (old, new))
            yield _change("data", before, after, "losses on other text cannot be compared")
    elif old.data != new.data:
        yield _change("data", old.data, new.data, "whether it is the same text is not known")
    yield from _compared(old, new)
    yield from _work(old.budget, new.budget)


def _compared(old: StudyDefinition, new: StudyDefinition) -> Iterator[str]:
    """Candidates may join; whoever has a study stays, whether a file names its candidates or the field that they differ
    in."""
    gone = [name for name in old.compared if name not in new.compared]
    if bool(old.compared) != bool(new.compared) or (gone and old.per != new.per):
        before, after = (each.per or tuple(each.candidates) or None for each in (old, new))
        key = "per" if old.per or new.per else "candidates"
        yield _change(key, before, after, "the sibling studies would be others")
    elif gone:
        key = "compare" if old.per else "candidates"
        yield _change(key, tuple(old.compared), tuple(new.compared), f"{', '.join(gone)} has its study already")


def _work(old: Budget, new: Budget) -> Iterator[str]:
    """How much each trial is trained, in which unit, and where it reports."""
    if old.unit != new.unit:
        yield _change("budget", old.words, new.words, "losses after other work cannot be compared")
    elif old.amount != new.amount:
        where = "at another horizon" if old.unit == "horizon" else "after other work"
        yield _change(f"budget.{old.unit}", old.amount, new.amount, f"losses {where} cannot be compared")
    elif old.looks != new.looks:
        yield _change("budget.looks", old.looks, new.looks, "reports at other shares cannot be compared")


def _since(old: StudyDefinition, new: StudyDefinition) -> Iterator[str]:
    """What the file names and only later rules know."""
    if old.rule and chosen_itself(new.base):
        why_not = "the study is measured by the old rule, by eval_iters"
        yield _change("base.eval_tokens", None, new.base["eval_tokens"], why_not)


def _base(old: StudyDefinition, new: StudyDefinition) -> Iterator[str]:
    """Fields outside the space, by their effect: a default that is named, or what is inert everywhere, is no change."""
    specs, siblings = all_specs(), new.siblings()
    reported = {f"base.{field}" for field in ("dataset", "seed", "max_iters")}
    for name, fixed in old.siblings().items():
        candidate = name.rpartition("/")[2]
        own = {**old.compared.get(candidate, {}), **new.compared.get(candidate, {})}
        now = siblings.get(name, {**fixed, **new.base, **own})
        before, after = Config.of(fixed).active(), Config.of(now).active()
        searched = old.space_of(fixed).keys() | new.space_of(now).keys()
        for field in sorted((before.keys() | after.keys()) - searched):
            # Reports at other iterations would be compared with old ones by the pruner.
            matters = specs[field].declared.identity or field == "eval_interval"
            key = f"candidates.{candidate}.{field}" if field in own else f"base.{field}"
            if matters and before.get(field) != after.get(field) and key not in reported:
                why_not = "the finished trials were trained with the other"
                yield _change(key, before.get(field), after.get(field), why_not)
                reported.add(key)


def _space(old: StudyDefinition, new: StudyDefinition) -> Iterator[str]:
    """Dimensions, where they mean something."""
    siblings = new.siblings()
    pairs = [(fixed, siblings.get(name, fixed)) for name, fixed in old.siblings().items()]
    for field in [*old.space, *(name for name in new.space if name not in old.space)]:
        for fixed, now_fixed in pairs:
            was, now = old.space_of(fixed).get(field), new.space_of(now_fixed).get(field)
            lives = field in old.dimensions(fixed) or field in new.dimensions(now_fixed)
            if was != now and lives:
                yield _change(f"space.{field}", was, now, _why_fixed(field, was))
                break


def _why_fixed(field: str, was: Dimension | None) -> str:
    if field in PARTS:
        return f"Optuna cannot change a choice; compare {PARTS[field].noun}s with per: {field}, where one can join"
    return "the finished trials were drawn from the other" if was else "the finished trials do not have it"


def _chosen(old: StudyDefinition, new: StudyDefinition) -> Iterator[str]:
    """Samplers and pruners, of which most can take each other's place."""
    if old.sampler != new.sampler and (old.sampler.is_grid or new.sampler.is_grid):
        yield _change("sampler", old.sampler, new.sampler, "a grid's trials are laid out when it is created")
    if old.pruner.prunes and new.pruner.prunes and old.pruner.cooled != new.pruner.cooled:
        why_not = "the finished trials have reported other losses at the rungs"
        yield _change("pruner", old.pruner, new.pruner, why_not)


def _shown(value: Any) -> str:
    if isinstance(value, pydantic.BaseModel):
        parts = [(key, part) for key, part in value if part is not None]
        return " ".join(f"{key}={part:g}" if isinstance(part, float) else f"{key}={part}" for key, part in parts)
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, Choices):
        return _shown(value.values)
    if isinstance(value, Range):
        step = f", step {value.step:g}" if value.step else ""
        return f"{value.low:g} to {value.high:g}{', log' * value.log}{step}"
    return shown(value)
