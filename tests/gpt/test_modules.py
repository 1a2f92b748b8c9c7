"""A file of one's own that is broken, in a folder whose modules are registered: one line with file and line."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAD = "from tunemax.gpt.fields import setting\nfrom tunemax.gpt.softmax.base import Variant\n"
WEIGHTS = "\n    def weights(self, logits, mask):\n        return logits.exp() * mask\n"
BARE = "class Mine(Variant, name='mine'):\n    source = 'here'\n"
MINE = BARE + WEIGHTS
BROKEN = {
    "syntax": (f"{HEAD}class Mine(Variant, name='mine':\n    pass\n", 3, "SyntaxError: "),
    "indentation": (f"{HEAD}\nclass Mine(Variant, name='mine'):\npass\n", 5, "IndentationError: expected an indented"),
    "import": (f"{HEAD}import no_such_module\n{MINE}", 3, "ModuleNotFoundError: No module named 'no_such_module'"),
    "name": (f"{HEAD}{MINE}\nlimit = BOUND\n", 9, "NameError: name 'BOUND' is not defined"),
    "no name": (f"{HEAD}class Mine(Variant):\n    source = 'here'\n{WEIGHTS}", 3, "TypeError: Mine has no name"),
    "taken": (HEAD + MINE.replace("'mine'", "'constantmax'"), 3, "'constantmax' is taken by Constantmax"),
    "taken by an alias": (
        HEAD + MINE.replace("name='mine'", "name='mine', aliases=('consmax',)"),
        3,
        "'consmax' is taken by Constantmax",
    ),
    "twice": (f"{HEAD}{MINE}\n{MINE}", 9, "TypeError: variant name 'mine' is taken by Mine"),
    "no weights": (HEAD + BARE, 3, "TypeError: Mine lacks weights"),
    "no source": (HEAD + MINE.replace("    source = 'here'\n", ""), 3, "TypeError: Mine lacks source"),
    "no field": (HEAD + MINE.replace("'here'\n", "'here'\n    height: float = 1.0\n"), 3, "Mine.height: declare it as"),
    "default": (
        HEAD + MINE.replace("'here'\n", "'here'\n    height: float = setting(2.0, 'h', le=1)\n"),
        3,
        "ValidationError",
    ),
    "no switch": (
        HEAD + MINE.replace("'here'\n", "'here'\n    height: float = setting(2.0, 'h', learnable=True)\n"),
        3,
        "declare a boolean field learn_height",
    ),
    "baseline": (HEAD + MINE.replace("'here'\n", "'here'\n    baselines = ({'hight': 1.0},)\n"), 3, "has hight"),
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, with its own folders of variants and loggers."""
    root = tmp_path_factory.mktemp("tree")
    shutil.copytree(ROOT / "gpt", root / "gpt", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "tunemax").mkdir()
    for name in ("__init__.py", "__main__.py"):
        shutil.copy(ROOT / "tunemax" / name, root / "tunemax")
    (root / "tunemax/gpt").symlink_to("../gpt")
    for name in ("envs", "search", "studies"):
        (root / f"tunemax/{name}").symlink_to(ROOT / name)
    return root


def tunemax(tree: Path, *words: str) -> tuple[int, str]:
    ended = subprocess.run(
        [sys.executable, "-m", "tunemax", *words],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
    )
    return ended.returncode, ended.stderr


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_variant_is_one_line(kind: str, tree: Path) -> None:
    text, line, what = BROKEN[kind]
    file = tree / "tunemax/gpt/softmax/mine.py"
    file.write_text(text)
    try:
        status, said = tunemax(tree, "fields")
    finally:
        file.unlink()
    assert status == 2, said
    assert said.startswith(f"tunemax: {file}:{line}: "), said
    assert what in said
    assert said.endswith("; mend the file, or move it out of its folder\n")
    assert said.count("\n") == 1


@pytest.mark.parametrize("words", ["train --max_iters 1", "study run question.yaml", "rl tune --env Constantmax-v0"])
def test_every_command_says_so(words: str, tree: Path) -> None:
    (tree / "question.yaml").write_text("question: q\nspace: {learning_rate: default}\nbudget: {trials: 1}\n")
    file = tree / "tunemax/gpt/softmax/mine.py"
    file.write_text(f"{HEAD}import no_such_module\n")
    try:
        assert tunemax(tree, *words.split()) == (
            2,
            f"tunemax: {file}:3: ModuleNotFoundError: No module named 'no_such_module'; mend the file, or move it out "
            "of its folder\n",
        )
    finally:
        file.unlink()


@pytest.mark.parametrize(("folder", "base"), [("norm", "rms.RmsNorm"), ("attention", "multi_head.MultiHead")])
def test_a_field_that_a_stack_would_take_from_its_first_member_is_one_line(folder: str, base: str, tree: Path) -> None:
    module, _, name = base.partition(".")
    file = tree / f"tunemax/gpt/{folder}/mine.py"
    file.write_text(
        f"from tunemax.gpt.fields import setting\nfrom tunemax.gpt.{folder}.{module} import {name}\n"
        f"class Mine({name}, name='mine'):\n    depth: float = setting(2.0, 'd')\n"
    )
    try:
        status, said = tunemax(tree, "fields")
    finally:
        file.unlink()
    assert status == 2, said
    assert said.startswith(f"tunemax: {file}:3: TypeError: Mine.depth: declare it with shared=True"), said
    assert said.count("\n") == 1


def test_a_broken_logger_is_one_line(tree: Path) -> None:
    file = tree / "tunemax/gpt/loggers/mine.py"
    file.write_text("from tunemax.gpt.loggers.base import Loger\n")
    try:
        status, said = tunemax(tree, "train", "--max_iters=1")
    finally:
        file.unlink()
    assert status == 2
    assert re.match(rf"tunemax: {file}:1: ImportError: cannot import name 'Loger' from .*\n$", said), said
