"""``tunemax browse``: a page of what goes on in models, from what is kept of them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tunemax.gpt import checkpoint
from tunemax.search.charts import inside
from tunemax.search.cli import main
from tunemax.search.results.browsed import LOGITS, Browsed, Glance, browsed
from tunemax.search.storage.paths import trial_folder
from tunemax.search.storage.questions import Question
from tunemax.search.workers.learnables import Trajectories
from tunemax.search.workers.weights import Weights

SHAPE = "--n_layer 2 --n_head 2 --n_embd 16 --block_size 16 --batch_size 4 --max_iters 40 --eval_interval 10"


def train(folder: Path, text: Path, *words: str) -> str:
    assert main(["train", *SHAPE.split(), "--dataset", str(text), "--out_dir", str(folder), *words]) == 0
    return str(folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, text: Path) -> str:
    """Of constantmax, which keeps its weights on the way."""
    folder = tmp_path_factory.mktemp("runs") / "kept"
    return train(folder, text, "--softmax_variant", "constantmax", "--keep_every", "20")


@pytest.fixture(scope="module")
def seen(run: str) -> Browsed:
    (found,) = browsed([run], Glance(prompt="the row of", length=12))
    return found


def test_weights_that_stay_are_those_of_their_iteration(run: str) -> None:
    stays = sorted(Path(run).glob("weights-*"))
    assert [checkpoint.heading(path).iteration for path in stays] == [20, 40]
    last = checkpoint.load(Path(run) / "checkpoint.safetensors")
    assert all(torch.equal(tensor, last.tensors[name]) for name, tensor in checkpoint.load(stays[-1]).tensors.items())


def test_all_that_is_kept_is_seen_in_order(seen: Browsed, run: str) -> None:
    assert [moment.iteration for moment in seen.moments] == [20, 40]
    assert [moment.attention.shape for moment in seen.moments] == [(2, 2, 10, 10)] * 2
    assert "".join(seen.moments[0].tokens) == "the row of"
    assert not torch.equal(seen.moments[0].attention, seen.moments[1].attention)
    assert all(moment.text.startswith("the row of") for moment in seen.moments)
    assert seen.moments[0].text != seen.moments[1].text
    assert (seen.moments[1].attention.triu(1) == 0).all()


def test_the_weight_of_a_key_follows_its_formula_with_what_was_learnt(seen: Browsed) -> None:
    at = list(seen.weights)
    assert at == [10, 20, 30, 40]
    for layer in range(2):
        beta, gamma = (seen.learnables[name][layer][40] for name in ("beta", "gamma"))
        expected = [math.exp(x - beta) / gamma for x in LOGITS]
        assert seen.weights[40][layer] == pytest.approx(expected, rel=1e-4)


def test_a_softmax_has_one_curve_that_knows_of_the_other_keys(text: Path, tmp_path: Path) -> None:
    (found,) = browsed([train(tmp_path / "soft", text, "--max_iters", "10")], Glance(length=0))
    ((at, (curve,)),) = found.weights.items()
    assert at == 0
    assert curve == pytest.approx([math.exp(x) / (math.exp(x) + 31) for x in LOGITS], rel=1e-5)
    rows = found.moments[0].attention.sum(-1)
    assert torch.allclose(rows, torch.ones_like(rows), atol=1e-5)
    assert list(inside.learnables(found)) == []


def test_the_pictures_are_of_every_head_and_learnable(seen: Browsed) -> None:
    pictures = inside.inside(seen)
    heads = [f"attention-{at}-layer{layer}-head{head}" for at in (20, 40) for layer in (0, 1) for head in (0, 1)]
    assert list(pictures) == [*heads, "learnable-beta", "learnable-gamma", "weight-layer0", "weight-layer1"]


def test_the_page_has_maps_texts_and_no_script(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "browse.html"
    assert main(["browse", run, "--prompt", "no <b>row", "--length", "5", "--out", str(page)]) == 0
    assert capsys.readouterr().out == f"{page}\n"
    text = page.read_text()
    assert "<script" not in text
    assert "<b>row" not in text
    assert text.count("<figure>") == 2 * 4 + 2 + 2
    assert len(re.findall(r"---- at iteration \d+\nno &lt;b&gt;row", text)) == 2
    assert not list(tmp_path.glob("*.partial*"))


def test_a_trial_is_looked_into_and_what_it_keeps_goes_with_its_question(
    ask: Callable[..., Question], work: Callable[..., Any], where: str
) -> None:
    question = ask(compare=["softmax", "constantmax"], base={"keep_every": 10}, budget={"trials": 2})
    url = str(question.storage.url)
    work(question, watchers=[Weights(url, pytest.fail), Trajectories(url)])
    (found,) = browsed(["q/constantmax"], Glance(length=4), where)
    assert [moment.iteration for moment in found.moments] == [10, 20]
    assert set(found.learnables) == {"beta", "gamma", "row_max", "denominator"}
    folder = trial_folder(url, "q/softmax", 0)
    assert list(folder.glob("weights-*"))
    assert main(["clean", "weights", "q", "--yes", "--storage", where]) == 0
    assert not list(folder.glob("weights*"))
    work(ask(compare=["softmax", "constantmax"], base={"keep_every": 10}, budget={"trials": 3}),
         watchers=[Weights(url, pytest.fail)])  # fmt: skip
    assert main(["study", "delete", "q", "--yes", "--storage", where]) == 0
    assert not folder.parent.parent.exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "browse needs a run, a trial, a candidate or a checkpoint; name one or more"),
        (["{run}", "--tokens", "1"], "--tokens = 1: expected a whole number from 2 to 64"),
        (["{run}", "--prompt", "x"], "prompt: 'x' is one token, which sees nothing before it; give a longer one"),
        (["{run}", "--out", "no/such/{file}/b.html"], "no/such"),
        (["nothing"], "nothing: no folder of a run, no checkpoint, and there is no database of studies here"),
    ],
    ids=str,
)
def test_what_cannot_be_seen_is_one_line(
    words: list[str], told: str, run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TUNEMAX_STORAGE", raising=False)
    (tmp_path / "no").write_text("a file")
    capsys.readouterr()
    assert main(["browse", *(word.format(run=run, file="x") for word in words)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"tunemax: {told}")
    assert err.count("\n") == 1


def test_keeping_weights_makes_no_other_training(run: str) -> None:
    config = json.loads((Path(run) / "config.json").read_text())["config"]
    assert config["keep_every"] == 20
