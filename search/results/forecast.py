"""What a confirmation will take, before it is trained: how many runs, and how long at the speed that is known."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from optuna.trial import FrozenTrial

from tunemax.search.question.counting import counted
from tunemax.search.question.stages import Confirms
from tunemax.search.results.durations import about
from tunemax.search.results.seeds import steps_per_second
from tunemax.search.storage.questions import Question, openable


def expected(confirmation: Question) -> str:
    """``2 candidates on 12 seeds: 24 runs, 20 of them to come, about 3 min at the speed of the tuning``."""
    confirms = confirmation.definition.confirms
    assert confirms is not None
    trials, seeds = confirmation.trials(), confirmation.definition.budget.trials
    left, runs = sum(map(len, _to_come(trials).values())), sum(map(len, trials.values()))
    parts = [counted(runs, "run")]
    parts += [f"{left or 'none'} of them to come"] if left < runs else []
    opened = openable(confirmation.storage, confirms.question)  # unless other tools have deleted it
    tuned = next((each.trials() for each in opened if each.name == confirms.question), {})
    known = {"those before": trials, "the tuning": tuned}
    speeds = ((whose, steps_per_second([*itertools.chain(*each.values())])) for whose, each in known.items())
    whose, speed = next(((whose, speed) for whose, speed in speeds if speed), ("", None))
    if left and speed:
        steps = _steps(confirmation, confirms, _to_come(trials))
        parts.append(f"{about(steps / speed)} at the speed of {whose}")
    fewest = min(map(len, trials.values()), default=seeds)
    on = counted(seeds, "seed") if fewest >= seeds else f"{fewest} to {counted(seeds, 'seed')}"
    return f"{counted(len(trials), 'candidate')} on {on}: {', '.join(parts)}"


def _to_come(trials: Mapping[str, Sequence[FrozenTrial]]) -> dict[str, list[FrozenTrial]]:
    return {study: [trial for trial in own if not trial.state.is_finished()] for study, own in trials.items()}


def _steps(confirmation: Question, confirms: Confirms, to_come: Mapping[str, Sequence[FrozenTrial]]) -> int:
    """Member-steps of these runs: of the horizon, or as many times those of their winner as it is longer."""
    horizon = confirmation.definition.budget.horizon
    lengths = {
        f"{confirmation.name}/{name}": horizon or confirms.factor * int(str(frozen.fields["max_iters"]))
        for name, frozen in confirms.winners.items()
    }
    return sum(lengths[study] * len(own) for study, own in to_come.items())
