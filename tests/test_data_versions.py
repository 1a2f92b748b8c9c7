"""What was made with the text of data version 1 goes on with it: a study, a training, an agent."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tunemax.envs.agents import file
from tunemax.gpt.data import open_data, preparation
from tunemax.gpt.data.sources import Source, find_source
from tunemax.search import create_study, objective, open_study, run_study
from tunemax.search.cli import main
from tunemax.search.storage.questions import load_from

SIZES = {"n_layer": 1, "n_head": 2, "n_embd": 8, "block_size": 16, "batch_size": 4}
LINE = "# what every file of a project says at its top, and which nobody should be measured on\n"


@pytest.fixture
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of text whose two versions differ, beside the current folder's studies and runs."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for i in range(120):
        (folder / f"{i}.py").write_text(LINE + "".join(f"def function_{i}_{j}(): return {i * j}\n" for j in range(9)))
    for name in ("TUNEMAX_STORAGE", "TUNEMAX_RUNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def before() -> Iterator[pytest.MonkeyPatch]:
    """Until it is undone, data is prepared as older tunemax did."""

    def first(name: str, root: Path) -> Source:
        source = find_source(name, root)
        return source.before or source

    patch = pytest.MonkeyPatch()
    patch.setattr(preparation, "find_source", first)
    yield patch
    patch.undo()


def test_a_study_goes_on_with_the_text_that_it_was_made_with(texts: Path, before: pytest.MonkeyPatch) -> None:
    fields = "".join(f"  {name}: {value}\n" for name, value in (SIZES | {"eval_interval": 10}).items())
    plain = f"question: Which rate?\ndata: {texts}\nbase:\n{fields}space: {{learning_rate: default}}\n"
    Path("q.yaml").write_text(plain + "budget: {trials: 4, horizon: 20}\nsampler: random\npruner: none\n")
    create_study("q.yaml", "s.db")
    made_with = load_from("s.db", "q").definition.fingerprint
    before.undo()
    assert open_data(str(texts)).manifest.fingerprint != made_with
    create_study("q.yaml", "s.db")  # joined
    study = open_study("q", storage="s.db")
    study.optimize(objective(study), n_trials=1)
    assert not run_study("q", "s.db", workers=1).waiting
    question = load_from("s.db", "q")
    assert question.definition.fingerprint == made_with
    assert question.states() == {"complete": 4}
    Path("new.yaml").write_text(Path("q.yaml").read_text())
    create_study("new.yaml", "s.db")
    assert load_from("s.db", "new").definition.fingerprint == open_data(str(texts)).manifest.fingerprint


def test_a_training_goes_on_with_the_text_that_it_began_with(texts: Path, before: pytest.MonkeyPatch) -> None:
    words = [f"--{name}={value}" for name, value in SIZES.items()]
    assert main(["train", f"--dataset={texts}", "--out_dir=run", "--max_iters=20", "--no-tensorboard", *words]) == 0
    began_with = json.loads(Path("run/config.json").read_text())["data"]
    before.undo()
    assert main(["train", "--resume=run", "--max_iters=30"]) == 0
    assert json.loads(Path("run/config.json").read_text())["data"] == began_with
    assert began_with != open_data(str(texts)).manifest.fingerprint


@pytest.mark.long
def test_an_agent_goes_on_with_the_text_that_it_began_with(texts: Path, before: pytest.MonkeyPatch) -> None:
    sizes = [word for name, value in SIZES.items() for word in ("--set", f"{name}={value}")]
    scene = ["--env", "LearningRate-v0", "--horizon", "24", "--frame-skip", "8", "--set", f"dataset={texts}", *sizes]
    words = ["rl", "train", *scene, "--algo", "sac", "--envs", "4", "--round", "2", "--out", "agent"]
    assert main([*words, "--steps", "24"]) == 0
    path = next(Path("agent").rglob("last*"))
    began_with = file.load(path)[0].data
    before.undo()
    assert main([*words, "--steps", "48"]) == 0
    header = file.load(path)[0]
    assert header.steps == 48
    assert header.data == began_with != open_data(str(texts)).manifest.fingerprint
