"""What is known of a run: right counts after whatever workers tell, a pace, and the time that is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState

from tunemax.gpt.errors import TunemaxError
from tunemax.search.storage.attributes import CONFIG, state
from tunemax.search.storage.questions import Question
from tunemax.search.storage.trials import set_system_attr
from tunemax.search.views.live.pace import SILENCE, WINDOW, Pace
from tunemax.search.views.live.progress import ENDS, RECOUNT, Candidate, Progress
from tunemax.search.workers.events import Advanced, Event, Finished, Gone, Note, Reported, Started


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def started(trial: int, study: str = "q/softmax", worker: int = 0, at: int = 0) -> Started:
    return Started(worker, study, trial, 40, at)


def reported(trial: int, at: int, value: float = 4.0, study: str = "q/softmax") -> Reported:
    return Reported(0, study, trial, at, value)


def ended(
    trial: int, how: str = "complete", iteration: int = 40, value: float | None = 3.0, study: str = "q/softmax"
) -> Finished:
    return Finished(0, study, trial, iteration, how, value)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def progress(clock: Clock) -> Progress:
    return Progress({"q/softmax": Candidate(8), "q/polymax": Candidate(8)}, now=clock)


def take(progress: Progress, *events: Event) -> Candidate:
    for event in events:
        progress.take(event)
    return progress.candidates["q/softmax"]


# ---- counts ----------------------------------------------------------------------------------------------------------


def test_trials_are_counted_as_they_end(progress: Progress) -> None:
    ways = ["complete", "pruned", "diverged", "complete", "returned"]
    candidate = take(
        progress,
        *(started(trial) for trial in range(5)),
        *(reported(trial, 20) for trial in range(5)),
        Note(0, "a line"),
        *(ended(trial, way, 20 if way == "pruned" else 40, 3.0 - trial / 10) for trial, way in enumerate(ways)),
        ended(5, "duplicate", 0),
        ended(6, "failed", 0, None),
    )
    assert candidate.counts() == {"complete": 2, "pruned": 1, "diverged": 1, "duplicate": 1, "failed": 1, "dropped": 0}
    assert (candidate.running, candidate.done, candidate.best) == (0, 6, (2.7, 3))
    assert (progress.done, progress.total, progress.running) == (6, 16, 0)
    assert progress.steps == 4 * 40 + 20


WORKERS, STUDIES = st.integers(0, 2), st.sampled_from(["q/softmax", "q/polymax", "q/new"])
TRIALS, AT, VALUE = st.integers(0, 5), st.integers(0, 40), st.floats(0, 10)
EVENTS = st.one_of(
    st.builds(Started, WORKERS, STUDIES, TRIALS, st.just(40), AT),
    st.builds(Advanced, WORKERS, st.dictionaries(st.tuples(STUDIES, TRIALS), AT, max_size=3)),
    st.builds(Reported, WORKERS, STUDIES, TRIALS, AT, VALUE),
    st.builds(Finished, WORKERS, STUDIES, TRIALS, AT, st.sampled_from([*ENDS, "returned"]), st.none() | VALUE),
    st.builds(Gone, WORKERS),
    st.builds(Note, WORKERS, st.text()),
)


@given(st.lists(st.tuples(EVENTS, st.floats(0, 40)), max_size=60))
def test_whatever_is_told_the_counts_fit_together(told: list[tuple[Event, float]]) -> None:
    clock = Clock()
    progress = Progress({"q/softmax": Candidate(3), "q/polymax": Candidate(6)}, now=clock)
    running: set[tuple[str, int]] = set()
    trained = 0
    for event, seconds in told:
        clock.seconds += seconds
        progress.take(event)
        if isinstance(event, Started):
            running.add((event.study, event.trial))
        elif isinstance(event, Finished):
            running.discard((event.study, event.trial))
        elif isinstance(event, Gone):
            running -= {(slot.study, slot.trial) for slot in progress.slots if slot.worker == event.worker and slot.end}
        in_slots = [(slot.study, slot.trial) for slot in progress.slots if slot.end is None]
        assert sorted(in_slots) == sorted(running)
        assert len(progress.slots) == len({(slot.study, slot.trial) for slot in progress.slots})
        for name, candidate in progress.candidates.items():
            assert candidate.running == sum(study == name for study, _ in running)
            assert candidate.done == sum(candidate.counts().values())
            assert all(count >= 0 for count in candidate.counts().values())
            assert 0 <= candidate.done <= candidate.done + candidate.running <= candidate.total
        assert progress.done <= progress.total
        assert trained <= progress.steps
        trained = progress.steps
        assert progress.rate >= 0
        assert progress.eta is None or progress.eta > 0
        assert all(count >= 0 for count in progress.pace.lengths.values())


# ---- slots -----------------------------------------------------------------------------------------------------------


def places(progress: Progress) -> list[tuple[int, int, str | None]]:
    return [(slot.worker, slot.trial, slot.end) for slot in progress.slots]


def test_the_next_trial_of_a_worker_takes_the_place_of_the_one_that_has_ended(progress: Progress) -> None:
    take(progress, started(0), started(1, worker=1), started(2), ended(0))
    assert places(progress) == [(0, 0, "complete"), (1, 1, None), (0, 2, None)]
    take(progress, started(3, worker=1), started(4))
    assert places(progress) == [(0, 4, None), (1, 1, None), (0, 2, None), (1, 3, None)]


def test_between_evaluations_a_slot_shows_how_far_it_is(progress: Progress) -> None:
    take(
        progress,
        started(0),
        Advanced(0, {("q/softmax", 0): 7, ("q/softmax", 9): 7}),
        reported(0, 10),
        Advanced(0, {("q/softmax", 0): 8}),
    )
    assert (progress.slots[0].iteration, progress.slots[0].losses, progress.steps) == (10, {10: 4.0}, 10)


def test_a_trial_of_a_dead_worker_goes_on_from_its_snapshot(progress: Progress) -> None:
    candidate = take(progress, started(0), started(1), reported(0, 10, 4.0), reported(0, 20, 3.0), Gone(0))
    assert (candidate.running, places(progress)) == (0, [(0, 0, "lost"), (0, 1, "lost")])
    take(progress, started(0, worker=1, at=10), started(1))
    assert (candidate.running, places(progress)) == (2, [(0, 1, None), (1, 0, None)]), "it is in one place only"
    assert (progress.slots[1].iteration, progress.slots[1].losses) == (10, {10: 4.0}), (
        "what comes after the snapshot is trained again"
    )
    take(progress, Finished(1, "q/softmax", 0, 40, "complete", 2.5))
    assert progress.steps == 20 + 30


def test_a_trial_that_comes_back_before_its_worker_is_known_to_be_dead_runs_once(progress: Progress) -> None:
    candidate = take(progress, started(0), reported(0, 20), started(0))
    assert candidate.running == 1
    assert take(progress, ended(0)).running == 0
    assert progress.steps == 20 + 40, "the steps before it died were trained too"


def test_what_leads_is_said(progress: Progress) -> None:
    take(
        progress, ended(0, value=3.0), ended(1, value=3.5), ended(0, value=2.0, study="q/polymax"), ended(2, value=2.5)
    )
    assert [happening.leads for happening in progress.recent] == ["of all", "", "of all", "of softmax"]
    take(progress, ended(3, "pruned", 20, 1.0), ended(4, "diverged", 20, 1.5))
    assert progress.candidates["q/softmax"].best == (2.5, 2), "only what has come to the horizon can lead"


# ---- the storage -----------------------------------------------------------------------------------------------------


def test_a_resumed_run_begins_with_what_there_is(ask: Callable[..., Question], work: Callable[..., Any]) -> None:
    question = ask(compare=["softmax"], space={"learning_rate": {"low": 1e-4, "high": 10.0, "log": True}})
    study = question.study("q/softmax")
    for rate in (5.0, 1e-2, 1e-2):
        study.enqueue_trial({"learning_rate": rate})
    events = work(question, slots=1)
    followed = Progress({"q/softmax": Candidate(6)})
    take(followed, *events)
    resumed = Progress.of(question)
    assert resumed.candidates == followed.candidates
    assert resumed.pace.lengths == followed.pace.lengths
    assert {state(trial) for trial in study.get_trials()} == {"complete", "diverged", "duplicate"}
    assert (resumed.done, resumed.steps, resumed.eta) == (6, 0, None)


def test_what_others_do_is_seen_after_a_while(
    ask: Callable[..., Question], work: Callable[..., Any], clock: Clock
) -> None:
    question = ask(compare=["softmax"])
    progress = Progress.of(question)
    progress.now = clock
    progress._looked = clock.seconds
    study = question.study("q/softmax")
    study.enqueue_trial({"learning_rate": 1e-2})
    trial = study.ask()
    trial.report(4.5, 10)
    other, told = study.ask(), study.ask()
    set_system_attr(other, CONFIG, "{}")  # as whoever trains it does
    study.tell(other, 1.5)
    study.tell(told, 1.2)  # with the stock tools: it leads nothing
    progress.take(ended(trial.number, "dropped", 10, None))
    clock.seconds += RECOUNT / 2
    progress.take(Note(0, "too soon"))
    assert (progress.done, progress.total) == (1, 3)
    clock.seconds += RECOUNT / 2
    progress.take(Note(0, "now"))
    assert (progress.done, progress.total) == (2, 4), (
        "one was added, two ended elsewhere, and the one dropped runs elsewhere"
    )
    assert progress.candidates["q/softmax"].best == (1.5, other.number)
    progress.take(started(trial.number, at=10))
    assert progress.slots[0].losses == {10: 4.5}, "the curve from before goes on"


def test_a_storage_out_of_reach_does_not_end_the_view(clock: Clock) -> None:
    def look() -> Any:
        raise TunemaxError("the disk is gone")

    progress = Progress({"q/softmax": Candidate(3)}, look=look, now=clock)
    clock.seconds += RECOUNT
    progress.take(ended(0))
    assert progress.done == 1


def test_running_trials_are_left_to_their_workers(ask: Callable[..., Question]) -> None:
    question = ask(compare=["softmax"])
    study = question.study("q/softmax")
    trial = study.ask()
    progress = Progress.of(question)
    progress.take(started(trial.number))
    study.tell(trial, 2.0)
    progress.count(question.trials())
    candidate = progress.candidates["q/softmax"]
    assert (candidate.done, candidate.running, candidate.total) == (0, 1, 3), "its worker will say so itself"
    assert study.get_trials(states=(TrialState.COMPLETE,))


# ---- pace ------------------------------------------------------------------------------------------------------------


def test_the_rate_is_that_of_the_last_minute() -> None:
    pace = Pace()
    assert pace.rate(0.0) == 0
    for second in range(300):
        pace.mark(float(second), 10 * second)
    assert pace.rate(299.0) == pytest.approx(10)
    for second in range(300, 300 + int(WINDOW) + 1):
        pace.mark(float(second), 3000 + 100 * (second - 300))
    assert pace.rate(300 + WINDOW) == pytest.approx(100)
    assert len(pace._marks) <= WINDOW + 2


def test_bursts_of_news_do_not_shake_the_rate() -> None:
    pace, seen = Pace(), []
    pace.mark(0.0, 0)
    for burst in range(1, 11):  # every eight seconds sixteen members report 250 iterations within a tenth of a second
        for member in range(16):
            pace.mark(8.0 * burst + member / 160, 16 * 250 * (burst - 1) + 250 * (member + 1))
        seen += [pace.rate(8.0 * burst + after) for after in (0.2, 3, 7)]
    assert all(rate == pytest.approx(500, rel=0.15) for rate in seen)


def test_a_long_silence_counts_as_standing_still() -> None:
    pace = Pace()
    pace.mark(0.0, 0)
    pace.mark(10.0, 1000)
    assert pace.rate(10 + SILENCE) == 100
    assert pace.rate(90 + SILENCE) == pytest.approx(1000 / 90)


def test_the_time_left_is_by_member_steps(progress: Progress, clock: Clock) -> None:
    assert progress.eta is None
    take(progress, started(0), started(1))
    clock.seconds += 10
    take(progress, Advanced(0, {("q/softmax", 0): 20, ("q/softmax", 1): 20}))
    assert progress.rate == pytest.approx(4)
    assert progress.eta == pytest.approx((2 * 20 + 14 * 40) / 4), (
        "as long as none has ended, all are expected to reach the horizon"
    )
    take(progress, ended(0, "pruned", 20))
    assert progress.eta == pytest.approx((20 + 14 * 30) / 4), "one of two stopped half way; so will half of the others"


def test_trials_that_cost_nothing_take_no_time(clock: Clock) -> None:
    pace = Pace(Counter({0: 3, 40: 1}))
    assert pace.left([], waiting=8) == (8 * 10, 0)
    assert pace.left([(30, 40)], waiting=0) == (10, 10), "one that is beyond all shorter ones goes to the horizon"


def test_the_last_trial_is_not_faster_for_being_alone() -> None:
    pace = Pace()
    pace.mark(0.0, 0)
    pace.mark(10.0, 100)  # ten member-steps a second, of two members: five each
    assert pace.eta(10.0, [(0, 40), (38, 40)], waiting=0) == pytest.approx(40 / 5)


def test_no_time_is_expected_beyond_the_closing(progress: Progress, clock: Clock) -> None:
    progress.closes = 30
    take(progress, started(0))
    clock.seconds += 10
    take(progress, Advanced(0, {("q/softmax", 0): 10}))
    assert progress.eta == pytest.approx(20 + 30), "no trial starts after that, and the one that runs is finished"


def test_when_all_is_done_no_time_is_left(clock: Clock) -> None:
    progress = Progress({"q/softmax": Candidate(1)}, now=clock)
    take(progress, started(0))
    clock.seconds += 10
    take(progress, reported(0, 20))
    assert progress.eta == pytest.approx(10)
    take(progress, ended(0))
    assert progress.eta is None
