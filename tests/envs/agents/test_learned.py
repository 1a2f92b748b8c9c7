"""Whether an agent has learned is found out, said in a line and kept; so is what its algorithm shows meanwhile."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tunemax.envs.agents import file, hyperparameters, training
from tunemax.envs.agents.agent import BEST, LAST, Agent, build
from tunemax.envs.agents.file import Evaluation, Learning, best_of
from tunemax.envs.agents.learned import check
from tunemax.envs.agents.scene import Scene
from tunemax.envs.agents.training import Plan, train_agent
from tunemax.envs.agents.vitals import entropy_of
from tunemax.gpt.errors import TunemaxError

SEEN = np.random.default_rng(1).normal(size=(50, 24)).astype(np.float32)


def test_an_agent_learns_and_says_so(tmp_path: Path) -> None:
    scene = Scene.of("Tiny-v1")
    plan = Plan(scene, "ppo", hyperparameters.load("ppo"), seed=1, steps=800, round=5, validation=8, checked=16)
    trained = train_agent(plan, tmp_path)
    assert trained.learning is not None
    assert trained.learning.sentence.startswith("learned: +")
    assert trained.learning.low > 0.02
    assert Agent.load(trained.best).learned is True
    assert {file.load(tmp_path / name)[0].learning for name in (BEST, LAST)} == {trained.learning}
    assert trained.spent.check == 2 * 16 * 20


@pytest.mark.parametrize(("bias", "worse"), [(0.0, False), (-5.0, True)])
def test_an_agent_that_does_nothing_or_harm_has_not_learned(
    bias: float, worse: bool, plan: Callable[..., Plan], tmp_path: Path
) -> None:
    best = train_agent(plan("ppo", steps=12), tmp_path).best
    header, tensors = file.load(best)
    for name in tensors:
        if "policy/action_net" in name:
            tensors[name] = torch.full_like(tensors[name], bias if name.endswith("bias") else 0.0)
    file.save(header, tensors, best)
    found, steps = check(Agent.load(best), 16)
    assert not found.learned
    assert found.sentence.startswith("did not learn: ")
    assert (found.high < 0) == worse
    assert (found.gain == 0) != worse
    assert steps == 2 * 16 * 12


@pytest.mark.parametrize(
    ("gain", "low", "high", "sentence"),
    [
        (0.1, 0.05, 0.15, "learned: +9.5 % (95 % interval +4.9 … +13.9 %) on static, 64 training instances"),
        (0.1, -0.05, 0.3, "did not learn: +9.5 % (95 % interval -5.1 … +25.9 %) on static, 64 training instances"),
        (-0.1, -0.2, -0.05, "did not learn: -10.5 % (95 % interval -22.1 … -5.1 %) on static, 64 training instances"),
    ],
)
def test_it_is_said_in_a_line(gain: float, low: float, high: float, sentence: str) -> None:
    assert Learning(instances=64, gain=gain, low=low, high=high).sentence == sentence


def test_places_as_actions_are_compared_with_controls_that_stay(plan: Callable[..., Plan], tmp_path: Path) -> None:
    """0 is a place then, the middle of all bounds, and no baseline."""
    placed = train_agent(plan("ppo", {"action": "absolute"}, steps=12), tmp_path / "places").best
    moved = train_agent(plan("ppo", steps=12), tmp_path / "moves").best
    gains = []
    for best in (placed, moved):
        header, tensors = file.load(best)
        zeros = {name: torch.zeros_like(values) if "action_net" in name else values for name, values in tensors.items()}
        file.save(header, zeros, best)
        gains.append(check(Agent.load(best), 4)[0].gain)
    assert gains[1] == 0
    assert gains[0] != 0


def test_the_check_is_made_once_and_again_for_another_best(
    plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[int] = []

    def counted(agent: Agent, count: int) -> tuple[Learning, int]:
        checked.append(agent.header.steps)
        return Learning(instances=count, gain=0.1, low=0.05, high=0.2), 100

    monkeypatch.setattr(training, "check", counted)
    first = train_agent(plan(), tmp_path)
    assert train_agent(plan(), tmp_path) == first
    assert checked == [first.best_evaluation.steps]
    longer = train_agent(plan(steps=96), tmp_path)
    best = longer.best_evaluation.steps
    assert checked == [first.best_evaluation.steps, *([best] if best > 48 else [])]
    assert longer.spent.check == 100 * len(checked)


def test_a_check_that_was_cut_short_is_made_again_to_the_same(
    plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train_agent(plan(steps=12), tmp_path / "whole")
    real, left = file.save, [3]  # best, last; then the checked best

    def cut(*arguments: object) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(file, "save", cut)
    with pytest.raises(KeyboardInterrupt):
        train_agent(plan(steps=12), tmp_path / "cut")
    monkeypatch.setattr(file, "save", real)
    again = train_agent(plan(steps=12), tmp_path / "cut")
    assert (again.learning, again.spent) == (whole.learning, whole.spent)


# ---------------------------------------------------------------------------------------- what an algorithm shows


@pytest.mark.parametrize("algorithm", ["sac", "tqc"])
def test_the_share_of_entropy_is_that_of_its_coefficient(algorithm: str, plan: Callable[..., Plan]) -> None:
    found = {}
    for coefficient in (0.02, 0.2):
        made = plan(algorithm)
        preset = made.preset.changed(ent_coef=coefficient)
        found[coefficient] = entropy_of(build(made.scene, made.algorithm, preset, 1, 1), SEEN, 10)
    (entropy, small), (same, large) = found.values()
    assert entropy == same
    assert 0 < entropy < 2 * math.log(2), "of two actions in [-1, 1], at most uniform"
    assert small is not None
    assert large == pytest.approx(10 * small)


def test_entropies_of_other_policies_are_what_textbooks_say(plan: Callable[..., Plan]) -> None:
    made = plan("ppo")
    normal = entropy_of(build(made.scene, "ppo", made.preset, 1, 1), SEEN, 10)
    assert normal == (pytest.approx(math.log(2 * math.pi * math.e)), None), "two normals of deviation 1"
    made = plan("dqn")
    model = build(made.scene, "dqn", made.preset, 1, 1)
    assert entropy_of(model, SEEN, 10)[0] == 0  # greedy, until its training has begun
    model.exploration_rate = 1.0  # type: ignore[attr-defined]
    assert entropy_of(model, SEEN, 10)[0] == pytest.approx(math.log(model.action_space.n))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("algorithm", "losses"),
    [("sac", {"actor_loss", "critic_loss"}), ("ppo", {"loss", "value_loss", "policy_gradient_loss", "entropy_loss"})],
)
def test_every_look_has_entropy_and_losses(
    algorithm: str, losses: set[str], plan: Callable[..., Plan], tmp_path: Path
) -> None:
    last = train_agent(plan(algorithm), tmp_path).evaluations[-1]
    assert last.entropy is not None
    assert losses <= last.losses.keys()
    assert all(math.isfinite(loss) for loss in last.losses.values())
    assert (last.entropy_share is None) == (algorithm == "ppo")


def test_of_equal_saves_the_later_is_the_best() -> None:
    looks = [
        Evaluation(steps=steps, total=total, diverged=0) for steps, total in ((1, 0.5), (2, 0.7), (3, 0.7), (4, 0.6))
    ]
    assert best_of(looks).steps == 3


# --------------------------------------------------------------------------------------- of before, and of elsewhere


def test_environments_of_before_have_the_presets_of_their_time() -> None:
    assert hyperparameters.usual("sac", "tunemax/Joint-v0").model_dump()["ent_coef"] == "auto"
    assert hyperparameters.usual("sac", "tunemax/Joint-v1") == hyperparameters.load("sac")
    with pytest.raises(TunemaxError, match="algorithm = sca: no such algorithm"):
        hyperparameters.usual("sca", "tunemax/Joint-v0")


def test_what_is_not_said_is_as_it_was_begun(plan: Callable[..., Plan], tmp_path: Path) -> None:
    begun = plan()
    train_agent(begun, tmp_path)
    today = plan(preset=hyperparameters.load("sac"), envs=16, round=10, validation=64)
    assert today.as_begun(tmp_path, training.BEGUN) == begun
    assert today.as_begun(tmp_path, ["preset"]).envs == 16
    assert today.as_begun(tmp_path / "nowhere", training.BEGUN) == today


def test_an_agent_of_another_scale_of_rewards_is_refused(plan: Callable[..., Plan], tmp_path: Path) -> None:
    best = train_agent(plan("ppo", steps=12), tmp_path).best
    with pytest.raises(TunemaxError, match=r"has learned by reward_scale = 20, not 5; train one on this environment"):
        Agent.load(best).check(Scene.of("Tiny-v1", reward_scale=5).task)
    header, tensors = file.load(best)
    file.save(header.model_copy(update={"reward_scale": 10.0}), tensors, best)
    with pytest.raises(TunemaxError, match=r"has reward_scale = 20 now, and had 10 in tunemax .*; train again"):
        Agent.load(best)
    for scale in (0, -1, "much"):
        scene = header.scene.model_copy(update={"arguments": {"reward_scale": scale}})
        file.save(header.model_copy(update={"scene": scene}), tensors, best)
        with pytest.raises(
            TunemaxError, match=r"best.safetensors: reward_scale = .*expected a number above 0"
        ) as caught:
            Agent.load(best)
        assert "\n" not in str(caught.value)


def test_an_agent_that_sees_other_things_is_refused(plan: Callable[..., Plan], tmp_path: Path) -> None:
    agent = Agent.load(train_agent(plan("ppo", steps=12), tmp_path).best)
    varied = Scene.of("Tiny-v1", vary={"n_embd": [8, 16]}).task
    with pytest.raises(TunemaxError, match=r"its instances differ in no field, and these differ in n_embd \(8, 16\)"):
        agent.check(varied)


def test_an_agent_of_an_id_that_draws_other_values_now_is_refused(plan: Callable[..., Plan], tmp_path: Path) -> None:
    """It would take a width for another one: what it is shown is a place among what is drawn."""
    best = train_agent(plan("ppo", {"vary": {"n_embd": [8, 16]}}, steps=12), tmp_path).best
    header, tensors = file.load(best)
    arguments = {**header.scene.arguments, "vary": {"n_embd": [8, 32]}}
    file.save(
        header.model_copy(update={"scene": header.scene.model_copy(update={"arguments": arguments})}), tensors, best
    )
    with pytest.raises(TunemaxError, match=r"shows or moves other things now .*; train again"):
        Agent.load(best)
