"""Machines that share no folder: snapshots go on elsewhere through the database, weights and artifacts come home."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from tunemax.gpt.data import Corpus
from tunemax.search.cli import main
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.storage import rows
from tunemax.search.storage.artifacts import ArtifactStore, artifact_folder, uploaded
from tunemax.search.storage.paths import SNAPSHOT, WEIGHTS, trial_file
from tunemax.search.storage.questions import Question, create
from tunemax.search.storage.rows import FILES, sizes
from tunemax.search.storage.sharing import offer
from tunemax.search.storage.transit import Transit, bring_home, row_of
from tunemax.search.workers.crew import watchers
from tunemax.search.workers.events import Event, Note, Reported, Started

Ask = Callable[..., Question]
Work = Callable[..., list[Event]]
PLAN: dict[str, Any] = {
    "compare": ["constantmax"],
    "space": {"learning_rate": [1e-3, 1e-2, 3e-2]},
    "sampler": "grid",
    "budget": {"trials": 3, "horizon": 60},
    "base": {"eval_interval": 20, "dropout": 0.1},
}
STUDY = "q/constantmax"


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """From now on this process is on another machine, with a folder of its own."""

    def go(machine: str) -> Path:
        monkeypatch.setenv("TUNEMAX_RUNS", str(tmp_path / machine))
        return tmp_path / machine

    return go


@pytest.fixture(scope="module")
def expected(
    tmp_path_factory: pytest.TempPathFactory, defined: Callable[..., StudyDefinition], corpus: Corpus, work: Work
) -> list[Any]:
    """What the trials of PLAN find undisturbed."""
    question = create(str(tmp_path_factory.mktemp("undisturbed") / "studies.db"), defined(**PLAN), corpus)
    work(question)
    return found(question)


def found(question: Question) -> list[Any]:
    return [(trial.state, trial.value, trial.intermediate_values) for trial in question.trials()[STUDY]]


def train(work: Work, question: Question, reports: int | None = None, **how: Any) -> list[Event]:
    """What a worker of a machine does; told to stop after so many reports."""
    seen: list[Event] = []
    transit, lines = Transit(question), list[str]()
    stopping = (lambda: len(seen) >= reports) if reports else lambda: False
    hear = lambda event: seen.append(event) if isinstance(event, Reported) else None  # noqa: E731
    watching = watchers(question, lines.append, transit)
    events = work(question, watchers=watching, transit=transit, on=hear, stopping=stopping, **how)
    assert lines == []
    return events


def begun(events: list[Event]) -> dict[int, int]:
    return {event.trial: event.iteration for event in events if isinstance(event, Started)}


def notes(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Note)]


def snapshots(question: Question) -> set[str]:
    return {name for name in sizes(question.storage) if name.endswith(SNAPSHOT)}


def test_a_trial_goes_on_elsewhere_from_where_it_was(
    ask: Ask, work: Work, at: Callable[[str], Path], expected: list[Any]
) -> None:
    """Back and forth between three machines, one of which has the question's own folder; bit for bit."""
    at("home")
    question = ask(**PLAN)
    offer(question)
    at("first")
    train(work, question, 1)
    assert snapshots(question) == {row_of(STUDY, number, SNAPSHOT) for number in range(3)}
    at("home")
    events = train(work, question, 1)
    assert begun(events) == dict.fromkeys(range(3), 20), "from the rows"
    at("second")
    events = train(work, question)
    assert begun(events) == dict.fromkeys(range(3), 40), "what home gave back has travelled, too"
    assert notes(events) == []
    assert found(question) == expected
    assert snapshots(question) == set(), "freed where the trial ended"
    at("first")
    assert begun(train(work, ask(**PLAN))) == {}


def test_the_furthest_snapshot_counts(ask: Ask, work: Work, at: Callable[[str], Path], expected: list[Any]) -> None:
    """A machine that comes back has an older one of its own."""
    at("home")
    question = ask(**PLAN)
    offer(question)
    for machine, reports in (("first", 1), ("second", 1), ("first", None)):
        at(machine)
        events = train(work, question, reports)
    assert begun(events) == dict.fromkeys(range(3), 40)
    assert found(question) == expected


def test_what_a_killed_worker_has_sent_is_gone_on_with(
    ask: Ask, work: Work, at: Callable[[str], Path], expected: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has given nothing back: what it sent on the way is there."""
    monkeypatch.setattr("tunemax.search.workers.snapshots.SENT_EVERY", 0.0)
    monkeypatch.setattr("tunemax.search.workers.snapshots.SHARE", 0)
    monkeypatch.setattr("tunemax.search.workers.worker.EVERY", 0.0)
    at("home")
    question = ask(**PLAN)
    offer(question)
    at("first")

    def die(event: Event) -> None:
        if isinstance(event, Reported) and event.iteration == 40:
            raise MemoryError("killed")

    with pytest.raises(MemoryError):
        work(question, on=die, slots=1)
    at("second")
    events = train(work, question)
    assert begun(events)[0] in (20, 40)
    assert found(question) == expected


@pytest.mark.parametrize("fault", ["truncated", "damaged", "foreign"])
def test_a_row_that_cannot_be_used_is_told_and_the_trial_begins_anew(
    ask: Ask, work: Work, at: Callable[[str], Path], expected: list[Any], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "PART", 1000)
    at("home")
    question = ask(**PLAN)
    offer(question)
    at("first")
    train(work, question, 1)
    name = row_of(STUDY, 1, SNAPSHOT)
    with question.storage.engine.begin() as connection:
        if fault == "truncated":
            connection.execute(FILES.delete().where(FILES.c.name == name, FILES.c.part == 3))
        elif fault == "damaged":
            changed = FILES.update().where(FILES.c.name == name, FILES.c.part == 3)
            connection.execute(changed.values(content=b"x" * 1000))
    if fault == "foreign":
        rows.put(question.storage, name, b"something else")
    at("second")
    events = train(work, question)
    assert begun(events) == {0: 20, 1: 0, 2: 20}
    (line,) = notes(events)
    assert line.startswith(f"{STUDY} trial 1 is trained from the start: ")
    words = {"truncated": "truncated in the database (", "damaged": "its sha256", "foreign": "not a tunemax checkpoint"}
    assert words[fault] in line
    assert "\n" not in line
    assert found(question) == expected
    assert snapshots(question) == set()


def test_weights_and_artifacts_come_home(ask: Ask, work: Work, at: Callable[[str], Path]) -> None:
    home = at("home")
    question = ask(**PLAN)
    offer(question)
    away = at("away")
    train(work, question)
    assert not list(away.rglob(WEIGHTS))
    assert not (away / "artifacts").exists()
    assert bring_home(question) == 0, "this folder is not the question's"
    waiting = sizes(question.storage)
    assert sum(name.endswith(WEIGHTS) for name in waiting) == 1, "those of the best alone"
    at("home")
    trials = question.trials()[STUDY]
    metas = [meta for trial in trials for meta in uploaded(trial.system_attrs)]
    assert bring_home(question) == 1 + len(metas)
    best = min(trials, key=lambda trial: trial.value)
    url = question.storage.url
    assert list(home.rglob(WEIGHTS)) == [trial_file(url, STUDY, best.number, WEIGHTS)]
    store = ArtifactStore(artifact_folder(url))
    assert all(store.open_reader(meta.artifact_id).read() for meta in metas)
    assert set(sizes(question.storage)) == {"q/.apart"}
    assert bring_home(question) == 0


def test_the_run_brings_home_what_workers_elsewhere_have_made(
    ask: Ask, where: str, at: Callable[[str], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    """And whoever writes a text with a winner finds its weights."""
    home = at("home")
    question = ask(**PLAN)
    offer(question)
    at("away")
    assert main(["worker", "q", "--idle", "0", "--storage", where]) == 0
    said = capfd.readouterr().err
    assert "away here is not the folder of runs of whoever runs it: snapshots, weights and artifacts go through" in said
    at("home")
    assert main(["study", "run", "q", "--storage", where]) == 0
    assert len(list(home.rglob(WEIGHTS))) == 1
    assert main(["sample", STUDY, "--length", "5", "--storage", where]) == 0


def test_nothing_goes_through_the_database_where_all_share_a_folder(
    ask: Ask, work: Work, at: Callable[[str], Path]
) -> None:
    at("home")
    question = ask(**PLAN)
    offer(question)
    train(work, question, 1)
    train(work, question)
    assert not rows.any_there(question.storage)
    assert {trial.state for trial in question.trials()[STUDY]} == {TrialState.COMPLETE}


def test_rows_are_freed_by_name_and_their_size_is_told(
    ask: Ask, work: Work, where: str, at: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    at("home")
    question = ask(**PLAN)
    offer(question)
    at("away")
    train(work, question, 1)
    size = sum(sizes(question.storage).values())
    assert main(["clean", "--storage", where]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.split()[2:4] == ["rows", "q"])
    assert line.split()[:2] == ([f"{size / 1e6:.1f}", "MB"] if size >= 1e5 else [f"{size / 1e3:.1f}", "kB"])
    assert main(["clean", "rows", "q", "--storage", where]) == 2
    assert "this would free" in capsys.readouterr().err
    assert main(["clean", "rows", "q", "--yes", "--storage", where]) == 0
    assert sizes(question.storage) == {}


@pytest.mark.parametrize("words", [["cancel", "q"], ["gc", "q"], ["delete", "q", "--yes"]])
def test_snapshots_that_nobody_needs_any_more_are_freed(
    ask: Ask, work: Work, where: str, at: Callable[[str], Path], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    at("home")
    question = ask(**PLAN)
    offer(question)
    at("away")
    train(work, question, 1)
    at("home")
    if words[0] == "gc":
        for trial in question.trials()[STUDY]:
            question.storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    assert main(["study", *words, "--storage", where]) == 0
    assert snapshots(question) == set()
    if words[0] == "gc":
        assert capsys.readouterr().out.startswith("removed 3 snapshots, 0.")
    if words[0] == "delete":
        assert sizes(question.storage) == {}
