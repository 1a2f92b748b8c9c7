"""The ladder as it is climbed: which rate the further baselines get, and when they are taken."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from tunemax.search.api import open_study
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.suggest import known_points, suggest
from tunemax.search.storage.attributes import DIVERGED
from tunemax.search.storage.ownership import release
from tunemax.search.storage.questions import Question, create, extend
from tunemax.search.storage.queue import claim, enqueue
from tunemax.search.storage.sampling import SiblingSampler

Ask = Callable[..., Question]
RATES = {"low": 1e-4, "high": 1e-1, "log": True}
MIDDLE, UPPER, LOWER = 0.00316, 0.0316, 0.000316
SPACE = {"learning_rate": RATES, "constantmax.beta": "default", "constantmax.gamma": "default"}
TRIALS = {"trials": 9}
PAPER = {"constantmax.beta": 1.0, "constantmax.gamma": 125.0}

End = Callable[[optuna.Study, optuna.Trial], None]


@pytest.fixture
def climb(defined: Callable[..., StudyDefinition]) -> Callable[..., Climb]:
    return lambda **changes: Climb(defined(space=SPACE, compare=["constantmax"], budget=TRIALS, **changes))


class Climb:
    """A sibling in memory, of which somebody asks for trials one after the other."""

    def __init__(self, definition: StudyDefinition) -> None:
        self.definition, (self.name, self.fixed) = definition, *definition.siblings().items()
        self.study = optuna.create_study(study_name=self.name)
        enqueue(self.study, known_points(definition, self.fixed), definition.budget.trials)

    def ask(self) -> optuna.Trial:
        sampler = self.definition.make_sampler(self.name, 0)
        self.study.sampler = SiblingSampler(sampler, self.definition, self.fixed)
        trial = self.study.ask()
        suggest(trial, self.definition, self.fixed)
        return trial


def reported(trial: optuna.Trial, values: Sequence[float]) -> None:
    for step, value in enumerate(values, 1):
        trial.report(value, 10 * step)


def complete(*values: float) -> End:
    def end(study: optuna.Study, trial: optuna.Trial) -> None:
        reported(trial, values)
        study.tell(trial, values[-1])

    return end


def pruned(*values: float) -> End:
    def end(study: optuna.Study, trial: optuna.Trial) -> None:
        reported(trial, values)
        study.tell(trial, state=TrialState.PRUNED)

    return end


def diverged(study: optuna.Study, trial: optuna.Trial) -> None:
    trial.set_user_attr(DIVERGED, "diverged: loss")
    study.tell(trial, 0.5)


def failed(study: optuna.Study, trial: optuna.Trial) -> None:
    study.tell(trial, state=TrialState.FAIL)


def running(study: optuna.Study, trial: optuna.Trial) -> None:
    pass


@pytest.mark.parametrize(
    ("middle", "upper", "lower", "rate"),
    [
        (complete(2.0), complete(1.5), complete(3.0), UPPER),
        (complete(2.0), diverged, complete(1.9), LOWER),
        (complete(2.0), failed, running, MIDDLE),
        (running, running, complete(3.0), LOWER),
        (running, running, running, MIDDLE),
        (diverged, failed, pruned(), MIDDLE),
        (pruned(3.0), complete(2.9, 2.5, 2.0), pruned(2.8, 2.6), UPPER),
        (complete(4.4, 2.4), pruned(2.7), pruned(2.8), UPPER),  # the middle one was spared, far behind
        (pruned(2.0), pruned(2.2, 2.1), pruned(2.3, 2.2), MIDDLE),
        (pruned(2.3), pruned(2.2, 2.1), pruned(2.0, 2.2), UPPER),
        (pruned(math.nan), pruned(2.2), pruned(2.1), LOWER),
        (lambda study, trial: study.tell(trial, math.inf), pruned(2.2), running, UPPER),
    ],
)
def test_a_further_baseline_gets_the_best_rate_of_the_ladder(
    climb: Callable[..., Climb], middle: End, upper: End, lower: End, rate: float
) -> None:
    climbing = climb()
    for expected, end in ((MIDDLE, middle), (UPPER, upper), (LOWER, lower)):
        trial = climbing.ask()
        assert trial.params["learning_rate"] == expected
        end(climbing.study, trial)
    assert climbing.ask().params == {**PAPER, "learning_rate": rate}


@pytest.mark.parametrize("sampler", ["random", "qmc", "tpe", "gp", "cmaes"])
def test_every_sampler_follows_and_what_is_not_known_stays_its_own(climb: Callable[..., Climb], sampler: str) -> None:
    climbing = climb(sampler=sampler)
    for value in (2.0, 1.5, 3.0):
        climbing.study.tell(climbing.ask(), value)
    assert climbing.ask().params["learning_rate"] == UPPER
    assert climbing.ask().params["learning_rate"] not in (MIDDLE, UPPER, LOWER)


def test_what_somebody_enqueues_without_a_rate_is_left_to_the_sampler(climb: Callable[..., Climb]) -> None:
    climbing = climb()
    drawn = []
    for known in (False, True):
        study = climbing.study = optuna.create_study(study_name=f"{climbing.name} {known}")
        if known:
            enqueue(study, known_points(climbing.definition, climbing.fixed)[:1], 1)
            study.tell(climbing.ask(), 1.0)
        study.enqueue_trial({"constantmax.beta": 3.0})
        drawn.append(climbing.ask().params)
    assert drawn[0]["constantmax.beta"] == drawn[1]["constantmax.beta"] == 3.0
    assert {MIDDLE} & {params["learning_rate"] for params in drawn} == set()


def test_a_rung_that_somebody_has_told_without_training_it_leads_nowhere(climb: Callable[..., Climb]) -> None:
    climbing = climb()
    for value in (3.0, 1.0, 2.0):
        climbing.study.tell(climbing.study.ask(), value)  # no parameter was asked for
    assert climbing.ask().params["learning_rate"] == MIDDLE


# ---- in a database ---------------------------------------------------------------------------------------------------


def taken(question: Question, worker: int = 0) -> optuna.Trial:
    (name,) = question.siblings
    trial = claim(name, question.storage, question.sampler(name, worker))
    assert trial is not None
    suggest(trial, question.definition, question.siblings[name])
    return trial


def test_followers_wait_for_the_ladder_while_there_is_other_work(ask: Ask) -> None:
    question = ask(space=SPACE, compare=["constantmax"], budget=TRIALS)
    first = [taken(question, worker % 2) for worker in range(5)]
    assert [trial.number for trial in first] == [0, 1, 2, 4, 5], "3 follows"
    for trial, value in zip(first[:3], (2.0, 3.0, 1.0), strict=True):
        trial.study.tell(trial, value)
    follower = taken(question)
    assert (follower.number, follower.params) == (3, {**PAPER, "learning_rate": LOWER})


def test_a_follower_is_taken_before_anybody_idles_and_keeps_its_rate(ask: Ask) -> None:
    question = ask(space=SPACE, compare=["constantmax"], budget=TRIALS)
    others = [taken(question) for _ in range(8)]
    follower = taken(question)
    assert (follower.number, follower.params["learning_rate"]) == (3, MIDDLE)
    assert release(follower.storage, follower, None)
    others[1].study.tell(others[1], 1.0)
    again = taken(question, worker=1)
    assert (again.number, again.params) == (3, {**PAPER, "learning_rate": MIDDLE}), "parameters are kept once claimed"


def test_the_ladder_is_climbed_by_the_stock_tools_too(ask: Ask, where: str) -> None:
    question = ask(space=SPACE, compare=["constantmax"], budget=TRIALS)
    study = open_study("q/constantmax", where)
    rates = []
    for value in (2.0, 1.0, 3.0, 4.0):
        trial = study.ask()
        rates.append(suggest(trial, question.definition, question.siblings["q/constantmax"])["learning_rate"])
        study.tell(trial, value)
    assert rates == [MIDDLE, UPPER, LOWER, UPPER]


def test_workers_climb(ask: Ask, work: Callable[..., Any]) -> None:
    question = ask(space=SPACE, compare=["constantmax"], budget=TRIALS)
    work(question, slots=2)
    trials = question.trials()["q/constantmax"]
    rungs = {trial.params["learning_rate"]: trial.value or math.inf for trial in trials[:3]}
    assert trials[3].params == {**PAPER, "learning_rate": min(rungs, key=lambda rate: rungs[rate])}


def test_siblings_begin_with_the_same_points_behind_their_ladders(ask: Ask, work: Callable[..., Any]) -> None:
    question = ask(space=SPACE, compare=["softmax", "constantmax"], budget=TRIALS)
    work(question)
    softmax, constantmax = (
        [trial.params["learning_rate"] for trial in trials if not trial.system_attrs["fixed_params"]]
        for trials in question.trials().values()
    )
    assert softmax[: len(constantmax)] == constantmax


# ---- joined and extended ---------------------------------------------------------------------------------------------


def fixed(question: Question) -> list[Mapping[str, Any]]:
    (trials,) = question.trials().values()
    return [trial.system_attrs["fixed_params"] for trial in trials]


def test_a_larger_budget_brings_the_rungs_that_are_missing_and_nothing_twice(ask: Ask) -> None:
    question = ask(space=SPACE, compare=["constantmax"], budget={"trials": 4})
    defaults = {"constantmax.beta": 2.5, "constantmax.gamma": 100.0}
    before = [{**defaults, "learning_rate": MIDDLE}, PAPER, {}, {}]
    assert fixed(question) == before
    later = [{**defaults, "learning_rate": UPPER}, {**defaults, "learning_rate": LOWER}]
    assert fixed(extend(question, 6)) == [*before, *later, {}, {}, {}, {}]


def test_a_study_from_before_goes_on_with_the_points_of_its_time(
    ask: Ask, defined: Callable[..., StudyDefinition], corpus: Any, where: str
) -> None:
    ask(name="other")  # makes the database
    changes: dict[str, Any] = {"space": SPACE, "compare": ["constantmax"], "budget": {"trials": 1}}
    definition = defined(**changes).model_copy(update={"schema_version": 2})
    question = create(where, definition, corpus)
    points = [{"constantmax.beta": 2.5, "constantmax.gamma": 100.0, "learning_rate": 1e-3}]
    assert fixed(question) == points
    points.append({**PAPER, "learning_rate": 1e-3})
    assert fixed(extend(question, 3)) == [*points, {}, {}]
    assert fixed(ask(**{**changes, "budget": {"trials": 10}})) == [*points, *[{}] * 8]
    assert [taken(question).params.get("learning_rate") for _ in range(2)] == [1e-3, 1e-3]
