"""What a question says of itself in the dashboard: true, small, in place, and never over somebody's own words."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna_dashboard import get_note, save_note
from optuna_dashboard._custom_plot_data import get_plotly_graph_objects
from waiting import until

from tunemax.gpt.config import Config
from tunemax.gpt.data import Corpus
from tunemax.search.charts import plotly, png
from tunemax.search.charts.picture import Picture
from tunemax.search.charts.pictures import learnables, learning_curves, ranking
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.stages import Confirm
from tunemax.search.results.confirmation import confirmations
from tunemax.search.results.leaderboard import TOP, candidates, leaderboard, rank
from tunemax.search.results.remedies import remedies
from tunemax.search.results.winners import confirm
from tunemax.search.storage.artifacts import artifact_folder, uploaded
from tunemax.search.storage.attributes import CONFIG, TRAJECTORY
from tunemax.search.storage.questions import Question, create, load_from
from tunemax.search.storage.removal import delete
from tunemax.search.views import tables
from tunemax.search.views.dashboard import publish as publishing_module
from tunemax.search.views.dashboard.publish import YOURS, publish, publishing, try_to_publish
from tunemax.search.views.writers.markdown import plain
from tunemax.search.workers.events import Event
from tunemax.search.workers.learnables import Trajectories

Ask = Callable[..., Question]
Work = Callable[..., list[Event]]


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, defined: Callable[..., StudyDefinition], corpus: Corpus, work: Work
) -> Path:
    """A database with two candidates, one of which learns β and γ in two layers."""
    path = tmp_path_factory.mktemp("finished") / "studies.db"
    question = create(
        path,
        defined(
            compare=["softmax", "constantmax"],
            base={"n_layer": 2},
            space={"learning_rate": {"low": 1e-3, "high": 1e-1, "log": True}},
            budget={"trials": 7, "horizon": 40},
        ),
        corpus,
    )
    work(question, watchers=[Trajectories(question.storage.url)])
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


@pytest.fixture
def done(finished: Path, where: str) -> Question:
    """A copy of it for one test."""
    shutil.copy(finished, where)
    return load_from(where, "q")


def add_lucky(question: Question) -> None:
    """A trial of softmax that is better than all others, with the configuration of the one that was best."""
    study = question.study("q/softmax")
    config = study.best_trial.system_attrs[CONFIG]
    study.add_trial(optuna.trial.create_trial(value=0.5, system_attrs={CONFIG: config}))


def shown(study: optuna.Study) -> dict[str, Any]:
    """The figures of a study, as the dashboard finds them."""
    found = get_plotly_graph_objects(study._storage.get_study_system_attrs(study._study_id))
    return {name: json.loads(text) for name, text in found.items()}


def writes(monkeypatch: pytest.MonkeyPatch, storage: Any) -> list[str]:
    written: list[str] = []
    before = storage.set_study_system_attr
    monkeypatch.setattr(
        storage, "set_study_system_attr", lambda *arguments: (written.append(arguments[1]), before(*arguments))
    )
    return written


# ---- the note --------------------------------------------------------------------------------------------------------


def test_the_note_has_the_question_the_ranks_and_the_way_on(done: Question, where: str) -> None:
    publish(done)
    board = leaderboard(done)
    text = get_note(done.study("q/constantmax"))
    assert text.startswith("# Which of two is ahead?\n\n**Tuned, not confirmed")
    rows = [
        [cell.strip(" \u00a0") for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if re.match(r"\|\s*\d", line)
    ]
    for place, (row, entry) in enumerate(zip(rows, board.entries, strict=True), 1):
        assert entry.best
        assert entry.name in row[1]
        told = [row[0], *row[2:]]
        assert told == [
            str(place),
            f"{entry.best.value:.4f}",
            f"{entry.median_of_top:.4f}",
            f"{entry.best.parameters:,}",
            "2.56k",
            f"{entry.best.flops / 1e6:.3g}M",
            "7",
            "0",
            "0",
            "0",
            "0",
            "280",
        ]
    assert "**constantmax**" in text, "the candidate whose study this is"
    ids = [done.study(name)._study_id for name in done.siblings]
    assert f"/dashboard/compare-studies?ids={ids[0]},{ids[1]}" in text
    for command in (
        "study leaderboard q",
        "study best q/constantmax",
        "train --from q/constantmax --max_iters 160",
        "dashboard",
    ):
        assert f"\ntunemax {command} --storage {where}\n" in text


def test_the_commands_of_the_note_are_commands(done: Question) -> None:
    from tunemax.search.cli.command_line import build

    publish(done)
    (block,) = re.findall(r"```\n(.*?)```", get_note(done.study("q/softmax")), re.DOTALL)
    for line in block.splitlines():
        build().parse_args(line.split()[1:])


def test_a_running_question_says_how_to_go_on(ask: Ask) -> None:
    question = ask()
    publish(question)
    text = get_note(question.study("q/softmax"))
    assert "6 trials still to come" in text
    assert "tunemax study run q --storage" in text


def test_what_somebody_has_written_stays(done: Question, work: Work) -> None:
    first, second = done.study("q/softmax"), done.study("q/constantmax")
    save_note(first, "Mine, from before.")
    publish(done)
    assert get_note(first).endswith(f"{YOURS}\n\nMine, from before.")
    save_note(second, get_note(second) + "\n\n- look at trial 3")
    add_lucky(done)
    publish(done)
    assert "| 0.5000 " in get_note(second).replace("\u00a0", "")
    assert get_note(second).endswith(f"{YOURS}\n\n- look at trial 3")
    assert get_note(first).endswith(f"{YOURS}\n\nMine, from before.")
    assert get_note(first).count(YOURS) == 1


# ---- in place, and cheap ---------------------------------------------------------------------------------------------


def test_publishing_again_writes_nothing_unless_something_has_changed(
    done: Question, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(done)
    before = {name: shown(done.study(name)) for name in done.siblings}
    written = writes(monkeypatch, done.storage)
    publish(done)
    assert written == []
    add_lucky(done)
    publish(done)
    assert written
    after = {name: shown(done.study(name)) for name in done.siblings}
    assert {name: set(figures) for name, figures in after.items()} == {
        name: set(figures) for name, figures in before.items()
    }
    assert after["q/softmax"]["leaderboard"] != before["q/softmax"]["leaderboard"]


def test_a_question_of_usual_size_has_small_figures_that_are_drawn_once(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    seven = ["softmax", "constantmax", "polymax", "strongermax", "softermax", "sigsoftmax", "sigsoftmax_base2"]
    question = ask(compare=seven, budget={"trials": 1})
    for name, fixed in question.siblings.items():
        trials = [
            optuna.trial.create_trial(
                value=2 + i / 100,
                intermediate_values={step: 3 - step / 2000 for step in range(250, 2001, 250)},
                system_attrs={CONFIG: json.dumps(Config.of(fixed).flat())},
            )
            for i in range(16)
        ]
        question.study(name).add_trials(trials)
    drawn: list[str] = []
    draw = png.draw

    def counted(picture: Picture) -> bytes:
        drawn.append(picture.title)
        return draw(picture)

    monkeypatch.setattr(png, "draw", counted)
    publish(question)
    assert sorted(drawn) == ["Leaderboard", "Learning curves"], "seven studies show the same"
    assert max(len(json.dumps(figure)) for figure in shown(question.study("q/softmax")).values()) < 30_000


def test_figures_lie_beside_a_study_as_png_in_place_until_it_is_deleted(done: Question) -> None:
    def pictures() -> dict[str, bytes]:
        attributes = done.storage.get_study_system_attrs(done.study("q/softmax")._study_id)
        folder = artifact_folder(done.storage.url)
        found = [(meta.filename, (folder / meta.artifact_id).read_bytes()) for meta in uploaded(attributes)]
        assert len(found) == len(dict(found))
        return dict(found)

    publish(done)
    before = pictures()
    assert set(before) == {"curves.png", "leaderboard.png"}
    assert all(content.startswith(b"\x89PNG") for content in before.values())
    add_lucky(done)
    publish(done)
    after = pictures()
    assert set(after) == set(before)
    assert after["leaderboard.png"] != before["leaderboard.png"]
    learning = done.storage.get_study_system_attrs(done.study("q/constantmax")._study_id)
    assert {"beta.png", "gamma.png"} <= {meta.filename for meta in uploaded(learning)}
    delete(done.storage, ["q"])
    assert not list(artifact_folder(done.storage.url).iterdir())


def test_publishing_goes_on_while_a_question_is_worked_on(
    done: Question, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing_module, "EVERY", 0.05)
    with publishing(where, "q"):
        until(lambda: get_note(done.study("q/softmax")))
        add_lucky(done)
    assert "0.5000" in get_note(done.study("q/constantmax"))


def test_a_storage_that_cannot_be_read_costs_one_line(where: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such database" in str(try_to_publish(where, "q"))
    with publishing(where, "q"):
        pass
    assert re.fullmatch(
        r"tunemax: the dashboard's note and figures are not up to date; .*no such database.*\n", capsys.readouterr().err
    )


# ---- figures ---------------------------------------------------------------------------------------------------------


def test_the_curves_are_the_reports_of_the_best_trials(done: Question) -> None:
    found = candidates(done)
    figure = plotly.draw(learning_curves("Q", found))
    for candidate in found:
        thin, bold = [trace for trace in figure["data"] if trace["name"] == candidate.name]
        first = done.study(candidate.study).best_trial
        assert bold["x"] == [10, 20, 30, 40]
        assert bold["y"] == pytest.approx(list(first.intermediate_values.values()), rel=1e-5)
        assert thin["x"].count(None) == TOP - 2, "four curves"
        assert bold["line"]["width"] > thin["line"]["width"]
    low, high = figure["layout"]["yaxis"]["range"]
    assert low < min(trial.value for candidate in found for trial in candidate.trials if trial.value) < high


def test_running_trials_have_their_curve_and_it_stays_small(ask: Ask) -> None:
    question = ask(compare=["softmax"])
    trial = question.study("q/softmax").ask()
    for step in range(1, 1001):
        trial.report(3 - step / 1000 if step != 500 else float("nan"), step)
    (trace,) = plotly.draw(learning_curves("Q", candidates(question)))["data"]
    assert trace["line"]["dash"] == "dot"
    assert len(trace["x"]) <= plotly.POINTS + 1
    assert (trace["x"][0], trace["x"][-1]) == (1, 1000)
    json.dumps(trace, allow_nan=False)


def test_the_ranges_are_the_top_five_of_the_leaderboard(done: Question) -> None:
    found = candidates(done)
    board = rank(done, found)
    traces = plotly.draw(ranking(board, found))["data"]
    assert [trace["y"][0] for trace in traces] == [entry.name for entry in board.entries]
    for trace, entry in zip(traces, board.entries, strict=True):
        assert trace["x"] == pytest.approx(entry.values[:TOP], rel=1e-5)


def test_the_trajectories_are_what_the_trials_have_learned(done: Question) -> None:
    softmax, constantmax = candidates(done)
    assert learnables(softmax) == []
    figure = plotly.draw(*learnables(constantmax))
    best = done.study("q/constantmax").best_trial
    bold = [trace for trace in figure["data"] if trace["line"]["width"] == 3]
    assert [(trace["name"], trace["yaxis"]) for trace in bold] == [
        ("layer 0", "y"),
        ("layer 1", "y"),
        ("layer 0", "y2"),
        ("layer 1", "y2"),
    ]
    for trace in bold:
        assert trace["x"] == [0, 10, 20, 30, 40]
    for name, traces in (("beta", bold[:2]), ("gamma", bold[2:])):
        mean = sum(trace["y"][-1] for trace in traces) / 2
        assert mean == pytest.approx(best.user_attrs[f"final_{name}"], rel=1e-4)
    thin = [trace for trace in figure["data"] if trace["line"]["width"] == 1]
    assert [trace["x"].count(None) for trace in thin] == [TOP - 2] * 2, "four curves each"
    dashed = [trace for trace in figure["data"] if trace["line"].get("dash")]
    assert [(trace["name"], trace["yaxis"]) for trace in dashed] == [(trace["name"], trace["yaxis"]) for trace in bold]
    told = json.loads(best.system_attrs[TRAJECTORY])
    assert dashed[0]["y"] == [layers[0] for layers in told["row_max"]]
    assert dashed[2]["y"] == [layers[0] for layers in told["denominator"]]


def test_a_variant_that_is_a_dimension_is_a_candidate_with_figures_of_its_own(ask: Ask, work: Work) -> None:
    space = {"softmax_variant": ["softmax", "constantmax"], "learning_rate": [1e-3, 1e-2]}
    question = ask(per=None, compare=None, space=space, sampler="grid", budget={"trials": 4})
    work(question, watchers=[Trajectories(question.storage.url)])
    publish(question)
    study = question.study("q")
    assert set(shown(study)) == {"curves", "leaderboard", "learning_rate", "learnables.constantmax"}
    assert {trace["name"] for trace in shown(study)["curves"]["data"]} == {"softmax", "constantmax"}
    assert "compare-studies" not in get_note(study)


def test_every_sentence_of_a_note_has_a_line_of_its_own(ask: Ask, work: Work) -> None:
    """Lines beside each other are one paragraph in Markdown, in which a sentence or a command has no end."""
    question = ask(compare=["softmax", "constantmax", "polymax"])
    work(question)
    opened = confirm(question, Confirm(seeds=2))
    work(opened)
    publish(question)
    publish(opened)
    for study in (question.study("q/softmax"), opened.study("q.confirmed/softmax")):
        lines = get_note(study).splitlines()
        lists, tables = [line.startswith("- ") for line in lines], [line.startswith("|") for line in lines]
        end = lines.index("```")  # commands
        for place, line in enumerate(lines[:end]):
            below = place + 1
            same = (lists[place] and lists[below]) or (tables[place] and tables[below])
            assert not line or not lines[below] or same, line
        (found,) = confirmations(question)
        told = [*(found.sentence(entry, "") for entry in (*found.settled, *found.open)), *remedies(found)]
        assert len(told) >= 2
        assert {f"- {plain(sentence)}" for sentence in told} <= set(lines)


def test_an_answer_is_written_once_and_follows_what_is_known(done: Question, work: Work) -> None:
    studies = [done.study(name) for name in done.siblings]
    publish(done)
    best = leaderboard(done).entries[0]
    assert best.best
    (answer,) = {study.user_attrs["answer"] for study in studies}
    assert answer.startswith(f"{best.name} is ahead with {best.best.value:.4f}. Tuned, not confirmed.")
    opened = confirm(done, Confirm(seeds=2))
    work(opened)
    publish(done)
    publish(opened)
    every = [*studies, *(opened.study(name) for name in opened.siblings)]
    assert {study.user_attrs["answer"] for study in every} == {confirmations(done)[0].verdict}


def test_each_horizon_has_its_answer_and_the_explanation_stands_once(done: Question, work: Work) -> None:
    for factor in (1, 2):
        work(confirm(done, Confirm(seeds=2), factor))
    publish(done)
    text = get_note(done.study("q/softmax"))
    first, second = confirmations(done)
    assert text.count(first.verdict) == text.count(second.verdict) == 1
    assert text.index("confirmed-2x") < text.index(second.verdict) < text.index("## Tuned")
    assert text.count(tables.explained(first)) == 1
