"""A database that is older than the snapshots beside it: restored from a copy, made anew, or after a power cut, which a
write-ahead log may pay for with its last commits. Whatever has been lost, a trial ends as an undisturbed one."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tunemax.gpt import checkpoint
from tunemax.gpt.data import Corpus
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.storage import attributes
from tunemax.search.storage.ownership import owned_trials, release
from tunemax.search.storage.paths import trial_folder
from tunemax.search.storage.questions import Question, create, load_from
from tunemax.search.workers.events import Event, Note, Reported, Started
from tunemax.search.workers.snapshots import FILE

Work = Callable[..., list[Event]]
SPACE = {"learning_rate": {"low": 5e-3, "high": 2e-2, "log": True}}
BASE = {"eval_interval": 10, "dropout": 0.1}
PLANS: dict[str, dict[str, Any]] = {
    "plain": {"base": BASE, "budget": {"trials": 1, "horizon": 40}},
    "a budget of tokens": {
        "base": {"eval_interval": None, "dropout": 0.1},
        "budget": {"trials": 1, "horizon": None, "tokens": 2000, "looks": 4},
    },
    "cooled rungs": {
        "base": {**BASE, "eval_interval": 20, "schedule": "wsd", "warmup_fraction": 0.05, "decay_fraction": 0.6},
        "budget": {"trials": 1, "horizon": 70},
        "pruner": {"name": "asha", "cooled": True, "warmup": 0.35, "spared": 1.0},
    },
}
"""With cooled rungs at 25 and 50, whose branches begin at 10 and 20: the second one before the first has ended."""


@pytest.fixture(autouse=True)
def snapshot_at_every_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunemax.search.workers.worker.EVERY", 0.0)


def found(question: Question) -> list[Any]:
    names = (attributes.ITERATIONS, attributes.TRAIN_LOSS, attributes.SPARED)
    (trials,) = question.trials().values()
    return [
        (t.params, t.state, t.value, t.intermediate_values, [t.user_attrs.get(name) for name in names]) for t in trials
    ]


def copy_database(path: Path, to: Path) -> None:
    """With what lies in its write-ahead log."""
    with contextlib.closing(sqlite3.connect(path)) as database, contextlib.closing(sqlite3.connect(to)) as into:
        database.backup(into)


@dataclass
class History:
    """Copies of database and snapshot as they were at first, and after each report but the last."""

    plan: dict[str, Any]
    databases: list[Path]
    snapshots: list[Path | None]
    end: list[Any]


@pytest.fixture
def history(
    request: pytest.FixtureRequest, tmp_path: Path, defined: Callable[..., StudyDefinition], corpus: Corpus, work: Work
) -> History:
    plan = {"space": SPACE, "compare": ["softmax"], **PLANS[request.param]}
    question = create(str(tmp_path / "studies.db"), defined(**plan), corpus)
    (study,) = question.siblings
    kept = History(plan, [], [], [])

    def keep(snapshot: Path | None) -> None:
        copy = tmp_path / f"{len(kept.databases)}.db"
        copy_database(tmp_path / "studies.db", copy)
        kept.databases.append(copy)
        kept.snapshots.append(snapshot and Path(shutil.copy(snapshot, copy.with_suffix(".snapshot"))))

    keep(None)
    path = trial_folder(question.storage.url, study, 0) / FILE
    work(question, on=lambda event: keep(path) if isinstance(event, Reported) else None)
    kept.end = found(question)
    return kept


def set_up(folder: Path, database: Path, snapshot: Path | None) -> Question:
    """A database and the snapshot of its trial in a folder of their own; whoever trained it is gone."""
    folder.mkdir()
    where = folder / "studies.db"
    copy_database(database, where)
    question = load_from(where, "q")
    for trial in owned_trials(question.storage, question.siblings):
        release(question.storage, trial, trial.mark)
    if snapshot:
        (study,) = question.siblings
        place = trial_folder(question.storage.url, study, 0)
        place.mkdir(parents=True)
        shutil.copy(snapshot, place / FILE)
    return question


def started(events: list[Event]) -> int:
    (at,) = (event.iteration for event in events if isinstance(event, Started))
    return at


COOLED = pytest.param("cooled rungs", marks=pytest.mark.long)


@pytest.mark.parametrize("history", ["plain", "a budget of tokens", COOLED], indirect=True)
def test_a_trial_goes_on_from_what_both_know(history: History, tmp_path: Path, work: Work) -> None:
    assert len(history.databases) > 3
    for newer, snapshot in enumerate(history.snapshots):
        for older, database in enumerate(history.databases):
            question = set_up(tmp_path / f"{newer}-{older}", database, snapshot)
            events = work(question)
            assert not any(isinstance(event, Note) for event in events)
            assert started(events) == (checkpoint.load(snapshot).iteration if snapshot else 0)
            assert found(question) == history.end, f"snapshot of report {newer}, database of report {older}"


@pytest.mark.parametrize("history", ["plain", "a budget of tokens", COOLED], indirect=True)
@pytest.mark.parametrize(("copied", "restored"), [(1, 2), (1, 3), (2, 3)])
def test_a_trial_whose_database_is_restored_while_it_trains_ends_with_all_reports(
    history: History, tmp_path: Path, work: Work, copied: int, restored: int
) -> None:
    question = set_up(tmp_path / "live", history.databases[0], None)
    where, copy, reports = tmp_path / "live" / "studies.db", tmp_path / "copy.db", 0

    def report(event: Event) -> None:
        nonlocal reports
        if isinstance(event, Reported):
            reports += 1
            if reports == copied:
                copy_database(where, copy)
            if reports == restored:
                copy_database(copy, where)

    work(question, on=report)
    assert reports >= restored
    assert found(question) == history.end


@pytest.mark.parametrize("history", ["plain", COOLED], indirect=True)
def test_a_snapshot_that_knows_nothing_of_what_is_lost_is_left_aside(
    history: History, tmp_path: Path, work: Work, corpus: Corpus
) -> None:
    """As older versions have written it."""
    left_aside = 0
    for newer, snapshot in list(enumerate(history.snapshots))[1:]:
        assert snapshot
        checkpoint.save(replace(checkpoint.load(snapshot), notes={}), snapshot, corpus.manifest.fingerprint)
        for older, database in enumerate(history.databases[: newer + 1]):
            question = set_up(tmp_path / f"{newer}-{older}", database, snapshot)
            events = work(question)
            notes = [event.text for event in events if isinstance(event, Note)]
            left_aside += len(notes)
            assert len(notes) <= (older < newer)
            assert all(note.startswith("q/") and " is trained from the start: " in note for note in notes)
            assert started(events) == (0 if notes else checkpoint.load(snapshot).iteration)
            assert found(question) == history.end, f"snapshot of report {newer}, database of report {older}"
    assert left_aside > 1


@pytest.mark.parametrize("history", ["plain"], indirect=True)
@pytest.mark.parametrize("change", [{"eval_interval": 7}, {"eval_tokens": 64}, {"seed": 2}])
def test_a_snapshot_of_another_trial_with_this_number_is_left_aside(
    history: History,
    tmp_path: Path,
    defined: Callable[..., StudyDefinition],
    corpus: Corpus,
    work: Work,
    change: dict[str, int],
) -> None:
    """The database was removed and made anew, and the snapshots have stayed."""
    plan = {**history.plan, "base": {**BASE, **change}}
    if "seed" in change:
        plan = {**history.plan, "seed": 2, "base": BASE}
    create(str(tmp_path / "undisturbed.db"), defined(**plan), corpus)
    create(str(tmp_path / "again.db"), defined(**plan), corpus)
    undisturbed = set_up(tmp_path / "undisturbed", tmp_path / "undisturbed.db", None)
    work(undisturbed)
    question = set_up(tmp_path / "again", tmp_path / "again.db", history.snapshots[3])
    events = work(question)
    assert len([event for event in events if isinstance(event, Note)]) == 1
    assert started(events) == 0
    assert found(question) == found(undisturbed)


@pytest.mark.parametrize("history", ["plain"], indirect=True)
@pytest.mark.parametrize("notes", [{"reports": 3}, {"reports": {"x": 1.0}}, {"spared": "soon"}])
def test_notes_that_cannot_be_read_are_told(
    history: History, tmp_path: Path, work: Work, corpus: Corpus, notes: dict[str, Any]
) -> None:
    snapshot = history.snapshots[2]
    assert snapshot
    checkpoint.save(replace(checkpoint.load(snapshot), notes=notes), snapshot, corpus.manifest.fingerprint)
    question = set_up(tmp_path / "there", history.databases[1], snapshot)
    events = work(question)
    (note,) = [event.text for event in events if isinstance(event, Note)]
    assert "damaged" in note
    assert found(question) == history.end
