"""The recipes of CONTRIBUTING.md for parts of a training: an attention kind, an optimizer, a dataset and a logger."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from guide import GUIDE, copied, diffs, files, python

PARTS = {
    "Add an attention kind": ["docs/parts.md", "gpt/attention/strided.py", "tests/plain_model.py"],
    "Add an MLP kind": ["docs/parts.md", "gpt/mlp/softplus.py", "tests/plain_model.py"],
    "Add an optimizer": ["gpt/optimizer/adagrad.py", "tests/gpt/test_optimizer_contract.py"],
    "Add a dataset": ["gpt/data/sources.py"],
    "Add a logger": ["gpt/config.py", "gpt/loggers/csv_file.py"],
}
# What is asked of the copy, in one process.
QUESTIONS = """
import csv, json
from pathlib import Path
import torch
from tunemax.gpt import run
from tunemax.gpt.config import Config
from tunemax.gpt.data import open_data
from tunemax.gpt.softmax import variants
from tunemax.gpt.trainer import Trainer

torch.set_num_threads(1)
SHAPE = {"n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 16, "batch_size": 4, "dataset": "pydecimal"}
corpus = open_data("pydecimal")

def config(**values):
    return Config.of({**SHAPE, **values})

def logits(tokens, **values):
    trainer = Trainer(config(**values), corpus)
    return trainer.logits(trainer.add(config(**values)), tokens)[0]

def reached(**values):
    "The places whose predictions change with the token at place 5."
    other = tokens.clone()
    other[0, 5] += 1
    return (logits(tokens, **values) != logits(other, **values)).any(-1).nonzero().flatten().tolist()

def trained(*configs):
    trainer = Trainer(configs[0], corpus)
    members = [trainer.add(config) for config in configs]
    trainer.step(3)
    return [trainer.rows()[trainer.members.index(member)].tolist() for member in members]

def strided(stride):
    return {"attention": "strided", "stride": stride}

tokens = torch.arange(16)[None] * 7 % 100
alike = {"attention": "strided", "stride": 4, "mlp": "softplus", "optimizer": "adagrad"}
variations = ({}, {"softmax_variant": "constantmax", "learning_rate": 0.01}, {"seed": 2})
stack = [config(**alike, **values) for values in variations]

# All four at once, in a run that is killed at iteration 30, beyond its checkpoint at 20, and goes on to 50
def killed(row):
    if row.iteration == 30:
        raise RuntimeError

asked = config(**alike, learning_rate=0.05, csv_file=True, tensorboard=False, log_interval=1, eval_interval=20,
               eval_iters=4, max_iters=50, out_dir="run")
try:
    run.train(asked, killed)
except RuntimeError:
    before = list(csv.DictReader(open("run/scalars.csv")))
ended = run.resume(Path("run"), {}, lambda row: None)
after = list(csv.DictReader(open("run/scalars.csv")))
print(json.dumps({
    "reached": {name: [reached(softmax_variant=name, **kind) for kind in ({}, *map(strided, (1, 4, 16)))]
                for name, variant in variants().items() if variant.positive},
    "wide is plain": all(torch.equal(logits(tokens, **strided(s)), logits(tokens)) for s in (1, 16, 17)),
    "stacked": trained(*stack) == [trained(config)[0] for config in stack],
    "before": before,
    "after": after,
    "ended": ended.rows[-1].train_loss,
    "beside": [path.name for path in Path("run").iterdir()],
    "source": corpus.manifest.source,
}))
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied(tmp_path_factory.mktemp("copy"))


@pytest.fixture(scope="module")
def answers(copy: Path) -> dict[str, Any]:
    answered: dict[str, Any] = json.loads(python(copy, "-c", QUESTIONS))
    return answered


@pytest.mark.parametrize("heading", PARTS)
def test_a_part_is_a_diff_of_one_or_two_files(heading: str) -> None:
    assert [name for diff in diffs(heading) for name in files(diff)] == PARTS[heading]


@pytest.mark.long
def test_the_contract_of_parts_holds_for_new_ones(copy: Path) -> None:
    words = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "strided or softplus or part_is_described")
    ran = python(copy, *words, "tests/gpt/test_parts.py", "tests/test_docs.py")
    assert int(re.findall(r"(\d+) passed", ran)[-1]) > 20


def test_the_table_names_every_recipe_and_the_files_that_it_touches() -> None:
    table = re.findall(r"^\| \[(.*?)\]\(#(.*?)\) \| (.*?) \|", GUIDE, flags=re.MULTILINE)
    headings = re.findall(r"^## (Add .*)$", GUIDE, flags=re.MULTILINE)
    assert [anchor for _, anchor, _ in table] == [heading.lower().replace(" ", "-") for heading in headings]
    for heading, (_, _, places) in zip(headings, table, strict=True):
        touched = [name for diff in diffs(heading) for name in files(diff) if not name.startswith(("docs/", "tests/"))]
        assert len(touched) <= 2
        assert all(name.startswith(tuple(re.findall(r"`(.*?)`", places))) for name in touched), heading


def test_a_stride_hides_what_is_between_whatever_the_variant(answers: dict[str, Any]) -> None:
    assert {"softmax", "constantmax", "taylormax"} <= answers["reached"].keys()
    for everything, all_of_them, four, wide in answers["reached"].values():
        assert four == [5, 6, 7, 8, 9, 13]
        assert everything == all_of_them == wide == list(range(5, 16))
    assert answers["wide is plain"]


def test_members_with_a_stride_and_adagrad_train_in_a_stack_as_alone(answers: dict[str, Any]) -> None:
    assert answers["stacked"]


def test_all_four_train_together(answers: dict[str, Any]) -> None:
    assert answers["source"].endswith("_pydecimal.py")
    assert answers["ended"] < float(answers["before"][0]["value"]) - 0.5


def test_a_csv_file_has_each_iteration_once_after_a_crash(answers: dict[str, Any]) -> None:
    before, after = (
        [(int(row["iteration"]), row["value"]) for row in answers[when] if row["tag"] == "loss/train"]
        for when in ("before", "after")
    )
    assert [iteration for iteration, _ in before] == list(range(1, 31))
    assert [iteration for iteration, _ in after] == list(range(1, 51))
    assert after[:30] == before
    assert [row["iteration"] for row in answers["after"] if row["tag"] == "loss/validation"] == ["20", "40", "50"]
    assert not any("tfevents" in name for name in answers["beside"])
