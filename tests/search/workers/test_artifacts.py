"""Artifacts and trajectories: each trial has its own, once, whatever interrupts it, and no result depends on them."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.artifacts import FileSystemArtifactStore
from optuna.trial import FrozenTrial
from optuna_dashboard import get_note
from PIL import Image

from tunemax.envs.canvas import HEIGHT, WIDTH, Line, draw
from tunemax.gpt.config import Config
from tunemax.gpt.data import Corpus
from tunemax.gpt.errors import TunemaxError
from tunemax.search.cli import main
from tunemax.search.storage import attributes
from tunemax.search.storage.artifacts import artifact_folder, make_artifact_folder, remove_artifacts, uploaded
from tunemax.search.storage.paths import trial_folder
from tunemax.search.storage.questions import Question, create, load_from
from tunemax.search.workers.artifacts import (
    CONFIG,
    CURVE,
    PROMPT,
    SAMPLE,
    Artifacts,
)
from tunemax.search.workers.events import Event, Reported
from tunemax.search.workers.learnables import FILE, POINTS, Trajectories

Ask = Callable[..., Question]
Work = Callable[..., list[Event]]


def watchers(question: Question) -> list[Artifacts | Trajectories]:
    return [Trajectories(question.storage.url), Artifacts(question.storage.url, pytest.fail)]


def files(question: Question, trial: FrozenTrial) -> dict[str, bytes]:
    """What was uploaded for a trial, by name."""
    store = FileSystemArtifactStore(artifact_folder(question.storage.url))
    metas = uploaded(trial.system_attrs)
    assert len({meta.filename for meta in metas}) == len(metas), "twice"
    return {meta.filename: store.open_reader(meta.artifact_id).read() for meta in metas}


# ---- artifacts -------------------------------------------------------------------------------------------------------


def test_a_trial_has_its_configuration_and_its_curve_and_a_leader_has_written_something(
    ask: Ask, work: Work, corpus: Corpus
) -> None:
    question = ask(budget={"trials": 4, "horizon": 40}, compare=["softmax", "constantmax"])
    work(question, slots=2, watchers=watchers(question))
    for trials in question.trials().values():
        best = math.inf
        for trial in sorted(trials, key=lambda trial: trial.datetime_complete):
            found = files(question, trial)
            leads = trial.value < best
            best = min(best, trial.value)
            assert set(found) == {CONFIG, CURVE, SAMPLE} if leads else {CONFIG, CURVE}
            assert Config.of(json.loads(found[CONFIG])).identity == trial.user_attrs[attributes.IDENTITY]
            assert Image.open(io.BytesIO(found[CURVE])).size == (WIDTH, HEIGHT)
            assert len(found[CURVE]) < 20_000
            if leads:
                text = found[SAMPLE].decode()
                assert corpus.decode(corpus.slices["tuning"][:PROMPT]) in text
                assert f"trial {trial.number}, iteration 40" in text


def test_diverged_and_pruned_trials_have_a_curve_and_duplicates_nothing(ask: Ask, work: Work) -> None:
    question = ask(
        compare=["softmax"],
        pruner={"name": "median", "startup": 1},
        space={"learning_rate": {"low": 1e-6, "high": 10.0, "log": True}},
        budget={"trials": 1, "horizon": 40},
    )
    for rate in (1e-2, 1e-6, 5.0, 1e-2):
        question.study("q/softmax").enqueue_trial({"learning_rate": rate})
    work(question, slots=1, watchers=watchers(question))
    found = {attributes.state(trial): set(files(question, trial)) for trial in question.trials()["q/softmax"]}
    assert found["pruned"] == found["diverged"] == {CONFIG, CURVE}
    assert found["duplicate"] == set()


def test_an_interrupted_trial_has_everything_once_and_its_trajectory_from_the_start(ask: Ask, work: Work) -> None:
    plan = {
        "compare": ["constantmax"],
        "space": {"learning_rate": [1e-2, 2e-2]},
        "sampler": "grid",
        "budget": {"trials": 2, "horizon": 60},
    }
    question = ask(**plan)
    seen: list[Event] = []
    work(
        question,
        slots=2,
        watchers=watchers(question),
        on=lambda event: seen.append(event),
        stopping=lambda: _reports(seen) >= 4,
    )
    halfway = question.trials()["q/constantmax"]
    assert {tuple(files(question, trial)) for trial in halfway} == {(CONFIG,)}
    work(question, slots=2, watchers=watchers(question))
    for trial in question.trials()["q/constantmax"]:
        assert {CONFIG, CURVE} <= set(files(question, trial))
        moved = json.loads(trial.system_attrs[attributes.TRAJECTORY])
        assert moved["iteration"] == [0, 10, 20, 30, 40, 50, 60]
        assert moved["gamma"][0] == [100.0]
        assert moved["beta"][-1] == pytest.approx([trial.user_attrs["final_beta"]], rel=1e-5)
        assert len(moved["row_max"]) == len(moved["denominator"]) == 7
        assert all(1 <= value <= 16 for (value,) in moved["denominator"]), (
            "of at most 16 keys, the largest counting as 1"
        )
        assert not (trial_folder(question.storage.url, "q/constantmax", trial.number) / FILE).exists()


def _reports(events: list[Event]) -> int:
    return sum(isinstance(event, Reported) for event in events)


def test_a_long_trajectory_is_thinned(ask: Ask, work: Work) -> None:
    question = ask(compare=["constantmax"], base={"eval_interval": 1}, budget={"trials": 1, "horizon": 150})
    work(question, watchers=[Trajectories(question.storage.url)])
    (trial,) = question.trials()["q/constantmax"]
    moved = json.loads(trial.system_attrs[attributes.TRAJECTORY])
    assert POINTS / 2 <= len(moved["iteration"]) == len(moved["beta"]) <= POINTS
    assert (moved["iteration"][0], moved["iteration"][-1]) == (0, 150)


def test_watching_changes_no_result(ask: Ask, work: Work, tmp_path: Path, corpus: Corpus) -> None:
    question = ask(compare=["constantmax", "softmax"])
    plain = create(str(tmp_path / "plain.db"), question.definition, corpus)
    work(question, watchers=watchers(question))
    work(plain)
    for name in question.siblings:
        ours, theirs = question.trials()[name], plain.trials()[name]
        assert [trial.value for trial in ours] == [trial.value for trial in theirs]
        assert [trial.params for trial in ours] == [trial.params for trial in theirs]


def test_numbers_of_a_trial_are_plain_so_that_the_dashboard_sorts_them(ask: Ask, work: Work) -> None:
    question = ask(compare=["constantmax"], budget={"trials": 1})
    work(question)
    (trial,) = question.trials()["q/constantmax"]
    numbers = {name for name, value in trial.user_attrs.items() if isinstance(value, (int, float))}
    assert numbers >= {"iterations", "tokens", "train_loss", "final_learning_rate", "final_beta", "final_gamma"}
    assert trial.user_attrs["final_learning_rate"] == pytest.approx(0.1 * trial.params["learning_rate"])
    assert max(len(str(value)) for value in trial.user_attrs.values()) < 60, "a long text makes the table's rows tall"


# ---- what cannot be written ------------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_written_costs_no_trial_and_is_told_once(ask: Ask, work: Work) -> None:
    question = ask(compare=["softmax"])
    artifact_folder(question.storage.url).parent.mkdir()
    artifact_folder(question.storage.url).write_text("a file stands where the folder should be")
    told: list[str] = []
    work(question, watchers=[Artifacts(question.storage.url, told.append)])
    trials = question.trials()["q/softmax"]
    assert [attributes.state(trial) for trial in trials] == ["complete"] * 3
    assert all(uploaded(trial.system_attrs) == [] for trial in trials), "no dead links"
    (line,) = told
    assert "no artifact can be written" in line


def test_a_half_written_file_leaves_no_link_and_no_file(ask: Ask, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    question = ask(compare=["softmax"], budget={"trials": 1})
    write = FileSystemArtifactStore.write

    def full(store: FileSystemArtifactStore, key: str, content: io.BytesIO) -> None:
        write(store, key, io.BytesIO(content.read()[:5]))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(FileSystemArtifactStore, "write", full)
    told: list[str] = []
    work(question, watchers=[Artifacts(question.storage.url, told.append)])
    assert told == [
        f"{artifact_folder(question.storage.url)}: no artifact can be written (No space left on device); trials go on "
        "without theirs"
    ]
    assert list(artifact_folder(question.storage.url).iterdir()) == []
    assert uploaded(question.trials()["q/softmax"][0].system_attrs) == []


def test_a_folder_is_made_and_checked(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert make_artifact_folder(f"sqlite:///{where}") == tmp_path / "studies.runs" / "artifacts"
    assert list((tmp_path / "studies.runs" / "artifacts").iterdir()) == []
    (tmp_path / "file").touch()
    monkeypatch.setenv("TUNEMAX_RUNS", str(tmp_path / "file"))
    with pytest.raises(TunemaxError, match=r"file/artifacts: artifacts cannot be written there \(Not a directory\)"):
        make_artifact_folder(f"sqlite:///{where}")


def test_artifacts_go_with_their_trials(ask: Ask, work: Work) -> None:
    question = ask(compare=["softmax"])
    work(question, watchers=watchers(question))
    first, *others = sorted(question.trials()["q/softmax"], key=lambda trial: trial.value or 0.0)
    remove_artifacts(question.storage.url, [trial.system_attrs for trial in others])
    assert set(files(question, first)) == {CONFIG, CURVE, SAMPLE}
    assert len(list(artifact_folder(question.storage.url).iterdir())) == 3
    remove_artifacts(question.storage.url, [first.system_attrs])
    remove_artifacts(question.storage.url, [first.system_attrs])
    assert list(artifact_folder(question.storage.url).iterdir()) == []


# ---- the picture -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "points",
    [
        [],
        [(10, 2.0)],
        [(10, 2.0), (20, 2.0)],
        [(0, 5e-7), (1, 1e9)],
        [(10, 2.0), (20, math.nan), (30, math.inf), (40, 1.0)],
    ],
    ids=["none", "one", "flat", "steep", "not finite"],
)
def test_any_curve_can_be_drawn(points: list[tuple[float, float]]) -> None:
    image = Image.open(io.BytesIO(draw("title", "note", "iteration", [Line("loss", points, "#ff0000")])))
    assert image.size == (WIDTH, HEIGHT)


def test_a_line_is_where_its_points_are() -> None:
    low, high = ([(0, 1.0), (100, value)] for value in (0.0, 2.0))
    images = [
        Image.open(io.BytesIO(draw("", "", "", [Line("", points, "#ff0000")]))).convert("RGB") for points in (low, high)
    ]

    def height_at_the_right(image: Image.Image) -> float:
        rows = [y for y in range(90, HEIGHT) if (pixel := image.getpixel((WIDTH - 26, y)))[0] > 200 and pixel[1] < 120]
        return sum(rows) / len(rows)

    assert height_at_the_right(images[0]) > HEIGHT / 2
    assert images[0].tobytes() != images[1].tobytes()


# ---- in a run --------------------------------------------------------------------------------------------------------


def test_a_run_leaves_artifacts_and_a_note_and_deleting_it_takes_them_away(
    study_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file = study_file(compare=["constantmax"], budget={"trials": 2}, workers=1)
    where = str(file.with_name("tunemax.db"))
    assert main(["study", "run", str(file)]) == 0
    question = load_from(where, "q")
    (trials,) = question.trials().values()
    assert all({CONFIG, CURVE} <= set(files(question, trial)) for trial in trials)
    assert all(json.loads(trial.system_attrs[attributes.TRAJECTORY])["iteration"] == [0, 10, 20] for trial in trials)
    assert "2 trials for each candidate" in get_note(question.study("q/constantmax"))
    assert main(["study", "delete", "q", "--storage", where, "--yes"]) == 0
    assert list(artifact_folder(question.storage.url).iterdir()) == []
    assert "not up to date" not in capsys.readouterr().err


def test_a_run_that_could_not_write_its_files_is_refused_at_once(
    study_file: Callable[..., Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = study_file()
    (tmp_path / "file").touch()
    monkeypatch.setenv("TUNEMAX_RUNS", str(tmp_path / "file"))
    assert main(["study", "run", str(file)]) == 2
    assert "artifacts cannot be written there (Not a directory)" in capsys.readouterr().err
    trials = load_from(str(file.with_name("tunemax.db")), "q").trials()
    assert {trial.state.name for siblings in trials.values() for trial in siblings} == {"WAITING"}
