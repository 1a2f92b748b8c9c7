"""Headroom: the truth where it is known, the same numbers after a cut, and scores as by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tunemax.envs.agents.scene import Scene
from tunemax.envs.instances import Instance, find_set
from tunemax.envs.policies import Spline
from tunemax.envs.rollouts import Outcome
from tunemax.envs.task import Task
from tunemax.search.cli import main
from tunemax.search.rl import headroom, score
from tunemax.search.rl.contest import Contender, Contest
from tunemax.search.rl.gains import FILE, Headroom, Way
from tunemax.search.rl.headroom import Plan, measure
from tunemax.search.rl.journal import Journal

SHORT = ["--env", "Tiny-v1", "--horizon", "12", "--frame-skip", "4", "--set", "n_embd=4"]
CHEAP = [*SHORT, "--instances", "8", "--member-steps", "3500"]
VARY = {"n_embd": [8, 64]}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUNEMAX_STORAGE", str(tmp_path / "studies.db"))


# ------------------------------------------------------------------------------------------------------ a known truth


def a_bowl(best: Callable[[Instance], float], end: float, noise: float) -> Callable[..., list[Outcome]]:
    """Trainings whose loss is 2 + the squared distance, in nats, of the learning rate from where it is best.

    end: what a schedule saves that comes down to the end. noise: of a test loss.
    """
    draw = np.random.default_rng(1)

    def run(task: Task, instances: Sequence[Instance], policy: object, slots: int = 1) -> list[Outcome]:
        found = []
        for each in instances:
            off = math.log(each.controls["learning_rate"] / best(each))
            falls = isinstance(policy, Spline) and policy.places[0, -1] < policy.places[0, 0] - 0.05
            loss = 2 + off**2 - end * falls
            tested = loss + noise * float(draw.standard_normal())
            found.append(Outcome(each.name, 0.0, loss, tested, False, each.horizon, ()))
        return found

    return run


def bowl_measured(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    best: Callable[[Instance], float],
    end: float = 0.0,
    noise: float = 0.0,
) -> Headroom:
    """Headroom of a bowl, in which looking ahead comes to the same as not looking."""
    steered = a_bowl(best, end, noise)
    monkeypatch.setattr(headroom, "run", steered)
    monkeypatch.setattr(headroom, "lookahead", lambda task, own, *how, slots: steered(task, own, None))
    scene = Scene.of("Tiny-v1", controls=["learning_rate"], vary=VARY)
    return measure(Plan(scene, 16, settings=16), Journal(tmp_path / "journal", scene), lambda *words: None)


def of_width(instance: Instance) -> float:
    return 0.1 if instance.size["n_embd"] == 8 else 0.02


def test_what_each_width_wants_is_found_and_what_it_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = bowl_measured(monkeypatch, tmp_path, of_width)
    gains = {gain.way.name: gain for gain in found.gains}
    validation, test = (
        np.log([of_width(find_set(name).draw(found.scene.task, i)) for i in range(count)])
        for name, count in (("validation", 8), ("test", 16))
    )
    rate = found.setting["learning_rate"]
    assert rate == pytest.approx(math.exp(validation.mean()), rel=0.3)
    apart = (math.log(rate) - test) ** 2
    assert gains["by n_embd"].mean == pytest.approx((apart / (2 + apart)).mean(), abs=0.02)
    assert gains["by training"].relative == gains["by n_embd"].relative
    assert [gains[f"look-ahead {depth}"].relative for depth in (1, 2, 4)] == [(0, 0, 0)] * 3
    assert found.any
    assert found.oracle.way.name == "by n_embd"
    assert found.sentence.startswith(f"At most {100 * gains['by n_embd'].mean:.1f} % (")
    assert " is to be won here by choosing for each training (by n_embd)." in found.sentence


def test_a_schedule_can_be_the_oracle_and_a_width_a_part_of_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = bowl_measured(monkeypatch, tmp_path, of_width, end=1.0)
    assert found.oracle.way.name == "schedule"
    assert found.sentence.startswith("At most ")
    assert " % of it by n_embd alone." in found.sentence


def test_where_one_setting_is_best_for_all_nothing_is_to_be_won(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = bowl_measured(monkeypatch, tmp_path, lambda each: 0.05, noise=0.2)
    gains = {gain.way.name: gain for gain in found.gains}
    assert gains["by training"].relative == (0, 0, 0), "no choice looks at test losses"
    assert not found.any
    assert found.sentence.startswith("Cannot say yet whether anything is to be won here: "), "the noise is large"
    assert found.setting["learning_rate"] == pytest.approx(0.05, rel=0.2)


def test_a_choice_is_made_on_validation_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Test instances that want something else get what validation instances want."""
    found = bowl_measured(monkeypatch, tmp_path, lambda each: 0.1 if each.name.startswith("test") else 0.02)
    assert found.setting["learning_rate"] == pytest.approx(0.02, rel=0.2)
    assert found.reference.losses[0] == pytest.approx(2 + math.log(0.1 / found.setting["learning_rate"]) ** 2)


@pytest.mark.parametrize(
    ("vary", "name", "labels"),
    [
        ({"n_embd": [8, 16]}, "n_embd", {"8", "16"}),
        ({"softmax_variant": ["softmax", "softermax"]}, "softmax_variant", {"softmax", "softermax"}),
        ({"weight_decay": {"low": 0.01, "high": 1.0}}, "weight_decay", {"low", "high"}),
        ({"n_layer": [1, 2], "batch_size": [2, 4]}, "n_layer, batch_size", {"1, 2", "1, 4", "2, 2", "2, 4"}),
        ({"horizon": [20, 40], "n_layer": [1, 2]}, "horizon", {"20", "40"}),
        ({"horizon": {"held_out": [40]}}, None, set()),
    ],
)
def test_classes_are_what_instances_differ_in(vary: dict[str, Any], name: str | None, labels: set[str]) -> None:
    config = {"softmax_variant": "softmax"} if "softmax_variant" not in vary else {}
    task = Scene.of("Tiny-v1", controls=["learning_rate"], config=config or None, vary=vary).task
    found = headroom._classes(task, [find_set("validation").draw(task, index) for index in range(32)])
    assert set(found[name]) == labels if name else not found


# -------------------------------------------------------------------------------------------------- for real, in small


def measured(*words: str) -> dict[str, Any]:
    assert main(["rl", "headroom", *CHEAP, *words]) == 0
    (path,) = Path("studies.runs/rl").glob("*/headroom/" + FILE)
    content: dict[str, Any] = json.loads(path.read_bytes())
    return content


@pytest.mark.long
def test_a_measurement_goes_on_where_it_was_cut_and_comes_to_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real, trained = Journal.trained, list[str]()
    stop_at = 5

    def counted(journal: Journal, key: str, train: Callable[[], Any]) -> Any:
        if key not in journal:
            trained.append(key)
            if len(trained) == stop_at:
                raise KeyboardInterrupt
        return real(journal, key, train)

    monkeypatch.setattr(Journal, "trained", counted)
    assert main(["rl", "headroom", *CHEAP]) == 130
    assert "go on with tunemax rl headroom --env Tiny-v1" in capsys.readouterr().err
    (lines,) = Path("studies.runs/rl").glob("*/headroom/trainings.jsonl")
    with lines.open("a") as file:
        file.write('{"key": "cut sh')  # as a kill may leave it
    stop_at = 0
    whole = measured()
    said = capsys.readouterr().out
    assert whole["sentence"] in " ".join(said.split())
    assert max(len(line) for line in said[: said.index("It is kept in")].splitlines()) <= 118
    assert len(trained) == len(set(trained)) + 1, "only what was cut is trained again"
    before = len(trained)
    assert measured() == whole, "nothing is left to train"
    assert len(trained) == before
    lines.unlink()
    assert measured() == whole


def test_the_parts_of_a_measurement_fit_its_budget(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rl", "headroom", *CHEAP, "--json"]) == 0
    printed = capsys.readouterr()
    content = json.loads(printed.out)
    assert [way["name"] for way in content["ways"]][:3] == ["one setting", "by training", "schedule"]
    assert [way["training"] for way in content["ways"]][-3:] == [48, 48, 48], "four ways of 12 iterations"
    assert len(content["instances"]) == 8
    assert "look-ahead 4: " in printed.err
    (lines,) = Path("studies.runs/rl").glob("*/headroom/trainings.jsonl")
    trainings = [each for line in lines.read_text().splitlines() for each in json.loads(line)["trainings"]]
    assert 2500 < sum(steps for *_, steps in trainings) <= 3500


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--instances", "4"], "--instances = 4: expected 8 to 256, as set test has"),
        (["--instances", "257"], "--instances = 257: expected 8 to 256, as set test has"),
        (["--instances", "8", "--member-steps", "100"], "member-steps = 100: too few for 8 instances; give at least "),
        (["--seed", "x"], "--seed = x: expected a whole number"),
        (["--controls", "dropout_"], "control dropout_: no such field"),
        (["--set", "dataset=short.txt"], "instance validation/0: its part of "),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(
    words: list[str], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("short.txt").write_text("not much to learn from. " * 6)
    assert main(["rl", "headroom", *SHORT, *words]) == 2
    said = capsys.readouterr().err
    assert error in said
    assert len(said.splitlines()) == 1
    assert not list(Path().rglob("trainings.jsonl"))


# --------------------------------------------------------------------------------------------------------------- scores


SCENE = Scene.of("Tiny-v1")


def known(reference: Sequence[float], oracle: Sequence[float]) -> Headroom:
    """A headroom with these test losses."""
    ways = [("one setting", 0.0, reference), ("by training", 0.1, oracle)]
    return Headroom(
        scene=SCENE,
        seed=1,
        settings=4,
        validation=8,
        setting={"learning_rate": 0.1},
        instances=tuple(f"test/{i}" for i in range(len(reference))),
        ways=tuple(
            Way(name=name, validation=value, losses=tuple(losses), diverged=0, choosing=1, training=1)
            for name, value, losses in ways
        ),
        fields=(),
    )


def contest(set: str = "test", **runs: Sequence[Sequence[float]]) -> Contest:
    """Contenders with these test losses, a row a seed."""
    contenders = [
        Contender(
            name,
            "agent",
            0,
            {
                f"{name} {seed}": [Outcome(f"{set}/{i}", 0.0, loss, loss, False, 1, ()) for i, loss in enumerate(row)]
                for seed, row in enumerate(rows)
            },
        )
        for name, rows in runs.items()
    ]
    return Contest(SCENE, set, [], contenders, [], "studies.db")


def test_a_score_is_a_ratio_of_gains() -> None:
    room = known([2.0, 4.0, 2.0], [1.8, 3.6, 1.8])
    found = score.scores(
        contest(half=[[1.9, 3.8, 1.9]], none=[[2.0, 4.0, 2.0]], mixed=[[1.8, 4.0, 2.0], [2.0] * 3]), room
    )
    assert [each.name for each in found] == ["mixed", "half", "none"]
    by_name = {each.name: each for each in found}
    assert by_name["half"].value == pytest.approx(0.5)
    assert (by_name["half"].low, by_name["half"].high) == pytest.approx((0.5, 0.5)), "the pairs do not vary"
    assert by_name["none"].value == 0
    # gains of the two runs: 0.1, 0, 0 and 0, 0.5, 0; the oracle's are 0.1 each
    assert by_name["mixed"].value == pytest.approx((0.6 / 6) / 0.1)
    assert by_name["mixed"].low < 1 < by_name["mixed"].high


def test_a_score_is_of_the_instances_that_both_have() -> None:
    room = known([2.0, 2.0, 2.0], [1.8, 1.8, 1.8])
    (found,) = score.scores(contest(more=[[1.8, 1.8, 1.8, 9.0]]), room)
    assert (found.value, found.instances) == (pytest.approx(1.0), 3)
    (found,) = score.scores(contest(fewer=[[1.8, 1.9]]), room)
    assert (found.value, found.instances) == (pytest.approx(0.75), 2)
    assert score.scores(contest(one=[[1.8]]), room) == ()


def test_there_is_no_score_where_nothing_is_known_to_win() -> None:
    losses = contest(sac=[[1.9, 1.9, 1.9]])
    for oracle, words in (([1.999, 2.001, 2.0], "Nothing is to be won here"), ([1.8, 2.2, 2.0], "Cannot say yet")):
        nothing = known([2.0, 2.0, 2.0], oracle)
        assert score.scores(losses, nothing) == ()
        assert score.explained((), nothing)[0].startswith(words)
    assert score.scores(losses, None) == ()
    assert score.explained((), None) == ()
    assert score.scores(contest("larger", sac=[[1.9] * 3]), known([2.0] * 3, [1.8] * 3)) == ()


def test_the_oracle_is_what_gains_most_on_validation_whatever_comes_of_it() -> None:
    room = known([2.0, 2.0], [1.8, 1.8])
    schedule = Way(name="schedule", validation=0.2, losses=(1.9, 1.9), diverged=0, choosing=1, training=1)
    other = room.model_copy(update={"ways": (*room.ways, schedule)})
    assert (room.oracle.way.name, other.oracle.way.name) == ("by training", "schedule")
    assert other.sentence.startswith("At most 5.0 % (5.0 … 5.0 %) is to be won here")


def test_the_interval_of_a_score_covers_as_often_as_it_says() -> None:
    draw, hits = np.random.default_rng(1), 0
    for _ in range(100):
        static = 2 + 0.1 * draw.standard_normal(40)
        oracle = static * (0.94 + 0.02 * draw.standard_normal(40))
        own = static * (0.97 + 0.02 * draw.standard_normal(40))
        (found,) = score.scores(contest(own=[own.tolist()]), known(static.tolist(), oracle.tolist()))
        hits += found.low <= 0.5 <= found.high
    assert 88 <= hits <= 100


@pytest.mark.long
def test_an_evaluation_prints_scores_beside_its_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rl", "tune", *SHORT, "--policy", "constant", "--member-steps", "1152"]) == 0
    found = measured()
    reference, oracle = ([value] * 8 for value in (3.9, 3.5))
    found["ways"] = [
        {
            **way,
            "losses": oracle if way["name"] == "by training" else reference,
            "validation": way["name"] == "by training",
        }
        for way in found["ways"]
    ]
    (path,) = Path("studies.runs/rl").glob("*/headroom/" + FILE)
    path.write_text(json.dumps(found))
    capsys.readouterr()
    assert main(["rl", "evaluate", *SHORT, "--instances", "4"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "score, 95 %" in said
    assert "1 the oracle (by training) of tunemax rl headroom, on the 4 test instances that both have." in said
    assert main(["rl", "evaluate", *SHORT, "--instances", "4", "--json"]) == 0
    (content,) = json.loads(capsys.readouterr().out)
    names = {each["name"] for each in content["scores"]}
    assert names >= {"constant", "static", "lookahead", "hypergradient", "population"}
    path.write_text("{}")
    assert main(["rl", "evaluate", *SHORT, "--instances", "4"]) == 2
    assert "no headroom can be read from it; remove it, and measure again" in capsys.readouterr().err
