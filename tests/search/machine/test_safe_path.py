"""Files of the working directory are not ours to run, whatever they are called: not here, and not in any child."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from served import Served

from tunemax.search.machine.processes import FORKING, aside

NAMED = ("gpt", "envs", "search", "numpy", "torch", "optuna", "queue", "token", "selectors", "random", "sitecustomize")
EVERY = sorted({*NAMED, *sys.stdlib_module_names} - {"this", "antigravity"})
COMMAND = [str(Path(sys.executable).with_name("tunemax"))]
MODULE = [sys.executable, "-m", "tunemax"]


@pytest.fixture
def hostile(tmp_path: Path) -> Callable[..., Path]:
    """A folder with modules of such names, each of which leaves a line in `ran` when it is run."""

    def make(names: tuple[str, ...] | list[str]) -> Path:
        folder = tmp_path / "hostile"
        folder.mkdir()
        for name in names:
            path = folder / name / "__init__.py" if name in ("search", "numpy") else folder / f"{name}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write({name + chr(10)!r})\nraise SystemExit(9)\n")
        return folder

    return make


@pytest.fixture
def tiny(plan: Callable[..., dict[str, object]], tmp_path: Path) -> Path:
    file = tmp_path / "q.yaml"
    file.write_text(yaml.safe_dump(plan(budget={"trials": 2, "horizon": 10}, compare=["softmax"], slots=1)))
    return file


def run(words: list[str], folder: Path) -> str:
    """What a command says in a folder; it must end well."""
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("command", "names"),
    [
        pytest.param(COMMAND, EVERY, id="the command"),
        # Python itself looks there for a few before it looks for ours
        pytest.param(MODULE, NAMED, id="python -m tunemax", marks=pytest.mark.long),
    ],
)
def test_no_file_of_the_working_directory_runs(
    hostile: Callable[..., Path], tiny: Path, text: Path, tmp_path: Path, command: list[str], names: list[str]
) -> None:
    folder, storage = hostile(names), ["--storage", str(tmp_path / "s.db")]
    assert "complete" in run([*command, "study", "run", str(tiny), "--workers", "1", *storage], folder)
    for words in (
        ["study", "list", *storage],
        ["report", "q", *storage],
        ["doctor", *storage],
        ["train", "--from", "q/softmax", "--out_dir", str(tmp_path / "run"), "--max_iters", "4", *storage],
    ):
        run([*command, *words], folder)
    assert not (tmp_path / "ran").exists(), (tmp_path / "ran").read_text()


def _where() -> list[str]:
    """Of a worker: where it looks for modules, and what it was told by the environment."""
    return [*sys.path, os.environ.get("PYTHONSAFEPATH", "")]


@pytest.mark.services
def test_no_file_of_the_working_directory_runs_in_a_server(
    hostile: Callable[..., Path], tiny: Path, tmp_path: Path
) -> None:
    where = tmp_path / "s.db"
    run([*COMMAND, "study", "create", str(tiny), "--storage", str(where)], tmp_path)
    with Served(str(where), command=COMMAND, cwd=hostile(EVERY)) as served:
        assert served.dashboard
        assert served.tensorboard
    assert not (tmp_path / "ran").exists(), (tmp_path / "ran").read_text()


def test_a_users_own_path_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    assert FORKING
    assert str(tmp_path) in (aside(_where, route="default") or [])
