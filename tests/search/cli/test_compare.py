"""``tunemax compare``: models side by side, and what cannot stand there."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plugged import HEAD, HOT, forgetting, written

from tunemax.gpt import checkpoint, plugins
from tunemax.gpt.data import Corpus, open_data
from tunemax.gpt.errors import TunemaxError
from tunemax.search import compare
from tunemax.search.charts.models import Shown
from tunemax.search.cli import main
from tunemax.search.question.stages import Confirm
from tunemax.search.results.beside import Asked, beside, by_position, edges_of
from tunemax.search.results.history import history
from tunemax.search.results.signed_rank import typical
from tunemax.search.results.trained import every, find
from tunemax.search.results.winners import confirm
from tunemax.search.storage.questions import Question
from tunemax.search.workers.learnables import Trajectories
from tunemax.search.workers.loggers import TrialLoggers
from tunemax.search.workers.weights import Weights

SHAPE = "--n_layer 1 --n_head 2 --n_embd 16 --block_size 16 --batch_size 4"
RUN = [*SHAPE.split(), "--max_iters", "20", "--eval_interval", "10"]
QUICK = ["--tokens", "1024", "--length", "8"]


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line with which a command is refused, before it has printed anything."""
    capsys.readouterr()
    assert main(list(words)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err.removeprefix("tunemax: ").removesuffix("\n")


def typed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(list(words)) == 0
    return capsys.readouterr().out


def train(folder: Path, text: Path | str, *words: str) -> str:
    assert main(["train", *RUN, "--dataset", str(text), "--out_dir", str(folder), *words]) == 0
    return str(folder)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, text: Path) -> dict[str, str]:
    """Folders of runs: two variants, and one with another context."""
    root = tmp_path_factory.mktemp("runs")
    return {
        "soft": train(root / "soft", text),
        "constant": train(root / "constant", text, "--softmax_variant", "constantmax"),
        "wide": train(root / "wide", text, "--block_size", "24", "--no-tensorboard"),
    }


@pytest.fixture(scope="module")
def found(runs: dict[str, str]) -> dict[str, Any]:
    return compare(runs["soft"], runs["constant"], runs["wide"], tokens=1024, length=8).to_json()


@pytest.fixture
def confirmed(ask: Callable[..., Question], work: Callable[..., Any]) -> Question:
    """Two candidates on six seeds, with their weights."""
    asked = ask(compare=["softmax", "constantmax"])
    url = str(asked.storage.url)
    work(asked, watchers=[Weights(url, pytest.fail)])
    opened = confirm(asked, Confirm(seeds=6))
    watchers = [Weights(url, pytest.fail), Trajectories(url), TrialLoggers(opened, pytest.fail)]
    work(opened, watchers=watchers, slots=12)
    return opened


# ---- what is told ----------------------------------------------------------------------------------------------------


def test_all_are_asked_the_same_tokens_whatever_their_context(runs: dict[str, str], found: dict[str, Any]) -> None:
    shown = beside(list(runs.values()), Asked(tokens=1024, length=8))
    places = [sorted(side.first.read.places.tolist()) for side in shown.sides]
    assert places[0] == places[1] == places[2]
    assert len(places[0]) == len(set(places[0])) == shown.bytes
    assert [side["name"] for side in found["sides"]] == list(runs.values())
    models = [side["models"][0] for side in found["sides"]]
    for model in models:
        assert model["bits_a_byte"] == pytest.approx(model["loss"] / math.log(2))  # a token is a byte
        assert 0 <= model["accuracy"]["1"] <= model["accuracy"]["5"] <= 1
        assert model["tokens"] == 20 * 4 * model["config"]["block_size"]
    assert models[1]["parameters"] == models[0]["parameters"] + 2
    assert set(models[1]["learnables"]) == {"beta", "gamma", "row_max", "denominator"}
    assert models[0]["learnables"] == {}
    shares = found["disagreements"][0]
    assert shares["both"] + shares["first"] == pytest.approx(models[0]["accuracy"]["1"])
    assert shares["both"] + shares["second"] == pytest.approx(models[1]["accuracy"]["1"])
    assert shares["both"] + shares["first"] + shares["second"] + shares["neither"] == pytest.approx(1)


def test_an_example_is_a_token_that_one_knows_and_the_other_does_not(
    runs: dict[str, str], found: dict[str, Any], corpus: Corpus
) -> None:
    of_first, of_second = found["disagreements"][0]["examples"]
    assert of_first
    for shown, knows in ((of_first, 0), (of_second, 1)):
        apart = [each["losses"][1 - knows] - each["losses"][knows] for each in shown]
        assert apart == sorted(apart, reverse=True)
        for each in shown:
            tokens = corpus.slices["test"]
            assert corpus.decode(tokens[each["place"] : each["place"] + 1]) == each["token"]
            assert corpus.decode(tokens[max(0, each["place"] - 32) : each["place"]]) == each["before"]
            assert each["guesses"][knows] == each["token"] != each["guesses"][1 - knows]


def test_the_page_of_a_terminal_has_every_part_in_80_columns(
    runs: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(runs["soft"]).parent)
    monkeypatch.setenv("COLUMNS", "80")
    out = typed(capsys, "compare", "soft", "constant", *QUICK, "--curve", "train_loss", "--curve", "gamma")
    assert max(map(len, out.splitlines())) <= 80
    for part in (
        "bits/byte", "ECE", "guarded", "loss/train (nats a token) by iteration", "softmax/gamma by iteration",
        "the same 1,024 targets for all", "One run each: this says which of these models is ahead",
        "loss, soft", "both right  only the first", "Only soft knows, and constant least:", "entropy, constant",
        "beta, constant", "----\nsoft: ",
    ):  # fmt: skip
        assert " ".join(part.split()) in " ".join(out.split())


def test_files_are_a_page_and_pictures_of_each_kind(
    runs: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--out", str(tmp_path / "seen"), "--over", "flops", "--log", "xy", "--prompt", "the row"]
    out = typed(capsys, "compare", runs["soft"], runs["constant"], *QUICK, *words)
    named = {path.name for path in (tmp_path / "seen").iterdir()}
    pictures = ("curves-loss-validation", "loss-by-position", "top-1-by-position", "top-5-by-position", "calibration")
    assert named == {"compare.html", *(f"{name}.{kind}" for name in (*pictures, "entropy") for kind in ("svg", "png"))}
    assert all(str(tmp_path / "seen" / name) in out for name in named)
    page = (tmp_path / "seen" / "compare.html").read_text()
    assert "<script" not in page
    assert page.count("<figcaption>") == 6
    assert f"{runs['soft']}: the row" in page


def test_json_and_python_say_the_same(runs: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    two = runs["soft"], runs["constant"]
    printed = json.loads(typed(capsys, "compare", *two, *QUICK, "--json"))
    ours = compare(*two, tokens=1024, length=8, curves=["beta"])
    for told in (printed, own := ours.to_json()):
        for side in told["sides"]:
            del side["tokens_per_s_written"], side["models"][0]["tokens_per_s_read"]
    assert printed == json.loads(json.dumps(own))
    assert list(ours.table.index) == list(two)
    assert ours.table.loc[two[0], "loss"] == own["sides"][0]["models"][0]["loss"]
    assert list(ours.figures) == [
        "curves-beta", "loss-by-position", "top-1-by-position", "top-5-by-position", "calibration", "entropy",
    ]  # fmt: skip
    assert "ECE" in str(ours)
    assert own["sides"][0]["models"][0]["code"] == {"tunemax": checkpoint.installed(), "plugins": []}


def test_positions_are_put_together_by_powers_of_two(runs: dict[str, str]) -> None:
    assert edges_of(16) == [1, 2, 3, 5, 9, 17]
    assert edges_of(24) == [1, 2, 3, 5, 9, 17, 33]
    shown = beside([runs["soft"], runs["wide"]], Asked(tokens=1024, length=0))
    groups = [[group[:2] for group in by_position(side.first)] for side in shown.sides]
    assert groups == [[(1, 1), (2, 2), (3, 4), (5, 8), (9, 16)], [(1, 1), (2, 2), (3, 4), (5, 8), (9, 16), (17, 24)]]
    losses = by_position(shown.sides[1].first)
    read = shown.sides[1].first.placed
    assert losses[0][2] == pytest.approx(float(np.mean(read.losses[read.seen == 1])))


# ---- curves ----------------------------------------------------------------------------------------------------------


def test_everything_that_a_run_has_logged_can_be_drawn(runs: dict[str, str]) -> None:
    logged = history(find(runs["constant"]))
    assert {"loss/train", "loss/validation", "train/learning_rate", "speed/tokens_per_s"} <= logged.values.keys()
    assert {"softmax/layer0/head0/beta", "softmax/layer0/beta", "softmax/beta"} <= logged.values.keys()
    assert logged.called("validation_loss") == "loss/validation"
    assert logged.called("beta") == "softmax/beta"
    rows = [json.loads(line) for line in (Path(runs["constant"]) / "metrics.jsonl").read_text().splitlines()]
    assert logged.values["loss/train"] == {row["iteration"]: row["train_loss"] for row in rows}
    assert list(logged.seconds.values()) == sorted(logged.seconds.values())
    without = history(find(runs["wide"]))  # no TensorBoard
    assert "loss/train" in without.values
    assert not any(name.startswith("softmax/") for name in without.values)


@pytest.mark.parametrize(("over", "each"), [("step", 1), ("tokens", 64), ("flops", None), ("seconds", None)])
def test_curves_lie_over_what_is_asked_for(runs: dict[str, str], over: Any, each: float | None) -> None:
    shown = compare(runs["soft"], runs["constant"], tokens=64, length=0, shown=Shown(over))
    curves = shown.pictures["curves-loss-validation"].curves  # type: ignore[union-attr]
    for curve in curves:
        across = [point.x for point in curve.points]
        assert across == sorted(across)
        if each:
            assert across == [10 * each, 20 * each]
    if over == "flops":
        model = shown.found.sides[0].first
        assert [point.x for point in curves[-1].points] == pytest.approx([model.flops / 2, model.flops])


def test_a_part_of_the_curves_and_their_logarithm(runs: dict[str, str]) -> None:
    trimmed = compare(runs["soft"], runs["constant"], tokens=64, length=0, shown=Shown("step", "xy", 15, 40))
    picture = trimmed.pictures["curves-loss-validation"]
    assert [[point.x for point in curve.points] for curve in picture.curves] == [[20.0], [20.0]]  # type: ignore[union-attr]
    assert (picture.x.log, picture.y.log) == (True, True)  # type: ignore[union-attr]


# ---- several seeds ---------------------------------------------------------------------------------------------------


def test_confirmed_candidates_are_paired_seed_by_seed(confirmed: Question, where: str) -> None:
    words = ["q.confirmed/softmax", "q.confirmed/constantmax"]
    shown = beside(words, Asked(tokens=256, length=0), where)
    one, two = shown.sides
    assert [side.name for side in shown.sides] == words
    assert [model.seed for model in one.models] == [model.seed for model in two.models]
    assert len(one.models) == 6
    (paired,) = shown.paired
    differences = [b.read.loss - a.read.loss for a, b in zip(one.models, two.models, strict=True)]
    assert paired.differences["loss"] == typical(differences)
    assert paired.means["loss"][1] - paired.means["loss"][0] == pytest.approx(sum(differences) / 6)
    assert set(paired.means) == {"loss", "bits a byte", "top-1", "top-5", "ECE"}
    assert paired.versus
    assert paired.versus.n == 6
    assert paired.claim.startswith("constantmax ")
    (back,) = beside(words[::-1], Asked(tokens=64, length=0), where).paired
    assert back.versus
    assert back.versus.typical.value == pytest.approx(-paired.versus.typical.value)
    ours = compare(*words, storage=where, tokens=64, length=0, curves=["beta", "denominator"])
    assert "One run each" not in str(ours)
    assert "seed by seed, over 6 seeds" in " ".join(str(ours).split())
    assert [curve.look for curve in ours.pictures["curves-beta"].curves] == ["thin"] * 5 + ["bold"]  # type: ignore[union-attr]
    assert len(every("q.confirmed/softmax#0", where)) == 1
    learnt = history(every(words[1], where)[0])
    assert {"softmax/beta", "softmax/layer0/gamma", "softmax/denominator", "loss/validation"} <= learnt.values.keys()


# ---- other tokens, other text ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tokenizer", "above"), [(["char"], 40), (["bpe", "--vocab_size", "300"], 301)])
def test_the_same_text_in_other_tokens_is_compared_in_bits_a_byte_alone(
    runs: dict[str, str], text: Path, tokenizer: list[str], above: int, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    other = train(tmp_path / "run", text, "--tokenizer", *tokenizer)
    out = typed(capsys, "compare", runs["soft"], other, *QUICK)
    assert "Their tokens differ, so that only bits a byte can be compared" in " ".join(out.split())
    assert "top-1" not in out
    shown = beside([runs["soft"], other], Asked(tokens=1024, length=0))
    covered = []
    for side, corpus in zip(shown.sides, shown.text.by, strict=True):
        read = side.first.read
        covered.append(corpus.manifest.codec.bytes_in(corpus.slices["test"][np.sort(read.places)]))
        nats = float(read.losses.sum())
        assert side.first.bits_a_byte == pytest.approx(nats / math.log(2) / len(covered[-1]))
    assert abs(len(covered[0]) - len(covered[1])) <= 32, "the same text, but for tokens at the ends of spans"
    assert covered[0][:50] == covered[1][:50]
    told = refused(capsys, "compare", runs["soft"], other, "--k", str(above), *QUICK)
    assert told.startswith(f"k = {above}: words has ")
    told = refused(capsys, "compare", runs["soft"], other, "--dataset", str(text), *QUICK)
    assert told.endswith(f"which {other} knows; take a text of the same tokenizer")


def test_other_text_is_refused_unless_one_is_named_for_all(
    runs: dict[str, str], tmp_path: Path, text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.txt").write_text("a quick brown fox jumps over a lazy dog. " * 900)
    other = train(tmp_path / "run", tmp_path / "other.txt")
    told = refused(capsys, "compare", runs["soft"], other, *QUICK)
    assert told.startswith(f"{other}: trained on other")
    assert told.endswith("losses on different text cannot be compared; name a text for both with --dataset")
    shown = compare(runs["soft"], other, dataset=str(text), tokens=1024, length=0)
    assert shown.found.text.name == open_data(str(text)).manifest.name
    mine, theirs = shown.table["loss"]
    assert mine < theirs  # it has seen this text


# ---- what cannot be --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["soft"], "soft: compare needs two or more runs, trials, candidates or checkpoints; name another one"),
        ([], "compare needs two or more runs, trials, candidates or checkpoints; name them"),
        (["soft", "soft"], "soft: the same run as soft; name another one, or leave it out"),
        (
            ["soft", "soft/checkpoint.safetensors"],
            "soft/checkpoint.safetensors: the same run as soft; name another one, or leave it out",
        ),
        (["soft", "constant", "--k", "257"], "k = 257: words has 256 tokens; take at most so many"),
        (["soft", "constant", "--k", "0"], "--k = 0: expected a whole number ≥ 1"),
        (["soft", "constant", "--slice", "tset"], "slice = tset: no such slice; did you mean `test`?"),
        (
            ["soft", "constant", "--over", "stepps"],
            "--over = stepps: curves do not lie over this; did you mean `step`?",
        ),
        (["soft", "constant", "--log", "z"], "--log = z: expected x, y or xy, the axes that are logarithmic"),
        (
            ["soft", "constant", "--trim", "9:1"],
            "--trim = 9:1: expected FROM:TO, such as 100: or 100:2000, the first one below the other",
        ),
        (["soft", "constant", "--prompt", ""], "prompt: empty; give at least one character, or leave it out"),
        (
            ["soft", "constant", "--temperature", "-1"],
            "temperature = -1.0: expected a number ≥ 0; 0 takes the likeliest",
        ),
        (
            ["soft", "constant", "--curve", "train_los", "--tokens", "64", "--length", "0"],
            "train_los: none of them has logged it; did you mean `train_loss`?",
        ),
    ],
    ids=str,
)
def test_what_says_nothing_is_refused(
    words: list[str], told: str, runs: dict[str, str], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(Path(runs["soft"]).parent)
    monkeypatch.delenv("TUNEMAX_STORAGE", raising=False)
    assert refused(capsys, "compare", *words) == told


def test_a_question_alone_says_how_its_candidates_are_compared(
    ask: Callable[..., Question], where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(compare=["softmax", "constantmax"])
    assert refused(capsys, "compare", "q", "--storage", where).endswith("for example q/constantmax q/softmax")
    told = refused(capsys, "compare", "q/softmax", "q/constantmx", "--storage", where)
    assert told == "q/softmax: no trial is complete yet; run it with tunemax study run q --storage " + where


def test_a_run_without_curves_is_told_where_they_are_asked_for(
    runs: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = tmp_path / "weights.safetensors"
    shutil.copyfile(Path(runs["constant"]) / "checkpoint.safetensors", alone)
    assert "curves" not in typed(capsys, "compare", runs["soft"], str(alone), *QUICK, "--out", str(tmp_path)).split(
        "\n"
    )
    told = refused(capsys, "compare", runs["soft"], str(alone), *QUICK, "--curve", "loss/train")
    assert told == f"{alone}: has no curves: nothing that its training has logged is here; leave it out"


def test_what_has_diverged_is_refused(
    runs: dict[str, str], tmp_path: Path, text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wild = ["--learning_rate", "10", "--warmup_fraction", "0", "--grad_clip", "0", "--schedule", "constant"]
    main(["train", *RUN, *wild, "--max_iters", "300", "--dataset", str(text), "--out_dir", str(tmp_path / "wild")])
    told = refused(capsys, "compare", runs["soft"], str(tmp_path / "wild"), *QUICK)
    assert told.startswith(f"{tmp_path / 'wild'}: diverged: ")


# ---- the code of a model ---------------------------------------------------------------------------------------------


def test_no_code_of_another_plug_in_runs_under_weights(
    runs: dict[str, str], tmp_path: Path, text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two plug-ins of one name whose parts have one name, too: a model is read by its own or not at all."""
    for name, heat in (("one", "2.0"), ("two", "3.0")):
        (tmp_path / name).mkdir()
        path = written(tmp_path / name, HEAD + HOT.replace("2.0", heat))
        with forgetting():
            train(tmp_path / name / "run", text, "--softmax_variant", "hot", "--plugin", str(path))
            loss = beside(
                [str(tmp_path / name / "run"), runs["soft"]], Asked(tokens=512, length=0)
            ).first.first.read.loss
            (tmp_path / name / "loss").write_text(repr(loss))
    one, two = (str(tmp_path / name / "run") for name in ("one", "two"))
    with forgetting():
        told = refused(capsys, "compare", one, runs["soft"], *QUICK)
        assert "needs the plug-in hot_variant (sha256 " in told
        assert told.endswith("name its file or module with --plugin, or in TUNEMAX_PLUGINS")
    with forgetting():
        plugins.load(tmp_path / "one" / "hot_variant.py")
        told = refused(capsys, "compare", one, two, *QUICK)
        assert told.startswith(f"{two}: made with the plug-in hot_variant (sha256 ")
        assert "hot_variant.py is another" in told
        for name in (two, f"{two}/checkpoint.safetensors"):
            with pytest.raises(TunemaxError, match="is another"):
                find(name).member()
        model = beside([one, runs["soft"]], Asked(tokens=512, length=0)).first.first
        assert repr(model.read.loss) == (tmp_path / "one" / "loss").read_text()
        assert [record.name for record in model.plugins] == ["hot_variant"]
        assert model.plugins[0].digest == plugins.loaded()["hot_variant"].digest
