"""Several machines on one storage, as far as one can be several: by process numbers, network, home, folder, clock."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from alone import check_as_alone, losses
from optuna.trial import TrialState
from servers import NAME, PASSWORD, PostgreSQL
from waiting import until

from tunemax.search.api import Ended, run_study
from tunemax.search.question.study_file import define
from tunemax.search.storage.questions import create, data_of, load_from
from tunemax.search.storage.rows import sizes
from tunemax.search.storage.sharing import offer

WORKER = "import sys; from tunemax.search.cli import main; sys.exit(main())"
PLACES = ("Asia/Tokyo", "America/New_York")
"""Time zones: of a server's own, a client's heartbeat would be hours old, or of the future."""
APART = [
    "unshare",
    *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]),
    "--pid",
    "--net",
    "--uts",
    "--mount-proc",
    "--fork",
]
"""Without any process, network or host name of this one: the server is reached by its socket alone."""


def by_socket(postgresql: PostgreSQL, url: str) -> str:
    """The URL of a database for those who have no network of this one."""
    return f"{PostgreSQL.scheme}://{NAME}:{PASSWORD}@/{url.rpartition('/')[2]}?host={postgresql.folder}&port={postgresql.port}"


def machine(home: Path, zone: str, there: str, *words: str, **environment: str) -> subprocess.Popen[bytes]:
    """A worker of another machine, with a home of its own, in which it logs what it says."""
    home.mkdir(parents=True)
    own = {**os.environ, "HOME": str(home), "TZ": zone, "PGTZ": zone, "TUNEMAX_STORAGE": there, **environment}
    own |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "XDG_CACHE_HOME": str(home / "cache")}
    named = ["sh", "-c", 'hostname "$1" && shift && exec "$@"', "sh", home.name.lower().replace("_", "-")]
    command = [*APART, *named, sys.executable, "-c", WORKER, "worker", "q", *words]
    with (home / "log").open("w") as log:
        return subprocess.Popen(command, cwd=home, env=own, stdout=log, stderr=subprocess.STDOUT)


@pytest.mark.services
@pytest.mark.databases
def test_workers_of_other_machines_come_to_the_same(
    plan: Callable[..., dict[str, Any]], postgresql: PostgreSQL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same trials, and the same numbers, as on this machine alone; it coordinates, and trains nothing."""
    monkeypatch.setenv("TUNEMAX_RUNS", str(tmp_path / "runs"))
    shape = {"sampler": "qmc", "budget": {"trials": 4, "horizon": 40}, "confirm": {"seeds": 6}}
    definition = define(plan(**shape), name="q")
    url = postgresql.database()
    question = create(url, definition, data_of(url, definition))
    there = by_socket(postgresql, url)
    workers = [machine(tmp_path / zone, zone, there, "--idle", "20") for zone in PLACES]
    assert run_study("q", url, workers=0) == Ended()
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    assert all("complete at iteration 40" in (tmp_path / zone / "log").read_text() for zone in PLACES)
    monkeypatch.setenv("TUNEMAX_RUNS", str(tmp_path / "alone"))
    check_as_alone(url, definition, tmp_path / "alone.db")
    assert question.study("q/softmax").user_attrs["answer"]


@pytest.mark.services
@pytest.mark.databases
def test_a_trial_goes_on_on_a_machine_that_shares_no_folder(
    plan: Callable[..., dict[str, Any]], postgresql: PostgreSQL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first machine is wanted back half-way; the second one goes on from there, to the same losses."""
    monkeypatch.setenv("TUNEMAX_RUNS", str(tmp_path / "runs"))
    shape = {"sampler": "qmc", "compare": ["constantmax"], "budget": {"trials": 2, "horizon": 3000}}
    definition = define(plan(**shape, base={"eval_interval": 100}), name="q")
    url = postgresql.database()
    question = create(url, definition, data_of(url, definition))
    offer(question)
    there = by_socket(postgresql, url)
    first, second = (tmp_path / zone for zone in PLACES)
    worker = machine(first, PLACES[0], there, "--idle", "0", TUNEMAX_RUNS=str(first / "runs"))
    until(lambda: any(trial.intermediate_values for trial in question.trials()["q/constantmax"]))
    psutil.Process(worker.pid).children()[0].send_signal(signal.SIGTERM)  # unshare itself takes no notice
    assert worker.wait(timeout=120) == 75
    said = " ".join((first / "log").read_text().split())
    assert (
        "is not the folder of runs of whoever runs it: snapshots, weights and artifacts go through the database" in said
    )
    given_back = question.trials()["q/constantmax"]
    assert {trial.state for trial in given_back} == {TrialState.WAITING}
    reported = [dict(trial.intermediate_values) for trial in given_back]
    worker = machine(second, PLACES[1], there, "--idle", "0", TUNEMAX_RUNS=str(second / "runs"))
    assert worker.wait(timeout=300) == 0
    for trial, before in zip(question.trials()["q/constantmax"], reported, strict=True):
        parts = trial.system_attrs["tunemax:origin"]
        assert [part["host"] for part in parts] == [home.name.lower().replace("_", "-") for home in (first, second)]
        assert parts[1]["from"] > 0, "it went on"
        assert before.items() <= trial.intermediate_values.items()
    assert not any(name.endswith("snapshot.safetensors") for name in sizes(question.storage)), "freed at the end"
    assert run_study("q", url, workers=0) == Ended()
    assert list((tmp_path / "runs").rglob("weights.safetensors")), "brought home"
    monkeypatch.setenv("TUNEMAX_RUNS", str(tmp_path / "alone"))
    alone = str(tmp_path / "alone.db")
    create(alone, definition, data_of(alone, definition))
    assert run_study("q", alone, workers=1) == Ended()
    assert losses(question) == losses(load_from(alone, "q"))
