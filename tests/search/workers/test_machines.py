"""Several machines on one storage, as far as one can be several: by process numbers, network, home, folder, clock."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState
from servers import NAME, PASSWORD, PostgreSQL

from tunemax.search.api import Ended, run_study
from tunemax.search.question.study_file import define
from tunemax.search.storage.questions import Question, create, data_of, load_from

WORKER = "import sys; from tunemax.search.cli import main; sys.exit(main())"
PLACES = ("Asia/Tokyo", "America/New_York")
"""Time zones: of a server's own, a client's heartbeat would be hours old, or of the future."""
APART = [
    "unshare",
    *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]),
    "--pid",
    "--net",
    "--mount-proc",
    "--fork",
]
"""Without any process or network of this one: the server is reached by its socket alone."""


def losses(question: Question) -> dict[str, list[tuple[dict[str, Any], float | None]]]:
    return {name: [(trial.params, trial.value) for trial in trials] for name, trials in question.trials().items()}


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
    there = f"{PostgreSQL.scheme}://{NAME}:{PASSWORD}@/{url.rpartition('/')[2]}?host={postgresql.folder}&port={postgresql.port}"
    workers = []
    for zone in PLACES:
        home = tmp_path / zone
        home.mkdir(parents=True)
        environment = {**os.environ, "HOME": str(home), "TZ": zone, "PGTZ": zone, "TUNEMAX_STORAGE": there}
        environment |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "XDG_CACHE_HOME": str(home / "cache")}
        words = [*APART, sys.executable, "-c", WORKER, "worker", "q", "--idle", "20"]
        log = (home / "log").open("w")
        workers.append(subprocess.Popen(words, cwd=home, env=environment, stdout=log, stderr=subprocess.STDOUT))
    assert run_study("q", url, workers=0) == Ended()
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    assert all("complete at iteration 40" in (tmp_path / zone / "log").read_text() for zone in PLACES)
    monkeypatch.setenv("TUNEMAX_RUNS", str(tmp_path / "alone"))
    alone = str(tmp_path / "alone.db")
    create(alone, definition, data_of(alone, definition))
    assert run_study("q", alone, workers=1) == Ended()
    for name in ("q", "q.confirmed"):
        found = load_from(url, name)
        assert {trial.state for trials in found.trials().values() for trial in trials} == {TrialState.COMPLETE}
        assert losses(found) == losses(load_from(alone, name))
    assert question.study("q/softmax").user_attrs["answer"]
