"""Resume, cancel, delete, gc, and studies that somebody handles with the stock ``optuna`` command."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState
from stock import says
from waiting import ANNOUNCED, stop_worker

from tunemax.gpt.data import Corpus
from tunemax.search.cli import main
from tunemax.search.cli.interrupts import STOPPING
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.stages import Confirm
from tunemax.search.results.repeats import lay_out_repeats
from tunemax.search.results.winners import confirm
from tunemax.search.storage import attributes
from tunemax.search.storage.database import open_storage, study_names
from tunemax.search.storage.marks import mark
from tunemax.search.storage.paths import runs_folder, trial_folder
from tunemax.search.storage.questions import Question, create, extend, load_from
from tunemax.search.workers.events import Event, Finished, Reported, Started
from tunemax.search.workers.snapshots import FILE

Ask = Callable[..., Question]
Work = Callable[..., list[Event]]


def typed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a command prints when all goes well."""
    status = main(list(words))
    out, err = capsys.readouterr()
    assert (status, err) == (0, "")
    return out


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line with which a command is refused."""
    assert main(list(words)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err.removeprefix("tunemax: ").removesuffix("\n")


def counted(question: Question) -> Counter[str]:
    return Counter(attributes.state(trial) for trials in question.trials().values() for trial in trials)


@pytest.fixture
def interrupted(ask: Ask, work: Work, where: str, monkeypatch: pytest.MonkeyPatch) -> Question:
    """A question of two candidates: one trial of each complete, one of each interrupted with a snapshot, one of each
    waiting."""
    monkeypatch.setattr("tunemax.search.workers.worker.EVERY", 0.0)
    question = ask(budget={"horizon": 30})
    done: list[Event] = []

    def hear(event: Event) -> None:
        done.extend([event] if isinstance(event, (Finished, Reported)) else [])

    work(question, slots=2, on=hear, stopping=lambda: len(done) >= 8)
    assert counted(question) == {"complete": 2, "waiting": 4}
    assert len(list(runs_folder(question.storage.url).rglob(FILE))) == 2
    return question


# ---- resume ----------------------------------------------------------------------------------------------------------


def test_resume_goes_on_and_then_has_nothing_to_do(
    interrupted: Question, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = typed(capsys, "study", "resume", "q", "--storage", where, "--workers", "1")
    assert "q: 2 of 6 trials done" in text
    assert counted(interrupted) == {"complete": 6}
    line = refused(capsys, "study", "resume", "q", "--storage", where)
    assert (
        line
        == f"q: no trial waits; 6 have ended; give it more with tunemax study extend q --trials N --storage {where}"
    )


def test_resume_takes_a_name(capsys: pytest.CaptureFixture[str], interrupted: Question, where: str) -> None:
    line = refused(capsys, "study", "resume", "studies/q.yaml")
    assert (
        line == "studies/q.yaml: resume takes the name of a question; a file is run "
        "again with tunemax study run studies/q.yaml"
    )
    assert (
        refused(capsys, "study", "resume", "p", "--storage", where) == "p: no such question in this storage; known: q"
    )


# ---- cancel ----------------------------------------------------------------------------------------------------------


def test_cancel_withdraws_what_waits_and_keeps_what_is_finished(
    interrupted: Question, where: str, capsys: pytest.CaptureFixture[str], work: Work
) -> None:
    assert typed(capsys, "study", "cancel", "q", "--storage", where) == "q: 4 trials withdrawn\n"
    assert counted(interrupted) == {"complete": 2, "cancelled": 4}
    assert list(runs_folder(interrupted.storage.url).rglob(FILE)) == []
    assert typed(capsys, "study", "list", "--storage", where).startswith(
        "q: 2 complete, 4 cancelled; lowest tuned loss"
    )
    assert (
        refused(capsys, "study", "cancel", "q", "--storage", where) == "q: nothing to cancel; its 6 trials have ended"
    )
    assert work(interrupted) == []
    work(extend(interrupted, 1))
    assert counted(interrupted) == {"complete": 4, "cancelled": 4}


def test_what_is_being_trained_ends_by_itself(
    ask: Ask, where: str, work: Work, capsys: pytest.CaptureFixture[str]
) -> None:
    question, said = ask(compare=["softmax"]), []

    def cancel(event: Event) -> None:
        if isinstance(event, Reported) and not said:
            said.append(typed(capsys, "study", "cancel", "q", "--storage", where))

    work(question, slots=1, on=cancel)
    assert said == ["q: 2 trials withdrawn; 1 goes on, to their end; withdraw them, too, with --now\n"]
    assert counted(question) == {"complete": 1, "cancelled": 2}


def test_unless_it_is_to_end_now(ask: Ask, where: str, work: Work, capsys: pytest.CaptureFixture[str]) -> None:
    question, said = ask(compare=["softmax"], budget={"trials": 3, "horizon": 40}), []
    question.study("q/softmax").ask()

    def cancel(event: Event) -> None:
        if isinstance(event, Reported) and not said:
            said.append(typed(capsys, "study", "cancel", "q", "--storage", where, "--now"))

    events = work(question, slots=1, on=cancel)
    assert said == ["q: 2 trials withdrawn; 1 goes on, asked with the stock tools\n"]
    assert counted(question) == {"running": 1, "cancelled": 2}
    (ended,) = [event for event in events if isinstance(event, Finished)]
    assert (ended.state, ended.iteration) == ("dropped", 20)
    assert list(runs_folder(question.storage.url).rglob(FILE)) == []


# ---- delete ----------------------------------------------------------------------------------------------------------


def test_delete_asks_first_and_then_leaves_nothing(
    interrupted: Question, where: str, capsys: pytest.CaptureFixture[str], ask: Ask
) -> None:
    ask(name="other", compare=["softmax"])
    folder = trial_folder(interrupted.storage.url, "other/softmax", 0)
    folder.mkdir(parents=True)
    line = refused(capsys, "study", "delete", "q", "--storage", where)
    assert (
        line == "q: this would delete 2 studies with 6 trials (2 complete), and their files; add --yes if you mean it"
    )
    assert counted(interrupted) == {"complete": 2, "waiting": 4}
    line = typed(capsys, "study", "delete", "q", "--storage", where, "--yes")
    assert line == "q: deleted 2 studies with 6 trials (2 complete), and their files\n"
    assert study_names(open_storage(where, create=False)) == ["other/softmax"]
    assert [path.name for path in runs_folder(interrupted.storage.url).iterdir()] == ["other"]
    assert folder.exists()
    assert refused(capsys, "study", "delete", "q", "--storage", where, "--yes").startswith(
        "q: no such question in this storage"
    )


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_nothing_is_deleted_while_a_trial_runs(
    ask: Ask, where: str, work: Work, capsys: pytest.CaptureFixture[str]
) -> None:
    question, said = ask(compare=["softmax"]), []

    def delete(event: Event) -> None:
        if isinstance(event, Started) and not said:
            said.append(refused(capsys, "study", "delete", "q", "--storage", where, "--yes"))

    work(question, slots=1, on=delete)
    host = mark().partition(":")[0]
    cancel = f"tunemax study cancel q --now --storage {where}"
    assert said == [f"q: 1 trial runs on {host}; stop them there with Ctrl-C, or with {cancel}"]
    assert counted(question) == {"complete": 3}

    question.study("q/softmax").ask()
    line = refused(capsys, "study", "delete", "q", "--storage", where, "--yes")
    told = "q/softmax: trial 3 was asked with the stock tools and runs; end it with optuna tell --storage sqlite:///"
    match = re.fullmatch(rf"{re.escape(told)}(\S+) (.*)", line)
    assert match
    says(match[1], "tell", *match[2].split())
    typed(capsys, "study", "delete", "q", "--storage", where, "--yes")


def test_a_question_that_is_refused_keeps_its_confirmation_and_its_repeats(
    ask: Ask, where: str, work: Work, capsys: pytest.CaptureFixture[str]
) -> None:
    question = ask(compare=["softmax"], repeats=2)
    work(question)
    for each in (*lay_out_repeats(question), confirm(question, Confirm(seeds=2))):
        work(each)
    question.study("q/softmax").ask()
    before = study_names(open_storage(where, create=False))
    assert len(before) == 3
    assert "was asked with the stock tools and runs" in refused(
        capsys, "study", "delete", "q", "--storage", where, "--yes"
    )
    assert study_names(open_storage(where, create=False)) == before
    question.study("q/softmax").tell(3, state=TrialState.FAIL)
    assert "deleted 3 studies" in typed(capsys, "study", "delete", "q", "--storage", where, "--yes")
    assert study_names(open_storage(where, create=False)) == []


def test_two_databases_in_one_folder_keep_their_files_apart(
    ask: Ask,
    where: str,
    work: Work,
    defined: Callable[..., StudyDefinition],
    corpus: Corpus,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Cancelling a question of one removes no snapshot of the question of that name in the other."""
    other = str(Path(where).with_name("other.db"))
    for path in (where, other):
        question = create(path, defined(compare=["softmax"], budget={"horizon": 60}), corpus)
        seen: list[Event] = []
        work(
            question,
            slots=1,
            on=seen.append,
            stopping=lambda seen=seen: any(isinstance(event, Reported) for event in seen),
        )
    assert all(len(list(runs_folder(f"sqlite:///{path}").rglob(FILE))) == 1 for path in (where, other))
    typed(capsys, "study", "cancel", "q", "--storage", other)
    assert len(list(runs_folder(f"sqlite:///{where}").rglob(FILE))) == 1
    assert list(runs_folder(f"sqlite:///{other}").rglob(FILE)) == []


def test_a_question_may_be_made_again_under_its_name(
    interrupted: Question, where: str, capsys: pytest.CaptureFixture[str], ask: Ask, work: Work
) -> None:
    typed(capsys, "study", "delete", "q", "--storage", where, "--yes")
    again = ask(budget={"horizon": 20})
    assert all(event.iteration == 0 for event in work(again) if isinstance(event, Started))
    assert counted(again) == {"complete": 6}


# ---- gc --------------------------------------------------------------------------------------------------------------


def test_gc_removes_what_no_trial_needs(interrupted: Question, where: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(capsys, "study", "gc", "--storage", where) == "nothing to remove\n"
    left = trial_folder(interrupted.storage.url, "q/softmax", 0)
    left.mkdir(parents=True)
    (left / FILE).write_bytes(b"x" * 2_000_000)
    unknown = runs_folder(interrupted.storage.url) / "of-another-database" / "00000"
    unknown.mkdir(parents=True)
    (unknown / FILE).touch()
    assert typed(capsys, "study", "gc", "--storage", where) == "removed 1 snapshot, 2.0 MB\n"
    assert not left.exists()
    assert len(list(runs_folder(interrupted.storage.url).rglob(FILE))) == 3, (
        "waiting trials need theirs; another database's are not ours"
    )


def test_gc_of_one_question_leaves_the_others_alone(
    interrupted: Question, where: str, capsys: pytest.CaptureFixture[str], ask: Ask
) -> None:
    other = ask(name="other")
    left = [trial_folder(question.storage.url, f"{question.name}/softmax", 0) for question in (interrupted, other)]
    for folder in left:
        folder.mkdir(parents=True)
        (folder / FILE).write_bytes(b"x" * 2_000_000)
    other.study("other/softmax").tell(other.study("other/softmax").ask(), 1.0)
    assert typed(capsys, "study", "gc", "q", "--storage", where) == "removed 1 snapshot, 2.0 MB\n"
    assert [folder.exists() for folder in left] == [False, True]
    assert typed(capsys, "study", "gc", "other", "q", "--storage", where) == "removed 1 snapshot, 2.0 MB\n"
    assert [folder.exists() for folder in left] == [False, False]


# ---- interrupted, and run again --------------------------------------------------------------------------------------


@pytest.mark.long
def test_an_interrupted_make_study_is_run_again(study_file: Callable[..., Path], work: Work, ask: Ask) -> None:
    """As `make study` does it: the command with the file, stopped by Ctrl-C in the shell's whole group, and once
    more."""
    plan = {
        "sampler": "grid",
        "space": {"learning_rate": [1e-3, 1e-2, 5e-2]},
        "budget": {"trials": None, "horizon": 200},
    }
    file = study_file(workers=1, slots=2, **plan)
    where = str(file.with_name("tunemax.db"))
    words = [*ANNOUNCED, "study", "run", str(file)]
    run = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)

    def read_until(part: str) -> None:
        assert run.stdout
        while part not in (line := run.stdout.readline()):
            assert line

    read_until("0 of 6 trials done")
    interrupted = load_from(where, "q")
    worker = stop_worker(interrupted, lambda: counted(interrupted)["complete"])
    os.killpg(run.pid, signal.SIGINT)
    read_until("the workers are told to stop")
    os.kill(worker, signal.SIGCONT)
    _, err = run.communicate()
    assert run.returncode == 130
    last = f"tunemax: interrupted; finished trials are kept; go on with tunemax study run {file}\n"
    assert err.removeprefix(f"{STOPPING}\n") == last
    assert set(counted(interrupted)) == {"complete", "waiting"}

    again = subprocess.run(words, capture_output=True, text=True)
    assert (again.returncode, again.stderr) == (0, "")
    undisturbed = ask(**plan)
    work(undisturbed)
    for name, trials in interrupted.trials().items():
        for trial, other in zip(trials, undisturbed.trials()[name], strict=True):
            assert trial.intermediate_values == other.intermediate_values
            assert (trial.value, trial.user_attrs[attributes.ITERATIONS]) == (other.value, 200)


# ---- the stock command line ------------------------------------------------------------------------------------------


def test_a_trial_that_was_asked_and_told_with_optuna_counts_and_ranks_nowhere(
    ask: Ask, where: str, work: Work, capsys: pytest.CaptureFixture[str]
) -> None:
    question = ask(compare=["softmax"], budget={"trials": 2})
    space = json.dumps(
        {
            "learning_rate": {
                "name": "FloatDistribution",
                "attributes": {"low": 1e-4, "high": 1e-1, "log": True, "step": None},
            }
        }
    )
    asked = json.loads(says(where, "ask", "--study-name", "q/softmax", "--search-space", space, "-f", "json"))
    assert asked["number"] == 0, "it takes from the budget"
    work(question)
    assert counted(question) == {"running": 1, "complete": 1}
    says(where, "tell", "--study-name", "q/softmax", "--trial-number", "0", "--state", "complete", "--values", "0.25")
    board = json.loads(typed(capsys, "study", "leaderboard", "q", "--storage", where, "--json"))
    (entry,) = board["entries"]
    assert (entry["complete"], entry["running"], entry["waiting"]) == (2, 0, 0)
    ours = question.study("q/softmax").get_trials()[1]
    assert (entry["best"]["number"], entry["best"]["value"], entry["best"]["params"]) == (1, ours.value, ours.params)
    said = " ".join(typed(capsys, "study", "leaderboard", "q", "--storage", where).split())
    assert "trial 0 of q/softmax (0.2500): it was told with other tools" in said


def test_an_empty_study_that_was_created_with_optuna_is_taken_over(
    study_file: Callable[..., Path], where: str, capsys: pytest.CaptureFixture[str], work: Work
) -> None:
    open_storage(where, create=True)
    says(where, "create-study", "--study-name", "q/polymax")
    line = refused(capsys, "study", "run", "q/polymax", "--storage", where)
    assert (
        line
        == "q/polymax: a study that tunemax did not define; create one from a study file with tunemax study create FILE"
    )
    typed(capsys, "study", "create", str(study_file()), "--storage", where)
    question = load_from(where, "q")
    work(question)
    assert counted(question) == {"complete": 6}
    assert {question.study(name).metric_names[0] for name in question.siblings} == {"validation_loss"}  # type: ignore[index]


@pytest.mark.parametrize(
    ("made", "line"),
    [
        (
            ["--direction", "maximize"],
            "study q/softmax: exists with direction maximize; a tunemax study minimises one loss; use another name",
        ),
        (
            ["--directions", "minimize", "minimize"],
            "study q/softmax: exists with direction minimize, minimize; a tunemax study minimises one loss; use "
            "another name",
        ),
        ([], "study q/softmax: exists with 1 trial that tunemax did not define; use another name"),
    ],
)
def test_another_one_is_refused_with_the_reason(
    study_file: Callable[..., Path], where: str, capsys: pytest.CaptureFixture[str], made: list[str], line: str
) -> None:
    open_storage(where, create=True)
    says(where, "create-study", "--study-name", "q/softmax", *made)
    if not made:
        says(where, "ask", "--study-name", "q/softmax")
    assert refused(capsys, "study", "create", str(study_file()), "--storage", where) == line


def test_a_waiting_trial_is_not_taken_by_optuna_and_by_us(ask: Ask, where: str, work: Work) -> None:
    question, asked = ask(compare=["softmax"], budget={"trials": 8}), []

    def ask_beside(event: Event) -> None:
        if isinstance(event, Started) and len(asked) < 3:
            asked.append(json.loads(says(where, "ask", "--study-name", "q/softmax", "-f", "json"))["number"])

    events = work(question, slots=2, on=ask_beside)
    taken = [event.trial for event in events if isinstance(event, Started)]
    assert sorted(taken + asked) == list(range(8))


def test_words_that_are_wrong(
    interrupted: Question, where: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEMAX_STORAGE", where)
    lines: dict[str, Any] = {
        "study cancel": "the following arguments are required: QUESTION; see `tunemax study cancel --help`",
        "study cancel qq": "qq: no such question in this storage; did you mean `q`?",
        "study cancel q --yes": "--yes: no such flag; see `tunemax study cancel --help`",
        "study delete": "the following arguments are required: QUESTION; see `tunemax study delete --help`",
        "study delete qq --yes": "qq: no such question in this storage; did you mean `q`?",
        "study resum q": "resum: no such command; did you mean `resume`?",
        "study resume q --slots 0": "--slots = 0: expected a whole number ≥ 1",
        "study gc qq": "qq: no such question in this storage; did you mean `q`?",
    }
    for words, line in lines.items():
        assert refused(capsys, *words.split()) == line
    assert counted(interrupted) == {"complete": 2, "waiting": 4}
