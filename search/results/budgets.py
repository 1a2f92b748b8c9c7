"""Whether candidates have had equal budgets: who has tried more often, or trained on more, is favoured by ranks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from tunemax.search.question.counting import counted

MARKED = 1.25
"""Budgets differ if one is so many times the other."""


def unequal_trials(trials: Mapping[str, int]) -> str | None:
    """What to say of candidates that have had other numbers of trials; None if they differ little.

    trials: by candidate, those that have ended: trained to the horizon, pruned or diverged.
    """
    if not _differ(least := min(trials.values(), default=0), most := max(trials.values(), default=0)):
        return None
    if most - least < 2:  # one that has failed
        return None
    usual, times = Counter(trials.values()).most_common(1)[0]
    odd = [name for name, count in trials.items() if count != usual]
    if times == 1 or len(odd) > 1:
        each = ", ".join(f"{name} {count}" for name, count in sorted(trials.items(), key=lambda item: -item[1]))
        return f"Unequal budgets: {each} trials; ranks favour those that have had more."
    ranks = "favour it" if trials[odd[0]] > usual else "are against it"
    return f"Unequal budgets: {odd[0]} has had {counted(trials[odd[0]], 'trial')}, the others {usual}; ranks {ranks}."


def unequal_tokens(tokens: Mapping[str, float], iterations: Mapping[str, float]) -> str | None:
    """What to say of candidates whose trials were trained for equally many iterations, but on other numbers of tokens.

    By candidate, of a trial that was trained to the horizon. None if they differ little, or if something else is held
    equal, so that iterations differ.
    """
    if not tokens or _differ(min(iterations.values()), max(iterations.values())):
        return None
    least, most = min(tokens, key=lambda name: tokens[name]), max(tokens, key=lambda name: tokens[name])
    if not tokens[least] or not _differ(tokens[least], tokens[most]):
        return None
    times = f"{tokens[most] / tokens[least]:.1f} times the tokens of one of {least}"
    return f"Unequal work: a trial of {most} has {times}, at equally many iterations; ranks favour it."


def _differ(least: float, most: float) -> bool:
    return most > least and most >= MARKED * least
