"""A worker by itself: it trains what waits, whoever has asked for it, and gives back what it has when it is told to."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState
from waiting import until

from tunemax.gpt.data import Corpus, open_data
from tunemax.gpt.errors import TunemaxError
from tunemax.search.api import Ended, run_study
from tunemax.search.cli import main
from tunemax.search.cli.worker import PREEMPTED
from tunemax.search.question.stages import Confirm
from tunemax.search.question.study_file import define
from tunemax.search.results.winners import confirm
from tunemax.search.storage.database import in_transaction
from tunemax.search.storage.marks import mark
from tunemax.search.storage.ownership import owned_trials, release
from tunemax.search.storage.questions import Question, create, data_of, load_from
from tunemax.search.storage.queue import claim
from tunemax.search.storage.sharing import offer
from tunemax.search.workers import attending, pulling
from tunemax.search.workers.events import Event, Finished, Reported
from tunemax.search.workers.pulling import Puller

Ask = Callable[..., Question]
TUNEMAX = [sys.executable, "-c", "import sys; from tunemax.search.cli import main; sys.exit(main())"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (pulling, attending):
        monkeypatch.setattr(module, "PAUSE", 0.05)


def losses(question: Question) -> dict[str, list[float | None]]:
    return {name: [trial.value for trial in trials] for name, trials in question.trials().items()}


def states(question: Question) -> set[TrialState]:
    return {trial.state for trials in question.trials().values() for trial in trials}


def telling(heard: list[Event], on: Callable[[Event], None] = lambda event: None) -> Any:
    """What is shown of a question: all that it is told goes to `heard`, and to `on`."""

    @contextlib.contextmanager
    def show(question: Question, settings: object) -> Iterator[Callable[[Event], None]]:
        def take(event: Event) -> None:
            heard.append(event)
            on(event)

        yield take

    return show


def test_what_it_trains_is_what_a_run_trains(ask: Ask, where: str, work: Callable[..., Any], tmp_path: Path) -> None:
    question = ask()
    assert Puller(where, ["q"]).run()
    assert states(question) == {TrialState.COMPLETE}
    other = create(tmp_path / "other.db", question.definition, open_data(question.definition.data))
    work(other)
    assert losses(other) == losses(question)


def test_it_works_on_all_that_belongs_to_a_question_and_on_nothing_else(
    ask: Ask, where: str, corpus: Corpus, work: Callable[..., Any]
) -> None:
    question = ask()
    work(question)
    confirmed = confirm(question, Confirm(seeds=6), 1)
    other = create(where, question.definition.model_copy(update={"name": "q2"}), corpus)
    assert Puller(where, ["q"]).run()
    assert states(confirmed) == {TrialState.COMPLETE}
    assert states(other) == {TrialState.WAITING}
    assert Puller(where).run()
    assert states(other) == {TrialState.COMPLETE}


def test_it_waits_for_more(ask: Ask, where: str) -> None:
    """A confirmation, or more trials, may come as long as it is idle."""
    question, heard = ask(compare=["softmax"]), list[Event]()

    def extend(event: Event) -> None:
        if len([each for each in heard if isinstance(each, Finished)]) == 3:
            threading.Timer(0.3, lambda: ask(compare=["softmax"], budget={"trials": 5})).start()

    assert Puller(where, ["q"], telling(heard, extend), idle=5.0, seconds=4).run()
    assert len(question.trials()["q/softmax"]) == 5
    assert states(question) == {TrialState.COMPLETE}


def test_told_to_stop_it_gives_back_what_it_has(ask: Ask, where: str) -> None:
    question, heard = ask(compare=["softmax"], budget={"trials": 2, "horizon": 200}), list[Event]()
    puller = Puller(where, ["q"])
    puller.show = telling(heard, lambda event: puller.stop.set() if isinstance(event, Reported) else None)
    assert not puller.run()
    trials = question.trials()["q/softmax"]
    assert [trial.state for trial in trials] == [TrialState.WAITING] * 2
    assert any(trial.intermediate_values for trial in trials), "it goes on from there"
    assert Puller(where, ["q"]).run()
    assert states(question) == {TrialState.COMPLETE}


def test_what_the_dead_have_left_is_trained(ask: Ask, where: str) -> None:
    question = ask(compare=["softmax"], budget={"trials": 1})
    dead = mark().replace(f":{os.getpid()}:", ":4194305:")
    assert claim("q/softmax", question.storage, question.definition.make_sampler("q/softmax", 0), mark=dead)
    assert Puller(where, ["q"], idle=1.0).run()
    assert states(question) == {TrialState.COMPLETE}


def test_a_question_of_another_text_is_left_to_others(
    plan: Callable[..., dict[str, Any]], text: Path, where: str, tmp_path: Path
) -> None:
    mine, notes = tmp_path / "mine.txt", list[str]()
    mine.write_text(text.read_text())
    definition = define(plan(data=str(mine)), name="q")
    question = create(where, definition, data_of(where, definition))
    mine.write_text(text.read_text().replace("row", "column"))
    with pytest.raises(TunemaxError, match=r"q: data .* has fingerprint"):
        Puller(where, ["q"]).run()
    assert Puller(where, note=notes.append).run()
    (line,) = notes
    assert line.startswith("q: data ")
    assert line.endswith("; it is left to other workers")
    assert states(question) == {TrialState.WAITING}


def test_a_worker_that_has_another_folder_says_so(ask: Ask, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it gives back cannot go on elsewhere; a folder of the same name on another machine is another one."""
    question, notes = ask(compare=["softmax"]), list[str]()
    offer(question)
    assert Puller(where, ["q"], note=notes.append, seconds=1).run()
    assert notes == []
    ask(compare=["softmax"], budget={"trials": 4})
    monkeypatch.setenv("TUNEMAX_RUNS", str(Path(where).parent / "mine"))
    assert Puller(where, ["q"], note=notes.append).run()
    (line,) = notes
    assert line.startswith(f"q: {Path(where).parent / 'mine'} here is not the folder of runs of whoever runs it")
    assert "TUNEMAX_RUNS" in line


def test_a_name_that_nobody_has_created_is_waited_for_and_then_an_error(ask: Ask, where: str) -> None:
    ask()
    with pytest.raises(TunemaxError, match=r"^qq: no such question in this storage; did you mean `q`\?"):
        Puller(where, ["qq"]).run()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "worker: expected the names of questions, or --all"),
        (["q", "--all"], "worker: expected one or the other"),
        (["q", "--idle", "-1"], "--idle = -1: expected a whole number ≥ 0"),
        (["q", "--storage", "nowhere/studies.db"], "nowhere/studies.db"),
    ],
)
def test_what_is_typed_wrongly_is_one_line(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["worker", *words]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("tunemax: ")
    assert line in said


@pytest.mark.parametrize("number", [signal.SIGUSR1, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_a_signal_gives_the_machine_back(ask: Ask, where: str, number: int) -> None:
    """Slurm warns with SIGUSR1, and whoever starts it again reads in the status that there is more to do."""
    question = ask(compare=["softmax"], budget={"trials": 1, "horizon": 10**6})
    started = subprocess.Popen([*TUNEMAX, "worker", "q", "--storage", where], stderr=subprocess.PIPE, text=True)
    until(lambda: any(trial.intermediate_values for trial in question.trials()["q/softmax"]))
    started.send_signal(number)
    _, err = started.communicate(timeout=60)
    assert started.returncode == PREEMPTED == 75
    assert err.splitlines()[-1] == "tunemax: told to stop: what was trained here waits, to go on elsewhere"
    assert states(question) == {TrialState.WAITING}


# ------------------------------------------------------------------------- a run that leaves the training to others


def working(where: str, **how: Any) -> threading.Thread:
    """A worker beside this thread."""
    thread = threading.Thread(target=Puller(where, ["q"], **how).run)
    thread.start()
    return thread


def test_a_run_without_workers_publishes_and_confirms_what_others_train(ask: Ask, where: str) -> None:
    ask(budget={"trials": 2, "horizon": 10}, confirm={"seeds": 6})
    thread = working(where, idle=4.0)
    assert run_study("q", where, workers=0) == Ended()
    thread.join()
    question, confirmed = load_from(where, "q"), load_from(where, "q.confirmed")
    assert states(question) == states(confirmed) == {TrialState.COMPLETE}
    assert all(len(trials) == 6 for trials in confirmed.trials().values())
    assert question.study("q/softmax").user_attrs["answer"]


@pytest.mark.long
def test_of_two_coordinators_one_is_killed_and_the_other_confirms(ask: Ask, where: str) -> None:
    question = ask(budget={"trials": 2, "horizon": 60}, confirm={"seeds": 6})
    words = [*TUNEMAX, "study", "run", "q", "--no-workers", "--storage", where]
    pair = [subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    worker = subprocess.Popen([*TUNEMAX, "worker", "q", "--idle", "60", "--storage", where], stdout=subprocess.DEVNULL)
    try:
        until(
            lambda: any(trial.state == TrialState.COMPLETE for trials in question.trials().values() for trial in trials)
        )
        pair[0].kill()
        _, said = pair[1].communicate()
        assert (pair[1].returncode, said) == (0, "")
    finally:
        for process in (*pair, worker):
            process.terminate()
            process.wait()
    confirmed = load_from(where, "q.confirmed").trials()
    assert [len({trial.params["seed"] for trial in trials}) for trials in confirmed.values()] == [6] * len(confirmed)
    assert {trial.state for trials in confirmed.values() for trial in trials} == {TrialState.COMPLETE}
    assert {len(trials) for trials in confirmed.values()} == {6}
    assert question.study("q/softmax").user_attrs["answer"]


def test_a_run_waits_for_what_others_train_and_takes_up_what_they_leave(ask: Ask, where: str) -> None:
    """So that no machine is the last one, which confirms alone, or ends with a command for somebody to type."""
    question = ask(compare=["softmax"], budget={"trials": 2, "horizon": 10}, workers=1)
    for number in range(2):
        trial = claim("q/softmax", question.storage, question.definition.make_sampler("q/softmax", 0), mark=mark())
        assert trial is not None
        assert trial.number == number

    def die() -> None:
        for trial in owned_trials(question.storage, question.siblings):
            release(question.storage, trial, trial.mark, None)

    timer = threading.Timer(1.0, die)
    timer.start()
    assert run_study("q", where, workers=1) == Ended()
    timer.join()
    assert states(question) == {TrialState.COMPLETE}


def test_slots_mean_nothing_without_workers(
    study_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", "run", str(study_file()), "--no-workers", "--slots", "3"]) == 2
    assert "--slots: means nothing with --no-workers" in capsys.readouterr().err


def test_waiting_trials_are_counted_in_one_statement(ask: Ask) -> None:
    question = ask(compare=["softmax"])
    found = in_transaction(question.storage, pulling.tables.waiting, ["q/softmax", "nowhere"])
    assert found == {"q/softmax": 3}
