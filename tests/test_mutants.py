"""The list of mutants fits the sources, and the script that runs it tells survivors from those that were noticed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import mutants
import pytest

LIST = mutants.read()
MODULE = """
def doubled(x):
    return 2 * x


def unseen(x):
    return x + 1
"""
TESTS = """
from small import doubled, unseen


def test_doubled():
    assert doubled(3) == 6


def test_unseen():
    unseen(1)
"""


@pytest.mark.parametrize("mutant", LIST, ids=lambda mutant: mutant.name)
def test_a_mutant_has_its_text_once_and_tests_that_are_there(mutant: mutants.Mutant) -> None:
    assert mutants.fault(mutant) is None
    assert mutant.breaks


def test_there_are_mutants_of_every_floor() -> None:
    assert len(LIST) >= 60
    assert {mutant.file.partition("/")[0] for mutant in LIST} == {"gpt", "envs", "search"}


# ---- the script, on a small tree -------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree with a module `gpt/small.py` and its tests."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    (tmp_path / "gpt").mkdir()
    (tmp_path / "tests").mkdir()
    (tmp_path / "gpt/small.py").write_text(MODULE)
    (tmp_path / "tests/test_small.py").write_text(TESTS)
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\npythonpath = ["gpt"]\n')
    return tmp_path


def listed(folder: Path, *lines: str) -> Path:
    """A list of mutants of the small tree: name, old and new, each."""
    lists = folder / "lists"
    lists.mkdir(exist_ok=True)
    body = ""
    for line in lines:
        name, old, new = line.split("|")
        body += f"- name: {name}\n  file: gpt/small.py\n  old: {old!r}\n  new: {new!r}\n"
        body += "  breaks: something\n  tests: [tests/test_small.py]\n"
    (lists / "some.yaml").write_text(body)
    return lists


def ran(tree: Path, lists: Path, *words: str) -> tuple[int, str, str]:
    """Exit status and both outputs of the script. It is a process of its own, since it forks."""
    command = [sys.executable, str(Path(mutants.__file__)), "--tree", str(tree), "--lists", str(lists), *words]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.long
def test_survivors_are_told_and_the_status_says_so(small: Path) -> None:
    lists = listed(small, "one|2 * x|3 * x", "two|x + 1|x + 2", "three|return 2 * x|while True: pass")
    status, out, err = ran(small, lists, "1", "2")
    assert (status, err) == (1, "")
    assert "2 mutants, 1 survivors" in out
    assert out.endswith("survived: two (gpt/small.py): something\n")
    assert re.search(r"1  killed .* one +test_small.py::test_doubled\n", out)
    assert (small / "gpt/small.py").read_text() == MODULE, "a copy is changed, never the tree itself"
    status, out, _ = ran(small, lists, "three", "--limit", "3")
    assert status == 0
    assert re.search(r"3  hung .* three ", out), "a loop without end is noticed"


@pytest.mark.parametrize(
    ("old", "tests", "wrong"),
    [
        ("3 * x", "tests/test_small.py", "its text is 0 times in gpt/small.py, expected once"),
        ("return", "tests/test_small.py", "its text is 2 times in gpt/small.py, expected once"),
        ("2 * x", "tests/test_gone.py", "tests/test_gone.py: no such test"),
        ("2 * x", "tests/test_small.py::test_gone", "tests/test_small.py::test_gone: no such test"),
    ],
)
def test_a_list_that_is_not_true_any_more_is_refused(small: Path, old: str, tests: str, wrong: str) -> None:
    lists = listed(small, f"one|{old}|4 * x")
    (lists / "some.yaml").write_text((lists / "some.yaml").read_text().replace("tests/test_small.py", tests))
    with pytest.raises(SystemExit, match=f"one: {wrong}"):
        mutants.main(["--tree", str(small), "--lists", str(lists)])


def test_tests_that_fail_without_a_mutant_are_told_first(small: Path) -> None:
    (small / "tests/test_small.py").write_text(TESTS.replace("== 6", "== 7"))
    status, _, err = ran(small, listed(small, "one|2 * x|3 * x"))
    assert status == 1
    assert "test_doubled" in err
    assert err.endswith("these tests fail without any mutant; mend them first\n")


def test_mutants_are_chosen_by_number_and_by_name() -> None:
    names = [mutant.name for _, mutant in mutants.chosen(LIST, ["2-3", "5"])]
    assert names == [LIST[1].name, LIST[2].name, LIST[4].name]
    assert (8, LIST[7]) in mutants.chosen(LIST, [LIST[7].name])
    with pytest.raises(SystemExit, match="no such mutant"):
        mutants.chosen(LIST, ["nothing of this kind"])
