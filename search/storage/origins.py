"""Where the numbers of a trial come from: each part of its training with the code, torch and device that computed it.

Losses of one seed differ where one of these does, at the edge of stability by a whole mode. Trials of a search may be
mixed all the same, and it is told. Pairs of seeds may not: whoever differs from those who trained the earlier seeds of
a confirmation takes none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, select

from tunemax.gpt.errors import TunemaxError
from tunemax.search.storage import attributes
from tunemax.search.storage.commands import typed
from tunemax.search.storage.damage import parsed
from tunemax.search.storage.database import in_transaction
from tunemax.search.storage.questions import Question
from tunemax.search.storage.tables import STUDIES, SYSTEM, TRIALS
from tunemax.search.storage.urls import storage_errors

Origin = Mapping[str, Any]
"""As `tunemax.gpt.origin` has it; of a part of a training also ``from``, the iteration with which the part began."""
Key = tuple[str, ...]
"""What of an origin decides a number: its ASPECTS."""
ASPECTS = {"code": "code {}", "torch": "torch {}", "kind": "{}"}
"""As people read them. Host, Python and the device's own name are none; other plug-ins a question refuses by itself."""


class Mixed(TunemaxError):
    """A confirmation that this process must not go on with."""


def parts_of(trial: FrozenTrial) -> list[Origin]:
    """Where each part of a trial's training comes from; nothing of a trial from before that was recorded."""
    return _parts(trial.system_attrs.get(attributes.ORIGIN))


def continued(before: Sequence[Origin], here: Origin, iteration: int) -> list[Origin]:
    """The parts of a training that goes on here, from an iteration; at 0 it begins anew.

    A part of the same origin as the last one is none of its own.
    """
    kept = list(before) if iteration else []
    last = {name: value for name, value in kept[-1].items() if name != "from"} if kept else None
    return kept if last == here else [*kept, {**here, "from": iteration}]


def key_of(origin: Origin) -> Key:
    """What decides its numbers. torch of a version counts as one, for whatever device it was built."""
    values = {aspect: str(origin.get(aspect, "")) for aspect in ASPECTS}
    return tuple((values | {"torch": values["torch"].partition("+")[0]}).values())


def differing(keys: Collection[Key]) -> list[int]:
    """The places at which some keys differ."""
    return [place for place in range(len(ASPECTS)) if len({key[place] for key in keys}) > 1]


def worded(key: Key, places: Iterable[int]) -> str:
    """What stands in these places of a key, as people read it: ``torch 2.13.0, cuda``."""
    forms = list(ASPECTS.values())
    return ", ".join(forms[place].format(key[place]) for place in places)


def check_alike(question: Question, on: Callable[[str], Origin]) -> None:
    """Raise Mixed if a question is a confirmation whose earlier seeds were trained otherwise than they would be here.

    on: the origin of what this process trains on a device, as its field names it. What tunemax of before has recorded
    nowhere stands against nobody.
    """
    device = next((str(fixed["device"]) for fixed in question.siblings.values() if "device" in fixed), "auto")
    if check := alike(question, on(device)):
        with storage_errors(question.storage.url):
            in_transaction(question.storage, check)


def alike(question: Question, here: Origin) -> Callable[[Connection], None] | None:
    """That check within a transaction, until whose end its outcome stays true; None if it is no confirmation."""
    return partial(_check, question, key_of(here)) if question.definition.confirms else None


_ORIGINS = (
    select(SYSTEM.c.value_json)
    .join(TRIALS, TRIALS.c.trial_id == SYSTEM.c.trial_id)
    .join(STUDIES, STUDIES.c.study_id == TRIALS.c.study_id)
    .where(SYSTEM.c.key == attributes.ORIGIN, TRIALS.c.state != TrialState.FAIL)
)


def _check(question: Question, here: Key, connection: Connection) -> None:
    """All studies are locked, in one order: of two that begin together the second one sees what the first trains."""
    named = STUDIES.c.study_name.in_(list(question.siblings))
    lock = select(STUDIES.c.study_id).where(named).order_by(STUDIES.c.study_id).with_for_update(key_share=True)
    connection.execute(lock).all()
    texts = connection.scalars(_ORIGINS.where(named))
    found = list(dict.fromkeys(key_of(part) for text in texts for part in _parts(parsed(text))))
    if not found or here in found:
        return
    places = differing([found[0], here])
    before = f"its seeds so far were trained with {worded(found[0], places)}, and here is {worded(here, places)}"
    anew = typed(str(question.storage.url), "study", "delete", question.name, "--yes")
    remedy = f"train it with the same, or begin anew on fresh seeds after {anew}"
    raise Mixed(f"{question.name}: {before}; pairs of seeds must not mix: {remedy}")


def _parts(value: Any) -> list[Origin]:
    """Without what tunemax would not have written."""
    return [part for part in value if isinstance(part, dict)] if isinstance(value, list) else []
