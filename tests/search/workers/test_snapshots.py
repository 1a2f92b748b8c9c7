"""Snapshots of running trials: an interrupted one goes on where it was, and what cannot be used is left aside."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from tunemax.gpt import checkpoint
from tunemax.gpt.data import Corpus
from tunemax.gpt.files import PARTIAL
from tunemax.gpt.trainer import Trainer
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.storage import attributes
from tunemax.search.storage.ownership import OwnedTrial, owned_trials, release, take
from tunemax.search.storage.paths import trial_folder
from tunemax.search.storage.questions import Question, create
from tunemax.search.workers.events import Event, Finished, Note, Reported, Started
from tunemax.search.workers.snapshots import FILE, discard, left_over

Ask = Callable[..., Question]
Work = Callable[..., list[Event]]
PLAN: dict[str, Any] = {
    "compare": ["softmax"],
    "sampler": "grid",
    "space": {"learning_rate": [1e-3, 1e-2, 3e-2]},
    "budget": {"trials": 3, "horizon": 60},
    "base": {"eval_interval": 30, "dropout": 0.1},
}


@pytest.fixture(autouse=True)
def snapshot_at_every_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunemax.search.workers.worker.EVERY", 0.0)


@pytest.fixture
def expected(tmp_path: Path, defined: Callable[..., StudyDefinition], corpus: Corpus, work: Work) -> list[Any]:
    """What the trials of PLAN find undisturbed."""
    (tmp_path / "undisturbed").mkdir()
    question = create(str(tmp_path / "undisturbed" / "studies.db"), defined(**PLAN), corpus)
    work(question)
    return found(question)


def found(question: Question) -> list[Any]:
    told = (attributes.ITERATIONS, attributes.TOKENS, attributes.TRAIN_LOSS)
    return [
        (trial.state, trial.value, trial.intermediate_values, [trial.user_attrs.get(name) for name in told])
        for trial in question.trials()["q/softmax"]
    ]


def stop_within(work: Work, question: Question, strides: int, **more: Any) -> list[Event]:
    """Work until members have been trained so often for ten iterations."""
    done, step = 0, Trainer.step

    def counted(trainer: Trainer, n: int = 1) -> None:
        nonlocal done
        step(trainer, n)
        done += 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "step", counted)
        return work(question, stopping=lambda: done >= strides, **more)


def stop_after(work: Work, question: Question, reports: int) -> list[Event]:
    seen: list[Event] = []
    return work(
        question,
        on=lambda event: seen.append(event) if isinstance(event, Reported) else None,
        stopping=lambda: len(seen) >= reports,
    )


def begun(events: list[Event]) -> list[int]:
    return [event.iteration for event in events if isinstance(event, Started)]


def notes(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Note)]


def folder(question: Question, number: int) -> Path:
    return trial_folder(question.storage.url, "q/softmax", number)


@pytest.mark.parametrize("strides", [1, 2, 4])
def test_a_stopped_trial_goes_on_from_where_it_was(ask: Ask, work: Work, expected: list[Any], strides: int) -> None:
    question = ask(**PLAN)
    stopped = {
        event.trial: event.iteration for event in stop_within(work, question, strides) if isinstance(event, Finished)
    }
    assert set(stopped) == {0, 1, 2}
    assert set(stopped.values()) == {10 * strides}, "between two evaluations"
    events = work(question)
    assert {event.trial: event.iteration for event in events if isinstance(event, Started)} == stopped
    assert found(question) == expected
    assert not any(folder(question, number).exists() for number in range(3))


def test_a_trial_that_goes_on_another_way_says_so(ask: Ask, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    question = ask(**PLAN)
    stop_within(work, question, 2)
    monkeypatch.setattr("tunemax.gpt.trainer.current_route", lambda: "onednn")
    told = notes(stop_within(work, question, 1))
    ways = "trained as eager, fp32, default matmul so far, goes on as eager, fp32, onednn matmul"
    assert sorted(told) == [f"q/softmax trial {number}: {ways}: equal to rounding only" for number in range(3)]
    assert not notes(work(question))
    paths = {trial.user_attrs[attributes.PATH] for trial in question.trials()["q/softmax"]}
    assert paths == {"eager, fp32, default matmul, then eager, fp32, onednn matmul"}


def test_stopped_again_and_again_it_is_still_the_same_training(ask: Ask, work: Work, expected: list[Any]) -> None:
    question, stops = ask(**PLAN), 0
    while any(trial.state == TrialState.WAITING for trial in question.trials()["q/softmax"]):
        stop_within(work, question, 2, slots=2)
        stops += 1
    assert stops > 4
    assert found(question) == expected


def test_trials_that_resume_stand_beside_new_ones(ask: Ask, work: Work, expected: list[Any]) -> None:
    question = ask(**PLAN)
    stop_within(work, question, 2, slots=1)
    assert begun(work(question, slots=3)) == [20, 0, 0]
    assert found(question) == expected


def test_a_running_trial_has_one_snapshot_and_an_ended_one_none(ask: Ask, work: Work, corpus: Corpus) -> None:
    question, seen = ask(**PLAN), []

    def look(event: Event) -> None:
        if isinstance(event, Reported):
            assert [path.name for path in folder(question, event.trial).iterdir()] == [FILE]
            saved = checkpoint.load(folder(question, event.trial) / FILE, corpus.manifest.fingerprint)
            seen.append((event.trial, saved.iteration))
        elif isinstance(event, Finished):
            assert not folder(question, event.trial).exists()

    work(question, slots=1, on=look)
    assert seen == [(0, 30), (1, 30), (2, 30)]


def test_fast_trials_are_not_written_all_the_time(ask: Ask, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunemax.search.workers.worker.EVERY", 3600.0)
    monkeypatch.setattr("tunemax.gpt.checkpoint.packed", lambda *_: pytest.fail("a snapshot"))
    work(ask(**PLAN))


@pytest.mark.parametrize(
    "damage", ["cut short", "not a snapshot", "of other data", "of another configuration", "of another shape"]
)
def test_a_snapshot_that_cannot_be_used_is_told_and_left_aside(
    ask: Ask, work: Work, expected: list[Any], damage: str, corpus: Corpus
) -> None:
    question = ask(**PLAN)
    stop_within(work, question, 2)
    path, other = folder(question, 0) / FILE, folder(question, 1) / FILE
    if damage == "cut short":
        path.write_bytes(path.read_bytes()[:-1000])
    elif damage == "not a snapshot":
        path.write_bytes(b"something else")
    elif damage == "of other data":
        checkpoint.save(checkpoint.load(path), path, "0123456789abcdef")
    elif damage == "of another configuration":
        path.write_bytes(other.read_bytes())
    else:
        saved = checkpoint.load(path)
        name = next(name for name in saved.tensors if name.startswith("theta/"))
        changed = {**saved.tensors, name: saved.tensors[name][..., :-1].contiguous()}
        checkpoint.save(
            type(saved)(saved.config, saved.values, saved.iteration, changed), path, corpus.manifest.fingerprint
        )
    events = work(question)
    assert sorted(begun(events)) == [0, 20, 20]
    (note,) = notes(events)
    assert note.startswith("q/softmax trial 0 is trained from the start: ")
    assert "\n" not in note
    assert found(question) == expected


def test_a_folder_that_cannot_be_written_is_told_once(ask: Ask, work: Work, expected: list[Any], where: str) -> None:
    Path(where).with_name("studies.runs").write_text("a file where the folder should be")
    question = ask(**PLAN)
    events = [*stop_within(work, question, 2), *work(question)]
    assert len(notes(events)) == 2, "once for each worker"
    assert all(
        "cannot be written" in note and note.endswith("training goes on without snapshots") for note in notes(events)
    )
    assert found(question) == expected


def test_a_fault_keeps_the_snapshot_before_it(ask: Ask, work: Work, expected: list[Any]) -> None:
    question = ask(**PLAN)
    left = [0, 1, 2]

    def fail(event: Event) -> None:
        if isinstance(event, Reported):
            left.remove(event.trial)
            if not left:
                raise MemoryError

    with pytest.raises(MemoryError):
        work(question, on=fail)
    trials = question.trials()["q/softmax"]
    assert [trial.user_attrs[attributes.FAILURES] for trial in trials] == [
        [{"iteration": 30, "reason": "MemoryError:"}]
    ] * 3
    assert begun(work(question)) == [30, 30, 30]
    assert found(question) == expected


def test_an_interrupt_is_no_failure(ask: Ask, work: Work, expected: list[Any]) -> None:
    question = ask(**PLAN)

    def press(event: Event) -> None:
        if isinstance(event, Reported):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work(question, on=press)
    assert not any(attributes.FAILURES in trial.user_attrs for trial in question.trials()["q/softmax"])
    work(question)
    assert found(question) == expected


def test_an_evaluation_that_was_cut_off_between_snapshot_and_report_is_made_up_for(
    ask: Ask, work: Work, expected: list[Any]
) -> None:
    """After a power failure the database may be behind the snapshot."""
    question = ask(**PLAN)
    stop_after(work, question, 3)
    for trial in question.trials()["q/softmax"]:
        with question.storage.engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM trial_intermediate_values WHERE trial_id = ?", (trial._trial_id,))
    assert begun(work(question)) == [30, 30, 30]
    assert found(question) == expected


def test_nobody_else_is_evaluated_then(ask: Ask, work: Work, expected: list[Any]) -> None:
    question = ask(**PLAN)
    seen: list[Event] = []
    work(
        question,
        slots=1,
        on=lambda event: seen.append(event) if isinstance(event, Reported) else None,
        stopping=lambda: bool(seen),
    )
    with question.storage.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM trial_intermediate_values")
    assert begun(work(question, slots=3)) == [30, 0, 0]
    assert found(question) == expected


def test_a_diverged_member_does_not_depend_on_where_its_neighbours_stop(ask: Ask, work: Work) -> None:
    base = {**PLAN["base"], "eval_by": "windows"}  # by which it diverges between two looks
    plan = {**PLAN, "base": base, "space": {"learning_rate": [1e-3, 1e-2, 5.0]}}
    question = ask(**plan)
    stop_within(work, question, 2, slots=1)
    work(question)
    (diverged,) = [trial for trial in question.trials()["q/softmax"] if attributes.DIVERGED in trial.user_attrs]
    assert diverged.last_step == diverged.user_attrs[attributes.ITERATIONS] == 30


# ---- taken over ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("then", ["runs elsewhere", "waits", "has finished", "is deleted"])
def test_a_trial_that_is_ours_no_more_is_let_go(ask: Ask, work: Work, expected: list[Any], then: str) -> None:
    question = ask(**PLAN)
    left: list[OwnedTrial] = []

    def lose(event: Event) -> None:
        if isinstance(event, Reported) and event.trial == 1 and not left:
            (mine,) = [trial for trial in owned_trials(question.storage, question.siblings) if trial.number == 1]
            left.append(mine)
            release(question.storage, mine, mine.mark)
            if then == "runs elsewhere":
                assert take(question.storage, mine, "elsewhere:1:0")
            elif then == "has finished":
                assert take(question.storage, mine, "elsewhere:1:0")
                question.study("q/softmax").tell(1, 0.5)
            elif then == "is deleted":
                with question.storage.engine.begin() as connection:
                    for table in (
                        "trial_user_attributes",
                        "trial_params",
                        "trial_intermediate_values",
                        "trial_heartbeats",
                        "trials",
                    ):
                        connection.exec_driver_sql(f"DELETE FROM {table} WHERE trial_id = ?", (mine._trial_id,))

    events = work(question, on=lose, slots=3)
    dropped = [event for event in events if isinstance(event, Finished) and event.state == "dropped"]
    assert [(event.trial, event.value) for event in dropped] == [(1, None)]
    results = found(question)
    assert results[0] == expected[0]
    assert results[-1] == expected[-1]
    if then == "waits":
        assert [event.state for event in events if isinstance(event, Finished) and event.trial == 1] == [
            "dropped",
            "complete",
        ]
        assert results[1] == expected[1]
    elif then == "runs elsewhere":
        assert results[1][:3] == (TrialState.RUNNING, None, {30: expected[1][2][30]})
        assert [trial.mark for trial in owned_trials(question.storage, question.siblings)] == ["elsewhere:1:0"]
    elif then == "has finished":
        assert results[1][1] == 0.5


def test_a_stopped_worker_returns_only_what_is_its_own(ask: Ask, work: Work) -> None:
    question = ask(**PLAN)

    def lose(event: Event) -> None:
        if isinstance(event, Reported) and event.trial == 2:
            for trial in owned_trials(question.storage, question.siblings)[:2]:
                release(question.storage, trial, trial.mark)
                take(question.storage, trial, "elsewhere:1:0")

    reports: list[Event] = []

    def hear(event: Event) -> None:
        reports.extend([event] if isinstance(event, Reported) else [])
        lose(event)

    events = work(question, on=hear, stopping=lambda: len(reports) >= 3)
    assert sorted(event.state for event in events if isinstance(event, Finished)) == ["dropped", "dropped", "returned"]
    assert [trial.state.name for trial in question.trials()["q/softmax"]] == ["RUNNING", "RUNNING", "WAITING"]


# ---- left-overs ------------------------------------------------------------------------------------------------------


def test_left_overs_are_those_of_ended_and_unknown_trials(ask: Ask, work: Work) -> None:
    question = ask(**PLAN)
    stop_within(work, question, 2, slots=1)
    for number, name in ((1, FILE), (77, FILE), (78, PARTIAL + "abc")):
        folder(question, number).mkdir(parents=True, exist_ok=True)
        (folder(question, number) / name).mkdir() if name != FILE else (folder(question, number) / name).write_bytes(
            b"x" * 1000
        )
    (folder(question, 77) / "curve.png").write_bytes(b"kept")
    # Takes trial 0, the interrupted one
    question.study("q/softmax").tell(question.study("q/softmax").ask({}).number, 1.0)
    assert [path.name for path in left_over(question)] == ["00000", "00077", "00078"]
    assert sum(discard(path) for path in left_over(question)) > 1000
    assert list(left_over(question)) == []
    assert (folder(question, 1) / FILE).exists(), "its trial waits"
    assert (folder(question, 77) / "curve.png").exists(), "only snapshots are removed"
    assert not folder(question, 0).exists()


def test_configuration_of_a_snapshot_is_the_trials(ask: Ask, work: Work, corpus: Corpus) -> None:
    question = ask(**PLAN)
    stop_within(work, question, 2, slots=1)
    saved = checkpoint.load(folder(question, 0) / FILE, corpus.manifest.fingerprint)
    assert saved.config.flat() == json.loads(question.trials()["q/softmax"][0].system_attrs[attributes.CONFIG])
    assert saved.iteration == 20
