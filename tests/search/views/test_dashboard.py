"""`tunemax dashboard`: both servers come and go together, nothing is left behind, and what cannot work is refused in
one line."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna_dashboard import get_note
from served import Served
from waiting import PATIENCE, until

from tunemax.search.cli import main
from tunemax.search.cli.dashboard import words_of_warning
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.storage.artifacts import uploaded
from tunemax.search.storage.database import open_storage
from tunemax.search.storage.questions import Question, create
from tunemax.search.views.dashboard.servers import Server, guarded, serve_dashboard
from tunemax.search.workers.artifacts import CURVE, Artifacts
from tunemax.search.workers.events import Event

Ask = Callable[..., Question]
pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def question(
    tmp_path_factory: pytest.TempPathFactory,
    defined: Callable[..., StudyDefinition],
    corpus: Any,
    work: Callable[..., list[Event]],
) -> Question:
    """A finished question with artifacts, that nobody has published yet."""
    made = create(tmp_path_factory.mktemp("served") / "studies.db", defined(budget={"trials": 2}), corpus)
    work(made, watchers=[Artifacts(made.storage.url, pytest.fail)])
    return made


@pytest.fixture(scope="module")
def where(question: Question) -> str:
    return str(question.storage.engine.url.database)


@pytest.fixture(scope="module")
def served(where: str) -> Iterator[Served]:
    with Served(where) as running:
        yield running


def get(url: str, **headers: str) -> tuple[bytes, dict[str, str]]:
    request = urllib.request.Request(url, headers={name.replace("_", "-"): value for name, value in headers.items()})
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        return response.read(), {name.lower(): value for name, value in response.headers.items()}


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line with which the command is refused."""
    assert main(["dashboard", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err.removeprefix("tunemax: ").removesuffix("\n")


@contextlib.contextmanager
def taken() -> Iterator[int]:
    """A port at which somebody listens, and hangs up on everybody."""
    listening = socket.create_server(("127.0.0.1", 0))

    def hang_up() -> None:
        with contextlib.suppress(OSError):  # no longer
            while True:
                listening.accept()[0].close()

    threading.Thread(target=hang_up, daemon=True).start()
    yield listening.getsockname()[1]
    with contextlib.suppress(OSError):  # macOS has no such thing; there `close` ends what waits
        listening.shutdown(socket.SHUT_RDWR)
    listening.close()


# ---- while it runs ---------------------------------------------------------------------------------------------------


def test_it_says_where_both_are_and_that_nobody_else_can_reach_them(served: Served) -> None:
    assert re.fullmatch(r"answers      http://127\.0\.0\.1:\d+/", served.said[0])
    assert re.fullmatch(r"dashboard    http://127\.0\.0\.1:\d+/dashboard", served.said[1])
    assert re.fullmatch(r"TensorBoard  http://127\.0\.0\.1:\d+/", served.said[2])
    assert served.said[3:] == ["Both listen on this machine only, and ask for no password. Ctrl-C stops them."]
    listening = {
        link.laddr.ip for server in served.servers for link in server.net_connections() if link.status == "LISTEN"
    }
    assert listening <= {"127.0.0.1", "::1"}


def test_the_dashboard_serves_the_studies_their_notes_and_artifacts(served: Served, question: Question) -> None:
    studies = json.loads(get(f"{served.dashboard}/api/studies")[0])["study_summaries"]
    assert {study["study_name"] for study in studies} == set(question.siblings)
    study = json.loads(get(f"{served.dashboard}/api/studies/{studies[0]['study_id']}")[0])
    assert study["note"]["body"].startswith("# Which of two is ahead?"), "it is published at the start"
    assert {figure["id"] for figure in study["plotly_graph_objects"]} >= {"curves", "leaderboard"}
    for figure in study["plotly_graph_objects"]:
        assert json.loads(figure["graph_object"])["data"]
    assert study["objective_names"] == ["validation_loss"]
    trial = study["trials"][0]
    (key,) = (artifact["artifact_id"] for artifact in trial["artifacts"] if artifact["filename"] == CURVE)
    picture, headers = get(
        f"{served.dashboard}/artifacts/{studies[0]['study_id']}/{trial['trial_id']}/{key}", Origin="http://elsewhere"
    )
    assert picture.startswith(b"\x89PNG")
    assert headers["content-security-policy"] == "sandbox"
    assert "access-control-allow-origin" not in headers


def test_the_first_page_has_each_question_with_its_answer_and_leads_on(served: Served, question: Question) -> None:
    text, headers = get(f"{served.dashboard}/")
    page = text.decode()
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "Which of two is ahead?" in page
    assert "Tuned, not confirmed." in page
    for name in question.siblings:
        assert f'href="/dashboard/studies/{question.study(name)._study_id}"' in page
    for address in set(re.findall(r'href="(/[^"]*)"', page)):
        assert b"<div" in get(f"{served.dashboard}{address}")[0]


def test_tensorboard_looks_at_the_runs_of_the_storage(served: Served, where: str) -> None:
    told = json.loads(get(f"{served.tensorboard}/data/environment")[0])
    assert told["data_location"] == str(Path(where).with_name("studies.runs"))


def test_no_command_line_shows_the_storage(served: Served) -> None:
    lines = [" ".join(server.cmdline()) for server in served.servers]
    assert sum("tunemax.search.views.dashboard.servers" in line for line in lines) == 2
    assert not any("studies.db" in line for line in lines)


def test_a_second_one_is_refused_with_the_address_of_the_first(
    served: Served, where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = served.dashboard.rpartition(":")[2]
    line = refused(capsys, "--storage", where, "--port", port)
    assert re.fullmatch(
        rf"the dashboard of {where} is already running: {served.dashboard}/dashboard; a second one needs --port \d+",
        line,
    )
    other = str(tmp_path / "other.db")
    open_storage(other, create=True)
    line = refused(capsys, "--storage", other, "--port", port)
    assert re.fullmatch(rf"--port = {port}: in use by the dashboard of {where}; take --port \d+", line)
    free = re.findall(r"--port (\d+)$", line)
    with socket.create_server(("127.0.0.1", int(*free))):
        pass


@pytest.mark.parametrize(
    ("headers", "method", "status"),
    [
        ({"Host": "evil.example:8080"}, "GET", 403),
        ({"Host": "localhost:1"}, "GET", 200),
        ({"Origin": "http://evil.example"}, "POST", 403),
        ({"Origin": "null"}, "DELETE", 403),
    ],
)
@pytest.mark.parametrize("server", ["dashboard", "tensorboard"])
def test_pages_from_elsewhere_can_neither_read_nor_write(
    served: Served, server: str, headers: dict[str, str], method: str, status: int
) -> None:
    address, path = {
        "dashboard": (served.dashboard, "/api/studies"),
        "tensorboard": (served.tensorboard, "/data/environment"),
    }[server]
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=PATIENCE)
    connection.request(method, path, b"{}" if method != "GET" else None, headers)
    assert connection.getresponse().status == status
    connection.close()


def test_on_another_address_any_name_is_answered_and_the_user_is_warned() -> None:
    started: list[str] = []
    app = guarded(lambda environ, start: [b"in"], local=False)
    environ = {"HTTP_HOST": "lab.example:8080", "REQUEST_METHOD": "GET", "PATH_INFO": "/dashboard"}
    assert app(environ, lambda status, headers: started.append(status)) == [b"in"]
    assert words_of_warning("0.0.0.0", 2)[0].startswith(
        "WARNING: on 0.0.0.0 whoever reaches this machine can read and delete"
    )
    assert "WARNING" not in " ".join(words_of_warning("127.0.0.1", 1))


# ---- the end ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_it_stops_both_and_leaves_nothing(where: str, number: signal.Signals) -> None:
    with Served(where, *(["--no-tensorboard"] if number == signal.SIGTERM else [])) as running:
        assert len(running.servers) >= (1 if number == signal.SIGTERM else 2)
        os.killpg(running.process.pid, number)
        assert running.end() == (0, ["stopped"], [])
        assert not any(server.is_running() for server in running.started), (
            "it does not end before those that it has started"
        )
        assert running.left() == []


def test_servers_end_when_the_command_is_killed(where: str) -> None:
    with Served(where) as running:
        running.process.kill()
        running.process.wait()
        assert running.left() == []


def test_when_one_ends_the_other_is_stopped_and_the_user_told(where: str) -> None:
    with Served(where) as running:
        port = int(running.tensorboard.rpartition(":")[2])
        (victim,) = (
            s
            for s in running.servers
            if any(link.laddr.port == port and link.status == "LISTEN" for link in s.net_connections())
        )
        victim.kill()
        assert running.end() == (
            2,
            [],
            ["tunemax: TensorBoard has ended (killed by SIGKILL); the dashboard is stopped too"],
        )
        assert running.left() == []


def test_a_server_that_cannot_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    what = {"storage": f"sqlite:///{tmp_path}/none/studies.db", "artifacts": str(tmp_path), "about": "none"}
    server = Server("the dashboard", serve_dashboard, "127.0.0.1", 0, **what)
    until(lambda: server.fate)
    assert re.match(rf"exit status 1: {tmp_path}/none/studies.db: cannot be read", str(server.fate))
    assert server.address is None
    server.stop()


# ---- what is refused -------------------------------------------------------------------------------------------------


def test_a_port_in_use_is_refused_with_one_that_is_free(where: str, capsys: pytest.CaptureFixture[str]) -> None:
    with taken() as port:
        assert re.fullmatch(
            rf"--port = {port}: in use by another program; take --port \d+",
            refused(capsys, "--storage", where, "--port", str(port)),
        )
        line = refused(capsys, "--storage", where, "--port", "0", "--tensorboard-port", str(port))
        assert re.fullmatch(
            rf"--tensorboard-port = {port}: in use by another program; take --tensorboard-port \d+", line
        )


def test_an_artifact_folder_that_cannot_be_written_is_refused(
    where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TUNEMAX_RUNS", str(tmp_path / "file"))
    line = refused(capsys, "--storage", where)
    assert line == (
        f"{tmp_path}/file/artifacts: artifacts cannot be written there (Not a directory); mend its rights, "
        "or name another place with TUNEMAX_RUNS"
    )


def test_a_missing_database_is_refused_and_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such database" in refused(capsys, "--storage", str(tmp_path / "none.db"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--port 70000", "--port = 70000: expected a whole number from 0 to 65535"),
        ("--tensorboard-port x", "--tensorboard-port = x: expected a whole number from 0 to 65535"),
        ("--host 192.0.2.1", "--host = 192.0.2.1: nobody can listen there"),
        ("--host nowhere.invalid", "--host = nowhere.invalid: nobody can listen there"),
    ],
)
def test_a_mistake_is_one_line(where: str, words: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, "--storage", where, *words.split()).startswith(line)


def test_the_names_of_artifacts_are_known_to_optuna(question: Question) -> None:
    from optuna.artifacts import get_all_artifact_meta

    trial = question.trials()["q/softmax"][0]
    assert get_all_artifact_meta(trial, storage=question.storage) == uploaded(trial.system_attrs)
    assert get_note(question.study("q/softmax")) is not None
