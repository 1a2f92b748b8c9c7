"""Siblings that other tools have renamed, deleted or copied: told wherever an answer is given, with what mends it."""

from __future__ import annotations

import io
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import optuna
import optuna_dashboard
import pytest
from optuna.storages import RDBStorage
from optuna_dashboard import get_note
from sqlalchemy import text

from tunemax.gpt.errors import TunemaxError
from tunemax.search.api import open_study
from tunemax.search.cli import main
from tunemax.search.question.stages import Confirm
from tunemax.search.results.repeats import lay_out_repeats
from tunemax.search.results.winners import confirm
from tunemax.search.storage.artifacts import artifact_folder, uploaded
from tunemax.search.storage.database import open_storage, study_names
from tunemax.search.storage.paths import trial_folder
from tunemax.search.storage.questions import Question, extend, load_from, questions
from tunemax.search.views.dashboard.publish import publish
from tunemax.search.views.report import write

Ask = Callable[..., Question]
Deed = Callable[[str, str, str], None]


def url(where: str) -> str:
    return f"sqlite:///{where}"


def rename_in_the_dashboard(where: str, study: str, name: str) -> None:
    storage = RDBStorage(url(where))
    body = json.dumps({"study_name": name}).encode()
    request: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": f"/api/studies/{storage.get_study_id_from_name(study)}/rename",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
    }
    setup_testing_defaults(request)
    answers: list[str] = []
    list(optuna_dashboard.wsgi(storage)(request, lambda status, *_: answers.append(status)))
    assert answers == ["201 Created"]


def rename_by_hand(where: str, study: str, name: str) -> None:
    with open_storage(where, create=False).engine.begin() as connection:
        connection.execute(
            text("UPDATE studies SET study_name = :new WHERE study_name = :old"), {"new": name, "old": study}
        )


def delete(where: str, study: str, _name: str) -> None:
    optuna.delete_study(study_name=study, storage=url(where))


def copy(where: str, study: str, name: str) -> None:
    optuna.copy_study(from_study_name=study, from_storage=url(where), to_storage=url(where), to_study_name=name)


def forget(where: str) -> None:
    """Make the studies as they were before they said which sibling they are."""
    with open_storage(where, create=False).engine.begin() as connection:
        connection.execute(text("DELETE FROM study_user_attributes WHERE key = 'tunemax:sibling'"))


RENAMED = [rename_in_the_dashboard, rename_by_hand]
DEEDS = {
    "renamed": (
        rename_in_the_dashboard,
        "q/softmax: renamed to other with other tools, and left out; rename it back with",
    ),
    "renamed by hand": (rename_by_hand, "q/softmax: renamed to other with other tools, and left out"),
    "deleted": (delete, "q/softmax: not in this storage, and left out; train it anew with tunemax study run FILE"),
    "copied": (copy, "other: a copy of q/softmax by other tools, and left out; remove it with optuna delete-study"),
}


@pytest.fixture
def tuned(ask: Ask, work: Callable[..., Any]) -> Question:
    question = ask(budget={"trials": 2})
    work(question)
    return question


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Both outputs of a command, without the breaks of lines."""
    main(list(words))
    return " ".join("".join(capsys.readouterr()).split())


@pytest.mark.parametrize(("deed", "sentence"), DEEDS.values(), ids=list(DEEDS))
def test_it_is_told_wherever_an_answer_is_given(
    tuned: Question, where: str, deed: Deed, sentence: str, capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:  # fmt: skip
    deed(where, "q/softmax", "other")
    for words in (("leaderboard", "q"), ("best", "q"), ("show", "q"), ("list",)):
        assert sentence in printed(capsys, "study", *words, "--storage", where), words
    for words in (("leaderboard", "q"), ("best", "q"), ("show", "q"), ("list",)):
        assert sentence in json.dumps(json.loads(printed(capsys, "study", *words, "--json", "--storage", where)))
    for path in write(load_from(where, "q"), tmp_path / "report")[:2]:
        assert sentence in path.read_text()
    publish(load_from(where, "q"))
    assert sentence in get_note(optuna.load_study(study_name="q/polymax", storage=url(where)))
    assert sentence in printed(
        capsys, "study", "confirm", "q", "--reference", "polymax", "--storage", where, "--seeds", "6"
    )


def test_a_run_tells_it_before_and_after(tuned: Question, where: str, capsys: pytest.CaptureFixture[str]) -> None:
    delete(where, "q/softmax", "")
    sentence = "q/softmax: not in this storage, and left out"
    assert main(["study", "run", "q", "--storage", where]) == 0
    out, err = capsys.readouterr()
    assert sentence in " ".join(err.split())
    assert sentence in " ".join(out.split())


@pytest.mark.parametrize("rename", RENAMED)
@pytest.mark.parametrize("before", [False, True], ids=["now", "of before"])
def test_the_told_command_mends_a_renamed_one(
    tuned: Question, where: str, rename: Deed, before: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = {name: [trial.value for trial in trials] for name, trials in tuned.trials().items()}
    if before:
        forget(where)
    rename(where, "q/polymax", "a name")
    with pytest.raises(TunemaxError, match="q/polymax: renamed to a name"):
        extend(load_from(where, "q"), 1)
    (sentence,) = load_from(where, "q").astray
    _, *words = shlex.split(sentence.partition("rename it back with ")[2])
    assert main(words) == 0
    assert load_from(where, "q").astray == ()
    assert {
        name: [trial.value for trial in trials] for name, trials in load_from(where, "q").trials().items()
    } == expected
    assert load_from(where, "q").study("q/polymax").metric_names == ["validation_loss"]
    assert set(map(len, extend(load_from(where, "q"), 1).trials().values())) == {3}


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("none", "q/softmax"), "study none: not in this storage"),
        (("q/polymax", "q/softmax"), "study q/polymax: no sibling of a question that other tools have renamed"),
        (("other", "q/polymax"), "study other: q/polymax is not its name in the question q; that is q/softmax"),
        (("theirs", "q/softmax"), "study theirs: no sibling"),
    ],
)
def test_nothing_else_is_renamed(
    tuned: Question, where: str, words: tuple[str, str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    optuna.create_study(study_name="theirs", storage=url(where))
    rename_by_hand(where, "q/softmax", "other")
    before = study_names(tuned.storage)
    assert main(["study", "rename", *words, "--storage", where]) == 2
    assert capsys.readouterr().err.startswith(f"tunemax: {line}")
    assert study_names(tuned.storage) == before


def test_a_question_all_of_whose_studies_are_renamed_is_told_and_mended(
    tuned: Question, where: str, ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in tuned.siblings:
        rename_in_the_dashboard(where, name, name.replace("q/", "p/"))
    lines = printed(capsys, "study", "list", "--storage", where)
    assert lines.startswith("q: none of its studies has its name. q/softmax: renamed to p/softmax")
    assert "q/polymax: renamed to p/polymax" in lines
    with pytest.raises(TunemaxError, match="none of its studies has its name"):
        ask(budget={"trials": 2})
    for name in tuned.siblings:
        assert main(["study", "rename", name.replace("q/", "p/"), name, "--storage", where]) == 0
    assert load_from(where, "q").states() == {"complete": 4}


@pytest.mark.parametrize("deed", [rename_by_hand, copy])
def test_from_python_it_is_one_line(tuned: Question, where: str, deed: Deed) -> None:
    deed(where, "q/softmax", "other")
    with pytest.raises(TunemaxError, match="and left out"):
        open_study("other", where)


def test_a_copy_keeps_the_artifacts_that_it_shares(tuned: Question, where: str) -> None:
    publish(load_from(where, "q"))
    copy(where, "q/softmax", "backup")
    before = {path.name for path in artifact_folder(tuned.storage.url).iterdir()}
    assert main(["study", "delete", "q", "--yes", "--storage", where]) == 0
    attrs = tuned.storage.get_study_system_attrs(tuned.storage.get_study_id_from_name("backup"))
    shared = {meta.artifact_id for meta in uploaded(attrs)}
    assert shared
    assert {path.name for path in artifact_folder(tuned.storage.url).iterdir()} == shared
    assert shared < before


def test_the_files_of_a_renamed_one_are_deleted_and_no_others(tuned: Question, where: str, ask: Ask) -> None:
    ask(name="p", compare=["softmax"])
    (theirs, ours) = (trial_folder(tuned.storage.url, study, 0) for study in ("p/other", "q/softmax"))
    for folder in (theirs, ours):
        folder.mkdir(parents=True, exist_ok=True)
    rename_in_the_dashboard(where, "q/softmax", "p/other")
    assert main(["study", "delete", "q", "--yes", "--storage", where]) == 0
    assert theirs.exists()
    assert not ours.exists()
    assert study_names(tuned.storage) == ["p/softmax"]


def test_a_question_all_of_whose_studies_are_renamed_can_be_deleted(tuned: Question, where: str) -> None:
    for name in tuned.siblings:
        rename_in_the_dashboard(where, name, name.replace("q/", "p/"))
    assert main(["study", "delete", "q", "--yes", "--storage", where]) == 0
    assert study_names(tuned.storage) == []


@pytest.mark.parametrize("name", ["other", "q/another", "q/softmax-copy"])
def test_a_question_with_a_copy_beside_it_goes_on(
    tuned: Question, where: str, ask: Ask, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    copy(where, "q/softmax", name)
    assert set(map(len, extend(load_from(where, "q"), 2).trials().values())) == {4}
    assert list(ask(budget={"trials": 5}).siblings) == ["q/softmax", "q/polymax"]
    assert load_from(where, "q").definition.budget.trials == 5, "a copy has an older definition"
    assert list(questions(tuned.storage)) == ["q"]
    assert main(["study", "delete", "q", "--yes", "--storage", where]) == 0
    assert f"and their files; {name} stays" in capsys.readouterr().out
    assert study_names(tuned.storage) == [name]
    assert questions(tuned.storage) == {}
    assert set(map(len, ask(budget={"trials": 1}).trials().values())) == {1}
    assert len(optuna.load_study(study_name=name, storage=url(where)).trials) == 2


def test_a_copy_under_the_name_of_a_deleted_sibling_is_not_taken_for_it(tuned: Question, where: str, ask: Ask) -> None:
    delete(where, "q/softmax", "")
    copy(where, "q/polymax", "q/softmax")
    question = load_from(where, "q")
    assert list(question.siblings) == ["q/polymax"]
    assert "q/softmax: not in this storage" in question.astray[0]
    assert question.astray[1].startswith("q/softmax: a copy of q/polymax by other tools")
    with pytest.raises(
        TunemaxError, match="study q/softmax: a copy of q/polymax by other tools; remove it with optuna"
    ):
        ask(budget={"trials": 2})
    delete(where, "q/softmax", "")
    assert ask(budget={"trials": 2}).states() == {"complete": 2, "waiting": 2}


def test_the_confirmed_reference_and_winners_stay_when_the_tuned_ones_are_deleted(tuned: Question, where: str) -> None:
    confirm(tuned, Confirm(seeds=6))
    delete(where, "q/softmax", "")
    with pytest.raises(TunemaxError, match=r"q: the reference, softmax, is missing; q/softmax: not in this storage"):
        confirm(load_from(where, "q"), Confirm(seeds=6), factor=2)
    assert set(map(len, confirm(load_from(where, "q"), Confirm(seeds=7)).trials().values())) == {7}


def test_a_confirmed_sibling_that_is_deleted_is_told_and_comes_again(
    tuned: Question, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    confirm(tuned, Confirm(seeds=6))
    delete(where, "q.confirmed/polymax", "")
    sentence = "q.confirmed/polymax: not in this storage, and left out; train it anew with tunemax study confirm q"
    assert sentence in printed(capsys, "study", "leaderboard", "q", "--storage", where)
    assert set(map(len, confirm(load_from(where, "q"), Confirm(seeds=6)).trials().values())) == {6}
    assert sentence not in printed(capsys, "study", "leaderboard", "q", "--storage", where)


def test_a_sibling_of_a_repeat_is_told_with_the_question(
    ask: Ask, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_out_repeats(ask(budget={"trials": 1}, repeats=2))
    rename_by_hand(where, "q.repeat-2/polymax", "other")
    sentence = "q.repeat-2/polymax: renamed to other with other tools, and left out"
    assert sentence in printed(capsys, "study", "leaderboard", "q", "--storage", where)
    with pytest.raises(TunemaxError, match=r"q\.repeat-2/polymax: renamed to other"):
        lay_out_repeats(load_from(where, "q"))


def test_trials_that_are_deleted_by_hand_come_again(tuned: Question, where: str, ask: Ask) -> None:
    with tuned.storage.engine.begin() as connection:
        connection.execute(text("DELETE FROM trials WHERE number = 0"))
    numbers = {tuple(trial.number for trial in trials) for trials in ask(budget={"trials": 3}).trials().values()}
    assert numbers == {(1, 2, 3)}
