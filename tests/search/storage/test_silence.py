"""A server from which nothing comes is waited for so long and no longer."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from sqlalchemy.engine import make_url

from tunemax.search.cli import main
from tunemax.search.storage import patience, silence
from tunemax.search.storage.silence import timeouts


@pytest.mark.parametrize("scheme", ["postgresql+psycopg", "postgresql+psycopg2", "mysql+pymysql", "mariadb+pymysql"])
def test_every_driver_is_told_how_long_a_connection_may_take(scheme: str) -> None:
    assert timeouts(make_url(f"{scheme}://me@host/studies"))["connect_timeout"] == silence.CONNECTING


def test_what_the_url_says_itself_stands() -> None:
    found = timeouts(make_url("postgresql+psycopg://me@host/studies?connect_timeout=3&keepalives_idle=1"))
    assert not found.keys() & {"connect_timeout", "keepalives_idle"}
    assert "tcp_user_timeout" in found


def test_a_file_has_none() -> None:
    assert timeouts(make_url("sqlite:///studies.db")) == {}


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of something that takes every connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("scheme", ["postgresql+psycopg", "mysql+pymysql"])
def test_a_server_that_says_nothing_is_one_line(
    scheme: str, silent: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    driver = scheme.partition("+")[2]
    quick = {name: 2 if name.endswith("_timeout") else value for name, value in silence.OPTIONS[driver].items()}
    monkeypatch.setitem(silence.OPTIONS, driver, quick | ({"tcp_user_timeout": 2000} if driver == "psycopg" else {}))
    monkeypatch.setattr(patience, "LONG", 0.0)
    assert main(["study", "list", "--storage", f"{scheme}://me:s3cret@127.0.0.1:{silent}/studies"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"tunemax: {scheme}://me:***@127.0.0.1:{silent}/studies: the database server says: ")
