"""Fresh seeds: which ones confirmations have used, also those that were deleted since, and which come next.

A confirmation that is deleted and made again must not meet the seeds that somebody has already seen the result of. So
the highest seed is kept on the tuned studies, which outlive their confirmations. Two horizons of one question may share
seeds, since their trainings differ, and so do the repeats of a tuning, since what differs there is to be the tuning
alone.
"""

from __future__ import annotations

import json
from collections import Counter

from optuna.storages import RDBStorage

from tunemax.gpt.fields import Choices, Range
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.stages import confirmation_name
from tunemax.search.storage.attributes import SEEDS_USED
from tunemax.search.storage.database import study_id
from tunemax.search.storage.questions import openable, questions

APART = 1000
"""The first fresh seed is so far from the tuning seed."""


def seeds_of(confirmation: StudyDefinition) -> range:
    """The fresh seeds of a confirmation."""
    seeds = confirmation.space["seed"]
    assert isinstance(seeds, Range)
    return range(int(seeds.low), int(seeds.high) + 1)


def mark_used(storage: RDBStorage, confirmation: StudyDefinition) -> None:
    """Keep in mind which seeds a confirmation has, where its deletion does not reach. Only inside `alone`."""
    assert confirmation.confirms is not None
    tuned, factor = confirmation.confirms.question, str(confirmation.confirms.factor)
    for study, attrs in questions(storage).get(tuned, {}).items():
        used = dict(json.loads(attrs.get(SEEDS_USED, "{}")))
        highest = max(seeds_of(confirmation)[-1], used.get(factor, 0))
        if used.get(factor) != highest:
            text = json.dumps({**used, factor: highest})
            storage.set_study_user_attr(study_id(storage, study), SEEDS_USED, text)


def first_seed(storage: RDBStorage, tuned: StudyDefinition, factor: int) -> int:
    """The first seed of a new confirmation of a tuned question, at so many times its horizon.

    It shares the seeds of a confirmation that is there, if none at this horizon has ever used them: one of the first
    tuning for a repeat, else one at another horizon. Otherwise it is above all that were ever used.
    """
    root = tuned.repeat.question if tuned.repeat else tuned.name
    known = questions(storage)
    family = [name for name in known if name == root or name.startswith(f"{root}.repeat-")]
    confirming = [each for name in family for each in openable(storage, confirmation_name(name, 1))]
    there = {each.name: each.definition for each in confirming}.values()
    used: dict[str, Counter[int]] = {}
    for name in family:
        used[name] = Counter()
        for attrs in known[name].values():
            used[name] |= Counter({int(at): seed for at, seed in json.loads(attrs.get(SEEDS_USED, "{}")).items()})
    shared = []
    for each in there:
        if each.confirms and each.confirms.question in used:
            of, at = each.confirms.question, each.confirms.factor
            used[of] |= Counter({at: seeds_of(each)[-1]})  # also one that was made before this was kept in mind
            shared.append((of != root, at != factor, of, at, seeds_of(each)[0]))
    for *_, first in sorted(shared):
        if first > used[tuned.name][factor]:
            return first
    highest = max((seed for of in used.values() for seed in of.values()), default=0)
    return max(_farthest(tuned) + APART, highest + 1)


def _farthest(tuned: StudyDefinition) -> int:
    """The highest seed that tuning has trained on; the same for all repeats."""
    seeds = tuned.space.get("seed")
    if seeds is None:
        return tuned.repeat.seed if tuned.repeat else tuned.seed
    return max(int(seed) for seed in (seeds.values if isinstance(seeds, Choices) else (seeds.high,)))
