"""A password is nowhere: on no screen, in no file, in no name, however it was written, and whatever was done."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy.engine import make_url

from tunemax.search.cli import main
from tunemax.search.storage.database import open_storage
from tunemax.search.storage.questions import load_from
from tunemax.search.storage.recovery import cause
from tunemax.search.storage.secrets import redacted, secrets
from tunemax.search.storage.urls import shown
from tunemax.search.views.dashboard.publish import try_to_publish
from tunemax.search.workers.events import Event

PASSWORD = "Hunter-2/ä&x"  # what a URL must encode, and a shell
HOST = "127.0.0.1:9/x"  # where nobody listens
URLS = {
    "password": f"postgresql+psycopg://ann:Hunter-2%2F%C3%A4%26x@{HOST}",
    "raw": f"postgresql+psycopg://ann:Hunter-2/ä&x@{HOST}",
    "mysql": f"mysql+pymysql://ann:Hunter-2%2F%C3%A4%26x@{HOST}",
    "option": f"postgresql+psycopg://ann@{HOST}?password=Hunter-2%2F%C3%A4%26x",
    "other option": f"postgresql+psycopg://ann@{HOST}?sslmode=prefer&sslpassword=Hunter-2/%C3%A4%26x",
    "unknown option": f"mysql+pymysql://ann@{HOST}?api_token=Hunter-2%2F%C3%A4%26x",
    "token": f"postgresql+psycopg://Hunter-2%2F%C3%A4%26x0123@{HOST}",
    "both": f"postgresql+psycopg://ann:Hunter-2%2F%C3%A4%26x@{HOST}?password=Hunter-2%2F%C3%A4%26x",
    "no port": "postgresql://ann:Hunter-2%2F%C3%A4%26x@host:port/x",
    "no such kind": "postgres://ann:Hunter-2%2F%C3%A4%26x@host/x",
    "one slash": "postgresql:/ann:Hunter-2%2F%C3%A4%26x@host/x",
    "no slash": "mysql+pymysql:ann:Hunter-2%2F%C3%A4%26x@host/x",
    "no scheme": "ann:Hunter-2%2F%C3%A4%26x@host/x",
}
COMMANDS = (
    ["study", "create", "FILE"],
    ["study", "run", "FILE"],
    ["study", "run", "q"],
    ["study", "resume", "q"],
    ["study", "confirm", "q"],
    ["study", "extend", "q", "--trials", "1"],
    ["study", "cancel", "q"],
    ["study", "delete", "q"],
    ["study", "list"],
    ["study", "show", "q"],
    ["study", "best", "q"],
    ["study", "leaderboard", "q"],
    ["study", "replay", "q"],
    ["study", "gc"],
    ["report", "q"],
    ["dashboard", "--port", "0"],
    ["train", "--from", "q"],
    ["rl", "train", "--env", "Constantmax-v1", "--algo", "sac", "--steps", "1"],
    ["rl", "tune", "--env", "Constantmax-v1"],
    ["rl", "evaluate", "--env", "Constantmax-v1"],
    ["rl", "study", "rl_constantmax"],
    ["doctor"],
)


def is_in(text: str) -> bool:
    """Whether a part of the password that stands in no other word is in a text, in any case of encoding."""
    return "hunter" in text.lower()


def written(folder: Path) -> str:
    """All that lies in a folder, and how it is called."""
    return "\n".join(
        f"{path} {path.read_bytes().decode(errors='replace') if path.is_file() else ''}" for path in folder.rglob("*")
    )


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("TUNEMAX_STORAGE", raising=False)
    for module in ("machine.processes", "api"):
        monkeypatch.setattr(f"tunemax.search.{module}.warm", lambda: None)
    return folder


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        *((kind, "flag") for kind in URLS),
        *((kind, "environment") for kind in ("password", "token", "no scheme")),
        *((kind, "misplaced") for kind in ("password", "other option", "token", "no slash", "no scheme")),
    ],
)
def test_no_password_of_a_server_that_cannot_be_reached(
    here: Path,
    study_file: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    given: str,
) -> None:
    file, url = str(study_file()), URLS[kind]
    storage = {"flag": [f"--storage={url}"], "environment": [], "misplaced": [url]}[given]
    if given == "environment":
        monkeypatch.setenv("TUNEMAX_STORAGE", url)
    for words in COMMANDS:
        status = main([*(file if word == "FILE" else word for word in words), *storage, "--debug"])
        out, err = capsys.readouterr()
        assert not is_in(out + err), words
        assert status == 2 or words == ["doctor"]
    assert not is_in(written(here))


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Any server's database is a file; whoever asks for its URL is told that of the server."""
    file, make = tmp_path / "server.db", sqlalchemy.create_engine
    open_storage(file, create=True).engine.dispose()

    def create_engine(url: Any, **options: Any) -> sqlalchemy.Engine:
        if make_url(url).get_backend_name() == "sqlite":
            return make(url, **options)
        return make(f"sqlite:///{file}", **{name: value for name, value in options.items() if name != "connect_args"})

    monkeypatch.setattr(sqlalchemy, "create_engine", create_engine)
    monkeypatch.setattr(sqlalchemy.engine, "create_engine", create_engine)
    return file


@pytest.mark.parametrize("kind", ["other option", "token", "both"])
def test_no_password_in_hints_notes_reports_and_attributes(
    here: Path,
    server: Path,
    study_file: Callable[..., Path],
    work: Callable[..., list[Event]],
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    kind: str,
) -> None:
    caplog.set_level(logging.DEBUG, "optuna")
    # a run is interrupted before it begins, so that it says how to go on
    monkeypatch.setattr("tunemax.search.workers.supervisor.run", lambda *_, **__: False)
    url, file = URLS[kind], str(study_file())
    said = ""

    def tunemax(*words: str) -> int:
        nonlocal said
        status = main([*words, "--storage", url])
        out, err = capsys.readouterr()
        said += out + err
        assert not is_in(out + err), words
        return status

    assert tunemax("study", "create", file) == 0
    assert tunemax("study", "run", "q") == 130
    assert "(with TUNEMAX_STORAGE set)" in said
    assert tunemax("study", "best", "q") == 2
    work(load_from(url, "q"))
    for words in (*COMMANDS[3:15], *COMMANDS[18:20]):
        tunemax(*words)
    assert try_to_publish(url, "q") is None
    assert said.count("(with TUNEMAX_STORAGE set)") >= 4
    assert not is_in(written(tmp_path) + caplog.text)


@pytest.mark.parametrize("url", list(URLS.values())[:8], ids=list(URLS)[:8])
def test_what_a_driver_says_is_cleaned(url: str) -> None:
    given = make_url(url)
    secret = given.username if given.password is None and not given.query else PASSWORD
    for text in (url, str(given), given.render_as_string(hide_password=False), f"no entry for {secret} there"):
        assert not is_in(redacted(text, [url]))
    assert not is_in(shown(url))


def test_words_that_only_look_alike_stay() -> None:
    assert redacted("the table is in the database", ["postgresql://ann:table@h/x"]) == "the *** is in the database"
    assert redacted("tables and others", ["postgresql://ann:table@h/x"]) == "tables and others"
    assert redacted("http://127.0.0.1:8080/dashboard, --eval_tokens=128") == (
        "http://127.0.0.1:8080/dashboard, --eval_tokens=128"
    )
    assert secrets("postgresql://ann@host/x?sslmode=require&passfile=~/.pgpass") == set()


def test_a_long_text_takes_no_time() -> None:
    for text in ("a" * 300_000, "a:/" * 100_000, "a:/b:" * 60_000, "password" * 40_000, "a@" * 150_000):
        begun = time.process_time()
        redacted(text, [text])
        assert time.process_time() - begun < 10


def test_what_a_worker_has_died_of_names_no_password() -> None:
    fault = ValueError("invalid dsn: postgresql://ann:hunter2@host/x password=hunter2 host=h")
    assert cause(fault) == "ValueError: invalid dsn: postgresql://ann:***@host/x password=*** host=h"
