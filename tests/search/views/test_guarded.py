"""Who is answered by a server of this machine: those who call it by a local name, and change nothing for others."""

from __future__ import annotations

from typing import Any

import pytest

from tunemax.search.views.dashboard.servers import guarded, is_local

LOCAL = ["127.0.0.1", "127.0.0.1:6006", "localhost", "LocalHost:80", "[::1]", "[::1]:6006", "127.8.0.1:1", "localhost:"]
ELSEWHERE = [
    *(
        "evil.example",
        "evil.example:6006",
        "localhost.evil.example",
        "127.0.0.1.evil.example:6006",
        "evil.example:127.0",
    ),
    *("127.0.0.1@evil.example", "localhost@evil.example:80", "evil.example@127.0.0.1", "10.0.0.1", "0.0.0.0:6006"),
    *("[::2]:6006", "::1", "[::1", "[::1]evil.example", "[::1].evil.example:80", "", "localhost:port", "2130706433"),
    *("127.0.0.1/evil.example", "127.0.0.1?evil.example", "127.0.0.1#evil.example", "127.1", "localhost evil.example"),
    *("[::ffff:10.0.0.1]", "0x7f.0.0.1", "127.0.0.1,evil.example", "\\localhost"),
]


def status(local: bool, method: str = "GET", **headers: str) -> int:
    """What a request is answered with, by a server that has everything."""
    statuses: list[str] = []

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        start("200 OK", [])
        return [b"secret"]

    def start(given: str, _: object) -> None:
        statuses.append(given)

    body = guarded(app, local)({"REQUEST_METHOD": method, "PATH_INFO": "/", **headers}, start)
    assert (b"secret" in b"".join(body)) == statuses[0].startswith("200")
    return int(statuses[0].split()[0])


@pytest.mark.parametrize("host", LOCAL)
def test_a_local_name_is_answered(host: str) -> None:
    assert status(local=True, HTTP_HOST=host) == 200


@pytest.mark.parametrize("host", ELSEWHERE)
def test_no_other_name_is_answered_by_a_local_server(host: str) -> None:
    assert status(local=True, HTTP_HOST=host) == 403


def test_a_request_without_a_name_is_refused() -> None:
    assert status(local=True) == 403


def test_a_server_for_others_answers_to_any_name() -> None:
    assert status(local=False, HTTP_HOST="lab.example:8080") == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:1", "http://localhost:80.evil.com"]
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("local", [True, False])
def test_pages_of_another_origin_change_nothing(local: bool, method: str, origin: str) -> None:
    assert status(local, method, HTTP_HOST="localhost:80", HTTP_ORIGIN=origin) == 403
    assert status(local, method, HTTP_HOST="localhost:80", HTTP_ORIGIN="http://localhost:80") == 200


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.0.0.2", "::1"])
def test_this_machine_only(host: str) -> None:
    assert is_local(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "lab.example", ""])
def test_others_can_reach_it(host: str) -> None:
    assert not is_local(host)
