"""Where a database is looked for that no command names: one rule, for the command line and for Python."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tunemax.gpt.data import open_data
from tunemax.search import create_study, leaderboard, open_study, run_study
from tunemax.search.cli import main
from tunemax.search.question.study_file import define
from tunemax.search.storage.questions import create, load_from

Plan = Callable[..., dict[str, Any]]
BY_NAME = [
    "study show {}",
    "study leaderboard {}",
    "study best {}",
    "study extend {} --trials 1",
    "study run {}",
    "study replay {}",
    "report {} --out page",
    "study confirm {} --seeds 6",
    "study delete {} --yes",
]


@pytest.fixture
def here(tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `studies/`, as a clone has it; the text lies beside the files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TUNEMAX_STORAGE", raising=False)
    (tmp_path / "studies").mkdir()
    for folder in (tmp_path, tmp_path / "studies"):
        shutil.copyfile(text, folder / "words.txt")
    return tmp_path


def written(path: Path, plan: Plan, **changes: Any) -> str:
    path.write_text(yaml.safe_dump(plan(name=None, data="words.txt", workers=1, **changes)))
    return str(path.relative_to(Path.cwd()))


@pytest.mark.parametrize("folder", ["", "studies"], ids=["here", "in studies"])
def test_a_question_of_a_file_is_found_by_its_name(folder: str, here: Path, plan: Plan) -> None:
    mine = written(here / folder / "mine.yaml", plan)
    assert main(["study", "create", written(here / "studies" / "theirs.yaml", plan)]) == 0
    assert main(["study", "create", written(here / "ours.yaml", plan)]) == 0
    assert main(["study", "run", mine]) == 0
    assert load_from(here / folder / "tunemax.db", "mine").states()["complete"] == 6
    for command in BY_NAME:
        assert main(command.format("mine").split()) == 0, command


def test_python_finds_what_the_command_line_finds(here: Path, plan: Plan) -> None:
    create_study(written(here / "studies" / "theirs.yaml", plan))
    create_study(written(here / "mine.yaml", plan))
    run_study("mine", workers=1)
    assert len(leaderboard("mine")) == 2
    assert len(open_study("mine/softmax").trials) == 3
    assert (here / "tunemax.db").exists()


def test_a_list_without_a_storage_is_of_both(here: Path, plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    create_study(written(here / "studies" / "theirs.yaml", plan))
    create_study(written(here / "mine.yaml", plan))
    assert main(["study", "list"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "in studies/tunemax.db:",
        "  theirs: 6 waiting",
        "in tunemax.db:",
        "  mine: 6 waiting",
    ]
    assert main(["study", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["storage"]) for row in rows] == [
        ("theirs", "studies/tunemax.db"),
        ("mine", "tunemax.db"),
    ]


def test_a_file_that_comes_along_has_its_database_here(here: Path) -> None:
    assert main(["study", "create", "polymax"]) == 0
    assert (here / "tunemax.db").exists()
    assert not (here / "studies" / "tunemax.db").exists()
    assert main(["study", "show", "polymax"]) == 0


def test_a_path_of_a_text_is_that_beside_the_file(here: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "words.txt").unlink()
    file = written(here / "studies" / "mine.yaml", plan)
    question = create_study(file)
    assert question.definition.data == str(here / "studies" / "words.txt")
    monkeypatch.chdir(here.parent)
    again = create_study(here / file)
    assert again.definition == question.definition, "from elsewhere it is the same question"
    run_study("mine", str(here / "studies" / "tunemax.db"), workers=1)


def test_a_question_of_before_keeps_its_path_while_that_leads_to_the_text(here: Path, plan: Plan) -> None:
    """Configurations are told apart by it: with another one, what was trained would be trained again."""
    before = define({**plan(workers=1), "name": "mine", "data": "words.txt"}, name="mine")
    create("tunemax.db", before, open_data("words.txt"))
    question = create_study(written(here / "mine.yaml", plan))
    assert question.definition.data == "words.txt"


def test_a_text_of_the_current_folder_is_found_as_before(here: Path, plan: Plan) -> None:
    (here / "studies" / "words.txt").unlink()
    assert create_study(written(here / "studies" / "mine.yaml", plan)).definition.data == str(here / "words.txt")


@pytest.mark.parametrize("name", ["q.json", "TWO.YAML", "noext", "Q.yml"])
def test_the_command_that_is_told_works(name: str, here: Path, plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    given = plan(name="mine", data="words.txt", workers=1)
    (here / name).write_text(json.dumps(given) if name.endswith("json") else yaml.safe_dump(given))
    assert main(["study", "create", name]) == 0
    told = capsys.readouterr().out.strip().partition("run it with tunemax ")[2]
    assert main(told.split()) == 0
    assert "6/6 trials" in capsys.readouterr().out


def test_a_question_whose_trials_were_all_withdrawn_says_so(
    here: Path, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    create_study(written(here / "mine.yaml", plan))
    assert main(["study", "cancel", "mine"]) == 0
    capsys.readouterr()
    assert main(["study", "run", "mine"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    more = "give it more with tunemax study extend mine --trials N"
    assert told.err == f"tunemax: mine: no trial waits, and none has ended (6 cancelled); {more}\n"
