"""Policies do what their names say, from a flat vector or by hand, and rollouts report what happened."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tunemax.envs.instances import Instance, find_set
from tunemax.envs.policies import Constant, LogLinear, Plateau, Random, Spline, Static, WarmupCosine
from tunemax.envs.rollouts import left_to_sgd, population, run
from tunemax.envs.task import Task
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.schedule import lr_factor

Make = Callable[..., Task]
KINDS: list[Any] = [Constant, WarmupCosine, Spline, LogLinear, Plateau]
LONG = {"horizon": 40, "frame_skip": 2, "windows": 2, "test_windows": 4}


def instances(task: Task, count: int, set: str = "validation") -> list[Any]:
    return [find_set(set).draw(task, index) for index in range(count)]


def starting_at(of: Instance, controls: dict[str, float]) -> Instance:
    """The same training from other values of some fields."""
    return replace(of, controls={**of.controls, **controls})


def test_static_leaves_every_control_alone(tiny: Make) -> None:
    task = tiny()
    for outcome in run(task, instances(task, 3), Static.for_task(task)):
        assert len({tuple(past.controls.values()) for past in outcome.history}) == 1


def test_outcomes_are_in_order_and_do_not_depend_on_the_slots(tiny: Make) -> None:
    task = tiny()
    chosen = [*instances(task, 3), *instances(task, 2, "longer"), *instances(task, 1, "larger")]
    policy = Constant(task, {"learning_rate": 0.02})
    narrow, wide = run(task, chosen, policy, slots=1), run(task, chosen, policy, slots=4)
    assert narrow == wide
    assert [outcome.instance for outcome in narrow] == [instance.name for instance in chosen]
    assert [outcome.member_steps for outcome in narrow] == [12, 12, 12, 24, 48, 12]
    assert all(outcome.total == pytest.approx(math.log(outcome.history[0].loss / outcome.loss)) for outcome in narrow)


def test_random_policies_are_seeded(tiny: Make) -> None:
    task = tiny()
    one, same, other = (run(task, instances(task, 1), Random(task, seed))[0].loss for seed in (1, 1, 2))
    assert one == same != other


def test_a_constant_is_reached_and_kept(tiny: Make) -> None:
    task = tiny(**LONG)
    (outcome,) = run(task, instances(task, 1), Constant(task, {"learning_rate": 0.05, "gain": -4.0}))
    assert outcome.history[-1].controls == pytest.approx({"learning_rate": 0.05, "gain": -4.0}, rel=1e-4)
    for past in outcome.history[1:]:
        assert past.controls == pytest.approx({"learning_rate": 0.05, "gain": -4.0}, rel=1e-6), "from the first step on"


@pytest.mark.parametrize("kind", [Constant, WarmupCosine, Spline])
def test_what_knows_where_to_be_is_there_at_once_whatever_the_form_of_actions(kind: Any, tiny: Make) -> None:
    """An agent of the absolute form jumps, so what it is compared with must be able to."""
    outcomes = []
    for form in ("box", "absolute", "multidiscrete"):
        task = tiny(**LONG, action=form)
        vector = [(bound.low * 0.3 + bound.high * 0.7) for bound in kind.bounds(task)]
        outcomes += run(task, instances(task, 1), kind.of(task, vector))
    assert outcomes[0] == outcomes[1] == outcomes[2]
    first, _ = (past.controls["learning_rate"] for past in outcomes[0].history[:2])
    far = starting_at(instances(task, 1)[0], {"learning_rate": first / 30})
    (other,) = run(task, [far], kind.of(task, vector))
    others = [past.controls["learning_rate"] for past in other.history[1:]]
    assert others == pytest.approx([past.controls["learning_rate"] for past in outcomes[0].history[1:]], rel=1e-4)


def test_warmup_and_cosine_divide_out_the_schedule_of_the_training(tiny: Make) -> None:
    used = {}
    for schedule in ("constant", "cosine"):
        task = tiny(**LONG, config={"schedule": schedule, "warmup_fraction": 0.0, "learning_rate": 0.03})
        start = [starting_at(each, {"learning_rate": 0.03}) for each in instances(task, 1)]
        (outcome,) = run(task, start, WarmupCosine(task, peak=0.03, warmup=0.0, floor=0.2))
        config = start[0].config(task)
        used[schedule] = [
            after.controls["learning_rate"] * lr_factor(config.train, before.iteration)
            for before, after in zip(outcome.history, outcome.history[1:], strict=False)
        ]
    assert used["constant"] == pytest.approx(used["cosine"], rel=0.02)
    assert used["constant"][0] == pytest.approx(0.03, rel=1e-3)
    assert used["constant"][10] == pytest.approx(0.03 * 0.6, rel=1e-3)


def test_a_spline_follows_its_knots(tiny: Make) -> None:
    task = tiny(**LONG)
    dial = task.dials[0]
    start = [starting_at(each, {"learning_rate": dial.at(0.2)}) for each in instances(task, 1)]
    (outcome,) = run(task, start, Spline(task, [[0.2, 0.4, 0.3], [0.0, 0.0, 0.0]]))
    places = [dial.unit(past.controls["learning_rate"]) for past in outcome.history[1:]]
    assert places == pytest.approx(np.interp(np.linspace(0, 0.95, 20), [0, 0.5, 1], [0.2, 0.4, 0.3]), abs=1e-5)


def test_feedback_in_a_few_numbers_depends_on_what_it_sees(tiny: Make) -> None:
    task = tiny()
    vector = np.zeros(len(LogLinear.bounds(task)))
    assert LogLinear.of(task, vector).act(np.ones(24)).tolist() == [0, 0]
    vector[[0, 3]] = 0.5, -2.0  # of learning_rate: the bias, and the weight of row_sum
    policy = LogLinear.of(task, vector)
    observation = np.zeros(24)
    observation[policy.features.names.index("row_sum")] = 1.0
    assert policy.act(observation) == pytest.approx([math.tanh(-1.5), 0])
    assert len(LogLinear.bounds(task)) == 10


def test_a_plateau_lowers_the_learning_rate_only_when_the_loss_stands(tiny: Make) -> None:
    task = tiny()
    policy = Plateau(task, threshold=0.01)
    slope, progress = (policy.features.names.index(name) for name in ("slow_slope", "progress"))
    observation = np.zeros(24)
    observation[progress] = 0.2
    observation[slope] = 0.0
    assert policy.act(observation).tolist() == [-1, 0]
    observation[slope] = -1.0  # 5 % a step
    assert policy.act(observation).tolist() == [0, 0]
    observation[progress], observation[slope] = -0.9, 0.0
    assert policy.act(observation).tolist() == [0, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_every_tunable_kind_is_made_from_its_bounds(kind: Any, tiny: Make) -> None:
    task = tiny()
    bounds = kind.bounds(task)
    assert len({bound.name for bound in bounds}) == len(bounds)
    assert all(bound.low <= bound.start <= bound.high and (bound.low > 0 or not bound.log) for bound in bounds)
    for vector in ([b.low for b in bounds], [b.start for b in bounds], [b.high for b in bounds]):
        (outcome,) = run(task, instances(task, 1), kind.of(task, vector))
        assert math.isfinite(outcome.total)
    with pytest.raises(
        TunemaxError, match=f"{kind.__name__}: a vector of shape .*; expected {len(bounds)} finite numbers"
    ):
        kind.of(task, [0.5] * (len(bounds) + 1))
    with pytest.raises(TunemaxError, match="finite"):
        kind.of(task, [math.nan] * len(bounds))


def test_vectors_are_policies_and_one_scores_best(tiny: Make) -> None:
    task = tiny()
    chosen = instances(task, 2)
    draw = np.random.default_rng(1)
    bounds = Constant.bounds(task)
    vectors = [draw.uniform([b.low for b in bounds], [b.high for b in bounds]) for _ in range(4)]

    def score(vector: npt.NDArray[np.float64]) -> float:
        return sum(outcome.total for outcome in run(task, chosen, Constant.of(task, vector)))

    asked = [score(vector) for vector in vectors]
    assert score(max(vectors, key=score)) == max(asked) > min(asked)


def test_policies_that_need_a_learning_rate_say_so(tiny: Make) -> None:
    task = tiny(controls=["gain"])
    for kind in (WarmupCosine, Plateau):
        with pytest.raises(TunemaxError, match="this task does not control learning_rate"):
            kind.of(task, [bound.start for bound in kind.bounds(task)])


# ---- without an agent ------------------------------------------------------------------------------------------------


def test_left_to_sgd_pairs_with_the_controlled_runs(tiny: Make) -> None:
    task = tiny(controls=["constantmax.beta", "constantmax.gamma"])
    chosen = instances(task, 2)
    learned, alone = left_to_sgd(task, chosen), run(task, chosen, Static.for_task(task))
    for one, other in zip(learned, alone, strict=True):
        assert one.history[0].loss == pytest.approx(other.history[0].loss, rel=1e-6)
        assert one.loss != other.loss
        assert one.history[0].controls == {}


def test_a_population_is_seeded_counts_its_cost_and_mends_a_wrong_start(tiny: Make) -> None:
    task = tiny(horizon=40, frame_skip=4)
    start = starting_at(instances(task, 1)[0], {"learning_rate": 0.003})
    outcome = population(task, start, size=6, seed=1)
    assert outcome == population(task, start, size=6, seed=1)
    assert outcome.member_steps == 6 * 40
    assert len(outcome.history) == 11
    assert outcome.test_loss is not None
    assert outcome.loss < run(task, [start], Static.for_task(task))[0].loss - 0.1


def test_a_population_outlives_what_diverges(tiny: Make) -> None:
    wild = {"divergence_margin": 0.3, "grad_clip": 0, "warmup_fraction": 0, "schedule": "constant", "init_std": 0.02}
    task = tiny(controls=["learning_rate"], config=wild, horizon=40, frame_skip=2)
    start = starting_at(instances(task, 1)[0], {"learning_rate": 2.0})
    assert run(task, [start], Static.for_task(task))[0].diverged
    outcome = population(task, start, size=6, seed=3, interval=1)
    assert not outcome.diverged
    assert outcome.history[-1].iteration == 40


def test_impossible_populations_are_refused(tiny: Make) -> None:
    task = tiny()
    for arguments in ({"size": 1}, {"size": 4, "quantile": 0.6}):
        with pytest.raises(TunemaxError, match="expected at least 2, and a quantile"):
            population(task, instances(task, 1)[0], seed=1, **arguments)  # type: ignore[arg-type]
    with pytest.raises(TunemaxError, match="use action = box"):
        population(tiny(action="absolute"), instances(task, 1)[0], size=2, seed=1)
