"""CONTRIBUTING.md keeps its word: its diffs are applied to a copy of the sources, and what it promises is seen
there."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
from guide import ROOT, blocks, copied, diffs, files, python

from tunemax.gpt.config import Config
from tunemax.search.question.study_file import load_study_file

(FIELD,), (VARIANT, ORACLE) = diffs("Add a field"), diffs("Add a variant")
(SAMPLER,), (PRUNER,), (ENVIRONMENT,) = map(diffs, ("Add a sampler", "Add a pruner", "Add an environment"))
(COLUMN,) = diffs("Add a leaderboard column")
TUNEMAX = "import sys; from tunemax.search.cli import main; sys.exit(main())"
# What is asked of the copy, in one process: a study's dimensions, refusals, identities, and a training that moves the
# base.
QUESTIONS = """
import json, sys
from pathlib import Path
import tunemax
from tunemax.gpt.config import Config
from tunemax.gpt.data import open_data
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.trainer import Trainer
from tunemax.search.question.study_file import load_study_file
from tunemax.search.question.suggest import distributions

def refusal(values):
    try:
        Config.of(values)
    except TunemaxError as error:
        return str(error)

study, text, configs = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
definition = load_study_file(study)
config = Config.of({"softmax_variant": "constantmax", "constantmax.learn_base": True, "n_layer": 1, "n_head": 2,
"n_embd": 8,
                    "block_size": 8, "batch_size": 2, "learning_rate": 0.01, "dataset": text})
trainer = Trainer(config, open_data(text))
member = trainer.add(config)
trainer.step(5)
print(json.dumps({
    "from": str(Path(tunemax.__file__).parents[1]),
    "dimensions": {name: {field: str(found) for field, found in distributions(definition, fixed).items()}
                   for name, fixed in definition.siblings().items()},
    "refused": [refusal({"constantmax.learn_base": "maybe"}), refusal({"constantmax.lern_base": True})],
    "identities": [Config.of(values).identity for values in configs],
    "base": trainer.learnables(member)["base"].flatten().tolist(),
}))
"""
# A sampler and a pruner of the copy, as a study file names them: what is made of them, and what is refused.
NAMED = """
import json, sys
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.study_file import define
from tunemax.search.question.yaml_lines import Fault

def asked(**parts):
    plan = {"question": "?", "space": {"learning_rate": "default"}, "budget": {"trials": 8, "horizon": 30}}
    try:
        definition = define({**plan, **parts}, name="q")
    except Fault as fault:
        return str(fault)
    read = StudyDefinition.from_json(definition.to_json())
    return [type(read.make_sampler("q", 0)).__name__, type(read.pruner.make(30)).__name__]

print(json.dumps([asked(**parts) for parts in json.loads(sys.argv[1])]))
"""
# Two results, and what every view makes of them.
VIEWS = """
import json, sys
from pathlib import Path
from optuna_dashboard import get_note
from tunemax.gpt.config import Config
from tunemax.gpt.data import open_data
from tunemax.search.question.study_file import load_study_file
from tunemax.search.storage.attributes import CONFIG
from tunemax.search.storage.trials import set_system_attr
from tunemax.search.storage.questions import create
from tunemax.search.cli import main
from tunemax.search.views.dashboard.publish import publish
from tunemax.search.views.report import write

question = create("views.db", load_study_file(sys.argv[1]), open_data(sys.argv[2]))
study = question.study("views/softmax")
for loss in (2.5, 2.25):
    trial = study.ask()
    set_system_attr(trial, CONFIG, json.dumps(Config.of({}).flat()))
    study.tell(trial, loss)
publish(question)
main(["study", "leaderboard", "views", "--storage", "views.db"])
print(get_note(study), *(path.read_text() for path in write(question, Path("report"))), sep="\\n")
"""
STUDY = """
question: Does a base that is learned do better, and what does taylormax do?
per: softmax_variant
compare: [softmax, constantmax, taylormax]
space: {learning_rate: default, constantmax.learn_base: default, taylormax.scale: default}
budget: {trials: 2, horizon: 10}
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied(tmp_path_factory.mktemp("copy"))


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("to be or not to be, that is the question. " * 400)
    return path


# ---- the diffs -------------------------------------------------------------------------------------------------------


def test_a_field_is_a_diff_of_one_class(copy: Path) -> None:
    assert files(FIELD) == ["gpt/softmax/constantmax.py"]
    before, after = (ast.parse((root / "gpt/softmax/constantmax.py").read_text()) for root in (ROOT, copy))
    changed = [new for old, new in zip(before.body, after.body, strict=True) if ast.dump(old) != ast.dump(new)]
    assert [node.name for node in changed if isinstance(node, ast.ClassDef)] == ["Constantmax"]
    assert len(changed) == 1


def test_a_variant_is_a_diff_of_one_new_class(copy: Path) -> None:
    assert files(VARIANT) == ["gpt/softmax/taylormax.py"]
    assert not (ROOT / "gpt/softmax/taylormax.py").exists(), (
        "taylormax is part of tunemax now; the guide needs another example"
    )
    body = ast.parse((copy / "gpt/softmax/taylormax.py").read_text()).body
    assert [node.name for node in body if isinstance(node, (ast.ClassDef, ast.FunctionDef))] == ["Taylormax"]


def test_an_oracle_is_a_test(copy: Path) -> None:
    assert files(ORACLE) == ["tests/softmax_oracles.py"]


@pytest.mark.parametrize(("diff", "room", "cls"), [(SAMPLER, "samplers", "Nsga2"), (PRUNER, "pruners", "Threshold")])
def test_a_sampler_or_a_pruner_is_a_diff_of_one_new_class_and_its_rows(
    copy: Path, diff: str, room: str, cls: str
) -> None:
    assert files(diff) == ["docs/study_files.md", f"search/question/{room}.py"]
    before, after = (
        {ast.dump(node) for node in ast.parse((root / f"search/question/{room}.py").read_text()).body}
        for root in (ROOT, copy)
    )
    assert len(after - before) == 2, "an import and a class"
    assert any(f"ClassDef(name='{cls}'" in node for node in after - before)


def test_an_environment_is_a_diff_of_one_row(copy: Path) -> None:
    assert files(ENVIRONMENT) == ["envs/ids.py"]
    assert re.findall(r"^[-+] {0,4}\S.*", ENVIRONMENT.partition("@@")[2], flags=re.MULTILINE) == [
        '+    "tunemax/Dropout-v1": Row(',
        "+    ),",
    ]


def test_a_leaderboard_column_is_a_diff_of_one_file(copy: Path) -> None:
    assert files(COLUMN) == ["search/views/tables.py"]


def test_the_diffs_are_in_house_style(copy: Path) -> None:
    changed = [name for diff in blocks("diff") for name in files(diff) if name.endswith(".py")]
    python(copy, "-m", "ruff", "check", "--no-cache", *changed)
    python(copy, "-m", "ruff", "format", "--no-cache", "--check", *changed)


# ---- what follows from them ------------------------------------------------------------------------------------------


def test_flags_appear_in_their_group(copy: Path) -> None:
    lines = [line.strip() for line in python(copy, "-c", TUNEMAX, "train", "--help-all").splitlines()]
    model, training, logging = (lines.index(f"{group}:") for group in ("model", "training", "logging"))
    of_variants = (
        "--constantmax.learn_base, --no-constantmax.learn_base",
        "--taylormax.scale",
        "--taylormax.learn_scale",
    )
    for flag in ("--window", *of_variants):
        assert any(line.startswith(flag) for line in lines[model:training]), flag
    assert any("adagrad" in line for line in lines[training:logging])  # among those of --optimizer
    assert any(line.startswith("--csv_file, --no-csv_file") for line in lines[logging:])


def test_rows_of_the_reference_appear(copy: Path) -> None:
    rows = python(copy, "-c", TUNEMAX, "fields", "--markdown").splitlines()
    assert (
        "| `constantmax.learn_base` | false | true or false | SGD moves b from its start, in log form; "
        "only with softmax_variant = constantmax | false, true |  |" in rows
    )
    assert "## taylormax" in rows
    assert any(row.startswith("| `taylormax.scale` | 1 | ") for row in rows)


def test_dimension_check_identity_and_effect_follow(copy: Path, text: Path) -> None:
    (copy / "study.yaml").write_text(STUDY)
    old: list[dict[str, Any]] = [
        {},
        *({"softmax_variant": name} for name in ("constantmax", "strongermax")),
        {"n_layer": 2, "seed": 3},
    ]
    constantmax = {"softmax_variant": "constantmax"}
    only_base = {
        **constantmax,
        "constantmax.learn_base": True,
        "constantmax.learn_beta": False,
        "constantmax.learn_gamma": False,
    }
    new = [
        {"constantmax.learn_base": False},
        {"constantmax.learn_base": True},
        only_base,
        {**only_base, "constantmax.sharing": "head"},
    ]
    asked = [*old, *({**constantmax, **values} for values in new)]
    found = json.loads(python(copy, "-c", QUESTIONS, "study.yaml", str(text), json.dumps(asked)))
    assert Path(found["from"]).samefile(copy)
    dimensions = found["dimensions"]
    assert dimensions["study/constantmax"]["constantmax.learn_base"] == "CategoricalDistribution(choices=(False, True))"
    assert list(dimensions["study/taylormax"]) == ["learning_rate", "taylormax.scale"]
    assert list(dimensions["study/softmax"]) == ["learning_rate"]
    assert found["refused"] == [
        "constantmax.learn_base = maybe: expected true or false",
        "constantmax.lern_base: no such field; did you mean `constantmax.learn_base`?",
    ]
    assert found["identities"][: len(old)] == [Config.of(values).identity for values in old]
    neutral, *moved = found["identities"][len(old) :]
    assert neutral == Config.of(constantmax).identity
    assert len({neutral, *moved}) == 4
    assert all(base != pytest.approx(2.718281828459045, rel=1e-4) for base in found["base"])


def test_the_new_column_stands_in_every_view(copy: Path, text: Path) -> None:
    plan = "question: Which?\nper: softmax_variant\ncompare: [softmax, polymax]\nspace: {learning_rate: default}\n"
    (copy / "views.yaml").write_text(f"{plan}data: {text}\nbudget: {{trials: 2, horizon: 10}}\n")
    shown = python(copy, "-c", VIEWS, "views.yaml", str(text)).replace("\u00a0", "")
    for row in (
        r"softmax +2\.2500 +2\.3750 +0\.2500 +2 ",
        r"\| 1 \| \[.*softmax.*\]\(\S*\) \| 2\.2500 \| 2\.3750 \| 0\.2500 \|",
        r"<td>softmax</td><td>2\.2500</td><td>2\.3750</td><td>0\.2500</td>",
        r"\| softmax \| 2\.2500 \| 2\.3750 \| 0\.2500 \|",
        r"softmax,views/softmax,1,2\.25,2\.375,0\.25,,,,2,",
        r"polymax +– +– +– +0 ",
        r"polymax,views/polymax,,,,,,,,0,",
    ):
        assert re.search(row, shown), row


@pytest.mark.long
def test_contract_tests_appear_and_pass(copy: Path) -> None:
    names = "constantmax or taylormax or released or window or adagrad"
    suites = (
        "tests/gpt/test_softmax_contract.py",
        "tests/gpt/test_softmax_exact.py",
        "tests/gpt/test_config.py",
        "tests/gpt/test_fields.py",
        "tests/gpt/test_optimizer_contract.py",
    )
    passed = [
        line.split(" PASSED")[0]
        for line in python(copy, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-k", names, *suites).splitlines()
        if " PASSED" in line
    ]
    for expected in (
        "[huge_logits_stay_finite-constantmax:beta=10,gamma=1000,base=5,learn_base=True]",
        "test_weights_are_those_of_the_formula[taylormax:defaults]",
        "[learnables_get_gradients-taylormax:scale=10,learn_scale=True]",
        "test_identity_of_a_released_configuration_never_changes",
        "test_a_search_range_is_valid_and_not_empty[constantmax.learn_base]",
        "test_a_search_range_is_valid_and_not_empty[window]",
        "test_both_forms_of_an_update_are_the_papers_to_1e_9[adagrad-{}]",
        "test_a_control_moves_between_valid_numbers[taylormax.scale]",
    ):
        assert any(line.endswith(expected) for line in passed), (
            f"{expected} is not among the {len(passed)} tests that passed"
        )


@pytest.mark.long
def test_contract_tests_of_the_new_environment_appear_and_pass(copy: Path) -> None:
    words = ("-m", "pytest", "-v", "-p", "no:cacheprovider", "-k", "Dropout", "tests/envs/test_contract.py")
    passed = python(copy, *words)
    for expected in ("test_gymnasiums_checker_has_nothing_to_say", "test_an_id_is_written_up_in_gymnasiums_sections"):
        assert f"{expected}[tunemax/Dropout-v1] PASSED" in passed


def test_the_new_variant_trains(copy: Path, text: Path) -> None:
    shape = (
        "--n_layer 1 --n_head 2 --n_embd 8 --block_size 8 --batch_size 2 --eval_iters 1 --max_iters 4 --no-tensorboard"
    )
    words = [
        "train",
        "--softmax_variant",
        "taylormax",
        "--taylormax.learn_scale",
        *shape.split(),
        "--dataset",
        str(text),
        "--out_dir",
        "run",
    ]
    assert "finished at iteration 4" in python(copy, "-c", TUNEMAX, *words)
    assert json.loads((copy / "run/config.json").read_text())["config"]["taylormax.learn_scale"] is True


def test_the_new_sampler_and_pruner_can_be_named_in_a_study_file(copy: Path) -> None:
    threshold = {"name": "threshold", "above": 6}
    asked: list[dict[str, Any]] = [
        {"sampler": "nsga2", "pruner": "threshold"},
        {"sampler": {"name": "nsga2", "population": 50}, "pruner": threshold},
        {"sampler": {"name": "nsga2", "population": 1}},
        {"sampler": {"name": "nsga2", "startup": 4}},
        {"sampler": {"name": "tpe", "population": 50}},
        {"pruner": {**threshold, "reduction": 3}},
        {"pruner": {"name": "threshold", "abov": 6}},
        {"sampler": "nsga3"},
    ]
    assert json.loads(python(copy, "-c", NAMED, json.dumps(asked))) == [
        *[["NSGAIISampler", "ThresholdPruner"]] * 2,
        "sampler.population: 1, expected a number ≥ 2",
        "sampler: nsga2 has no start-up trials; leave startup out",
        "sampler: tpe has no population; it belongs to nsga2",
        "pruner: threshold has no reduction; it belongs to asha",
        "pruner.abov: no such key here; did you mean `above`?",
        "sampler: nsga3: no such sampler; did you mean `nsga2`?",
    ]


@pytest.mark.long
def test_contract_tests_of_samplers_and_pruners_appear_and_pass(copy: Path) -> None:
    suites = [f"tests/search/question/test_{name}.py" for name in ("named", "samplers", "pruners")]
    names = "nsga2 or threshold or every_key or every_sampler_and_pruner"
    ran = python(copy, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-k", names, *suites, "tests/test_docs.py")
    for expected in (
        "test_it_reads_back_from_a_storage[sampler:nsga2]",
        "test_workers_and_restarts_do_not_repeat_each_others_points[nsga2]",
        "test_options_that_it_does_not_have_are_refused[pruner:threshold]",
        "test_the_best_trial_is_never_pruned[threshold]",
        "test_every_sampler_and_pruner_is_described[Pruner]",
    ):
        assert f"{expected} PASSED" in ran


# ---- the study -------------------------------------------------------------------------------------------------------


def test_the_study_of_the_guide_is_one(tmp_path: Path) -> None:
    (study,) = blocks("yaml")
    (tmp_path / "constantmax_sharing.yaml").write_text(study)
    definition = load_study_file(tmp_path / "constantmax_sharing.yaml")
    assert study.startswith(f"# {definition.question}\n")
    assert list(definition.siblings()) == ["constantmax_sharing/layer", "constantmax_sharing/head"]
