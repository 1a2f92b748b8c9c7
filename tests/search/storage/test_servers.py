"""Several creators, and creators that die, on SQLite, PostgreSQL and MariaDB: processes, as users start them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from served import ROOT, TUNEMAX
from servers import Server
from waiting import PATIENCE

from tunemax.gpt.data import Corpus
from tunemax.gpt.errors import TunemaxError
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.stages import Confirm
from tunemax.search.results.winners import confirm
from tunemax.search.storage.database import open_storage, study_names
from tunemax.search.storage.questions import create, extend, load_from

STUCK = """
import sys, time
from tunemax.search.storage import study_tables
add_waiting, left = study_tables.add_waiting, int(sys.argv.pop(1))
def cut(*arguments):
    global left
    left -= 1
    if left < 0:
        print("in the middle", flush=True)
        time.sleep(600)
    add_waiting(*arguments)
study_tables.add_waiting = cut
from tunemax.search.cli import main
sys.exit(main())
"""
"""The command line of tunemax, which stops in the middle of what it writes."""
FREEZE = """
import sys
from tunemax.search.question.stages import Confirm
from tunemax.search.results.winners import confirm
from tunemax.search.storage.questions import load_from
confirm(load_from(sys.argv[1], "q"), Confirm(seeds=int(sys.argv[2])))
"""
"""What `study confirm` does before it trains."""


def at_once(commands: Sequence[Sequence[str]]) -> list[tuple[int, str]]:
    """Start them all, and wait for them: the exit status and all that each has printed."""
    started = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for command in commands
    ]
    outputs = [process.communicate(timeout=PATIENCE)[0] for process in started]
    return [(process.returncode, output) for process, output in zip(started, outputs, strict=True)]


def numbers(where: str, name: str = "q") -> dict[str, list[int]]:
    """The numbers of each study's trials."""
    return {study: [trial.number for trial in trials] for study, trials in load_from(where, name).trials().items()}


@pytest.mark.services
@pytest.mark.databases
def test_six_create_a_question_where_there_are_no_tables_yet(server: Server, study_file: Callable[..., Path]) -> None:
    where, file = server.database(), str(study_file(budget={"trials": 12}))
    ended = at_once([[*TUNEMAX, "study", "create", file, "--storage", where]] * 6)
    assert [status for status, _ in ended] == [0] * 6, ended
    assert len({output for _, output in ended}) == 1
    assert numbers(where) == {"q/softmax": list(range(12)), "q/polymax": list(range(12))}


def test_several_extend_a_question_and_each_counts(
    anywhere: str, defined: Callable[..., StudyDefinition], corpus: Corpus
) -> None:
    create(anywhere, defined(), corpus)
    ended = at_once([[*TUNEMAX, "study", "extend", "q", "--trials", "2", "--storage", anywhere]] * 3)
    assert [status for status, _ in ended] == [0] * 3, ended
    assert numbers(anywhere) == {"q/softmax": list(range(9)), "q/polymax": list(range(9))}


@pytest.mark.services
@pytest.mark.databases
def test_several_confirm_a_question_and_it_has_the_most_that_was_asked(
    server: Server, defined: Callable[..., StudyDefinition], corpus: Corpus, work: Callable[..., Any]
) -> None:
    where = server.database()
    work(create(where, defined(budget={"trials": 1}), corpus))
    ended = at_once([[sys.executable, "-c", FREEZE, where, str(seeds)] for seeds in (6, 7, 8)])
    assert [status for status, _ in ended] == [0] * 3, ended
    assert numbers(where, "q.confirmed") == {
        "q.confirmed/softmax": list(range(8)),
        "q.confirmed/polymax": list(range(8)),
    }


@pytest.fixture
def killed() -> Iterator[Callable[..., None]]:
    """Start a command, and kill it when it has written so many of its studies, in the middle of the next."""
    started: list[subprocess.Popen[str]] = []

    def start_and_kill(after: int, *words: str) -> None:
        command = [sys.executable, "-c", STUCK, str(after), *words]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout
        assert process.stdout.readline() == "in the middle\n"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()

    yield start_and_kill
    for process in started:
        process.kill()


def test_a_creator_that_is_killed_in_the_middle_leaves_nothing_and_holds_up_nobody(
    anywhere: str, study_file: Callable[..., Path], defined: Callable[..., StudyDefinition], corpus: Corpus,
    killed: Callable[..., None],
) -> None:  # fmt: skip
    killed(1, "study", "create", str(study_file()), "--storage", anywhere)
    assert study_names(open_storage(anywhere, create=False)) == []
    create(anywhere, defined(), corpus)
    before = load_from(anywhere, "q").definition
    killed(1, "study", "extend", "q", "--trials", "5", "--storage", anywhere)
    assert load_from(anywhere, "q").definition == before
    assert numbers(anywhere) == {"q/softmax": list(range(3)), "q/polymax": list(range(3))}
    assert set(map(len, extend(load_from(anywhere, "q"), 2).trials().values())) == {5}


@pytest.mark.services
@pytest.mark.databases
def test_trials_are_claimed_while_others_are_added(
    server: Server, defined: Callable[..., StudyDefinition], corpus: Corpus, work: Callable[..., Any]
) -> None:
    where = server.database()
    question = create(where, defined(budget={"trials": 30}), corpus)
    adding = [
        subprocess.Popen([*TUNEMAX, "study", "extend", "q", "--trials", "1", "--storage", where], cwd=ROOT)
        for _ in range(3)
    ]
    work(question)
    assert [process.wait(PATIENCE) for process in adding] == [0] * 3
    work(load_from(where, "q"))
    assert load_from(where, "q").states() == {"complete": 66}


def test_a_confirmation_that_is_cut_short_leaves_nothing(
    anywhere: str,
    defined: Callable[..., StudyDefinition],
    corpus: Corpus,
    work: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    question = create(anywhere, defined(budget={"trials": 1}), corpus)
    work(question)
    with monkeypatch.context() as patch:
        patch.setattr("tunemax.search.storage.layout._fill", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            confirm(question, Confirm(seeds=6))
    assert study_names(question.storage) == ["q/softmax", "q/polymax"]
    assert confirm(question, Confirm(seeds=6)).states() == {"waiting": 12}


def test_what_is_written_at_once_is_what_optuna_would_write(
    anywhere: str, defined: Callable[..., StudyDefinition], corpus: Corpus
) -> None:
    question = create(anywhere, defined(budget={"trials": 5}), corpus)
    study = question.study("q/softmax")
    study.enqueue_trial({"learning_rate": 0.1})
    study.enqueue_trial({})
    engine = question.storage.engine
    with engine.connect() as connection:
        trials = connection.exec_driver_sql(
            "SELECT * FROM trials WHERE study_id = (SELECT study_id FROM studies WHERE study_name = 'q/softmax')"
            " ORDER BY number"
        )
        rows = [dict(row) for row in trials.mappings()]
        system = [
            [
                dict(row) | {"value_json": json.loads(row["value_json"])}
                for row in connection.exec_driver_sql(
                    f"SELECT * FROM trial_system_attributes WHERE trial_id = {trial['trial_id']} ORDER BY 1"
                ).mappings()
            ]
            for trial in rows
        ]
        others = [
            connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()
            for table in ("trial_params", "trial_values", "trial_user_attributes", "trial_heartbeats")
        ]

    def bare(row: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in row.items() if not key.endswith("_id") and key != "number"}

    *ours, theirs, empty = rows
    assert [row["number"] for row in rows] == list(range(7))
    assert sorted(row["trial_id"] for row in ours) == [row["trial_id"] for row in ours]
    assert all(bare(row) == bare(theirs) == bare(empty) for row in ours)
    assert [{row["key"]: row["value_json"] for row in each} for each in system] == [
        {"fixed_params": {"learning_rate": 0.00316}, "tunemax:known": True},
        *[{"fixed_params": {}}] * 4,
        {"fixed_params": {"learning_rate": 0.1}},
        {"fixed_params": {}},
    ]
    assert others == [0] * 4


@pytest.mark.services
@pytest.mark.databases
def test_a_definition_that_mariadb_cannot_keep_is_refused_with_the_reason(
    mariadb: Server, defined: Callable[..., StudyDefinition], corpus: Corpus
) -> None:
    where = mariadb.database()
    with pytest.raises(TunemaxError, match=r"q: its definition has 70,\d+ bytes, MySQL keeps 65,535; shorten"):
        create(where, defined(question="?" * 70_000), corpus)
    assert study_names(open_storage(where, create=False)) == []
