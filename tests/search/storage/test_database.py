"""Opening a storage: what works, and what each kind of trouble says."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from sqlalchemy.exc import OperationalError

from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.locks import Busy, locked_at_once
from tunemax.search.cli import main
from tunemax.search.storage.database import open_storage, study_id, study_names
from tunemax.search.storage.questions import alone
from tunemax.search.storage.urls import shown, storage_errors


@pytest.fixture
def database(tmp_path: Path, empty_database: Path) -> Path:
    return shutil.copyfile(empty_database, tmp_path / "s.db")


def refusal(where: str | Path, *, create: bool = False) -> str:
    with pytest.raises(TunemaxError) as caught:
        open_storage(where, create=create)
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize("name", ["studies.db", "with space.db", "50%.db", "what?.db", "a#b.db", "{x}.db", "+é.sqlite"])
def test_any_path_opens_and_stock_optuna_reads_it(tmp_path: Path, name: str) -> None:
    storage = open_storage(tmp_path / name, create=True)
    optuna.create_study(study_name="q/softmax", storage=storage)
    again = open_storage(str(tmp_path / name), create=False)
    assert study_names(again) == ["q/softmax"]
    assert study_id(again, "q/softmax") == study_id(storage, "q/softmax")
    assert shown(again.url) == str(tmp_path / name)
    with sqlite3.connect(tmp_path / name) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_stock_command_line_works_on_the_file(tmp_path: Path) -> None:
    optuna.create_study(study_name="q/softmax", storage=open_storage(tmp_path / "s.db", create=True))
    words = [Path(sys.executable).with_name("optuna"), "study-names", "--storage", f"sqlite:///{tmp_path / 's.db'}"]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.split() == ["q/softmax"]


def test_urls_open_like_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    open_storage("sqlite:///here.db?timeout=5", create=True)
    assert "timeout=5" in open_storage("sqlite:///here.db?timeout=5", create=False).url
    assert "timeout=60" in open_storage("here.db", create=False).url


def test_connections_are_safe_also_after_pickling(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "s.db", create=True)
    for one in (storage, pickle.loads(pickle.dumps(storage))):
        with one.engine.begin() as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1
            with (
                sqlite3.connect(tmp_path / "s.db", timeout=0.05) as other,
                pytest.raises(sqlite3.OperationalError, match="locked"),
            ):
                other.execute("BEGIN IMMEDIATE")  # a transaction holds the write lock from its beginning


def test_optuna_says_nothing_about_new_studies(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    optuna.create_study(study_name="q", storage=open_storage(tmp_path / "s.db", create=True))
    assert capfd.readouterr().err == ""


def test_missing_file_is_not_created(tmp_path: Path) -> None:
    assert "no *.db is in its folder" in refusal(tmp_path / "studies.db")
    open_storage(tmp_path / "studies.db", create=True)
    assert refusal(tmp_path / "studie.db").endswith("; did you mean `studies.db`?")
    assert not (tmp_path / "studie.db").exists()


def _text(path: Path) -> None:
    path.write_text("question: is this a database?\n" * 100)


def _empty(path: Path) -> None:
    path.touch()


def _folder(path: Path) -> None:
    path.mkdir()


def _foreign(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE cats (name TEXT)")


def _damaged(path: Path) -> None:
    open_storage(path, create=True).engine.dispose()
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\xff" * (len(content) - 100))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_text, "not a SQLite database"),
        (_empty, "without studies"),
        (_folder, "a folder; name a file in it"),
        (_foreign, "a SQLite database of something else"),
        (_damaged, "malformed"),
    ],
)
@pytest.mark.parametrize("create", [False, True])
def test_wrong_files_are_refused(tmp_path: Path, spoil: Callable[[Path], None], words: str, create: bool) -> None:
    path = tmp_path / "s.db"
    spoil(path)
    line = refusal(path, create=create)
    assert line.startswith(f"{path}: ")
    assert words in line


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgres://ann:s3cret@host/x", "did you mean `postgresql`?"),
        ("sqlite3:///x.db", "did you mean `sqlite`?"),
        ("redis://:s3cret@host", "known: mariadb, mssql"),
        ("postgresql://ann:s3cret@host:port/x", "not a URL of the form"),
        ("mysql+mysqlconnector://ann:s3cret@host/x?password=s3cret", "needs the Python package mysql"),
        ("sqlite://", "need a file they can share"),
        ("sqlite:///:memory:", "need a file they can share"),
        ("nowhere/s.db", "its folder does not exist"),
    ],
)
def test_wrong_urls_are_refused_without_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    line = refusal(url, create=True)
    assert words in line
    assert "s3cret" not in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize("target", ["nowhere.db", "link.db", "no/such/folder.db"])
def test_links_that_lead_nowhere(tmp_path: Path, target: str, create: bool) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(target)
    assert refusal(link, create=create) == f"{link}: a link that leads to no file; remove it, or name another file"
    assert os.listdir(tmp_path) == ["link.db"]


@pytest.mark.parametrize("timeout", ["-1", "nan", "inf", "1e400", "soon"])
def test_times_that_are_none(database: Path, timeout: str) -> None:
    assert "expected seconds from 0" in refusal(f"sqlite:///{database}?timeout={timeout}")


def test_a_link_has_the_lock_of_its_file(database: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(database)
    lock = database.with_name(f"{database.name}.lock")
    with alone(open_storage(link, create=False)), pytest.raises(Busy), locked_at_once(lock):
        pass
    assert not link.with_name("link.db.lock").exists()


def test_unreachable_server_is_one_line_without_the_password() -> None:
    with (
        pytest.raises(TunemaxError) as caught,
        storage_errors("postgresql://ann:s3cret@db.example:5432/x"),
    ):
        raise OperationalError(
            "SELECT 1", {}, Exception("connection refused (password s3cret)\nIs the server running?")
        )
    assert str(caught.value) == (
        "postgresql://ann:***@db.example:5432/x: the database server says: connection refused (password ***); "
        "check host, port, user and password, and that it runs"
    )


def test_faults_of_ours_are_not_dressed_up() -> None:
    with pytest.raises(KeyError), storage_errors("sqlite:///x.db"):
        raise KeyError("a bug")


def test_locked_file_says_so(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db?timeout=0.1"
    storage = open_storage(url, create=True)
    holder = sqlite3.connect(tmp_path / "s.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")  # somebody writes
    with (
        pytest.raises(TunemaxError, match=r"locked by another process for longer than 0\.1 s"),
        storage_errors(storage.url),
    ):
        optuna.create_study(study_name="q", storage=storage)
    holder.execute("ROLLBACK")
    storage.engine.dispose()
    holder.execute("PRAGMA locking_mode=EXCLUSIVE")  # somebody keeps everybody out
    holder.execute("BEGIN IMMEDIATE")
    assert "locked by another process" in refusal(url)
    holder.close()


def _of_revision(path: Path, revision: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))


@pytest.mark.parametrize("create", [False, True])
def test_tables_of_a_newer_optuna_ask_for_a_newer_tunemax(database: Path, create: bool) -> None:
    _of_revision(database, "v9.9.9.z")
    newer = f"{database}: written by a newer Optuna than {optuna.__version__}; open it with a newer tunemax"
    assert refusal(database, create=create) == newer


def test_tables_of_an_older_optuna_open_once_they_are_upgraded(
    database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("DROP INDEX ix_trials_study_id")  # what the latest revision has brought
    _of_revision(database, "v3.0.0.d")
    assert main(["study", "list", "--storage", str(database)]) == 2
    older = "written by an older Optuna; back it up, then run `optuna storage upgrade --storage URL`"
    assert capsys.readouterr().err == f"tunemax: {database}: {older}\n"
    words = [Path(sys.executable).with_name("optuna"), "storage", "upgrade", "--storage", f"sqlite:///{database}"]
    subprocess.run(words, capture_output=True, check=True)
    assert study_names(open_storage(database, create=False)) == []


def _open_as_nobody(path: Path, answer: multiprocessing.SimpleQueue[str]) -> None:
    if os.geteuid() == 0:
        os.setuid(65534)  # root may write anywhere
    try:
        open_storage(path, create=True)
        answer.put("opened")
    except TunemaxError as error:
        answer.put(str(error))


@pytest.mark.parametrize("exists", [False, True])
def test_folder_without_the_right_to_write(tmp_path_factory: pytest.TempPathFactory, exists: bool) -> None:
    folder = tmp_path_factory.mktemp("locked")
    for parent in (folder, *folder.parents):
        if parent.name.startswith(("pytest", "popen", "locked")):  # pytest's own folders are for their owner only
            parent.chmod(0o755)
    if exists:
        open_storage(folder / "s.db", create=True).engine.dispose()
        (folder / "s.db").chmod(0o444)
    folder.chmod(0o555)
    context = multiprocessing.get_context("fork")
    answer = context.SimpleQueue()
    process = context.Process(target=_open_as_nobody, args=(folder / "s.db", answer))
    process.start()
    line = answer.get()
    process.join()
    folder.chmod(0o755)
    how = r"can be read here, and not written" if exists else r"cannot be read and written \(.*\)"
    assert re.fullmatch(rf"{folder}/s.db: {how}; (check|mend) the rights of the file and of its folder.*", line)


def test_processes_that_create_the_file_together_agree(tmp_path: Path) -> None:
    load = "import sys; from tunemax.search.storage.database import open_storage, study_names"
    code = f"{load}; print(study_names(open_storage(sys.argv[1], create=True)))"
    words = [sys.executable, "-c", code, str(tmp_path / "s.db")]
    processes = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate() for process in processes] == [("[]\n", "")] * 4
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith("s.db")] == []


def test_unknown_study_is_named_with_its_neighbour(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "s.db", create=True)
    with pytest.raises(TunemaxError, match="not in this storage, which has none"):
        study_id(storage, "q/softmax")
    optuna.create_study(study_name="q/softmax", storage=storage)
    with pytest.raises(TunemaxError, match="did you mean `q/softmax`"):
        study_id(storage, "q/sofmax")


def test_a_look_leaves_the_locks_of_this_process_alone(database: Path) -> None:
    """Whoever has opened the file: a library, or another part of the program."""
    held = sqlite3.connect(database, isolation_level=None)
    held.execute("PRAGMA journal_mode=DELETE")  # as stock Optuna has it
    held.execute("BEGIN IMMEDIATE")
    held.execute("UPDATE version_info SET schema_version = schema_version")
    with pytest.raises(TunemaxError, match="locked by another process"):
        open_storage(f"sqlite:///{database}?timeout=0.1", create=False)
    other = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN IMMEDIATE')"
    done = subprocess.run([sys.executable, "-c", other, str(database)], capture_output=True, text=True)
    assert "locked" in done.stderr
    held.execute("ROLLBACK")
    held.close()
