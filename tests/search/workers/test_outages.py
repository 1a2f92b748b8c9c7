"""Runs whose database server is away for a while: started again, or ending their connections. They go on."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from optuna.exceptions import StorageInternalError
from proxy import Proxy
from servers import MariaDB, PostgreSQL, Server
from waiting import PATIENCE, until

from tunemax.gpt.data import Corpus
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.storage.questions import Question, create, load_from
from tunemax.search.workers.events import Event
from tunemax.search.workers.snapshots import FILE

pytestmark = [pytest.mark.services, pytest.mark.databases]

ROOT = Path(__file__).parents[3]
TUNEMAX = [sys.executable, "-c", "import sys; from tunemax.search.cli import main; sys.exit(main())"]
HORIZON = 1000
CUT = 15.0
"""Seconds for which a network is cut: workers come to an evaluation in each of them."""
PLAN: dict[str, Any] = {
    "sampler": "grid",
    "space": {"learning_rate": [1e-3, 1e-2, 5e-2], "weight_decay": [0.0, 0.1]},
    "budget": {"trials": None, "horizon": HORIZON},
    "base": {"eval_interval": 50, "dropout": 0.1},
}
ENDS_ALL = {
    "postgresql": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
    "mysql": "KILL USER tunemax",
}


@pytest.fixture(params=[PostgreSQL, MariaDB], ids=["postgresql", "mariadb"])
def own(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server that may be stopped."""
    with request.param() as server:
        yield server


@pytest.fixture
def horizon() -> int:
    return HORIZON


@pytest.fixture
def question(
    own: Server,
    tmp_path: Path,
    defined: Callable[..., StudyDefinition],
    corpus: Corpus,
    monkeypatch: pytest.MonkeyPatch,
    horizon: int,
) -> Question:
    monkeypatch.setenv("TUNEMAX_RUNS", str(tmp_path / "runs"))
    url = own.database()
    create(url, defined(**{**PLAN, "budget": {"trials": None, "horizon": horizon}}), corpus)
    return load_from(url, "q")


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory,
    defined: Callable[..., StudyDefinition],
    corpus: Corpus,
    work: Callable[..., list[Event]],
) -> dict[str, Any]:
    where = tmp_path_factory.mktemp("undisturbed") / "studies.db"
    question = create(str(where), defined(**PLAN), corpus)
    work(question, slots=6)
    return found(question)


def found(question: Question) -> dict[str, Any]:
    return {
        f"{name} {sorted(trial.params.items())}": (trial.state, trial.value, trial.intermediate_values)
        for name, trials in question.trials().items()
        for trial in trials
    }


class Run:
    """A `study run` with two workers, and what it has said so far."""

    def __init__(self, where: str, folder: Path) -> None:
        self._said = {name: folder / name for name in ("out", "err")}
        words = [*TUNEMAX, "study", "run", "q", "--storage", where, "--workers", "2", "--slots", "3"]
        with self._said["out"].open("w") as out, self._said["err"].open("w") as err:
            self.process = subprocess.Popen(words, cwd=ROOT, stdout=out, stderr=err)

    def said(self, name: str = "err") -> str:
        return self._said[name].read_text()

    def wait(self) -> int:
        return self.process.wait(PATIENCE)


@pytest.fixture
def run(question: Question, tmp_path: Path) -> Iterator[Run]:
    run = Run(question.storage.url, tmp_path)
    until(lambda: reports(question) > 10)
    question.storage.engine.dispose()
    yield run
    run.process.kill()
    run.process.wait()


def reports(question: Question) -> int:
    return sum(len(trial.intermediate_values) for trials in question.trials().values() for trial in trials)


def test_a_server_that_is_started_again(
    own: Server, question: Question, undisturbed: dict[str, Any], run: Run, tmp_path: Path
) -> None:
    own.stop()
    until(lambda: "waiting for it, 5 minutes at most" in run.said())
    until(lambda: list((tmp_path / "runs").rglob(FILE)))
    own.start()
    assert run.wait() == 0
    lines = run.said().splitlines()
    assert [line for line in lines if "waiting for it" in line][1:] == []
    assert [line for line in lines if "answers again" in line] == ["the storage answers again"]
    assert len(lines) == 2, lines
    assert found(load_from(question.storage.url, "q")) == undisturbed
    assert not re.search("dropped|failed|lost", run.said("out"))


def test_a_server_that_ends_connections(own: Server, question: Question, undisturbed: dict[str, Any], run: Run) -> None:
    url, ended = question.storage.engine.url, 0
    statement = ENDS_ALL[url.get_backend_name()].format(name=url.database)

    def end_all() -> bool:
        nonlocal ended
        with contextlib.suppress(sqlalchemy.exc.SQLAlchemyError):  # it ends the connection that asks for it, too
            own._execute(statement)
        ended += 1
        return run.process.poll() is not None

    until(end_all, 0.3)
    assert ended > 3
    assert run.wait() == 0
    assert not re.search("Traceback|Error", run.said())
    assert found(load_from(question.storage.url, "q")) == undisturbed


@pytest.mark.parametrize("forgetting", [False, True], ids=["late", "lost"])
def test_a_network_that_is_cut_for_a_while(
    own: Server, question: Question, undisturbed: dict[str, Any], tmp_path: Path, forgetting: bool
) -> None:
    """What was on its way comes late, or never: connections are reset, as by a router that was started again."""
    with Proxy(own.port) as network:
        run = Run(
            own.url(str(question.storage.engine.url.database)).replace(f":{own.port}/", f":{network.port}/"), tmp_path
        )
        until(lambda: reports(question) > 10)
        network.cut()
        time.sleep(CUT)
        assert run.process.poll() is None
        network.mend(forgetting=forgetting)
        assert run.wait() == 0, run.said()
    assert not re.search("Traceback|Error", run.said())
    assert found(load_from(question.storage.url, "q")) == undisturbed


def test_ctrl_c_while_it_waits_ends_the_run_and_the_next_one_goes_on(
    own: Server, question: Question, undisturbed: dict[str, Any], run: Run, tmp_path: Path
) -> None:
    own.stop()
    until(lambda: "waiting for it" in run.said())
    run.process.send_signal(signal.SIGINT)
    assert run.wait() == 130
    assert "interrupted" in run.said().splitlines()[-1]
    own.start()
    again = Run(question.storage.url, tmp_path)
    assert again.wait() == 0
    assert found(load_from(question.storage.url, "q")) == undisturbed


@pytest.mark.parametrize("horizon", [10**6])
def test_a_study_that_is_deleted_meanwhile_ends_the_run_in_one_line(own: Server, question: Question, run: Run) -> None:
    storage = load_from(question.storage.url, "q").storage

    def deleted() -> bool:
        try:
            storage.delete_study(1)  # gives up, often without a word, if a worker writes to the study meanwhile
        except KeyError:
            return True
        except StorageInternalError:
            return False
        return False

    until(deleted)
    assert run.wait() == 2
    (line,) = run.said().splitlines()
    assert line.startswith("tunemax: ")
    assert "q/" in line
