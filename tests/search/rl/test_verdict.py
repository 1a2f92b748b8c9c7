"""A verdict says wins, losses and what is equal as they are, at what price, and keeps every run."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tunemax.envs.agents.scene import Scene
from tunemax.envs.instances import find_set
from tunemax.envs.rollouts import Outcome
from tunemax.envs.steering import Past
from tunemax.search.cli import main
from tunemax.search.rl import contest
from tunemax.search.rl.baselines import Tuned
from tunemax.search.rl.contest import Contender, Contest, Role
from tunemax.search.rl.report import tables, write
from tunemax.search.rl.verdict import Verdict, judge
from tunemax.search.views.writers.terminal import aligned

COUNT = 24
SEEDS = range(1, 9)
SCENE = Scene.of("Tiny-v1")
LUCK = np.random.default_rng(1).normal(0, 0.01, COUNT)
"""Of each instance; both sides of a pair share it."""


def outcome(index: int, loss: float, *, soon: int = 20, diverged: bool = False) -> Outcome:
    """An episode of 20 iterations that has its last loss at iteration `soon` already."""
    history = [
        Past(at, loss if at >= soon else 9.0, 1.0, {"learning_rate": 0.01, "gain": -4.0}, (), ())
        for at in range(0, 21, 2)
    ]
    return Outcome(f"test/{index}", 0.5, loss, loss, diverged, 20, tuple(history))


def contender(
    name: str,
    loss: float,
    role: Role = "baseline",
    cost: int = 1000,
    seeds: Sequence[int] = SEEDS,
    *,
    soon: int = 20,
    noise: float = 0.002,
    between: float = 0.0,
    diverged: Sequence[tuple[int, int]] = (),
) -> Contender:
    """Runs around a loss. noise: of each run on each instance. between: of whole runs, as a share of the loss.

    diverged: runs and instances, by their places.
    """
    draw = np.random.default_rng(round(loss * 1000))
    levels = loss * (1 + between * draw.normal(0, 1, len(seeds)))
    runs = {}
    for row, seed in enumerate(seeds):
        losses = levels[row] + LUCK + draw.normal(0, noise, COUNT)
        runs[f"{name} {seed}"] = [
            outcome(i, 12.0 if (row, i) in diverged else float(losses[i]), soon=soon, diverged=(row, i) in diverged)
            for i in range(COUNT)
        ]
    return Contender(name, role, cost, runs)


def verdict(*contenders: Contender, tunings: int = 8, margin: float = 0.01) -> Verdict:
    instances = [find_set("test").draw(SCENE.task, index) for index in range(COUNT)]
    tuned = [Tuned(name, 0, [], 0.5, 1000, k + 1) for name in ("constant", "spline") for k in range(tunings)]
    return judge(Contest(SCENE, "test", instances, contenders, tuned, "studies.db"), margin)


def words(found: Verdict) -> dict[str, str]:
    return {each.reference: each.contrast.verdict for each in found.primaries}


def test_a_win_is_told_with_its_price() -> None:
    found = verdict(
        contender("constant", 2.0),
        contender("spline", 1.95),
        contender("sac", 1.8, "agent", soon=10),
    )
    told = " ".join(found.sentences)
    assert "sac is 10.0 % better than constant in test loss (97.5 % interval" in told
    assert "better than spline in test loss" in told
    assert "8 seeds × 8 tunings × 24 instances; p " in told
    assert "at 20 iterations of a 1×8 model on python_stdlib." in told
    assert "To train one agent of sac has cost 1,000 member-steps: paid back after 100 runs" in told
    line = found.lines[0]
    assert (line.name, line.reach.share if line.reach else None) == ("sac", 0.5)
    assert line.ahead_of_static == (1, 1, 1)
    assert found.remarks == ("Equal compute: every tuned baseline has had at least the member-steps of one agent.",)


def test_a_loss_is_told_as_plainly() -> None:
    found = verdict(contender("constant", 2.0), contender("spline", 1.9), contender("sac", 2.1, "agent"))
    told = " ".join(found.sentences)
    assert "sac is 5.0 % worse than constant in test loss" in told
    assert "worse than spline in test loss" in told
    assert "never paid back" in told
    reach = found.lines[0].reach
    assert reach is not None
    assert (reach.reached.count, reach.steps, reach.share) == (0, 0, 0), "what is never reached saves nothing"


def test_the_luck_of_seeds_is_no_property_of_the_algorithm() -> None:
    """Every run lies far from every other, on all instances: who looks at instances alone is sure of anything."""
    found = verdict(
        contender("constant", 2.0, between=0.03),
        contender("spline", 2.003, between=0.03),
        contender("sac", 1.98, "agent", between=0.03),
    )
    assert words(found) == {"constant": "cannot say yet", "spline": "cannot say yet"}
    told = " ".join(found.sentences)
    assert re.search(r"sac and constant: cannot say yet\. The difference in test loss is [-+]", told)
    assert re.search(r"A difference of [\d.]+ % would be found 4 times in 5; \d+ seeds and as many tunings would", told)
    needed = [each.contrast.needed for each in found.primaries]
    assert all(count is not None and count > 8 for count in needed)


@pytest.mark.parametrize(("margin", "word"), [(0.01, "equal"), (0.0001, "cannot say yet")])
def test_a_tie_lies_within_the_margin(margin: float, word: str) -> None:
    found = verdict(
        contender("constant", 2.0), contender("spline", 1.9), contender("sac", 2.0001, "agent"), margin=margin
    )
    assert words(found) == {"constant": word, "spline": "worse"}
    assert ("sac equals constant within 1 % in test loss" in " ".join(found.sentences)) == (word == "equal")


def test_what_diverges_more_is_not_called_better_without_a_word() -> None:
    lost = [(run, instance) for run in range(8) for instance in (run, run + 8)]
    found = verdict(
        contender("constant", 2.0, diverged=[(0, 0)]),
        contender("spline", 1.9),
        contender("sac", 1.8, "agent", diverged=lost),
    )
    for sentence in found.sentences[:2]:
        assert "better than" in sentence
        assert "but it diverges more often: in 8.3 % of its trainings, the other in" in sentence
        assert sentence.count(". ") == 0, "in the same sentence"
    assert [each.verdict for each in found.primaries] == ["better, diverges more"] * 2
    primary = found.primaries[0]
    low, high = primary.versus.diverged.difference[1:]
    assert 0 < low < 0.083 - 1 / (8 * COUNT) < high


def test_a_divergence_does_not_move_the_typical_difference() -> None:
    plain, lossy = (
        verdict(contender("constant", 2.0), contender("spline", 1.9), contender("sac", 2.0001, "agent", diverged=lost))
        for lost in ([], [(0, 3), (4, 7), (5, 1)])
    )
    one, other = plain.primaries[0].relative[0], lossy.primaries[0].relative[0]
    assert one == pytest.approx(other, abs=0.0005)
    assert words(plain) == words(lossy) == {"constant": "equal", "spline": "worse"}


def test_nothing_is_saved_where_the_reference_diverged() -> None:
    everywhere = [(run, instance) for run in range(8) for instance in range(COUNT)]
    half = [(run, instance) for run in range(8) for instance in range(0, COUNT, 2)]
    for lost, saved in ((half, 0.5), (everywhere, None)):
        found = verdict(
            contender("constant", 2.0, diverged=lost), contender("spline", 1.9), contender("sac", 1.8, "agent", soon=10)
        )
        reach = found.lines[0].reach
        assert (reach and reach.share) == saved
        assert reach is None or reach.reached.n == 8 * 8 * COUNT / 2
    assert words(found)["constant"] == "no verdict"
    assert "never paid back" in " ".join(found.sentences)
    assert "On 0 of 24 instances only did neither diverge" in " ".join(found.sentences)


def test_too_few_runs_get_no_verdict_and_the_command_for_more() -> None:
    found = verdict(
        contender("constant", 2.0, seeds=(1,)),
        contender("spline", 1.9, seeds=(1,)),
        contender("sac", 1.5, "agent", seeds=(1, 2, 3)),
        tunings=1,
    )
    assert words(found) == {"constant": "no verdict", "spline": "no verdict"}
    assert [each.p for each in found.primaries] == [None, None]
    told = " ".join(found.sentences)
    assert "sac and constant: no verdict. 3 seeds and 1 tuning are too few; it takes at least 5 of each." in told
    assert found.missing == (
        "sac has 3 seeds, and a verdict needs 5: train it with others, --seed N.",
        "constant has 1 tuning, spline has 1 tuning, and a verdict needs 5: add more with "
        "tunemax rl tune --env Tiny-v1 --policy constant,spline --tunings 8 --storage studies.db",
    )


def test_equal_losses_count_half_and_what_diverged_is_behind() -> None:
    same = contender("constant", 2.0)
    twin = Contender("sac", "agent", 1000, {f"sac {i}": outcomes for i, outcomes in enumerate(same.runs.values())})
    (line, *_) = verdict(same, contender("spline", 1.9), twin).lines
    assert line.ahead_of_static is not None
    assert line.ahead_of_static[0] == pytest.approx(0.5)
    everywhere = [(run, instance) for run in range(8) for instance in range(COUNT)]
    (line, *_) = verdict(same, contender("spline", 1.9), contender("sac", 1.8, "agent", diverged=everywhere)).lines
    assert line.ahead_of_static == (0, 0, 0)


def test_only_primary_contrasts_are_corrected_for() -> None:
    """However many baselines and ablations are described."""
    main = [contender("constant", 2.0), contender("spline", 1.99), contender("sac", 1.985, "agent", between=0.004)]
    others = [contender(f"other{i}", 2.0 + i / 100) for i in range(20)]
    assert [each.contrast for each in verdict(*main).primaries] == [
        each.contrast for each in verdict(*main, *others).primaries
    ]
    assert "p" not in verdict(*main, *others).to_json()["lines"][-1]["versus_static"]


def test_the_best_schedule_is_the_one_that_validation_instances_like_best() -> None:
    returns = {"constant": (0.9, 0.9), "spline": (0.5, 0.8), "warmup_cosine": (0.7, 0.7)}
    tuned = [Tuned(name, 0, [], value, 1000, k) for name, both in returns.items() for k, value in enumerate(both, 1)]
    assert Contest(SCENE, "test", [], [], tuned, "").schedule == "warmup_cosine"


def test_a_baseline_that_had_less_than_an_agent_is_named() -> None:
    found = verdict(
        contender("constant", 2.0, cost=10), contender("spline", 1.9), contender("sac", 1.8, "agent", cost=500)
    )
    assert found.remarks[0].startswith("Unequal compute: constant had less than the 500 member-steps of an agent")


def test_ablations_are_beside_their_own_agent_only() -> None:
    found = verdict(
        contender("constant", 2.0),
        contender("spline", 1.9),
        contender("sac", 1.8, "agent"),
        contender("sac without feedback", 1.9, "ablation"),
        contender("ppo", 1.85, "agent"),
    )
    assert [(each.name, each.reference) for each in found.ablations] == [("sac without feedback", "sac")]
    assert "sac without feedback to sac: +5.5 % in test loss (95 % interval" in found.remarks[-1]
    assert [line.name for line in found.lines] == ["sac", "ppo", "spline", "constant", "sac without feedback"]
    assert all(line.versus_static is None for line in found.lines if line.role == "ablation")


def test_without_an_agent_there_is_nothing_to_say() -> None:
    assert verdict(contender("constant", 2.0)).sentences == (
        "Nothing can be said without an agent and a tuned baseline.",
    )


def test_without_a_tuned_baseline_nothing_is_claimed() -> None:
    found = verdict(contender("static", 2.0), contender("sac", 1.8, "agent"), tunings=0)
    assert found.sentences[0] == "Nothing can be claimed of sac without a tuned baseline."
    assert "constant has 0 tunings, spline has 0 tunings, and a verdict needs 5: add more with" in found.missing[0]


def test_an_agent_that_did_not_learn_gets_no_other_verdict() -> None:
    """However low its losses on test instances are."""
    baselines = (contender("constant", 2.0), contender("spline", 1.9))
    agent = contender("sac", 1.8, "agent")
    few, most = ({label: i < count for i, label in enumerate(agent.runs)} for count in (3, 6))
    found = verdict(*baselines, replace(agent, learned=few))
    assert [each.verdict for each in found.primaries] == ["did not learn"] * 2
    assert all(each.p is None and each.to_json()["verdict"] == "did not learn" for each in found.primaries)
    first, price = found.sentences
    assert first.startswith("sac did not learn: 5 of 8 seeds are no better than static on the instances")
    assert "never paid back" in price
    mixed = verdict(*baselines, replace(agent, learned=most))
    assert [each.verdict for each in mixed.primaries] == ["better"] * 2
    assert "2 of 8 seeds of sac did not learn, and are in these figures." in mixed.sentences
    assert verdict(*baselines, agent).sentences[0].startswith("sac is "), "nobody has checked"


def test_the_sentence_names_every_size_that_was_trained() -> None:
    scene = Scene.of("MixedWidths-v1")
    found = verdict(contender("constant", 2.0), contender("spline", 1.9), contender("sac", 1.8, "agent"))
    mixed = replace(found, contest=replace(found.contest, scene=scene))
    assert "at 200 iterations of a 1–2×8–64 model on python_stdlib" in mixed.where


def test_the_sentence_names_whatever_else_differs_or_happens() -> None:
    vary = {"horizon": [20, 40], "softmax_variant": ["constantmax", "softmax"], "batch_size": [2, 4]}
    vary["dataset"] = ["python_stdlib", "python_docstrings"]
    disturb = {"text": ["python_docstrings"], "layer": True}
    scene = Scene.of("Tiny-v1", controls=["learning_rate"], vary=vary, disturb=disturb)
    found = verdict(contender("constant", 2.0), contender("spline", 1.9), contender("sac", 1.8, "agent"))
    told = replace(found, contest=replace(found.contest, scene=scene)).where
    assert told == (
        "at 20–40 iterations of a 1×8 model (with any softmax_variant, batch_size) on python_stdlib and "
        "python_docstrings, disturbed by its text and layer"
    )


def test_the_report_has_every_run(tmp_path: Path) -> None:
    found = verdict(contender("constant", 2.0), contender("spline", 1.9), contender("sac", 1.8, "agent"))
    paths = {path.name: path for path in write(found, tmp_path)}
    rows = list(csv.DictReader(paths["runs.csv"].read_text().splitlines()))
    assert len(rows) == 3 * 8 * COUNT
    assert {row["run"] for row in rows} == {f"{name} {i}" for name in ("constant", "spline", "sac") for i in SEEDS}
    primary = list(csv.DictReader(paths["primary.csv"].read_text().splitlines()))
    assert [(row["name"], row["reference"], row["verdict"]) for row in primary] == [
        ("sac", "constant", "better"),
        ("sac", "spline", "better"),
    ]
    told = json.loads(paths["verdict.json"].read_text())
    assert [line["name"] for line in told["lines"]] == ["sac", "spline", "constant"]
    assert [each["verdict"] for each in told["primary"]] == ["better", "better"]
    assert "| sac | constant | -10.0 %" in paths["verdict.md"].read_text()
    assert paths["gain.svg"].read_text().startswith("<svg ")
    assert 'xmlns="http://www.w3.org/2000/svg"' in paths["learning_rate.svg"].read_text()


def test_what_cannot_be_measured_is_null_in_json(tmp_path: Path) -> None:
    everywhere = [(run, instance) for run in range(8) for instance in range(COUNT)]
    found = verdict(
        contender("constant", 2.0), contender("spline", 1.9), contender("sac", 1.8, "agent", diverged=everywhere)
    )
    paths = {path.name: path for path in write(found, tmp_path)}
    told = json.loads(paths["verdict.json"].read_text(), parse_constant=pytest.fail)
    assert [each["relative"] for each in told["primary"]] == [[None] * 3] * 2


def test_tables_fit_a_terminal_of_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lost = [(0, 1)]
    found = verdict(
        contender("constant", 2.0),
        contender("spline", 2.0, between=0.03),
        contender("sac_longer", 1.8, "agent", diverged=lost),
        contender("sac_longer with shuffled observations", 1.8, "ablation"),
    )
    primary, *described = (aligned(table) for table in tables(found))
    assert len(primary) == 3, "names are not repeated below"
    assert all(len(line) < 80 for lines in (primary, *described) for line in lines)
    assert "better, diverges more" in primary[1]


# ----------------------------------------------------------------------------------------------------- the command line

SHORT = ["--env", "Tiny-v1", "--horizon", "12", "--frame-skip", "4", "--set", "n_embd=4"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUNEMAX_STORAGE", str(tmp_path / "studies.db"))
    return tmp_path


def test_evaluate_compares_what_is_there_and_goes_on_where_it_was_cut(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["rl", "train", *SHORT, "--algo", "ppo", "--steps", "12", "--envs", "2", "--round", "2"]) == 0
    assert main(["rl", "tune", *SHORT, "--policy", "constant", "--tunings", "2", "--member-steps", "1152"]) == 0
    capsys.readouterr()
    asked = ["rl", "evaluate", *SHORT, "--instances", "2"]
    assert main(asked) == 0
    said = capsys.readouterr().out
    for name in ("ppo", "constant", "static", "left_to_sgd", "population", "ppo without progress"):
        assert f"\n{name} " in said
    assert "The report is in" in said

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("was run already")

    for name in ("run", "left_to_sgd", "population", "lookahead", "hypergradient"):
        monkeypatch.setattr(contest, name, never)
    assert main([*asked, "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["lines"][0]["cost"] == 12 * 4 + 64 * 12 + 2 * 64 * 12, "learning, looks and the check"
    assert [(each["reference"], each["verdict"], each["runs"]) for each in told["primary"]] == [
        ("constant", "no verdict", [1, 2])
    ]
    assert "constant has 2 tunings, spline has 0 tunings, and a verdict needs 5: add more with" in told["remarks"][1]


@pytest.mark.parametrize(
    ("of_then", "why"),
    [
        ({"tunemax": "0.0.1"}, r"tunemax 0\.0\.1 → \S+"),
        ({"torch": "1.0"}, r"torch 1\.0 → \S+"),
        ({"code": "0" * 16}, "the code of tunemax has changed"),
    ],
)
def test_what_another_version_has_run_is_run_anew_and_that_is_said(
    of_then: dict[str, str], why: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rl", "tune", *SHORT, "--policy", "constant", "--tunings", "1", "--member-steps", "1152"]) == 0
    asked = ["rl", "evaluate", *SHORT, "--instances", "2"]
    assert main(asked) == 0
    (path,) = here.glob("**/runs/constant-1.json")
    kept = json.loads(path.read_text())
    before = json.dumps(kept | {"versions": kept["versions"] | of_then})
    path.write_text(before)
    capsys.readouterr()
    assert main(asked) == 0
    said = capsys.readouterr().err
    assert re.search(rf"^constant 1: run anew, since it is of another version \({why}\)$", said, re.MULTILINE)
    assert said.count("run anew") == 1
    assert json.loads(path.read_text()) == kept


def test_agents_steer_the_trainings_that_baselines_steer(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever an agent has learned on: without an action it is the same as `static`."""
    train = ["rl", "train", *SHORT, "--algo", "ppo", "--steps", "12", "--envs", "2", "--round", "2", "--out", "agent"]
    assert main(train) == 0
    other = ["--env", "Tiny-v1", "--horizon", "24", "--frame-skip", "4", "--set", "n_embd=8"]
    assert main(["rl", "tune", *other, "--policy", "constant", "--tunings", "1", "--member-steps", "2304"]) == 0
    assert main(["rl", "evaluate", *other, "--instances", "2", "agent"]) == 0
    first = [json.loads(next(here.glob(f"**/runs/{name}.json")).read_text()) for name in ("static", "agent-1")]
    starts = [[each["history"][0]["loss"] for each in run["outcomes"]] for run in first]
    assert starts[0] == starts[1], "the same models, before anybody has moved anything"
    assert [each["member_steps"] for run in first for each in run["outcomes"]] == [24] * 4


def test_an_agent_is_not_taken_for_a_baseline(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--algo", "ppo", "--steps", "12", "--envs", "2", "--round", "2", "--out", "constant-1"]
    assert main(["rl", "train", *SHORT, *words]) == 0
    assert main(["rl", "evaluate", *SHORT, "--instances", "2", "constant-1"]) == 2
    assert "called constant, as a baseline is; rename its folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--env", "Tiny-v1"],
            "neither an agent nor a tuned baseline is there to be compared; begin with tunemax rl train --env Tiny-v1",
        ),
        (["--env", "Tiny-v1", "--sets", "tests"], "set = tests: no such set of instances; did you mean `test`?"),
        (["--env", "Tiny-v1", "--sets", "larger", "--instances", "65"], "--instances = 65: set larger has 64"),
        (["--env", "Tiny-v1", "nowhere"], "nowhere: no agent here"),
        (["--env", "Tiny-v1", "--margin", "0"], "--margin = 0: expected percent of the loss, above 0 and at most 20"),
        (["--env", "Tiny-v1", "--margin", "nan"], "--margin = nan: expected percent of the loss"),
        (["--env", "Tiny-v1", "--margin", "1%"], "--margin = 1%: expected percent of the loss"),
    ],
)
def test_mistakes_are_told(words: list[str], message: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tunemax.search.storage.database import open_storage

    open_storage("studies.db", create=True)
    assert main(["rl", "evaluate", *words]) == 2
    assert message in capsys.readouterr().err
