"""A database that is refused stays as it is, and one that cannot be written can be read."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest

from tunemax.search.cli import main
from tunemax.search.storage.database import open_storage
from tunemax.search.storage.questions import Question
from tunemax.search.workers.events import Event

NOBODY = 65534


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    """What lies in a folder, and when it was last changed."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir() if path.is_file()}


def _older(path: Path) -> None:
    optuna.storages.RDBStorage(f"sqlite:///{path}").engine.dispose()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v3.0.0.d'")


def _older_than_versions(path: Path) -> None:
    optuna.storages.RDBStorage(f"sqlite:///{path}").engine.dispose()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TABLE alembic_version")


def _newer(path: Path) -> None:
    open_storage(path, create=True).engine.dispose()  # with a write-ahead log
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v9.9.9.z'")


def _foreign(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE cats (name TEXT)")


def _foreign_with_a_log(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE cats (name TEXT)")


def _foreign_left_behind(path: Path) -> None:
    """As a killed process leaves it: what is newest is in the log only."""
    with contextlib.closing(sqlite3.connect(path.with_name("living.db"))) as connection, connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE cats (name TEXT)")
        connection.commit()
        for end in ("", "-wal"):
            shutil.copyfile(path.with_name(f"living.db{end}"), path.with_name(path.name + end))
    path.with_name("living.db").unlink()


@pytest.mark.parametrize(
    "make",
    [_older, _older_than_versions, _newer, _foreign, _foreign_with_a_log, _foreign_left_behind, Path.touch],
    ids=lambda make: make.__name__.strip("_"),
)
def test_a_refused_database_is_not_touched(
    tmp_path: Path,
    study_file: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    make: Callable[[Path], None],
) -> None:
    file, folder = study_file(), tmp_path / "theirs"
    folder.mkdir()
    make(folder / "s.db")
    before = files(folder)
    for words in (
        ["study", "list"],
        ["study", "create", str(file)],
        ["study", "run", str(file)],
        ["study", "delete", "q", "--yes"],
        ["study", "gc"],
        ["report", "q"],
        ["dashboard", "--port", "0"],
        ["train", "--from", "q"],
        ["rl", "tune", "--env", "Constantmax-v1"],
        ["rl", "evaluate", "--env", "Constantmax-v1"],
    ):
        assert main([*words, "--storage", str(folder / "s.db")]) == 2, words
        assert len(capsys.readouterr().err.splitlines()) == 1, words
        assert files(folder) == before, words
    assert [path.name for path in folder.iterdir()] == list(before)


@contextlib.contextmanager
def somebody_else() -> Iterator[None]:
    """Root may write anything, so that it is a user without rights meanwhile."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.fixture
def theirs(where: str, ask: Callable[..., Question], work: Callable[..., list[Event]]) -> Iterator[Path]:
    """A folder with a question that is complete, and one to write in beside it; pytest's are for their owner only."""
    question = ask()
    work(question)
    question.storage.engine.dispose()
    with tempfile.TemporaryDirectory() as root:
        Path(root).chmod(0o755)
        folder, out = Path(root) / "theirs", Path(root) / "out"
        for each in (folder, out):
            each.mkdir()
        out.chmod(0o777)
        shutil.copyfile(where, folder / "s.db")
        yield folder
        folder.chmod(0o755)


READING = (
    ["study", "list", "--json"],
    ["study", "show", "q"],
    ["study", "best", "q"],
    ["study", "leaderboard", "q"],
    ["study", "replay", "q", "--pruner", "median"],
)
WRITING = (
    ["study", "extend", "q", "--trials", "1"],
    ["study", "cancel", "q"],
    ["study", "delete", "q", "--yes"],
    ["study", "run", "q"],
    ["study", "resume", "q"],
    ["study", "confirm", "q"],
    ["study", "gc"],
    ["dashboard"],
    ["rl", "tune", "--env", "Constantmax-v1", "--member-steps", "100000"],
)


@pytest.mark.parametrize("living", [False, True], ids=["at rest", "written by others"])
@pytest.mark.parametrize(("file", "folder"), [(0o444, 0o755), (0o644, 0o555), (0o444, 0o555)])
def test_a_read_only_database_can_be_read(
    theirs: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    file: int,
    folder: int,
    living: bool,
) -> None:
    for module in ("machine.processes", "api"):  # no process of a user half changed
        monkeypatch.setattr(f"tunemax.search.{module}.warm", lambda: None)
    database, out = theirs / "s.db", theirs.with_name("out")
    monkeypatch.chdir(out)
    monkeypatch.setattr("tunemax.search.cli.work.file_to_read", lambda *_: None)  # the package may be its owner's only
    # Modules are loaded on the way, by whom they belong to
    shutil.copyfile(database, out / "warm.db")
    for words in READING:
        assert main([*words, "--storage", str(out / "warm.db")]) == 0
    assert main(["report", "q", "--out", str(out / "warm"), "--storage", str(out / "warm.db")]) == 0
    for words in WRITING:
        assert main([*words, "--storage", str(out / "missing" / "s.db")]) == 2
    capsys.readouterr()
    with contextlib.closing(sqlite3.connect(database)) as writer:
        if living:
            writer.execute("UPDATE study_user_attributes SET value_json = value_json")
            writer.commit()
        database.chmod(file)
        theirs.chmod(folder)
        before = files(theirs)
        with somebody_else():
            for words in READING:
                assert main([*words, "--storage", str(database)]) == 0, capsys.readouterr().err
                assert "max" in capsys.readouterr().out
            assert main(["report", "q", "--out", str(out / "report"), "--storage", str(database)]) == 0
            assert (out / "report" / "report.html").stat().st_size > 1000
            capsys.readouterr()
            for words in WRITING:
                assert main([*words, "--storage", str(database)]) == 2
                line = f"tunemax: {database}: can be read here, and not written; mend the rights of the file and of "
                assert capsys.readouterr().err == f"{line}its folder, or work on a copy\n"
        after = files(theirs)
        # a reader of a living database has its place in the index of the log
        assert {name: after[name] for name in after if not name.endswith("-shm")} == {
            name: before[name] for name in before if not name.endswith("-shm")
        }
        assert after.keys() == before.keys()
