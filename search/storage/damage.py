"""Rows that nobody could have written with Optuna or tunemax: told in one line, whatever reads them.

A database may be damaged, or somebody else's. What is looked at, such as a note, is then as good as not there; of what
a result rests on, nothing is guessed.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ParamSpec, TypeVar

from optuna.trial import FrozenTrial, TrialState

from tunemax.gpt.errors import TunemaxError
from tunemax.search.question.counting import counted
from tunemax.search.storage import attributes

P = ParamSpec("P")
T = TypeVar("T")
REMEDY = "the database is damaged, or not written by tunemax: restore a copy, or delete the question"
_FAULTS = (LookupError, ValueError, TypeError, AssertionError, ArithmeticError, RecursionError)
"""What SQLAlchemy, Optuna and Python raise at values that they do not know."""


class Damaged(TunemaxError):
    """What cannot be read; the database itself can."""


@contextlib.contextmanager
def reading(what: str, *meant: type[Exception]) -> Iterator[None]:
    """Turn what is wrong with rows into Damaged. what: they are. meant: errors that say something else."""
    try:
        yield
    except _FAULTS as error:
        if isinstance(error, meant):
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        raise Damaged(f"{what} cannot be read ({reason}); {REMEDY}") from error


def readable(read: Callable[P, T]) -> Callable[P, T]:
    """The function that reads trials or studies, but raises Damaged for rows of which it can make nothing."""

    @functools.wraps(read)
    def reader(*arguments: P.args, **more: P.kwargs) -> T:
        with reading("trials or studies"):
            return read(*arguments, **more)

    return reader


def parsed(text: str | None) -> Any:
    """JSON from a database; None for what is none."""
    try:
        return json.loads(text or "null")
    except (ValueError, RecursionError):
        return None


def check(trial: FrozenTrial) -> FrozenTrial:
    """The trial. Raises Damaged if it could not have ended so, or has what tunemax writes on trials otherwise."""
    if fault := _fault(trial):
        raise Damaged(f"trial {trial.number} cannot be read ({fault}); {REMEDY}")
    return trial


def _fault(trial: FrozenTrial) -> str | None:
    values = trial.values or ()
    if not all(isinstance(value, (int, float)) for value in (*values, *trial.intermediate_values.values())):
        return "a value of it is no number"
    if len(values) > 1 or (trial.state == TrialState.COMPLETE and not values):
        return f"it has {counted(len(values), 'value')} instead of one"
    if any(type(step) is not int or step < 0 for step in trial.intermediate_values):
        return "a step of its reports is no whole number"
    return _odd(trial.user_attrs, attributes.USER_KINDS) or _odd(trial.system_attrs, attributes.SYSTEM_KINDS)


def _odd(given: Mapping[str, Any], kinds: Mapping[str, tuple[type, ...]]) -> str | None:
    """Why one of a trial's attributes cannot be ours."""
    for key, value in given.items():
        kind = (int, float) if key.startswith(attributes.LEARNED) else kinds.get(key)
        if kind and not isinstance(value, kind):
            return f"its {key} is {str(value)[:40]!r}"
    return None
