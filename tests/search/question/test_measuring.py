"""How trials of a question are measured: alike, whatever is searched, and by the rule of the time it was made."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from optuna.trial import FixedTrial

from tunemax.gpt.config import Config
from tunemax.gpt.data import Corpus
from tunemax.gpt.defaults import SCHEMA
from tunemax.gpt.errors import TunemaxError
from tunemax.search.question.changes import joined
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.schema import json_schema, study_file
from tunemax.search.question.stages import Confirm
from tunemax.search.question.study_file import define
from tunemax.search.question.suggest import suggest
from tunemax.search.question.yaml_lines import Fault, read_yaml
from tunemax.search.results.findings import gather
from tunemax.search.results.winners import confirm
from tunemax.search.storage.questions import Question, create
from tunemax.search.views.answer import answer
from tunemax.search.views.dashboard.notes import of_a_confirmation, of_a_tuning
from tunemax.search.views.report.contents import sections

Define = Callable[..., StudyDefinition]
Ask = Callable[..., Question]
Work = Callable[..., Any]


OLD = {"eval_iters": 2, "eval_tokens": None}
"""What a study file of before had."""


def before(definition: StudyDefinition) -> StudyDefinition:
    """The definition as an older version has stored it: without a number, and without `eval_tokens`."""
    stored = json.loads(definition.to_json())
    del stored["schema_version"]
    stored["base"].pop("eval_tokens", None)
    return StudyDefinition.from_json(json.dumps(stored))


def configs(definition: StudyDefinition) -> list[Config]:
    return [Config.of(fixed) for fixed in definition.siblings().values()]


def test_eval_iters_become_tokens_once_whatever_a_trial_searches(defined: Define) -> None:
    space = {"batch_size": [4, 8], "block_size": [16, 32], "learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}}
    definition = defined(
        base={"eval_iters": 8, "eval_tokens": None, "eval_interval": None, "batch_size": None, "block_size": None},
        space=space,
        budget={"trials": 4, "horizon": None, "tokens": 10_000},
    )
    tokens = 8 * 12 * 64  # the defaults stand in for what is searched
    assert definition.base["eval_tokens"] == tokens
    for batch in (4, 8):
        for context in (16, 32):
            point = FixedTrial({"batch_size": batch, "block_size": context, "learning_rate": 1e-3})
            config = Config.of(suggest(point, definition, definition.siblings()["q/softmax"]))
            assert config.train.eval_tokens == tokens


def test_a_file_written_again_means_the_same(defined: Define, tmp_path: Any) -> None:
    asked = {"eval_iters": 8, "eval_tokens": None}
    for definition in (defined(), defined(base=asked), before(defined(base=asked))):
        path = tmp_path / "q.yaml"
        path.write_text(study_file(definition))
        again = define(read_yaml(path).data, name="q")
        assert configs(again) == configs(definition)


@pytest.mark.parametrize(
    ("base", "message"),
    [
        (
            {"eval_iters": 8, "eval_tokens": 4096},
            "eval_iters = 8 stands for eval_tokens = 512, and eval_tokens is 4096",
        ),
        ({"eval_tokens": 60}, "less than one span of text"),
    ],
)
def test_what_cannot_be_an_evaluation_is_refused(base: dict[str, Any], message: str, defined: Define) -> None:
    with pytest.raises(Fault, match=message) as fault:
        defined(base=base)
    assert len(str(fault.value).splitlines()) == 1


def test_an_evaluation_longer_than_its_slice_is_refused(defined: Define, corpus: Corpus, where: str) -> None:
    there = len(corpus.slices["tuning"])
    long = defined(base={"eval_tokens": there + 1})
    with pytest.raises(TunemaxError, match=rf"eval_tokens = {there + 1}: tuning of words has {there}; take at most"):
        create(where, long, corpus)
    create(where, defined(base={"eval_iters": 10**6, "eval_tokens": None}), corpus)  # of which the whole slice is taken


@pytest.mark.parametrize("field", ["eval_tokens", "eval_by", "eval_iters", "divergence_margin"])
def test_how_trials_are_measured_is_no_dimension(field: str, plan: Callable[..., dict[str, Any]]) -> None:
    values = {"eval_by": ["tokens", "windows"], "divergence_margin": [0.5, 2]}.get(field, [512, 1024])
    reason = f"{field} decides how trials are measured, which must be the same for all of them; set it in base"
    with pytest.raises(Fault, match=reason):
        define(plan(base={"eval_tokens": None}, space={field: values}), name="q")
    with pytest.raises(Fault, match=reason):
        define(plan(base={"eval_tokens": None}, per=field, compare=values), name="q")
    assert field not in json_schema()["properties"]["space"]["properties"]


def test_what_is_inert_names_all_that_would_change_it(plan: Callable[..., dict[str, Any]]) -> None:
    asked = plan(compare=["softmax", "strongermax"], space={"strongermax.maximum": "default"})
    either = r"only if strongermax.divide_by_sum is false \(it is true\) or strongermax.obo is above 0 \(it is 0"
    with pytest.raises(Fault, match=either):
        define(asked, name="q")


# --- the old rule


def test_a_stored_definition_without_a_number_keeps_the_old_rule(defined: Define) -> None:
    new, old = defined(base=OLD), before(defined(base=OLD))
    assert (new.schema_version, old.schema_version) == (SCHEMA, 1)
    assert {config.train.eval_by for config in configs(new)} == {"tokens"}
    assert {config.train.eval_by for config in configs(old)} == {"windows"}
    assert new.rule is None
    assert old.rule is not None
    assert StudyDefinition.from_json(old.to_json()) == old


def test_an_unchanged_file_goes_on_with_an_old_study(defined: Define) -> None:
    old = before(defined(base=OLD))
    merged = joined(old, defined(base=OLD))
    assert [config.identity for config in configs(merged)] == [config.identity for config in configs(old)]
    assert merged.rule == old.rule


@pytest.mark.parametrize(
    ("base", "change"),
    [
        ({"eval_tokens": 4096}, "base.eval_tokens: none -> 4096 .the study is measured by the old"),
        ({**OLD, "eval_by": "tokens"}, "base.eval_by: windows -> tokens"),
        ({**OLD, "eval_iters": 5}, "base.eval_iters: 2 -> 5"),
    ],
)
def test_a_file_that_asks_an_old_study_for_the_new_rule_is_refused(
    base: dict[str, Any], change: str, defined: Define
) -> None:
    with pytest.raises(TunemaxError, match=change):
        joined(before(defined(base=OLD)), defined(base=base))


def test_an_old_question_is_shown_and_confirmed_by_its_rule(
    defined: Define, corpus: Corpus, where: str, ask: Ask, work: Work
) -> None:
    ask(name="other")  # makes the database
    question = create(where, before(defined()), corpus)
    work(question)
    confirmed = confirm(question, Confirm(seeds=2))
    work(confirmed)
    rule = "Measured by the old rule"
    for name, trials in (*question.trials().items(), *confirmed.trials().items()):
        for trial in trials:
            assert json.loads(trial.system_attrs["tunemax:config"])["eval_by"] == "windows", name
    findings = gather(question)
    assert findings.to_json()["rule"] == question.definition.rule
    studies = {name: question.study(name) for name in question.siblings}
    notes = of_a_tuning(question, findings.board, findings.confirmations, studies, "q/softmax")
    own = of_a_confirmation(confirmed, findings.confirmations[0], "q.confirmed/softmax")
    report = " ".join(sections(findings)[0].sentences)
    assert all(rule in text for text in (answer(findings), notes, own, report))
    other = ask(name="other")
    assert rule not in answer(gather(other))
