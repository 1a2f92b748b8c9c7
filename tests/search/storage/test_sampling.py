"""The sampler of a sibling: diverged trials come last, points of siblings agree, and no guess repeats a trial."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from tunemax.gpt.defaults import SCHEMA
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.study_file import define
from tunemax.search.question.suggest import distributions, suggest
from tunemax.search.storage.attributes import DIVERGED, DUPLICATE_OF
from tunemax.search.storage.sampling import SiblingSampler

RATE = {"low": 1e-4, "high": 1.0, "log": True}
DECAY = {"low": 0.0, "high": 0.2, "log": False}
CAP = 6.0
GOOD, POOR, DEAD = 1e-3, 1e-2, 0.5
"""Learning rates: of complete trials, of pruned ones, and of diverged ones."""
SAMPLERS = ("tpe", "gp", "cmaes")


def question(**more: Any) -> StudyDefinition:
    plain = {
        "question": "?",
        "base": {"softmax_variant": "softmax"},
        "space": {"learning_rate": RATE, "weight_decay": DECAY},
        "budget": {"trials": 40, "horizon": 300},
    }
    return define({**plain, **more}, name="q")


def opened(definition: StudyDefinition, worker: int = 0, study: optuna.Study | None = None) -> optuna.Study:
    """A sibling in memory, with the sampler of a worker."""
    (name, fixed), *_ = definition.siblings().items()
    study = study or optuna.create_study(study_name=name)
    study.sampler = SiblingSampler(definition.make_sampler(name, worker), definition, fixed)
    return study


def asked(study: optuna.Study, definition: StudyDefinition) -> optuna.Trial:
    trial = study.ask()
    suggest(trial, definition, next(iter(definition.siblings().values())))
    return trial


def add(study: optuna.Study, definition: StudyDefinition, params: Mapping[str, Any], **more: Any) -> None:
    """A trial that has ended. more: as `create_trial` takes it."""
    fixed = next(iter(definition.siblings().values()))
    spaces: dict[str, BaseDistribution] = distributions(definition, fixed)
    chosen = {name: spaces[name] for name in params}
    study.add_trial(optuna.create_trial(params=dict(params), distributions=chosen, **more))


def filled(study: optuna.Study, definition: StudyDefinition, complete: int, pruned: int, diverged: int) -> None:
    """Trials whose places tell their fates: diverged ones are complete at the cap, as a worker leaves them."""
    fates = [(GOOD, 2.0)] * complete + [(POOR, 2.35)] * pruned + [(DEAD, CAP)] * diverged
    for index, (rate, value) in enumerate(fates):
        spread = 1 + 0.2 * math.sin(7 * index)
        params = {"learning_rate": rate * spread, "weight_decay": 0.1 + 0.09 * math.sin(3 * index)}
        ended: dict[str, Any] = {"value": value + 0.001 * index, "intermediate_values": {100: value + 0.001 * index}}
        if rate == POOR:
            ended["state"] = TrialState.PRUNED
            ended["intermediate_values"] = {100 + 100 * (index % 2): value + 0.001 * index}
        elif rate == DEAD:
            ended |= {"value": CAP, "user_attrs": {DIVERGED: "diverged: loss"}, "intermediate_values": {250: CAP}}
        add(study, definition, params, **ended)


def near(params: Mapping[str, Any], rate: float) -> bool:
    return abs(math.log10(params["learning_rate"] / rate)) < 0.35


# ---- diverged trials -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sampler", "complete", "asks"), [("tpe", 0, 60), ("tpe", 6, 60), ("gp", 6, 8), ("cmaes", 6, 40)]
)
def test_no_sampler_prefers_a_diverged_trial_to_pruned_ones(sampler: str, complete: int, asks: int) -> None:
    """A sixth of random draws is near the diverged ones, and nearly half of the guesses of Optuna's own TPE."""
    definition = question(sampler={"name": sampler, "startup": 4})
    study = opened(definition)
    filled(study, definition, complete, 22, 3)
    drawn = [asked(study, definition).params for _ in range(asks)]
    dead, poor, good = (sum(near(params, rate) for params in drawn) for rate in (DEAD, POOR, GOOD))
    assert dead <= 0.1 * asks
    assert dead < poor + good


def test_cmaes_moves_away_from_where_trials_diverge() -> None:
    definition = question(sampler={"name": "cmaes", "startup": 4})
    study = opened(definition)
    filled(study, definition, 4, 4, 0)
    for _ in range(30):
        trial = asked(study, definition)
        if trial.params["learning_rate"] > 0.01:
            trial.set_user_attr(DIVERGED, "diverged: loss")
            study.tell(trial, CAP)
        else:
            study.tell(trial, 2.0)
    drawn = [asked(study, definition).params["learning_rate"] for _ in range(20)]
    assert sum(rate > 0.01 for rate in drawn) < 5


class Spy(BaseSampler):
    """Remembers the trials that it was shown."""

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        self.shown = study.get_trials()
        return {}

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: Any) -> dict[str, Any]:
        return {}

    def sample_independent(self, study: optuna.Study, trial: FrozenTrial, param_name: str, space: Any) -> Any:
        return space.low


def shown(study: optuna.Study, definition: StudyDefinition) -> dict[int, float | None]:
    """The values of complete trials as a sampler sees them that knows no pruned ones."""
    spy, fixed = Spy(), next(iter(definition.siblings().values()))
    study.sampler = SiblingSampler(spy, definition, fixed)
    asked(study, definition)
    return {trial.number: trial.value for trial in spy.shown if trial.state == TrialState.COMPLETE}


def test_a_diverged_trial_is_shown_a_little_worse_than_the_worst_and_stored_as_it_was() -> None:
    definition = question()
    study = opened(definition)
    filled(study, definition, 2, 3, 1)
    add(study, definition, {"learning_rate": 0.4}, value=math.inf)  # told with the stock command line
    add(study, definition, {"learning_rate": 0.5}, value=CAP, user_attrs={DIVERGED: "?", DUPLICATE_OF: 5})
    before = study.get_trials()
    values = shown(study, definition)
    worst = max(trial.intermediate_values[trial.last_step or 0] for trial in before[:5])
    assert [values[number] for number in (0, 1)] == [before[0].value, before[1].value]
    for number in (5, 6, 7):
        assert worst < (values[number] or 0) < worst + 1e-9
    assert study.get_trials()[:8] == before
    assert study.best_trial.number == 0


def test_a_diverged_trial_is_never_the_best_that_a_sampler_knows() -> None:
    definition = question()
    study = opened(definition)
    filled(study, definition, 0, 3, 4)
    assert shown(study, definition) == {}
    filled(study, definition, 1, 0, 0)
    assert list(shown(study, definition).values()).index(2.0) == 4


def test_where_all_have_diverged_a_sampler_still_guesses() -> None:
    for name in SAMPLERS:
        definition = question(sampler={"name": name, "startup": 4})
        study = opened(definition)
        filled(study, definition, 0, 0, 6)
        drawn = [asked(study, definition).params for _ in range(3)]
        assert len({tuple(params.items()) for params in drawn}) == 3


def test_tpe_in_groups_ranks_a_diverged_trial_of_a_conditional_space_last() -> None:
    space = {"softmax_variant": ["softmax", "polymax"], "learning_rate": RATE, "polymax.power": [1.0, 2.0, 3.0, 4.0]}
    definition = question(base={}, space=space, sampler={"name": "tpe", "startup": 4})
    study = opened(definition)
    for index in range(22):
        params = {"softmax_variant": "softmax", "learning_rate": POOR * (1 + 0.2 * math.sin(index))}
        add(study, definition, params, state=TrialState.PRUNED, intermediate_values={100: 2.35})
    for power in (1.0, 2.0):
        params = {"softmax_variant": "polymax", "learning_rate": DEAD, "polymax.power": power}
        add(study, definition, params, value=CAP, user_attrs={DIVERGED: "?"}, intermediate_values={290: CAP})
    drawn = [asked(study, definition).params for _ in range(60)]
    assert sum(params["softmax_variant"] == "polymax" for params in drawn) < 28, "Optuna's own: more than half"
    assert sum(near(params, DEAD) for params in drawn) < 10


# ---- points of siblings ----------------------------------------------------------------------------------------------


def siblings(**more: Any) -> StudyDefinition:
    return question(
        base={},
        per="softmax_variant",
        compare=["softmax", "constantmax", "polymax"],
        space={
            "learning_rate": RATE,
            "constantmax.beta": "default",
            "weight_decay": {"low": 0.0, "high": 0.2, "log": False},
        },
        **more,
    )


def points(definition: StudyDefinition, name: str, known: int, workers: list[int]) -> list[dict[str, Any]]:
    """What each worker in turn, new every time, is given, behind so many known trials."""
    study, fixed = optuna.create_study(study_name=f"other/{name}"), definition.siblings()[f"q/{name}"]
    for index in range(known):
        study.enqueue_trial(dict.fromkeys(distributions(definition, fixed), 0.01) | {"learning_rate": 0.01 + index})
    found = []
    for begun, worker in enumerate([0] * known + workers):
        study.sampler = SiblingSampler(definition.make_sampler(f"q/{name}", worker, begun), definition, fixed)
        trial = study.ask()
        suggest(trial, definition, fixed)
        found.append(trial.params)
    return found[known:]


@pytest.mark.filterwarnings("ignore:Fixed parameter")
@pytest.mark.parametrize("name", ["tpe", "gp", "cmaes", "auto", "random", "qmc"])
def test_siblings_begin_with_the_same_points_whoever_asks(name: str) -> None:
    definition = siblings(sampler=name, pruner="none")
    first = points(definition, "softmax", 0, [0, 1, 2, 0, 5])
    for sibling, known, workers in (("constantmax", 2, [3, 3, 0, 1, 0]), ("polymax", 1, [0] * 5)):
        for one, other in zip(first, points(definition, sibling, known, workers), strict=True):
            assert {key: other[key] for key in one} == one
    assert len({point["learning_rate"] for point in first}) == 5
    seeded = siblings(sampler=name, pruner="none", seed=2)
    assert points(seeded, "softmax", 0, [0] * 5)[0]["learning_rate"] != first[0]["learning_rate"]


def test_a_question_from_before_draws_as_it_did() -> None:
    definition = siblings(sampler="random")
    before = StudyDefinition.from_json(definition.to_json().replace(f'"schema_version":{SCHEMA},', ""))
    assert before.schema_version == 1
    drawn = [points(before, "softmax", 0, workers)[0]["learning_rate"] for workers in ([0], [1])]
    seed = before.make_sampler("q/softmax", 0)
    study = optuna.create_study(sampler=seed)
    trial = study.ask()
    suggest(trial, before, before.siblings()["q/softmax"])
    assert drawn[0] == trial.params["learning_rate"] != drawn[1]
    assert StudyDefinition.from_json(before.to_json()).schema_version == 1


# ---- no point twice --------------------------------------------------------------------------------------------------


def small(**more: Any) -> StudyDefinition:
    space = {"learning_rate": [1e-3, 1e-2, 1e-1], "schedule": ["cosine", "wsd"], "decay_fraction": [0.1, 0.2]}
    return question(space=space, pruner="none", **more)


ALL = [
    *({"learning_rate": rate, "schedule": "cosine"} for rate in (1e-3, 1e-2, 1e-1)),
    *(
        {"learning_rate": rate, "schedule": "wsd", "decay_fraction": share}
        for rate, share in itertools.product((1e-3, 1e-2, 1e-1), (0.1, 0.2))
    ),
]


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_guesses_go_on_to_new_points_until_there_are_none(sampler: str) -> None:
    """Three of the taken trials are done, one runs, one waits; each guess is left running."""
    definition = small(sampler={"name": sampler, "startup": 2})
    study = opened(definition)
    for params in ALL[:3]:
        add(study, definition, params, value=params["learning_rate"])
    study.enqueue_trial(ALL[3])
    asked(study, definition)
    running = [study.ask() for _ in range(5)]
    study.enqueue_trial(ALL[4])
    for trial in running:
        suggest(trial, definition, definition.siblings()["q"])
    *drawn, last = (trial.params for trial in running)
    assert sorted(map(repr, drawn)) == sorted(map(repr, ALL[5:]))
    assert last in ALL, "all are taken: then one comes again"
