"""A plug-in as git has it, beside the one of now."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from plugged import HEAD, HOT, forgetting, written

from tunemax.gpt import plugins
from tunemax.gpt.errors import TunemaxError
from tunemax.search.question.revisions import is_plugin, revised
from tunemax.search.results.judged_pair import sides

COLD = HOT.replace("2.0, ", "0.5, ").replace("return masked", "x = x + 0.0\n        return masked")
OTHER = HOT.replace("Hot", "Cool").replace('"hot", aliases=("heated",)', '"cool"')


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A plug-in in a repository: two commits, the second of which is what lies there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "repository"
    folder.mkdir()
    path = written(folder)
    git(folder, "init", "-q")
    commit(folder)
    written(folder, HEAD + COLD)
    commit(folder)
    with forgetting():
        yield path


def git(folder: Path, *words: str) -> str:
    who = {f"GIT_{role}_{what}": "a@b" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    env = os.environ | who | {"GIT_CONFIG_GLOBAL": os.devnull}
    return subprocess.run(
        ["git", "-C", str(folder), *words], env=env, capture_output=True, text=True, check=True
    ).stdout


def commit(folder: Path) -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "a change")


def test_both_revisions_are_loaded_under_names_of_their_own(file: Path) -> None:
    short = git(file.parent, "rev-parse", "--short=7", "HEAD~1").strip()
    a, b = sides(f"{file}@HEAD~1", file, {"n_head": 2, "max_iters": 40})
    assert (a.config.model.softmax_variant, b.config.model.softmax_variant) == (f"hot_at_{short}", "hot")
    assert (dict(a.config.softmax)["heat"], dict(b.config.softmax)["heat"]) == (2.0, 0.5)
    assert [side.name for side in (a, b)] == ["hot_variant-at-head-1", "hot_variant"]
    assert [side.config.model.n_head for side in (a, b)] == [2, 2]
    assert len(a.config.plugins) == len(b.config.plugins) == 1
    before, now = (Path(plugin.word).read_text() for plugin in plugins.loaded().values())
    before, now = sorted((before, now), key=lambda code: "hot_at" not in code)
    assert now == file.read_text()
    assert before == (HEAD + HOT).replace('"hot"', f"'hot_at_{short}'").replace('("heated",)', "()")


def test_what_has_not_changed_since_is_the_same_plugin(file: Path) -> None:
    a, b = sides(f"{file}@HEAD", str(file), {})
    assert a.config == b.config
    assert len(plugins.loaded()) == 1


def test_the_other_side_says_all_but_the_code(file: Path, tmp_path: Path) -> None:
    """Fields of the part go with it, under its name of then."""
    plugins.load(file)
    fields: dict[str, Any] = {"n_head": 2, "softmax_variant": "hot", "hot.heat": 3.0, "max_iters": 40}
    a, b = sides(fields, f"{file}@HEAD~1", {})
    name = b.config.model.softmax_variant
    assert name.startswith("hot_at_")
    assert b.config.flat()[f"{name}.heat"] == a.config.flat()["hot.heat"] == 3.0
    plain, with_part = sides({"n_head": 2, "softmax_variant": "softmax"}, f"{file}@HEAD~1", {})
    assert plain.config.replace({"softmax_variant": name}) == with_part.config


def test_a_file_of_several_variants_needs_to_be_told_which(file: Path) -> None:
    written(file.parent, HEAD + HOT + OTHER)
    with pytest.raises(TunemaxError, match=r"hot_variant\.py: brings hot, cool; say with --softmax_variant which"):
        sides({}, str(file), {})
    a, b = sides({"softmax_variant": "softmax"}, file, {"softmax_variant": "cool"})
    assert b.config.model.softmax_variant == "cool"
    assert a.config == b.config


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("hot_variant.py@nope", "git knows no revision nope; the last ones are [0-9a-f]{7,}, [0-9a-f]{7,}"),
        ("hot_variant.py@--help", "git knows no revision --help; the last ones are"),
        ("other.py@HEAD", "has no other.py; it was never committed$"),
        ("late.py@HEAD~1", "has no late.py; it is there since [0-9a-f]{7,}$"),
        ("nowhere/hot.py@HEAD", "cannot change to"),
        ("hot_variant.py@HEAD:x", "git knows no revision"),
    ],
)
def test_a_revision_that_is_not_there_is_one_line(file: Path, word: str, expected: str) -> None:
    written(file.parent, HEAD + OTHER, "late")
    commit(file.parent)
    with pytest.raises(TunemaxError, match=expected) as raised:
        revised(str(file.parent / word))
    assert "\n" not in str(raised.value)


def test_outside_of_git_there_is_no_revision(tmp_path: Path) -> None:
    path = written(tmp_path)
    with pytest.raises(TunemaxError, match="not a git repository"):
        revised(f"{path}@HEAD")


def test_what_is_broken_then_is_told_with_its_revision(file: Path) -> None:
    written(file.parent, "def (")
    commit(file.parent)
    written(file.parent, "x = 1")
    commit(file.parent)
    for revision, reason in (("HEAD~1", "not Python"), ("HEAD", "registers no part")):
        file.write_text(HEAD + HOT)
        with pytest.raises(TunemaxError, match=f"@{revision}: {reason}"):
            revised(f"{file}@{revision}")


def test_words_of_plugins() -> None:
    assert is_plugin("my.py")
    assert is_plugin("a/b.py@HEAD~1")
    assert not is_plugin("q/softmax")
    assert not is_plugin("base.yaml")
