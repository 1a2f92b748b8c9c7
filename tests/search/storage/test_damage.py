"""Rows that are damaged, or that somebody else has written: one line, whatever reads them, and they can be deleted."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunemax.search.cli import main
from tunemax.search.storage.database import open_storage, study_names
from tunemax.search.storage.marks import Mark, mark
from tunemax.search.storage.questions import create

NO_JSON = {
    "cut short": "{br",
    "empty": "",
    "deep": "[" * 100_000 + "]" * 100_000,
    "a number of many digits": "9" * 5000,
}
"""JSON that cannot be read."""
ROWS = {
    "an unknown state": "UPDATE trials SET state = 'BOGUS'",
    "a negative number": "UPDATE trials SET number = -1",
    "no number": "UPDATE trials SET number = NULL",
    "a word for a number": "UPDATE trials SET number = 'x'",
    "no date": "UPDATE trials SET datetime_start = 'yesterday'",
    "a year before all others": "UPDATE trials SET datetime_complete = '0000-00-00 00:00:00'",
    "a word for a value": "UPDATE trial_values SET value = 'x'",
    "an unknown kind of value": "UPDATE trial_values SET value_type = 'BOGUS'",
    "a kind that its value is not": "UPDATE trial_values SET value_type = 'INF_NEG'",
    "no value": "DELETE FROM trial_values",
    "two values": "INSERT INTO trial_values (trial_id, objective, value, value_type) "
    "SELECT trial_id, 1, value, value_type FROM trial_values",
    "a word for a report": "UPDATE trial_intermediate_values SET intermediate_value = 'x'",
    "a negative step": "UPDATE trial_intermediate_values SET step = -step",
    "an unknown distribution": "UPDATE trial_params SET distribution_json = '{}'",
    "a word for a parameter": 'UPDATE trial_params SET distribution_json = \'{"name": "IntDistribution", '
    '"attributes": {"low": 1, "high": 9}}\', param_value = \'x\'',
    "an unknown direction": "UPDATE study_directions SET direction = 'BOGUS'",
}
"""What makes a question unreadable."""
KINDS = (
    *(("trial_user_attributes", key) for key in ("flops", "tokens", "iterations", "parameters", "guarded", "path")),
    *(("trial_user_attributes", key) for key in ("duplicate_of", "spared", "diverged", "failures", "final_beta")),
    *(("trial_system_attributes", key) for key in ("tunemax:config", "fixed_params")),
)
"""Keys under which tunemax writes something of a kind."""
LISTED = ("study list", "study list --json", "study gc", "study leaderboard other", "study extend other --trials 1")
READ = ("study leaderboard q", "study best q", "study replay q", "study cancel q", "report q")
READ += ("train --from q/softmax --trial 0 --max_iters 1 --no-tensorboard --out_dir out",)


@pytest.fixture(scope="module")
def ended(
    tmp_path_factory: pytest.TempPathFactory, defined: Callable[..., Any], corpus: Any, work: Callable[..., Any]
) -> Path:
    """The storage of a question that has ended, and of another one."""
    path = tmp_path_factory.mktemp("ended") / "studies.db"
    work(create(path, defined(budget={"trials": 1}), corpus))
    create(path, defined(name="other", compare=["softmax"]), corpus).storage.engine.dispose()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


@pytest.fixture
def trained(ended: Path, where: str) -> str:
    """A copy of it."""
    shutil.copyfile(ended, where)
    return where


def change(where: str, statement: str, *values: Any) -> None:
    with contextlib.closing(sqlite3.connect(where)) as connection, connection:
        ours = " study_id IN (SELECT study_id FROM studies WHERE study_name LIKE 'q%')"
        if ("studies" not in statement and " trials " in statement) or "study_" in statement.split(" SET")[0]:
            statement += f" {'AND' if 'WHERE' in statement else 'WHERE'}{ours}"
        connection.execute(statement, values)


def write(where: str, table: str, key: str, text: str) -> None:
    """Give all trials of a question, or its studies, an attribute, in place of the one of this name."""
    owner, of = ("trial_id", "trials JOIN studies USING (study_id)") if "trial" in table else ("study_id", "studies")
    with contextlib.closing(sqlite3.connect(where)) as connection, connection:
        connection.execute(
            f"INSERT OR REPLACE INTO {table} ({owner}, key, value_json) "
            f"SELECT {owner}, ?, ? FROM {of} WHERE study_name LIKE 'q%'",
            (key, text),
        )


def one_line(capsys: pytest.CaptureFixture[str], command: str, where: str) -> str:
    """What a command says on standard error, which is at most one line if it is refused."""
    status = main([*command.split(), "--storage", where])
    err = capsys.readouterr().err
    assert status in (0, 2), command
    assert status == 0 or (err.startswith("tunemax: ") and err.count("\n") == 1), command
    return err


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def deletes(where: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The question can be deleted, and the other one stays."""
    assert main(["study", "delete", "q", "--yes", "--storage", where]) == 0, capsys.readouterr().err
    assert study_names(open_storage(where, create=False)) == ["other/softmax"]
    with contextlib.closing(sqlite3.connect(where)) as connection:
        for table in ("trial_values", "trial_params", "trial_user_attributes", "trial_heartbeats"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


@pytest.mark.parametrize("statement", ROWS.values(), ids=list(ROWS))
def test_rows_that_mean_nothing(trained: str, statement: str, capsys: pytest.CaptureFixture[str]) -> None:
    change(trained, statement)
    for command in LISTED:
        assert main([*command.split(), "--storage", trained]) == 0, capsys.readouterr().err
    capsys.readouterr()
    refused = [one_line(capsys, command, trained) for command in READ]
    assert any("cannot be read" in line for line in refused) or "direction" in statement
    deletes(trained, capsys)


@pytest.mark.parametrize("broken", NO_JSON.values(), ids=list(NO_JSON))
@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("study_user_attributes", "tunemax:question"),
        ("study_user_attributes", "tunemax:seeds_used"),
        ("study_system_attributes", "dashboard:note_str:0"),
        ("study_system_attributes", "artifacts:x"),
        ("trial_user_attributes", "flops"),
        ("trial_user_attributes", "anything"),
        ("trial_system_attributes", "artifacts:x"),
        ("trial_system_attributes", "tunemax:config"),
    ],
)
def test_json_that_cannot_be_read(
    trained: str, table: str, key: str, broken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(trained, table, key, broken)
    for command in LISTED:
        assert main([*command.split(), "--storage", trained]) == 0, capsys.readouterr().err
    capsys.readouterr()
    for command in READ:
        one_line(capsys, command, trained)
    if key != "tunemax:question":  # else it is nobody's, which the stock tools delete
        deletes(trained, capsys)


@pytest.mark.parametrize("value", [None, "x", [5], {"a": 1}], ids=json.dumps)
@pytest.mark.parametrize(("table", "key"), KINDS)
def test_values_of_another_kind(
    trained: str, table: str, key: str, value: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    write(trained, table, key, json.dumps(value))
    assert main(["study", "list", "--storage", trained]) == 0
    capsys.readouterr()
    for command in ("study leaderboard q", "report q"):
        one_line(capsys, command, trained)
    deletes(trained, capsys)


@pytest.mark.parametrize("pid", ["9" * 5000, "9" * 30, str(2**32 + 1), "0", "-1", "２" * 12, "x"])
def test_marks_of_processes_that_no_system_has(trained: str, pid: str, capsys: pytest.CaptureFixture[str]) -> None:
    host, _, *others = mark().split(":")
    text = ":".join((host, pid, *others))
    found = Mark.read(text)
    assert found is None or not found.lives
    write(trained, "trial_user_attributes", "tunemax:worker", json.dumps(text))
    change(trained, "UPDATE trials SET state = 'RUNNING'")
    for command in ("report q", "study cancel q", "study delete q --yes"):
        one_line(capsys, command, trained)
