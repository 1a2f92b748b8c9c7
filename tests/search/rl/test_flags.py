"""Arguments of an environment as flags: all that Python can say, read as it was written, and mistakes told."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunemax.envs.agents.scene import Scene
from tunemax.search.cli import main
from tunemax.search.cli.command_line import build
from tunemax.search.cli.parser import Parser
from tunemax.search.cli.scenes import scene_flags, scene_of
from tunemax.search.rl.flags import absolute, disturb_of, scene_words, vary_of
from tunemax.search.rl.trials import study_name


@pytest.fixture(autouse=True)
def here(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))


def typed(words: str | list[str]) -> Scene:
    parser = Parser()
    scene_flags(parser)
    return scene_of(parser.parse_args(words.split() if isinstance(words, str) else words))


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ("--vary n_embd=8,64", {"vary": {"n_embd": [8, 64]}}),
        ("--vary n_layer=[1,2]", {"vary": {"n_layer": [1, 2]}}),
        ("--vary n_embd=8,16 --held-out n_embd=24", {"vary": {"n_embd": {"values": [8, 16], "held_out": [24]}}}),
        ("--held-out horizon=40", {"vary": {"horizon": {"held_out": [40]}}}),
        ("--vary weight_decay={'low':0.01,'high':1e-1}", {"vary": {"weight_decay": {"low": 0.01, "high": 0.1}}}),
        ("--vary softmax_variant=constantmax,softmax", {"vary": {"softmax_variant": ["constantmax", "softmax"]}}),
        ("--vary dropout=0,1e-1", {"vary": {"dropout": [0.0, 0.1]}}),
        ("--disturb text=python_docstrings", {"disturb": {"text": ["python_docstrings"]}}),
        ("--disturb rate=3,1e1 --disturb layer=true", {"disturb": {"rate": [3, 10.0], "layer": True}}),
    ],
)
def test_a_flag_says_what_the_argument_does(words: str, arguments: dict[str, Any]) -> None:
    controls = {"controls": ["learning_rate"]}
    scene = typed(["--env", "Tiny-v1", "--controls", "learning_rate", *words.split()])
    assert scene == Scene.of("Tiny-v1", **controls, **arguments)
    assert study_name(scene) != study_name(Scene.of("Tiny-v1", **controls))
    assert Scene.model_validate_json(scene.model_dump_json()).task == scene.task


fields = st.fixed_dictionaries(
    {},
    optional={
        "n_embd": st.lists(st.sampled_from([8, 16, 24, 32]), min_size=2, unique=True),
        "n_layer": st.fixed_dictionaries({"held_out": st.lists(st.sampled_from([2, 3]), min_size=1, unique=True)}),
        "weight_decay": st.fixed_dictionaries({"low": st.floats(0.01, 0.1), "high": st.floats(0.2, 1)}),
        "softmax_variant": st.permutations(["constantmax", "softmax", "polymax"]),
        "bias": st.just([True, False]),
    },
)
events = st.fixed_dictionaries(
    {},
    optional={
        "text": st.lists(st.sampled_from(["python_docstrings", "a, b.txt", "[x"]), min_size=1, unique=True),
        "rate": st.just([0.5, 8]),
        "layer": st.booleans(),
    },
)


@given(fields, events)
def test_the_words_of_a_scene_say_it_again(vary: dict[str, Any], disturb: dict[str, Any]) -> None:
    given = {name: value for name, value in (("vary", vary), ("disturb", disturb)) if value}
    scene = Scene.of("Tiny-v1", controls=["learning_rate"], **given)
    assert typed(shlex.split(shlex.join(scene_words(scene)))) == scene


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--set =8", "--set =8: expected FIELD=VALUE"),
        ("--set max_iters=30", "max_iters: has no effect in an environment; an episode's iterations are its horizon"),
        ("--controls constantmax.gamma@7", "control constantmax.gamma@7: no such layer"),
        ("--absolute --algo dqn", "--absolute: dqn acts with action = discrete; leave it out"),
        ("--vary batch_size=4,1000000000", "memory: 16 models of 1 layer"),
        ("--vary n_embd", "--vary n_embd: expected NAME=VALUES, as in --vary n_embd=8,64"),
        ("--vary =8", "--vary =8: expected NAME=VALUES"),
        ("--vary n_embdd=8,16", "n_embdd: no such field; did you mean `n_embd`?"),
        ("--vary n_embd=", "vary n_embd: no values are left for training, validation and test; give at least one"),
        ("--vary n_embd=8,x", "n_embd = x: expected a whole number"),
        ("--vary n_embd=[8,", "--vary n_embd=[8,: is no YAML; write a list as in --vary n_embd=8,64"),
        ("--vary n_embd={valuess:[8]}", "vary n_embd: valuess: no such name; did you mean `values`?"),
        ("--vary n_embd=8 --vary n_embd=16", "--vary n_embd: its values are given twice; keep one"),
        ("--vary n_embd=8,16 --held-out n_embd=16", "vary n_embd: 16 is given twice, or both drawn and held out"),
        ("--held-out bias=true", "vary bias: no transfer set draws it, so nothing can be held out"),
        ("--vary learning_rate=0.1,0.2", "vary learning_rate: it is steered, and starts wrong by itself"),
        ("--vary seed=1,2", "vary seed: trainings of a task cannot differ in it; leave it out"),
        ("--set n_embd=8 --vary n_embd=8,16", "vary n_embd: given a value of its own, too; leave one of them out"),
        ("--vary horizon=10,15", "horizon = 15: not a multiple of frame_skip = 2"),
        ("--disturb txt=python_docstrings", "disturb txt: no such disturbance; did you mean `text`?"),
        ("--disturb rate=3", "disturb rate = [3]: expected the least and the largest factor"),
        ("--disturb rate=3,x", "expected the least and the largest factor, both above 0"),
        ("--disturb layer=1", "disturb layer = [1]: expected true or false; which layer is drawn"),
        ("--disturb text=", "expected a list of datasets, one of which comes then"),
        ("--disturb layer=true --disturb layer=true", "--disturb layer: given twice; keep one"),
        ("--disturb text=nowhere.txt", "dataset = nowhere.txt: neither a known dataset nor a file or folder"),
        ("--vary dataset=python_stdlib,nowhere.txt", "dataset = nowhere.txt: neither a known dataset nor a file"),
    ],
)
def test_mistakes_are_told_in_one_line(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--env", "Tiny-v1", "--controls", "learning_rate", *words.split()]
    assert main(["rl", "train", "--algo", "ppo", "--steps", "10", *asked]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not list(Path().iterdir())


def test_a_text_has_a_path_that_leads_there_from_everywhere() -> None:
    Path("mine.txt").write_text("words")
    path = str(Path("mine.txt").absolute())
    found = absolute(
        {
            "config": {"dataset": "mine.txt", "n_layer": "1"},
            "vary": {"dataset": {"values": ["python_stdlib", "mine.txt"]}, "horizon": [1, 2]},
            "disturb": {"text": ["mine.txt"], "rate": [1, 2]},
        },
        Path(),
    )
    assert found == {
        "config": {"dataset": path, "n_layer": "1"},
        "vary": {"dataset": {"values": ["python_stdlib", path]}, "horizon": [1, 2]},
        "disturb": {"text": [path], "rate": [1, 2]},
    }
    assert typed("--env Tiny-v1 --set dataset=mine.txt").arguments == {"config": {"dataset": path}}
    assert typed("--env Tiny-v1 --set dataset=python_stdlib").arguments == {"config": {"dataset": "python_stdlib"}}


def test_nothing_said_changes_nothing() -> None:
    assert (vary_of([], []), disturb_of([]), absolute({}, Path())) == ({}, {}, {})
    assert typed("--env Tiny-v1") == Scene.of("Tiny-v1")


def test_the_commands_of_the_page_name_scenes() -> None:
    page = (Path(__file__).parents[3] / "docs" / "rl.md").read_text()
    commands = [line for line in page.splitlines() if line.startswith("tunemax rl train ") and "--vary" in line]
    assert commands
    for command in commands:
        scene = scene_of(build().parse_args(shlex.split(command)[1:]))
        assert set(scene.task.varied) == {"n_embd", "n_layer"}
        assert scene.task.held_out("n_embd") == (24,)
        assert set(scene.task.events) == {"text"}
        assert typed(scene_words(scene)) == scene
