"""A worker: no trial is lost or trained twice, and no result depends on what was trained beside it."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState

import tunemax.search.workers.worker
from tunemax.gpt.config import Config
from tunemax.gpt.data import Corpus
from tunemax.gpt.divergence import divergence_cap
from tunemax.gpt.trainer import Trainer
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.storage import attributes
from tunemax.search.storage.questions import Question, create, extend
from tunemax.search.storage.recovery import reap
from tunemax.search.workers.events import Event, Finished, Reported, Started
from tunemax.search.workers.trial import CHUNK, Job

Ask = Callable[..., Question]
Work = Callable[..., list[Event]]
GRID = {
    "sampler": "grid",
    "space": {"learning_rate": [1e-3, 1e-2, 5e-2], "weight_decay": [0.0, 0.1]},
    "budget": {"trials": 6},
}


def alone(config: Config, corpus: Corpus) -> float:
    """The loss at the horizon of one training by itself, in one stride."""
    trainer = Trainer(config, corpus)
    member = trainer.add(config)
    trainer.step(config.train.max_iters)
    return trainer.evaluate()[member]


def config_of(trial: FrozenTrial) -> Config:
    return Config.of(json.loads(trial.system_attrs[attributes.CONFIG]))


def results(question: Question) -> dict[tuple[str, Any], tuple[str, float | None]]:
    """What became of each point of each candidate."""
    return {
        (name, tuple(sorted(trial.params.items()))): (trial.state.name, trial.value)
        for name, trials in question.trials().items()
        for trial in trials
    }


def finished(events: list[Event], state: str) -> list[Finished]:
    return [event for event in events if isinstance(event, Finished) and event.state == state]


def stop_after(number: int) -> tuple[Callable[[Event], None], Callable[[], bool]]:
    """A listener that counts reports, and the question whether there have been so many."""
    seen: list[Event] = []
    return lambda event: seen.append(event) if isinstance(event, Reported) else None, lambda: len(seen) >= number


# ---- results ---------------------------------------------------------------------------------------------------------


def test_every_result_is_that_of_the_same_training_alone(ask: Ask, work: Work, corpus: Corpus) -> None:
    question = ask(budget={"trials": 4, "horizon": 25}, compare=["softmax", "polymax", "constantmax"])
    work(question, slots=5)
    for name, trials in question.trials().items():
        assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 4
        for trial in trials:
            config = config_of(trial)
            assert config.softmax.name == name.partition("/")[2]
            assert config.train.learning_rate == trial.params["learning_rate"]
            assert trial.value == alone(config, corpus), f"{name} trial {trial.number} depends on its neighbours"
            assert list(trial.intermediate_values) == [10, 20, 25]
            assert trial.intermediate_values[25] == trial.value
            assert (trial.user_attrs[attributes.ITERATIONS], trial.user_attrs[attributes.TOKENS]) == (25, 25 * 4 * 16)
            assert trial.user_attrs[attributes.IDENTITY] == config.identity


def test_shapes_that_cannot_be_stacked_share_the_slots(ask: Ask, work: Work, corpus: Corpus) -> None:
    space = {"n_embd": [16, 32, 64], "learning_rate": {"low": 1e-3, "high": 1e-2}}
    budget = {"trials": 8, "equal": "iterations"}
    question = ask(compare=["softmax"], space=space, budget=budget, base={"n_embd": None})
    events = work(question, slots=3)
    assert most_running(events) == 3
    trials = question.trials()["q/softmax"]
    assert {config_of(trial).model.n_embd for trial in trials} == {16, 32, 64}
    for trial in trials:
        assert trial.value == alone(config_of(trial), corpus)


def most_running(events: list[Event]) -> int:
    running, most = set(), 0
    for event in events:
        if isinstance(event, Started):
            running.add((event.study, event.trial))
        elif isinstance(event, Finished):
            running.discard((event.study, event.trial))
        most = max(most, len(running))
    return most


def test_a_variant_may_be_a_dimension(ask: Ask, work: Work, corpus: Corpus) -> None:
    question = ask(
        per=None,
        compare=None,
        space={"softmax_variant": ["softmax", "polymax"], "learning_rate": [1e-3, 1e-2], "polymax.power": [2.0, 3.0]},
        sampler="grid",
        budget={"trials": 6},
    )
    work(question)
    trials = question.trials()["q"]
    assert Counter(trial.params["softmax_variant"] for trial in trials) == {"softmax": 2, "polymax": 4}
    assert all(trial.value == alone(config_of(trial), corpus) for trial in trials)


# ---- slots -----------------------------------------------------------------------------------------------------------


def test_slots_are_all_used_never_exceeded_and_shared_by_the_candidates(ask: Ask, work: Work) -> None:
    events = work(ask(budget={"trials": 5}), slots=4)
    assert most_running(events) == 4
    first = [event.study for event in itertools.takewhile(lambda event: isinstance(event, Started), events)]
    assert Counter(first) == {"q/softmax": 2, "q/polymax": 2}


def test_workers_begin_with_different_candidates(ask: Ask, work: Work) -> None:
    question = ask(budget={"trials": 2})
    (first, *_), (second, *_) = (
        work(question, index=1, slots=1, closing=once()),
        work(question, index=0, slots=1, closing=once()),
    )
    assert (first.study, second.study) == ("q/polymax", "q/softmax")  # type: ignore[union-attr]


def once() -> Callable[[], bool]:
    """No the first time, yes from then on: one trial is let in."""
    answers = itertools.chain([False], itertools.repeat(True))
    return lambda: next(answers)


def test_a_pruned_trial_makes_room_at_once(ask: Ask, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    question = ask(
        compare=["softmax"],
        pruner={"name": "median", "startup": 1},
        space={"learning_rate": [3e-2, 1e-5, 1e-6, 2e-6, 3e-6, 4e-6]},
        sampler="grid",
        budget={"trials": 6, "horizon": 40},
    )
    members, step = [], Trainer.step

    def counted(trainer: Trainer, n: int) -> None:
        members.append(len(trainer.members))
        step(trainer, n)

    monkeypatch.setattr(Trainer, "step", counted)
    work(question, slots=2)
    trials = question.trials()["q/softmax"]
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED]
    assert len(pruned) >= 2
    assert members == sorted(members, reverse=True), "a slot stayed empty while trials waited"
    assert sum(members) * CHUNK == sum(trial.user_attrs[attributes.ITERATIONS] for trial in trials) < 6 * 40
    for trial in pruned:
        assert trial.last_step == trial.user_attrs[attributes.ITERATIONS] == 20, (
            "nothing is pruned before a third of the horizon"
        )


# ---- divergence, duplicates, what others do --------------------------------------------------------------------------


def test_a_diverged_trial_is_complete_at_the_cap_with_its_reason(ask: Ask, work: Work, corpus: Corpus) -> None:
    question = ask(
        compare=["softmax"],
        space={"learning_rate": [1e-3, 5.0, 1e-2]},
        sampler="grid",
        budget={"trials": 3, "horizon": 40},
    )
    events = work(question)
    fine, diverged, other = question.trials()["q/softmax"]
    assert (diverged.state, diverged.value) == (TrialState.COMPLETE, divergence_cap(config_of(diverged), corpus))
    assert diverged.user_attrs[attributes.DIVERGED].startswith("diverged: ")
    assert diverged.user_attrs[attributes.ITERATIONS] < 40
    assert attributes.state(diverged) == "diverged"
    (told,) = finished(events, "diverged")
    assert told.reason == diverged.user_attrs[attributes.DIVERGED]
    for trial in (fine, other):
        assert attributes.DIVERGED not in trial.user_attrs
        assert trial.value == alone(config_of(trial), corpus)


def above_the_cap(monkeypatch: pytest.MonkeyPatch, iterations: set[int]) -> None:
    """Let every trial be evaluated above its cap at these iterations."""
    evaluated = tunemax.search.workers.worker.evaluated

    def changed(trainer: Trainer, jobs: Sequence[Job]) -> list[float]:
        losses = zip(jobs, evaluated(trainer, jobs), strict=True)
        return [loss + 50 * (job.member.iteration in iterations) for job, loss in losses]

    monkeypatch.setattr(tunemax.search.workers.worker, "evaluated", changed)


@pytest.mark.parametrize(
    ("above", "ends", "reason"),
    [
        ({10, 30}, "complete", None),
        ({20, 30}, "diverged", "at two looks in a row"),
        ({40}, "diverged", "at the horizon"),
    ],
)
def test_a_trial_survives_one_look_above_the_cap(
    above: set[int], ends: str, reason: str | None, ask: Ask, work: Work, corpus: Corpus, monkeypatch: Any
) -> None:
    above_the_cap(monkeypatch, above)
    question = ask(compare=["softmax"], budget={"trials": 1, "horizon": 40})
    work(question)
    (trial,) = question.trials()["q/softmax"]
    cap = divergence_cap(config_of(trial), corpus)
    assert attributes.state(trial) == ends
    assert {step for step, value in trial.intermediate_values.items() if value == cap} == above
    assert str(trial.user_attrs.get(attributes.DIVERGED)).endswith(str(reason))
    assert trial.last_step == (30 if above == {20, 30} else 40)


def test_spikes_are_attributes_of_a_trial_that_trains_on(ask: Ask, work: Work) -> None:
    question = ask(
        compare=["softmax"],
        base={"divergence_margin": 0.3, "warmup_fraction": 0, "grad_clip": 0, "init_std": 0.02},
        space={"learning_rate": [1e-3, 2.0]},
        sampler="grid",
        budget={"trials": 2, "horizon": 20},
    )
    work(question)
    calm, wild = (trial.user_attrs for trial in question.trials()["q/softmax"])
    assert attributes.SPIKES not in calm
    assert wild[attributes.SPIKES] >= 1
    assert wild[attributes.HIGHEST_SPIKE] > math.log(256) + 0.3
    assert 1 <= wild[attributes.FIRST_SPIKE] < wild[attributes.ITERATIONS]


@pytest.mark.parametrize("state", ["complete", "pruned", "diverged"])
def test_a_duplicate_is_told_the_result_with_a_mark_and_not_trained(ask: Ask, work: Work, state: str) -> None:
    rates = {"complete": [1e-2], "pruned": [1e-2, 1e-6], "diverged": [5.0]}[state]
    question = ask(
        compare=["softmax"],
        pruner={"name": "median", "startup": 1},
        space={"learning_rate": {"low": 1e-6, "high": 10.0, "log": True}},
        budget={"trials": 1, "horizon": 40},
    )
    study = question.study("q/softmax")
    for rate in [*rates, rates[-1], rates[-1]]:
        study.enqueue_trial({"learning_rate": rate})
    events = work(question, slots=1)
    *_, original, second, third = study.get_trials()
    assert attributes.state(original) == state
    for trial in (second, third):
        assert attributes.state(trial) == "duplicate"
        assert trial.user_attrs[attributes.DUPLICATE_OF] == original.number
        assert (trial.state, trial.value) == (original.state, original.value)
        assert trial.intermediate_values == original.intermediate_values
        assert trial.user_attrs[attributes.ITERATIONS] == 0
    assert len(finished(events, "duplicate")) == 2


def test_a_trial_that_somebody_else_has_finished_is_dropped_and_the_others_go_on(ask: Ask, work: Work) -> None:
    question = ask(compare=["softmax"], budget={"trials": 3})

    def meddle(event: Event) -> None:
        if isinstance(event, Reported) and event.trial == 1:
            question.study("q/softmax").tell(1, 0.5)

    events = work(question, on=meddle)
    trials = question.trials()["q/softmax"]
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 3
    assert trials[1].value == 0.5
    assert [(event.trial, event.value) for event in finished(events, "dropped")] == [(1, None)]
    assert len(finished(events, "complete")) == 2


def test_a_trial_asked_with_the_stock_tools_is_theirs(ask: Ask, work: Work) -> None:
    question = ask(compare=["softmax"])
    theirs = question.study("q/softmax").ask()
    work(question)
    assert reap(question.storage, question.siblings) == 0
    states = [trial.state for trial in question.trials()["q/softmax"]]
    assert states.pop(theirs.number) == TrialState.RUNNING
    assert states == [TrialState.COMPLETE] * 2
    question.study("q/softmax").tell(theirs, math.inf)
    assert work(question) == []
    assert attributes.state(question.trials()["q/softmax"][theirs.number]) == "diverged"


@pytest.mark.filterwarnings("ignore:Fixed parameter")
@pytest.mark.parametrize("wrong", [{"learning_rate": 99.0}, {"tie_weights": "maybe"}])
def test_an_impossible_trial_that_somebody_enqueued_fails_with_its_reason(
    ask: Ask, work: Work, wrong: dict[str, Any]
) -> None:
    question = ask(compare=["softmax"], space={"learning_rate": "default", "tie_weights": [True, False]})
    question.study("q/softmax").enqueue_trial(wrong)
    events = work(question)
    (failed,) = finished(events, "failed")
    trials = question.trials()["q/softmax"]
    assert [trial.state.name for trial in trials].count("COMPLETE") == 3
    assert trials[failed.trial].state == TrialState.FAIL
    assert trials[failed.trial].user_attrs[attributes.REASON] == failed.reason


# ---- interruption ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reports", [1, 3, 7])
def test_an_interrupted_grid_ends_with_the_results_of_an_undisturbed_one(
    ask: Ask, work: Work, reports: int, defined: Callable[..., StudyDefinition], tmp_path: Path, corpus: Corpus
) -> None:
    undisturbed = create(str(tmp_path / "other.db"), defined(**GRID), corpus)
    work(undisturbed)

    question = ask(**GRID)
    listener, enough = stop_after(reports)
    events = work(question, on=listener, stopping=enough)
    assert len(finished(events, "returned")) > 0
    assert not any(trial.state == TrialState.RUNNING for trials in question.trials().values() for trial in trials)
    work(question)
    assert results(question) == results(undisturbed)
    assert all(len(trials) == 6 for trials in question.trials().values())


def test_an_interrupted_trial_trains_again_what_it_was_to_train(ask: Ask, work: Work) -> None:
    question = ask(compare=["softmax"], budget={"trials": 6, "horizon": 40})
    listener, enough = stop_after(2)
    work(question, slots=2, on=listener, stopping=enough)
    before = [dict(trial.params) for trial in question.trials()["q/softmax"][:2]]
    work(question)
    trials = question.trials()["q/softmax"]
    assert [dict(trial.params) for trial in trials[:2]] == before
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 6
    assert len({trial.params["learning_rate"] for trial in trials}) == 6, "the sampler began with the same points again"


@pytest.mark.filterwarnings("error")
def test_a_trial_that_reports_again_is_silent(ask: Ask, work: Work) -> None:
    question = ask(compare=["softmax"], budget={"trials": 2, "horizon": 40})
    listener, enough = stop_after(3)
    work(question, on=listener, stopping=enough)
    work(question)
    assert [list(trial.intermediate_values) for trial in question.trials()["q/softmax"]] == [[10, 20, 30, 40]] * 2


def test_a_fault_in_a_worker_gives_back_what_it_trained(ask: Ask, work: Work) -> None:
    question = ask()

    def fail(event: Event) -> None:
        if isinstance(event, Reported):
            raise MemoryError

    with pytest.raises(MemoryError):
        work(question, on=fail)
    assert {trial.state for trials in question.trials().values() for trial in trials} == {TrialState.WAITING}


def test_when_the_time_is_spent_running_trials_end_and_none_begins(ask: Ask, work: Work) -> None:
    question = ask(compare=["softmax"], budget={"trials": 5})
    listener, enough = stop_after(1)
    events = work(question, slots=2, on=listener, closing=enough)
    states = Counter(trial.state for trial in question.trials()["q/softmax"])
    assert states == {TrialState.COMPLETE: 2, TrialState.WAITING: 3}
    assert len(finished(events, "complete")) == 2


def test_more_budget_goes_on_where_the_study_stopped(ask: Ask, work: Work) -> None:
    question = ask(compare=["softmax"])
    work(question)
    before = [(trial.params, trial.value) for trial in question.trials()["q/softmax"]]
    work(extend(question, 2))
    after = [(trial.params, trial.value) for trial in question.trials()["q/softmax"]]
    assert after[:3] == before
    assert len(after) == 5
    assert len({params["learning_rate"] for params, _ in after}) == 5


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "cmaes", "gp"])
def test_every_sampler_spends_the_budget(ask: Ask, work: Work, sampler: str) -> None:
    question = ask(
        compare=["softmax"],
        sampler=sampler,
        space={"learning_rate": "default", "weight_decay": "default"},
        budget={"trials": 7, "horizon": 10},
    )
    work(question)
    trials = question.trials()["q/softmax"]
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 7
    assert len({tuple(trial.params.items()) for trial in trials}) == 7
