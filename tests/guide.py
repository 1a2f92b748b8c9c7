"""CONTRIBUTING.md as tests read it: its blocks, its diffs, and a copy of the sources to which they are applied."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "CONTRIBUTING.md").read_text()
SOURCES = (
    *("gpt", "envs", "search", "tunemax", "docs", "pyproject.toml"),
    *("tests/gpt", "tests/envs", "tests/search/question"),
    *("tests/conftest.py", "tests/variant_settings.py", "tests/plain_model.py", "tests/softmax_oracles.py"),
    "tests/test_docs.py",
)


def blocks(language: str) -> list[str]:
    """The fenced blocks of the guide that are marked as this language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, flags=re.MULTILINE | re.DOTALL)


def diffs(heading: str) -> list[str]:
    """The diffs that stand under a heading of the guide."""
    section = GUIDE.split(f"\n## {heading}\n", 1)[1].split("\n## ")[0]
    return [diff for diff in blocks("diff") if diff in section]


def files(diff: str) -> list[str]:
    return re.findall(r"^\+\+\+ b/(.*)$", diff, flags=re.MULTILINE)


def python(folder: Path, *words: str) -> str:
    """What Python prints that runs in a folder, on the sources that are there."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**own, "PYTHONPATH": str(folder), "COLUMNS": "400"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def copied(folder: Path) -> Path:
    """A copy of the sources in a folder, to which the diffs of the guide are applied, and nothing else."""
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    for diff in blocks("diff"):
        apply(diff, folder)
    return folder


def apply(diff: str, folder: Path) -> None:
    # In a repository git would look for the files there
    outside = {**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.parent)}
    done = subprocess.run(["git", "apply", "-"], input=diff, cwd=folder, env=outside, capture_output=True, text=True)
    assert done.returncode == 0, f"a diff in CONTRIBUTING.md does not fit the sources any more: {done.stderr}"
