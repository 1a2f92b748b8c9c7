"""Whatever is typed: a command does what it is asked, or says in one line why not, and leaves all else alone."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tunemax.gpt.visible import visible
from tunemax.search.cli import main
from tunemax.search.storage.questions import create

COMMANDS = (
    "study create NAME",
    "study run NAME --workers COUNT --seconds 1",
    "study resume NAME",
    "study confirm NAME --seeds COUNT",
    "study confirm q --reference NAME --margin COUNT",
    "study extend NAME --trials COUNT",
    "study cancel NAME",
    "study delete NAME",
    "study delete NAME --yes",
    "study show NAME",
    "study show NAME --json",
    "study best NAME",
    "study best q/NAME",
    "study leaderboard NAME",
    "study replay NAME --pruner NAME",
    "study list --storage NAME",
    "study gc --storage NAME",
    "study NAME",
    "report NAME",
    "train --resume NAME",
    "train --from NAME --trial COUNT",
    "train --from NAME --continue --max_iters COUNT",
    "train --NAME COUNT",
    "train --softmax_variant NAME",
    "train --learning_rate NAME --max_iters 1",
    "train --tensorboard_run_name ../NAME",
    "sample NAME NAME --length COUNT",
    "sample q/softmax#COUNT NAME --temperature COUNT --top-k COUNT",
    "rl evaluate NAME --env NAME",
    "rl train --env NAME --algo sac --steps COUNT",
    "rl study NAME",
    "fields NAME",
    "dashboard --port COUNT99999 --storage NAME",
    "NAME",
)
PIECES = st.sampled_from([
    *("..", "/", "~", "qq", "q/softmax", ".yaml", "://", "sqlite:///", "%", "{", "}", "$(id)", "'", "\\", " ", "-"),
    *("\0", "\n", "\x1b[2J", "\x07", "\x7f", "\x9b", "\u202e", "\u2028", "\udcff", "é", "artifacts", "rl", "x" * 300),
])  # fmt: skip
NAMES = st.one_of(st.text(max_size=20), st.lists(PIECES, max_size=4).map("".join))
COUNTS = st.sampled_from([
    *("0", "-1", "1.5", "1e3", "1e309", "nan", "inf", "", " 7", "0x10", "1_0", "１", "²", "9" * 30, "9" * 5000, "é"),
])  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, defined: Callable[..., Any], corpus: Any) -> Path:
    """A folder that has a database with one question, which has no results."""
    home = tmp_path_factory.mktemp("fuzz") / "home"
    home.mkdir()
    create(home / "tunemax.db", defined(), corpus).storage.engine.dispose()
    return home


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(command=st.sampled_from(COMMANDS), name=NAMES, count=COUNTS)
@example(command="study delete NAME --yes", name="..", count="1")
@example(command="study list --storage NAME", name="~nobody at all/x", count="1")
@example(command="report NAME", name="q\0", count="1")
@example(command="study create NAME", name="\udcff.yaml", count="1")
def test_whatever_is_typed(command: str, name: str, count: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    words = [word.replace("NAME", name).replace("COUNT", count) for word in command.split()]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(words)
        except SystemExit as end:  # argparse's own way to end after --help
            status = int(end.code or 0)
    text = out.getvalue() + err.getvalue()
    assert visible(text) == text
    assert "Traceback" not in text
    assert status in (0, 2)
    if status == 2:
        assert err.getvalue().startswith("tunemax: ")
        assert err.getvalue().count("\n") == 1
    assert os.listdir(home.parent) == ["home"]
    assert (home / "tunemax.db").is_file()
