"""Whether all trials of a question were trained with one code and torch, on one kind of device; told, if not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from optuna.trial import FrozenTrial

from tunemax.search.question.counting import counted
from tunemax.search.storage.attributes import ENDED, state
from tunemax.search.storage.origins import Key, differing, key_of, parts_of, worded

Kinds = tuple[Key, ...]
"""Of a trial: several where it was trained on otherwise than it had begun."""


def mixture(candidates: Iterable[tuple[str, Iterable[FrozenTrial]]]) -> str | None:
    """A sentence on what differs between trials that have ended, and in how many of which candidate; None if nothing.

    candidates: name and trials of each. Trials from before that was recorded are left out.
    """
    counts: dict[Kinds, Counter[str]] = {}
    for name, trials in candidates:
        for trial in trials:
            kinds = tuple(dict.fromkeys(map(key_of, parts_of(trial))))
            if kinds and state(trial) in ENDED:
                counts.setdefault(kinds, Counter())[name] += 1
    places = differing({key for kinds in counts for key in kinds})
    if not places:
        return None
    told: dict[str, Counter[str]] = {}  # what does not differ is not said
    for kinds, each in counts.items():
        told.setdefault(" then ".join(dict.fromkeys(worded(key, places) for key in kinds)), Counter()).update(each)
    groups = sorted(told.items(), key=lambda group: (-group[1].total(), group[0]))
    several = len({name for each in told.values() for name in each}) > 1
    first, *others = (_group(words, each, several) for words, each in groups)
    return f"Trained in different ways: {'; '.join([first, *others])}. Losses of one setting may differ by that alone."


def _group(words: str, counts: Mapping[str, int], several: bool) -> str:
    """How many were trained in a way, and of which candidates, if there are several."""
    whose = f" ({', '.join(f'{count:,} of {name}' for name, count in counts.items())})" if several else ""
    return f"{counted(sum(counts.values()), 'trial')} with {words}{whose}"
