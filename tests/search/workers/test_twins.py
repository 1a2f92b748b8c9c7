"""Equal trials are trained once: while one runs the others wait, without a slot, and do what its end asks of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState

from tunemax.gpt.data import Corpus
from tunemax.search import objective, open_study
from tunemax.search.api import Ended, run_study
from tunemax.search.storage import attributes, recovery
from tunemax.search.storage.database import open_storage
from tunemax.search.storage.ownership import finish, release, settle, take
from tunemax.search.storage.questions import Question, load_from
from tunemax.search.storage.queue import claim, deferred
from tunemax.search.workers import supervisor
from tunemax.search.workers.events import Event, Finished, Reported, Started
from tunemax.search.workers.trial import configuration

Ask = Callable[..., Question]
Work = Callable[..., list[Event]]
MARK, ELSEWHERE = "here:1:1", "elsewhere:1:1"


def equal(ask: Ask, count: int, **more: Any) -> Question:
    """A question of so many equal trials, and nothing else."""
    question = ask(compare=["softmax"], budget={"trials": 1, "horizon": 40}, **more)
    study = question.study("q/softmax")
    study.tell(study.ask(), state=TrialState.FAIL)
    for _ in range(count):
        study.enqueue_trial({"learning_rate": 0.01})
    return question


def trials(question: Question) -> list[FrozenTrial]:
    return question.trials()["q/softmax"][1:]


def states(question: Question) -> list[str]:
    return [attributes.state(trial) for trial in trials(question)]


def numbers(question: Question, state: TrialState) -> set[int]:
    return {trial.number for trial in trials(question) if trial.state == state}


def started(events: list[Event]) -> list[int]:
    return [event.trial for event in events if isinstance(event, Started)]


def once(do: Callable[[], None]) -> Callable[[Event], None]:
    """Does it at the first report."""
    done: list[Event] = []

    def hear(event: Event) -> None:
        if isinstance(event, Reported) and not done:
            done.append(event)
            do()

    return hear


def test_of_equal_trials_that_are_taken_together_one_is_trained(ask: Ask, work: Work) -> None:
    question, seen = equal(ask, 4), []
    events = work(question, slots=4, on=once(lambda: seen.extend(trials(question))))
    assert [(trial.state, "tunemax:worker" in trial.user_attrs) for trial in seen] == [
        (TrialState.RUNNING, True),
        *[(TrialState.WAITING, False)] * 3,
    ]
    assert all(trial.params == {"learning_rate": 0.01} for trial in seen)
    assert started(events) == [1]
    assert states(question) == ["complete"] + ["duplicate"] * 3
    first, *others = trials(question)
    for other in others:
        assert other.user_attrs[attributes.DUPLICATE_OF] == first.number
        assert (other.value, other.intermediate_values) == (first.value, first.intermediate_values)
        assert other.user_attrs[attributes.ITERATIONS] == 0


def test_the_slots_of_twins_are_for_others(ask: Ask, work: Work) -> None:
    question = equal(ask, 3)
    question.study("q/softmax").enqueue_trial({"learning_rate": 0.02})
    running: list[int] = []
    work(
        question, slots=2, on=once(lambda: running.extend(t.number for t in trials(question) if t.state.name[0] == "R"))
    )
    assert sorted(running) == [1, 4]
    assert states(question) == ["complete", "duplicate", "duplicate", "complete"]


def test_a_second_worker_holds_its_twin_back_and_ends(ask: Ask, work: Work) -> None:
    question, others = equal(ask, 2), []
    events = work(question, slots=1, on=once(lambda: others.extend(work(question, slots=4, index=1))))
    assert others == []
    assert started(events) == [1]
    assert states(question) == ["complete", "duplicate"]


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_when_the_twin_fails_the_next_one_trains(ask: Ask, work: Work, end: str) -> None:
    question = equal(ask, 3)

    def fail() -> None:
        if end == "cancelled":
            study = question.study("q/softmax")
            study._storage.set_trial_user_attr(trials(question)[0]._trial_id, attributes.REASON, attributes.CANCELLED)
        question.study("q/softmax").tell(1, state=TrialState.FAIL)

    events = work(question, slots=3, on=once(fail))
    assert started(events) == [1, 2]
    assert states(question) == [end, "complete", "duplicate"]


@pytest.mark.parametrize("end", ["pruned", "diverged"])
def test_a_twin_that_was_stopped_has_duplicates_like_any_other(ask: Ask, work: Work, end: str) -> None:
    rate = {"pruned": 1e-6, "diverged": 5.0}[end]
    space = {"learning_rate": {"low": 1e-6, "high": 10.0, "log": True}}
    question = ask(
        compare=["softmax"],
        space=space,
        pruner={"name": "median", "startup": 1, "spared": 0.0},
        budget={"trials": 1, "horizon": 40},
    )
    for each in (1e-2, rate, rate):
        question.study("q/softmax").enqueue_trial({"learning_rate": each})
    work(question, slots=1, closing=_after(2))
    events = work(question, slots=2)
    assert started(events)[-1:] == [2]
    assert [attributes.state(trial) for trial in question.trials()["q/softmax"]][2:] == [end, "duplicate"]


def _after(count: int) -> Callable[[], bool]:
    asked = iter([False] * count)
    return lambda: next(asked, True)


def test_interrupted_twins_go_on_as_one(ask: Ask, work: Work) -> None:
    question, seen = equal(ask, 3), []
    work(question, slots=3, on=seen.append, stopping=lambda: any(isinstance(event, Reported) for event in seen))
    assert states(question) == ["waiting"] * 3
    assert started(work(question, slots=3)) == [1]
    assert states(question) == ["complete", "duplicate", "duplicate"]


def test_of_equal_trials_that_are_configured_at_one_moment_one_may_train(ask: Ask, where: str, corpus: Corpus) -> None:
    """Each of four threads is as another process: it has a storage of its own."""
    question, together, may = equal(ask, 8), threading.Barrier(4), []

    def go(index: int) -> None:
        ours = load_from(where, "q")
        together.wait()
        while trial := claim("q/softmax", ours.cached, ours.sampler("q/softmax", index), mark=MARK):
            with ours.cached.one_look(), ours.cached.holding(trial) as given:
                configuration(trial, ours.definition, ours.siblings["q/softmax"], corpus)
            may.append(settle(ours.storage, trial, MARK, given))

    threads = [threading.Thread(target=go, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert may.count(True) == 1
    assert sorted(states(question)) == ["running"] + ["waiting"] * 7
    assert deferred(question.trials()["q/softmax"]) == numbers(question, TrialState.WAITING)
    waiting = next(trial for trial in trials(question) if trial.state == TrialState.WAITING)
    assert attributes.IDENTITY in waiting.user_attrs, "all of them were taken once"
    assert not take(question.storage, waiting, MARK), "however it was found"


@pytest.fixture
def foreign(ask: Ask, corpus: Corpus) -> tuple[Question, FrozenTrial]:
    """Two equal trials, one of which a worker on another machine trains."""
    question = equal(ask, 2)
    trial = claim("q/softmax", question.cached, question.sampler("q/softmax", 0), mark=ELSEWHERE)
    assert trial is not None
    with question.cached.holding(trial) as given:
        configuration(trial, question.definition, question.siblings["q/softmax"], corpus)
    assert settle(question.storage, trial, ELSEWHERE, given)
    return question, trials(question)[0]


@pytest.mark.parametrize("end", ["complete", "failed", "given back"])
def test_a_run_waits_for_a_twin_on_another_machine_and_then_ends(
    foreign: tuple[Question, FrozenTrial], where: str, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "PAUSE", 0.1)
    question, twin = foreign
    seen: list[list[str]] = []

    def elsewhere() -> None:
        deadline = time.monotonic() + 60
        while "identity" not in trials(question)[1].user_attrs and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)
        seen.append(states(question))
        storage = open_storage(where, create=False)
        if end == "complete":
            finish(storage, twin, ELSEWHERE, TrialState.COMPLETE, 2.0)
        elif end == "failed":
            finish(storage, twin, ELSEWHERE, TrialState.FAIL, None)
        else:
            release(storage, twin, ELSEWHERE)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    assert run_study("q", where, workers=1) == Ended()
    thread.join()
    assert seen == [["running", "waiting"]]
    expected = {"complete": ["complete", "duplicate"], "failed": ["failed", "complete"]}
    assert states(question) == expected.get(end, ["complete", "duplicate"])
    if end == "complete":
        assert trials(question)[1].value == 2.0


def test_a_twin_whose_machine_is_gone_is_taken_over(
    foreign: tuple[Question, FrozenTrial], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    question, _ = foreign
    for name, seconds in (("PAUSE", 0.1), ("REAPING", 0.5)):
        monkeypatch.setattr(supervisor, name, seconds)
    monkeypatch.setattr(recovery, "GRACE", 1.0)
    assert run_study("q", where, workers=1) == Ended()
    assert states(question) == ["complete", "duplicate"]


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_siblings_begin_with_the_same_points_whichever_worker_takes_them(ask: Ask, work: Work, sampler: str) -> None:
    space = {"learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}, "polymax.power": "default"}
    question = ask(space=space, sampler=sampler, budget={"trials": 4, "horizon": 20})
    work(question, slots=3, on=once(lambda: work(question, slots=2, index=1)))
    softmax, polymax = (
        [trial.params["learning_rate"] for trial in trials if not trial.system_attrs.get("fixed_params")]
        for trials in question.trials().values()
    )
    shared = min(len(softmax), len(polymax))
    assert shared >= 3
    assert softmax[:shared] == polymax[:shared]
    assert len(set(softmax)) == len(softmax)


def test_workers_train_every_point_of_a_small_space_once(ask: Ask, work: Work) -> None:
    """As many trials as there are points, and eight slots: each guess is made while others run."""
    space = {"learning_rate": [1e-4, 1e-3, 1e-2], "weight_decay": [0.0, 0.01, 0.1, 0.2]}
    sampler = {"name": "tpe", "startup": 1}
    question = ask(compare=["softmax"], space=space, sampler=sampler, budget={"trials": 12, "horizon": 20})
    work(question, slots=1, closing=_after(2))  # from then on it guesses
    work(question, slots=4, on=once(lambda: work(question, slots=4, index=1)))
    found = question.trials()["q/softmax"]
    assert len({tuple(trial.params.items()) for trial in found}) == 12
    assert {attributes.state(trial) for trial in found} == {"complete"}


def test_when_the_time_is_spent_nobody_waits_for_a_twin(foreign: tuple[Question, FrozenTrial], where: str) -> None:
    assert run_study("q", where, workers=1, seconds=0.5) == Ended(waiting=1, elsewhere=1)


def test_plain_optimize_has_no_queue_and_trains(foreign: tuple[Question, FrozenTrial], where: Path) -> None:
    question, _ = foreign
    study = open_study("q/softmax", where)
    study.optimize(objective(study), n_trials=1)
    assert states(question) == ["running", "complete"]


def test_nothing_but_a_worker_is_waited_for(ask: Ask, work: Work, corpus: Corpus) -> None:
    """Somebody has asked for a trial by hand and may keep it for days."""
    question = equal(ask, 2)
    study = question.study("q/softmax")
    theirs = study.ask()
    configuration(theirs, question.definition, question.siblings["q/softmax"], corpus)
    events = work(question)
    assert started(events) == [2]
    assert [event.state for event in events if isinstance(event, Finished)] == ["complete"]
