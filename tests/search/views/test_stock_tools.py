"""The stock `optuna` command, optuna-dashboard and the leaderboard name the same best trials, of those trained here."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from optuna.distributions import FloatDistribution
from optuna.storages import RDBStorage
from optuna.trial import TrialState, create_trial
from optuna_dashboard import wsgi

from tunemax.gpt.config import Config
from tunemax.search.results.leaderboard import leaderboard
from tunemax.search.storage.attributes import CONFIG, DIVERGED
from tunemax.search.storage.questions import Question, load_from
from tunemax.search.views.dashboard.publish import publish

OPTUNA = [sys.executable, "-c", "import sys; from optuna.cli import main; sys.exit(main())"]
RATE = FloatDistribution(1e-4, 1e-1, log=True)


def optuna_says(where: str, command: str, *words: str) -> Any:
    line = [*OPTUNA, command, "--storage", f"sqlite:///{where}", *words]
    return subprocess.run(line, capture_output=True, text=True, check=True).stdout


def dashboard(where: str, path: str) -> Any:
    """What optuna-dashboard answers a browser."""
    app = wsgi(RDBStorage(f"sqlite:///{where}", skip_table_creation=True))
    told: list[str] = []
    request = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
    }
    body = b"".join(app(request, lambda status, headers, *_: told.append(status)))  # type: ignore[arg-type]
    assert told[0].startswith("200")
    return json.loads(body)


@pytest.fixture
def question(ask: Callable[..., Question]) -> Question:
    """Two candidates with all that a trial can come to: complete, pruned at a lower loss, diverged; one still waits."""
    made = ask(budget={"trials": 1})
    for offset, (name, fixed) in enumerate(made.siblings.items()):
        study = made.study(name)
        for rate, loss, state, attrs in (
            (0.01, 2.2 + 0.1 * offset, TrialState.COMPLETE, {}),
            (0.02, 2.1 + 0.1 * offset, TrialState.COMPLETE, {}),
            (0.03, 1.0, TrialState.PRUNED, {}),
            (0.09, 4.2, TrialState.COMPLETE, {DIVERGED: "loss is nan"}),
        ):
            config = json.dumps(Config.of({**fixed, "learning_rate": rate}).flat())
            trial = create_trial(
                state=state,
                value=loss,
                params={"learning_rate": rate},
                distributions={"learning_rate": RATE},
                user_attrs=attrs,
                system_attrs={CONFIG: config},
            )
            study.add_trial(trial)
    return made


def agree(where: str) -> dict[str, tuple[int, float]]:
    """The best trial of each study, after all three have named it."""
    question = load_from(where, "q")
    publish(question)
    summaries = {each["study_name"]: each for each in dashboard(where, "/api/studies")["study_summaries"]}
    found = {}
    for entry in leaderboard(question).entries:
        assert entry.best
        stock = json.loads(optuna_says(where, "best-trial", "--study-name", entry.study, "-f", "json"))
        seen = dashboard(where, f"/api/studies/{summaries[entry.study]['study_id']}")
        complete = [trial for trial in seen["trials"] if trial["state"] == "Complete"]
        best = min(complete, key=lambda trial: (trial["values"][0], trial["number"]))
        assert stock["number"] == entry.best.number == best["number"]
        assert stock["value"] == {"validation_loss": entry.best.value} == {"validation_loss": best["values"][0]}
        assert f"{entry.best.value:.4f}" in seen["note"]["body"]
        assert f"trials?numbers={entry.best.number})" in seen["note"]["body"]
        found[entry.study] = (entry.best.number, entry.best.value)
    return found


def test_they_agree_until_a_trial_is_told_with_the_stock_command_and_then_it_is_said(
    question: Question, where: str
) -> None:
    assert agree(where) == {"q/softmax": (2, 2.1), "q/polymax": (2, 2.2)}
    named = ("best-trial", "--study-name", "q/polymax")
    asked = json.loads(optuna_says(where, "ask", "--study-name", "q/polymax", "-f", "json"))
    tell = ("tell", "--study-name", "q/polymax", "--trial-number", str(asked["number"]))
    optuna_says(where, *tell, "--state", "complete", "--values", "1.95")
    assert json.loads(optuna_says(where, *named, "-f", "json"))["number"] == asked["number"]
    board = leaderboard(load_from(where, "q"))
    assert [(entry.study, entry.best and entry.best.number) for entry in board.entries] == [
        ("q/softmax", 2),
        ("q/polymax", 2),
    ], "what others have told wins nothing"
    publish(load_from(where, "q"))
    (said,) = board.unranked
    studies = dashboard(where, "/api/studies")["study_summaries"]
    for each in studies:
        assert said in dashboard(where, f"/api/studies/{each['study_id']}")["note"]["body"]
