"""A database from somebody else: whatever its names are, no command reads, writes or deletes outside of its folders.

And none prints what would steer a terminal.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.visible import visible
from tunemax.search.api import open_study
from tunemax.search.cli import main
from tunemax.search.question.dimension import shown
from tunemax.search.storage import attributes
from tunemax.search.storage.artifacts import KEY, ArtifactStore, artifact_folder, make_artifact_folder
from tunemax.search.storage.database import open_storage, study_id, study_names
from tunemax.search.storage.paths import TAKEN, report_folder, runs_folder, study_folder, trial_folder
from tunemax.search.storage.questions import Question, create, load_from, questions
from tunemax.search.views.dashboard.publish import try_to_publish
from tunemax.search.workers.events import Event

Ask = Callable[..., Question]
Work = Callable[..., list[Event]]
Typed = Callable[..., tuple[int, str, str]]

COMMANDS = (
    "study list",
    "study list --json",
    "study show {}",
    "study show {} --json",
    "study leaderboard {}",
    "study leaderboard {} --json",
    "study best {}",
    "study best {}/softmax",
    "study replay {} --pruner median",
    "study run {} --workers 1",
    "study resume {} --workers 1",
    "study confirm {} --seeds 6 --workers 1",
    "study extend {} --trials 1",
    "study cancel {}",
    "study gc",
    "report {}",
    "train --from {} --max_iters 1",
    "study delete {}",
    "study delete {} --yes",
)


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory,
    defined: Callable[..., Any],
    corpus: Any,
    work: Work,
) -> Path:
    """A folder with a database: `innocent`, which is tuned, a third trial of each candidate waiting, and `other`."""
    home = tmp_path_factory.mktemp("made")
    where = home / "studies.db"
    question = create(where, defined(name="innocent", budget={"trials": 2}), corpus)
    make_artifact_folder(question.storage.url)
    work(question)
    other = create(where, defined(name="other", compare=["softmax"], budget={"trials": 1}), corpus)
    work(other)
    for storage in (question.storage, other.storage):
        storage.engine.dispose()
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, beside a victim."""
    shutil.copytree(made, tmp_path / "home")
    for name in ("snapshot.safetensors", "report.html", "learnables.jsonl", "events.out.tfevents.1.2.host.3", "mine"):
        for folder in ("victim", "victim/00000", "victim/report", "victim/00001"):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / name).write_text(name)
    monkeypatch.chdir(tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Typed:
    """A command's status and what it has printed on either stream, in which nothing steers."""

    def run(*words: str) -> tuple[int, str, str]:
        status = main(list(words))
        out, err = capsys.readouterr()
        assert visible(out + err) == out + err
        assert status in (0, 2), err
        assert "Traceback" not in err
        if status == 2:
            assert err.startswith("tunemax: ")
            assert err.count("\n") == 1
        return status, out, err

    return run


TOUCHED: list[str] = []
_watched: list[Path] = []


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    """Note every path beside the home that this process opens, lists, makes, renames or removes."""
    if _watched and event.partition(".")[0] in ("open", "os", "shutil"):
        for path in arguments:
            if isinstance(path, (str, bytes, os.PathLike)):
                text = os.path.abspath(os.fsdecode(path))
                if text.startswith(f"{_watched[0].parent}/") and not text.startswith(str(_watched[0])):
                    TOUCHED.append(f"{event} {text}")


sys.addaudithook(_hear)  # for good: a hook cannot be taken back


@contextlib.contextmanager
def confined(home: Path) -> Iterator[None]:
    """Nothing beside a folder is touched in this block, by this process or one that it starts."""
    beside = home.parent
    before = {path: path.read_bytes() for path in beside.rglob("*") if path.is_file() and home not in path.parents}
    TOUCHED.clear()
    _watched[:] = [home]
    try:
        yield
    finally:
        _watched.clear()
    assert not TOUCHED
    assert {path: path.read_bytes() for path in before} == before
    assert {path for path in beside.rglob("*") if path.is_file() and home not in path.parents} == set(before)


def test_the_watch_sees_what_is_touched(home: Path) -> None:
    victim = home.parent / "victim"
    for touch in ((victim / "mine").read_text, lambda: os.listdir(victim), (victim / "mine").unlink):
        with pytest.raises(AssertionError), confined(home):
            touch()


def renamed(home: Path, question: str, *, sibling: str | None = None, name: str | None = None) -> None:
    """Another name for the candidate polymax of a question, or for the question, wherever the database has it."""
    with sqlite3.connect(home / "studies.db") as database:
        for row, study in database.execute("SELECT study_id, study_name FROM studies").fetchall():
            if study.partition("/")[0] != question:
                continue
            (text,) = database.execute(
                "SELECT value_json FROM study_user_attributes WHERE study_id = ? AND key = ?",
                (row, attributes.DEFINITION),
            ).fetchone()
            definition = json.loads(json.loads(text))
            if sibling is not None:
                definition["compare"] = [sibling if each == "polymax" else each for each in definition["compare"]]
                study = study.replace("/polymax", f"/{shown(sibling)}")
            if name is not None:
                definition["name"] = name
                study = study.replace(f"{question}/", f"{name}/")
                database.execute(
                    "UPDATE study_user_attributes SET value_json = ? WHERE study_id = ? AND key = ?",
                    (json.dumps(name), row, attributes.QUESTION),
                )
            database.execute("UPDATE studies SET study_name = ? WHERE study_id = ?", (study, row))
            database.execute(
                "UPDATE study_user_attributes SET value_json = ? WHERE study_id = ? AND key = ?",
                (json.dumps(study), row, attributes.SIBLING),
            )
            database.execute(
                "UPDATE study_user_attributes SET value_json = ? WHERE study_id = ? AND key = ?",
                (json.dumps(json.dumps(definition)), row, attributes.DEFINITION),
            )
    database.close()


REFUSED = ("names no file in", "names no folder in", "its definition cannot be read")
SIBLINGS = ("../../../victim", "{}/victim", "../other/softmax", "..", "", "a/b", "x\x1b[2J\x07", "\u202egnp.exe")
QUESTIONS = ("../../victim", "{}/victim", "..", ".", "artifacts/..", "x\x1b]0;title\x07", "\u202egnp.exe")


@pytest.mark.parametrize("sibling", SIBLINGS, ids=ascii)
def test_a_hostile_candidate_keeps_every_command_at_home(sibling: str, home: Path, typed: Typed) -> None:
    renamed(home, "innocent", sibling=sibling.format(home.parent))
    _every_command(home, "innocent", typed)


@pytest.mark.parametrize("name", QUESTIONS, ids=ascii)
def test_a_hostile_question_keeps_every_command_at_home(name: str, home: Path, typed: Typed) -> None:
    renamed(home, "innocent", name=name.format(home.parent))
    _every_command(home, name.format(home.parent), typed)


def _every_command(home: Path, name: str, typed: Typed) -> None:
    where = str(home / "studies.db")
    with confined(home):
        for command in COMMANDS:
            words = [word.replace("{}", name) for word in command.split()]
            if words[0] == "doctor":
                continue
            status, out, _ = typed(*words, "--storage", where)
            about_it = "{}" in command and "delete" not in command
            assert status == (2 if about_it or command == "study delete {}" else 0), (command, out)
            if command == "study list":
                assert any(reason in out for reason in REFUSED)
                assert "other: 1 complete; lowest tuned loss: softmax" in out, "the others stay usable"
        assert {study.partition("/")[0] for study in study_names(open_storage(where, create=False))} == {"other"}
        assert try_to_publish(where, "other") is None
    assert (runs_folder(f"sqlite:///{where}") / "artifacts").is_dir()


@pytest.mark.parametrize("name", ["innocent/../../../victim", "{}/victim", "..", "innocent"], ids=ascii)
def test_a_study_that_is_no_sibling_by_its_name_is_left_alone(name: str, home: Path, typed: Typed) -> None:
    """As if another tool had renamed it."""
    with sqlite3.connect(home / "studies.db") as database:
        changed = (name.format(home.parent), "innocent/polymax")
        database.execute("UPDATE studies SET study_name = ? WHERE study_name = ?", changed)
    database.close()
    with confined(home):
        for command in COMMANDS:
            typed(*command.replace("{}", "innocent").split(), "--storage", str(home / "studies.db"))


def test_where_a_winner_is_trained_again_is_not_for_its_database(home: Path, typed: Typed) -> None:
    victim, where = home.parent / "victim", str(home / "studies.db")
    with sqlite3.connect(where) as database:
        for row, text in database.execute(
            "SELECT trial_system_attribute_id, value_json FROM trial_system_attributes WHERE key = ?",
            (attributes.CONFIG,),
        ).fetchall():
            places = {"out_dir": str(victim / "out"), "tensorboard_project": "x", "tensorboard_run_name": "y"}
            changed = json.dumps(json.dumps({**json.loads(json.loads(text)), **places}))
            database.execute(
                "UPDATE trial_system_attributes SET value_json = ? WHERE trial_system_attribute_id = ?", (changed, row)
            )
    database.close()
    with confined(home):
        status, out, _ = typed("train", "--from", "innocent", "--max_iters", "1", "--storage", where)
        assert status == 0
        assert "the run is in runs/" in out
        assert str(victim) not in typed("study", "best", "innocent", "--storage", where)[1]
    (run,) = (home / "runs").iterdir()
    assert any(path.name.startswith("events.") for path in run.iterdir())


def test_a_name_that_nobody_can_type_is_taken_as_it_is_printed(home: Path, typed: Typed) -> None:
    renamed(home, "innocent", name="x\x1b]0;title\x07")
    where = str(home / "studies.db")
    printed = typed("study", "list", "--storage", where)[1].partition(": ")[0]
    assert printed == r"x\u001b]0;title\u0007"
    assert typed("study", "delete", printed, "--yes", "--storage", where)[0] == 0
    assert questions(open_storage(where, create=False)).keys() == {"other"}


def test_publishing_and_optunas_own_objects_refuse_it_too(home: Path) -> None:
    renamed(home, "innocent", name="../../victim")
    where = str(home / "studies.db")
    with confined(home):
        assert "names no file in" in str(try_to_publish(where, "../../victim"))
        with pytest.raises(TunemaxError, match="names no file in"):
            open_study("../../victim/softmax", where)


def test_a_name_in_the_definition_alone_is_not_believed(home: Path, typed: Typed) -> None:
    """The report of `innocent` goes where that of `innocent` belongs, whatever else its definition is called."""
    with sqlite3.connect(home / "studies.db") as database:
        old, new = (json.dumps(json.dumps({"name": name}))[2:-2] for name in ("innocent", "../../victim"))
        changed = database.execute(
            "UPDATE study_user_attributes SET value_json = replace(value_json, ?, ?) WHERE key = ?",
            (old, new, attributes.DEFINITION),
        )
        assert changed.rowcount == 3
    database.close()
    where = str(home / "studies.db")
    assert load_from(where, "innocent").name == "innocent"
    with confined(home):
        status, out, _ = typed("report", "innocent", "--storage", where)
    assert status == 0
    assert out.splitlines()[0] == str(home / "studies.runs" / "innocent" / "report" / "report.html")


# ---- links, and what somebody else has put there ---------------------------------------------------------------------


@pytest.mark.parametrize("link", ["innocent", "innocent/softmax", "innocent/softmax/00000", "innocent/report"])
@pytest.mark.parametrize(
    "command", ["report innocent", "study gc", "study delete innocent --yes", "study run innocent"]
)
def test_no_link_among_the_runs_is_followed_out_of_them(command: str, link: str, home: Path, typed: Typed) -> None:
    path = home / "studies.runs" / link
    shutil.rmtree(path, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(home.parent / "victim")
    before = sorted((home.parent / "victim").rglob("*"))
    _, out, err = typed(*command.replace("{}", "innocent").split(), "--storage", str(home / "studies.db"))
    assert sorted((home.parent / "victim").rglob("*")) == before
    if "leads out" in out + err:
        assert f"{path}: a link that leads out of" in out + err
        assert "remove the question" not in out + err


def test_what_tunemax_has_not_made_stays_and_is_told(home: Path, typed: Typed) -> None:
    where, url = str(home / "studies.db"), f"sqlite:///{home / 'studies.db'}"
    assert typed("report", "innocent", "--storage", where)[0] == 0
    trial = trial_folder(url, "innocent/softmax", 0)
    trial.mkdir(parents=True, exist_ok=True)
    theirs = [trial / "thesis.tex", study_folder(url, "innocent/polymax") / "plots" / "a.png"]
    theirs += [report_folder(url, "innocent") / "my_remarks.md"]
    for path in theirs:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    status, out, err = typed("study", "delete", "innocent", "--storage", where, "--yes")
    assert status == 0
    assert out.startswith("innocent: deleted 2 studies")
    assert err == f"innocent: what tunemax has not made stays, in {trial} and 2 other folders\n"
    left = [path for path in runs_folder(url).rglob("*") if path.is_file() and "artifacts" not in path.parts]
    assert [path for path in left if "innocent" in path.parts] == sorted(theirs, key=left.index)
    assert questions(open_storage(where, create=False)).keys() == {"other"}


def test_a_report_goes_with_its_question(home: Path, typed: Typed) -> None:
    where = str(home / "studies.db")
    assert typed("report", "innocent", "--storage", where)[0] == 0
    assert typed("study", "delete", "innocent", "--storage", where, "--yes")[2] == ""
    assert not (home / "studies.runs" / "innocent").exists()


@pytest.mark.parametrize(
    "artifact", ["../../victim/mine", "{}/victim/mine", "..", "00000000", "x\x1b[2J", ""], ids=ascii
)
def test_no_artifact_leads_out_of_their_folder(artifact: str, home: Path, typed: Typed) -> None:
    artifact, where = artifact.format(home.parent), str(home / "studies.db")
    storage = open_storage(where, create=False)
    folder = artifact_folder(str(storage.url))
    (folder / "00000000").symlink_to(home.parent / "victim" / "mine")
    meta = {"artifact_id": artifact, "filename": "a", "mimetype": "text/plain", "encoding": None}
    for key, value in (("a", json.dumps(meta)), ("b", "no JSON"), ("c", '{"else": 1}')):
        storage.set_study_system_attr(study_id(storage, "innocent/softmax"), KEY + key, value)
    with pytest.raises(TunemaxError):
        ArtifactStore(folder).open_reader(artifact)
    with pytest.raises(TunemaxError):
        ArtifactStore(folder).write(artifact, io.BytesIO(b"overwritten"))
    with confined(home):
        assert typed("study", "delete", "innocent", "--storage", where, "--yes")[0] == 0


# ---- names that no command line takes --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["-", "-x", "--yes"])
@pytest.mark.parametrize("by", ["name", "file"])
def test_a_question_is_never_called_like_a_flag(
    name: str, by: str, study_file: Callable[..., Path], where: str, typed: Typed
) -> None:
    file = study_file(name=name if by == "name" else None)
    file = file.rename(file.with_name(f"{name if by == 'file' else 'q'}.yaml"))
    status, _, err = typed("study", "create", str(file), "--storage", where)
    assert status == 2
    assert "no - before all others" in err
    assert not Path(where).exists()


# ---- names that are taken --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TAKEN)
def test_our_own_folders_name_no_question(
    name: str, study_file: Callable[..., Path], where: str, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = str(study_file(name=name))
    for words in (("study", "create", file), ("study", "run", file)):
        status, _, err = typed(*words, "--storage", where)
        assert status == 2
        assert f"{name}: cannot name a question" in err
    assert not Path(where).exists()
    with monkeypatch.context() as before:
        before.setattr("tunemax.search.storage.questions.TAKEN", ())
        assert typed("study", "create", file, "--storage", where)[0] == 0
    url = f"sqlite:///{where}"
    agent = runs_folder(url) / "rl" / "Constantmax-v1" / "sac-1" / "best.safetensors"
    artifact = artifact_folder(url) / "c0ffee"
    for path in (agent, artifact):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("kept")
    assert typed("study", "create", file, "--storage", where)[0] == 0, "one of before still is joined"
    assert typed("study", "show", name, "--storage", where)[0] == 0
    assert typed("study", "delete", name, "--storage", where, "--yes")[0] == 0
    assert agent.read_text() == artifact.read_text() == "kept"


@pytest.mark.parametrize("flag", ["tensorboard_run_name", "tensorboard_project"])
@pytest.mark.parametrize("name", ["../../../x", "{}/x", "..", "a/../../b", "a\x1b[2J"], ids=ascii)
def test_tensorboard_writes_beside_its_run(
    name: str, flag: str, text: Path, tmp_path: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "deep" / "er" / "home"
    home.mkdir(parents=True)
    monkeypatch.chdir(home)
    for out in ([], ["--out_dir", "mine/run"]):
        status, _, err = typed("train", "--dataset", str(text), f"--{flag}", name.format(tmp_path), *out)
        assert status == 2
        assert err.startswith(f"tunemax: --{flag} = ")
    assert list(tmp_path.rglob("*")) == [tmp_path / "deep", tmp_path / "deep" / "er", home]


@pytest.mark.parametrize("flag", ["dataset", "out_dir"])
def test_a_file_name_that_is_no_text_is_refused_before_anything_is_written(
    flag: str, text: Path, tmp_path: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    named = Path("bad\udcff.txt")
    shutil.copyfile(text, named)
    words = {"dataset": str(text), "out_dir": "run", flag: str(named)}
    status, _, err = typed("train", *(word for name, value in words.items() for word in (f"--{name}", value)))
    assert status == 2
    assert err.startswith(f"tunemax: {flag} = bad\\udcff.txt: not UTF-8")
    assert os.listdir() == [str(named)]


# ---- text that steers ------------------------------------------------------------------------------------------------

EVIL = "\x1b[2J\x1b]0;owned\x07\u202etxt.exe\u2028\x9b=1+1\n# <img src=x onerror=alert(1)>"


def test_control_characters_of_a_database_are_shown_and_not_obeyed(home: Path, typed: Typed) -> None:
    """In the question, the data, categorical values, failures, host names and texts of trials."""
    with sqlite3.connect(home / "studies.db") as database:
        for row, text in database.execute(
            "SELECT study_user_attribute_id, value_json FROM study_user_attributes WHERE key = ?",
            (attributes.DEFINITION,),
        ).fetchall():
            definition = json.loads(json.loads(text))
            definition |= {"question": f"Why {EVIL}?", "data": f"{definition['data']}{EVIL}"}
            database.execute(
                "UPDATE study_user_attributes SET value_json = ? WHERE study_user_attribute_id = ?",
                (json.dumps(json.dumps(definition)), row),
            )
        trials = [row for (row,) in database.execute("SELECT trial_id FROM trials").fetchall()]
        texts = {
            attributes.PATH: EVIL,
            attributes.DIVERGED: EVIL,
            attributes.REASON: EVIL,
            attributes.WORKER: f"host{EVIL}:1:2",
            attributes.FAILURES: [{"iteration": 3, "reason": EVIL}],
        }
        for trial in trials:
            for key, value in texts.items():
                database.execute(
                    "DELETE FROM trial_user_attributes WHERE trial_id = ? AND key = ?",
                    (trial, key),
                )
                database.execute(
                    "INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (?, ?, ?)",
                    (trial, key, json.dumps(value)),
                )
    database.close()
    where = str(home / "studies.db")
    for command in COMMANDS:
        status, out, _ = typed(*command.replace("{}", "innocent").split(), "--storage", where)
        if "--json" in command and status == 0:
            json.loads(out)
        if command == "report {}":
            for path in map(Path, out.splitlines()):
                report = path.read_text()
                assert visible(report) == report
                prose = "\n".join(line for line in report.splitlines() if not line.startswith("    "))  # no code
                assert "<img" not in prose.replace(r"\<img", "")
            html = (home / "studies.runs/innocent/report/report.html").read_text()
            assert "<title>Why \\u001b[2J" in html
        if command == "study leaderboard {}":
            assert try_to_publish(where, "innocent") is None
            storage = open_storage(where, create=False)
            notes = storage.get_study_system_attrs(study_id(storage, "innocent/softmax"))
            note = "".join(str(value) for key, value in notes.items() if key.startswith("dashboard:note_str"))
            assert "Why " in note
            assert visible(note) == note
            assert "<img" not in note.replace(r"\<img", "")


@pytest.mark.parametrize("key", ["question", "data", "reference", "key"])
def test_a_study_file_with_control_characters_is_refused_with_its_line(
    key: str, study_file: Callable[..., Path], where: str, typed: Typed
) -> None:
    changes: dict[str, Any] = {"question": {"question": EVIL}, "data": {"data": EVIL}}.get(
        key, {"confirm": {EVIL: 1} if key == "key" else {"reference": EVIL}}
    )
    status, _, err = typed("study", "create", str(study_file(**changes)), "--storage", where)
    assert status == 2
    assert "is a control character, which steers terminals or hides text; take it out" in err
    assert not Path(where).exists()


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@a", " =1+1", "\t=1", "\r=1", "＝1+1", "\n-1"], ids=ascii)
def test_no_cell_is_a_formula(cell: str) -> None:
    from tunemax.search.views.document import tabulated
    from tunemax.search.views.writers.csv import render

    rows = list(csv.reader(io.StringIO(render(tabulated(("name", "value"), [(cell, -1.5)])))))
    assert rows[1][0].lstrip()[:1] not in "=+-@＝"
    assert rows[1][1] == "-1.5", "a number is one"
