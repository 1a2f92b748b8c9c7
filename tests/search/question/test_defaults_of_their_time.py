"""A question keeps the defaults and the default ranges of the time when it was begun."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tunemax.gpt.config import Config, all_specs
from tunemax.gpt.data import Corpus
from tunemax.gpt.defaults import SCHEMA, SEARCHED_UNTIL, UNTIL, defaults_of, searched_in
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.fields import Choices, Range
from tunemax.gpt.softmax import variants
from tunemax.search.api import create_study
from tunemax.search.cli import main
from tunemax.search.question.changes import joined
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.schema import study_file
from tunemax.search.question.study_file import define
from tunemax.search.question.suggest import known_points
from tunemax.search.question.yaml_lines import Fault, read_yaml
from tunemax.search.storage.questions import Question

Define = Callable[..., StudyDefinition]
Plan = Callable[..., dict[str, Any]]
RECIPE = UNTIL[2]
SEARCHED = {"learning_rate": "default", "warmup_fraction": {"high": 0.1}}


def since(schema: int) -> Callable[[str], int]:
    return lambda _name: schema


@pytest.mark.parametrize("schema", [2, 3, 4])
def test_defaults_and_ranges_of_a_schema_are_what_they_were(schema: int) -> None:
    """Recorded by its last revision. Who changes a default, or a default range, writes the old one into the tables."""
    record = json.loads((Path(__file__).parents[2] / f"data/defaults_{schema}.json").read_text())
    specs, defaults, searched = all_specs(), defaults_of(schema), searched_in(schema)
    for name, was in record.items():
        assert defaults.get(name, specs[name].default) == was["default"], name
        within = searched.get(name, specs[name].declared.search)
        assert json.loads(json.dumps(asdict(within) if within else None)) == was["search"], name
    assert not searched_in(SCHEMA)
    assert all(name in specs for ranges in SEARCHED_UNTIL.values() for name in ranges)


def test_a_file_is_read_by_the_defaults_and_ranges_of_its_question(plan: Plan) -> None:
    asked = plan(space=SEARCHED, pruner="none")
    now, then = define(asked, name="q"), define(asked, name="q", begun=since(2))
    assert then.space == {"learning_rate": Range(1e-4, 3e-2, log=True), "warmup_fraction": Range(0.0, 0.1)}
    assert now.space["learning_rate"] == all_specs()["learning_rate"].declared.search
    (fixed, _) = then.siblings().values()
    assert {name: fixed[name] for name in ("schedule", "grad_clip", "init_std")} == {
        name: RECIPE[name] for name in ("schedule", "grad_clip", "init_std")
    }
    assert {"learning_rate", "warmup_fraction"}.isdisjoint(fixed)
    assert Config.of(next(iter(now.siblings().values()))).train.schedule != RECIPE["schedule"]


def test_a_question_without_a_list_goes_on_comparing_the_variants_of_its_time(plan: Plan) -> None:
    asked = {key: value for key, value in plan(space={"learning_rate": "default"}).items() if key != "compare"}
    old, today = define(asked, name="q", begun=since(4)), define(asked, name="q")
    assert old.compare == SEARCHED_UNTIL[4]["softmax_variant"].values  # type: ignore[union-attr]
    assert today.compare == tuple(variants())
    asked = {**asked, "per": None, "space": {"softmax_variant": "default"}}
    assert define(asked, name="q", begun=since(4)).space["softmax_variant"] == Choices(old.compare)
    assert define(asked, name="q").space["softmax_variant"] == Choices(tuple(variants()))


def test_what_was_accepted_then_is_not_refused_by_a_later_default(plan: Plan) -> None:
    """The branches of cooled rungs leave after the warm-up of then, and before the end of a longer one."""
    pruner = {"name": "asha", "cooled": True}
    base = {"schedule": "wsd", "decay_fraction": 0.6, "eval_interval": 90}
    asked = plan(base=base, pruner=pruner, budget={"trials": 4, "horizon": 900})
    assert define(asked, name="q", begun=since(2)).schema_version == 2
    with pytest.raises(Fault, match=r"warm-up ends at 180 .warmup_fraction 0.2."):
        define({**asked, "base": {**asked["base"], "warmup_fraction": 0.2}}, name="q", begun=since(2))


def test_the_first_trial_of_a_candidate_that_joins_has_the_defaults_of_then(plan: Plan) -> None:
    old = define(plan(space=SEARCHED, pruner="none"), name="q", begun=since(2))
    wider = joined(
        old,
        define(
            plan(space=SEARCHED, pruner="none", compare=["softmax", "polymax", "softermax"]), name="q", begun=since(2)
        ),
    )
    for fixed in wider.siblings().values():
        assert known_points(wider, fixed)[0] == {"learning_rate": 1e-3, "warmup_fraction": 0.05}


@pytest.mark.parametrize("schema", sorted(UNTIL))
def test_a_file_that_is_written_today_means_what_the_question_did(schema: int, plan: Plan, tmp_path: Path) -> None:
    old = define(plan(base={"grad_clip": 3.0, "eval_tokens": None, "eval_iters": 2}), name="q", begun=since(schema))
    path = tmp_path / "q.yaml"
    path.write_text(study_file(old))
    today = define(read_yaml(path).data, name="q")
    assert (old.schema_version, today.schema_version) == (schema, SCHEMA)
    for name, fixed in old.siblings().items():
        assert Config.of(today.siblings()[name]).identity == Config.of(fixed).identity
    assert today.space == old.space
    assert today.kept is None
    assert joined(old, define(read_yaml(path).data, name="q", begun=since(schema))).siblings() == old.siblings()


def test_an_unchanged_file_joins_and_says_so(
    defined: Define,
    corpus: Corpus,
    where: str,
    ask: Callable[..., Question],
    plan: Plan,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ask(name="other")  # makes the database
    file = tmp_path / "q.yaml"
    file.write_text(json.dumps(plan(space=SEARCHED, pruner="none")))
    begun = create_study(file, where)
    old = define(json.loads(file.read_text()), name="q", begun=since(2)).with_fingerprint(corpus.manifest.fingerprint)
    for name in begun.siblings:  # as if it had been made then
        begun.study(name).set_user_attr("tunemax:definition", old.to_json())
    assert main(["study", "create", str(file), "--storage", where]) == 0
    kept = ", ".join(f"{name} {value}" for name, value in RECIPE.items() if name not in SEARCHED)
    told = capsys.readouterr().err.splitlines()
    assert told == [f"q: Begun when other defaults held, and goes on with those: {kept}."]
    assert create_study(file, where).definition == old
    assert main(["study", "show", "q", "--storage", where]) == 0
    assert "goes on with those: schedule cosine" in capsys.readouterr().out
    file.write_text(json.dumps(plan(space=SEARCHED, pruner="none", base={"schedule": "linear"})))
    with pytest.raises(TunemaxError, match=r"base\.schedule: cosine -> linear"):
        create_study(file, where)
