"""Trials that come to a stop together: they are judged by what all of them have reported, and the best one leads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState

from tunemax.search.storage import attributes
from tunemax.search.storage.questions import Question
from tunemax.search.workers.artifacts import SAMPLE, Artifacts
from tunemax.search.workers.events import Event
from tunemax.search.workers.trial import Job

Ask = Callable[..., Question]
Work = Callable[..., list[Event]]
RATES = [1e-5, 3e-2, 1e-3, 1e-4, 2e-2, 3e-4, 1e-2, 3e-5]
PLAN: dict[str, Any] = {
    "compare": ["softmax"],
    "pruner": {"name": "asha", "spared": 0.0},
    "space": {"learning_rate": RATES},
    "sampler": "grid",
    "budget": {"trials": 8, "horizon": 30},
}


def trials(question: Question) -> list[FrozenTrial]:
    return question.trials()["q/softmax"]


def best(question: Question, count: int, step: int) -> set[int]:
    ranked = sorted(
        (trial for trial in trials(question) if step in trial.intermediate_values),
        key=lambda trial: trial.intermediate_values[step],
    )
    return {trial.number for trial in ranked[:count]}


@pytest.mark.parametrize("cooled", [False, True])
def test_of_eight_that_come_to_a_rung_together_the_best_four_pass(ask: Ask, work: Work, cooled: bool) -> None:
    base = {"schedule": "wsd"} if cooled else {}
    question = ask(**{**PLAN, "base": base, "pruner": {**PLAN["pruner"], "cooled": cooled}})
    work(question, slots=8)
    assert {trial.number for trial in trials(question) if 20 in trial.intermediate_values} == best(question, 4, 10)
    complete = {trial.number for trial in trials(question) if trial.state == TrialState.COMPLETE}
    assert complete == best(question, 2, 20)


def test_a_trial_is_judged_as_if_the_others_of_its_stop_had_not_ended_yet(
    ask: Ask, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a median would depend on whose turn it is."""
    order: list[str] = []
    end = Job.end

    def judged(job: Job) -> str | None:
        found = end(job)
        order.append(f"judged at {job.member.iteration}")
        return found

    monkeypatch.setattr(Job, "end", judged)
    question = ask(**{**PLAN, "pruner": {"name": "median", "startup": 1}})

    class Watcher:
        started = evaluated = lambda self, job: None

        def ending(self, job: Job, how: str) -> None:
            order.append(f"{how} at {job.member.iteration}")

    work(question, slots=8, watchers=[Watcher()])
    assert order == [
        *["judged at 10"] * 8,
        *["judged at 20"] * 8,
        *["judged at 30"] * 8,
        *["complete at 30"] * 8,
    ]


def test_of_those_that_end_together_the_best_alone_writes_a_sample(ask: Ask, work: Work) -> None:
    question = ask(**{**PLAN, "pruner": "none"})
    work(question, slots=8, watchers=[Artifacts(question.storage.url, lambda line: None)])
    written = [
        trial.number
        for trial in trials(question)
        if any(SAMPLE in str(value) for key, value in trial.system_attrs.items() if key.startswith("artifacts:"))
    ]
    assert set(written) == best(question, 1, 30)
    assert Counter(map(attributes.state, trials(question))) == {"complete": 8}
