"""A plug-in in a study: from a template to a confirmed row of a leaderboard, and who lacks it is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml
from plugged import HEAD, HOT, forgetting, written

from tunemax.gpt import plugins
from tunemax.gpt.data import Corpus
from tunemax.gpt.errors import TunemaxError
from tunemax.search.cli import main
from tunemax.search.question.schema import study_file
from tunemax.search.question.study_file import load_study_file
from tunemax.search.storage import attributes
from tunemax.search.storage.commands import training, typed
from tunemax.search.storage.questions import create, extend, load

Plan = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    with forgetting():
        yield


def tunemax(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, with no plug-in but those that it names."""
    own = {name: value for name, value in os.environ.items() if name != plugins.PLUGINS}
    path = os.pathsep.join(filter(None, sys.path))
    program = [sys.executable, "-m", "tunemax", *words]
    return subprocess.run(program, cwd=folder, env={**own, "PYTHONPATH": path}, capture_output=True, text=True)


def test_from_a_template_to_a_confirmed_row_and_a_worker_that_lacks_it_is_refused(plan: Plan, tmp_path: Path) -> None:
    assert tunemax(tmp_path, "plugin", "new", "softmax", "my_max").returncode == 0
    assert len((tmp_path / "my_max.py").read_text().splitlines()) <= 35
    asked = plan(compare=["softmax", "my_max"], budget={"trials": 2, "horizon": 10}, confirm={"seeds": 6}, workers=1)
    asked["space"] = {"my_max.heat": "default"}
    (tmp_path / "q.yaml").write_text(yaml.safe_dump({**asked, "plugins": ["my_max.py"]}))
    ran = tunemax(tmp_path, "study", "run", "q.yaml")
    assert ran.returncode == 0, ran.stderr
    assert "my_max" in ran.stdout
    here, digest = str(tmp_path / "my_max.py"), sha256((tmp_path / "my_max.py").read_bytes()).hexdigest()
    artifacts = [file.read_bytes() for file in tmp_path.rglob("artifacts/*") if file.is_file()]
    assert any(digest.encode() in content for content in artifacts)
    board = json.loads(tunemax(tmp_path, "study", "leaderboard", "q", "--json", "--plugin", here).stdout)
    assert "my_max" in json.dumps(board["confirmations"])
    lacking = tunemax(tmp_path, "study", "run", "q")
    assert lacking.returncode == 2
    assert lacking.stderr.startswith("tunemax: q: needs the plug-in my_max 1 (sha256 ")
    assert "for softmax_variant = my_max, which is not loaded; name its file or module with --plugin" in lacking.stderr
    assert lacking.stderr.count("\n") == 1
    (tmp_path / "my_max.py").write_text((tmp_path / "my_max.py").read_text() + "# another\n")
    other = tunemax(tmp_path, "study", "run", "q", "--plugin", "my_max.py")
    assert other.returncode == 2
    assert f"q: made with the plug-in my_max 1 (sha256 {digest[:12]})" in other.stderr
    assert other.stderr.count("\n") == 1


def test_a_study_keeps_what_it_was_made_with_and_is_read_but_not_gone_on_with_by_another(
    plan: Plan, corpus: Corpus, tmp_path: Path
) -> None:
    written(tmp_path)
    file = tmp_path / "q.yaml"
    file.write_text(yaml.safe_dump({**plan(compare=["softmax", "hot"]), "plugins": ["hot_variant.py"]}))
    question = create(tmp_path / "s.db", load_study_file(file), corpus)
    (record,) = question.plugins
    assert record == plugins.records(plugins.loaded()["hot_variant"].kinds)[0]
    on_study = question.study("q/hot").user_attrs
    assert str(tmp_path) not in on_study[attributes.PLUGINS] + on_study[attributes.DEFINITION].replace(
        question.definition.data, ""
    )
    again = load_study_file_of(study_file(question.definition), tmp_path)
    assert again == question.definition.model_copy(update={"fingerprint": None})
    plugins.unload("hot_variant")
    with pytest.raises(TunemaxError, match=r"^q: needs the plug-in hot_variant"):
        load(question.storage, "q")
    plugins.load(written(tmp_path, f"{HEAD}{HOT}\n"))
    changed = load(question.storage, "q")
    assert "made with the plug-in hot_variant" in changed.astray[0]
    for door in (changed.check_plugins, lambda: extend(changed, 1)):
        with pytest.raises(TunemaxError, match=r"^q: made with the plug-in hot_variant"):
            door()


def load_study_file_of(text: str, folder: Path) -> Any:
    (folder / "again.yaml").write_text(text)
    return load_study_file(folder / "again.yaml")


def test_a_question_without_plug_ins_says_nothing_of_them(plan: Plan, corpus: Corpus, tmp_path: Path) -> None:
    file = tmp_path / "q.yaml"
    file.write_text(yaml.safe_dump(plan()))
    plugins.load(written(tmp_path))
    question = create(tmp_path / "s.db", load_study_file(file), corpus)
    assert question.plugins == ()
    assert attributes.PLUGINS not in question.study("q/softmax").user_attrs
    assert "plugins" not in study_file(question.definition)


@pytest.mark.parametrize(
    ("named", "line", "reason"),
    [
        ("hot_variant.py", 1, "a list of Python files and modules"),
        ("[1]", 1, "a list of Python files and modules"),
        ("[gone.py]", 1, "gone.py: no such file"),
        ("\n- hot_variant.py\n- broken.py", 3, "broken.py:1: ZeroDivisionError"),
        ("[.]", 1, ".: a folder"),
    ],
)
def test_a_plug_in_of_a_study_file_that_cannot_be_is_told_with_its_line(
    named: str, line: int, reason: str, plan: Plan, tmp_path: Path
) -> None:
    written(tmp_path)
    (tmp_path / "broken.py").write_text("1 / 0\n")
    file = tmp_path / "q.yaml"
    file.write_text(f"plugins: {named}\n{yaml.safe_dump(plan())}")
    with pytest.raises(TunemaxError, match=rf"^{file}:{line}: plugins: ") as caught:
        load_study_file(file)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_a_database_says_is_never_loaded(plan: Plan, corpus: Corpus, tmp_path: Path) -> None:
    trap, file = tmp_path / "trap.py", tmp_path / "q.yaml"
    trap.write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')\n")
    file.write_text(yaml.safe_dump(plan()))
    question = create(tmp_path / "s.db", load_study_file(file), corpus)
    record = {"name": str(trap), "digest": "0", "word": str(trap), "kinds": [str(trap)]}
    question.study("q/softmax").set_user_attr(attributes.PLUGINS, json.dumps([record]))
    with pytest.raises(TunemaxError, match=r"needs the plug-in /.*, which is not loaded"):
        load(question.storage, "q").check_plugins()
    assert not (tmp_path / "sprung").exists()


def test_commands_name_what_they_need_again(tmp_path: Path) -> None:
    path = written(tmp_path)
    plugins.load(path, "--plugin")
    assert typed("studies/tunemax.db", "study", "list", default="studies/tunemax.db").endswith(f"--plugin {path}")
    assert training({"softmax_variant": "hot"})[:4] == ["tunemax", "train", "--plugin", str(path)]
    assert training({"softmax_variant": "softmax"}) == ["tunemax", "train"] or "--plugin" not in training({})


def test_every_command_knows_what_a_plug_in_brings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path)
    assert main(["fields", f"--plugin={path.name}"]) == 0
    assert "hot.heat = 2  (a number > 0 and ≤ 100)" in capsys.readouterr().out
    assert main(["--plugin", "hot_variant.py", "study", "schema"]) == 0
    assert "hot" in json.loads(capsys.readouterr().out)["properties"]["base"]["properties"]["softmax_variant"]["enum"]
    assert main(["plugin", "list", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["name"], listed["by"], listed["kinds"]) == ("hot_variant", "--plugin", {"softmax_variant": "hot"})


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("plugin new softmx mine", "softmx: no such family of parts; did you mean `softmax`?"),
        ("plugin new softmax ../mine", "../mine: cannot name a part"),
        ("plugin new softmax consmax", "consmax: there is a variant of this name"),
        ("plugin new softmax hot_variant", "hot_variant.py: is there already"),
        ("plugin check gone.py", "gone.py: no such file"),
        ("study list --plugin gone.py", "gone.py: no such file"),
        ("study list --plugin", "--plugin: expected one argument"),
    ],
)
def test_a_mistake_is_one_line(
    words: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path)
    assert main(words.split()) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"tunemax: {reason}"), said
    assert said.count("\n") == 1
