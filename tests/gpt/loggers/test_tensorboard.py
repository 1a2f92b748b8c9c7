"""TensorBoard, read back as TensorBoard reads it: curves, charts, histograms and the hparams tab of runs."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.metadata import (
    parse_session_end_info_plugin_data,
    parse_session_start_info_plugin_data,
)

from tunemax.gpt import run
from tunemax.gpt.config import Config
from tunemax.gpt.data import Corpus
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.loggers.tensorboard import TensorBoard
from tunemax.gpt.probe import WEIGHT_EDGES, WINDOWS, Probe, probe
from tunemax.gpt.trainer import Trainer

Make = Callable[..., Config]
FIELDS: dict[str, Any] = {"softmax_variant": "constantmax", "max_iters": 4, "eval_interval": 2, "eval_iters": 1}


def events(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0, "histograms": 0})
    accumulator.Reload()
    return accumulator


def measured(trainer: Trainer, config: Config) -> Probe:
    member = trainer.add(config)
    return probe(trainer, {member})[member]


def opened(folder: Path, config: Config | None, **about: Any) -> TensorBoard:
    board = TensorBoard.open(folder, config, **about)
    assert board is not None
    return board


def charts(folder: Path) -> dict[str, list[str]]:
    (found,) = events(folder).Tensors("custom_scalars__config__")
    layout = Layout.FromString(found.tensor_proto.string_val[0])
    return {chart.title: list(chart.multiline.tag) for category in layout.category for chart in category.chart}


# ---- one curve ------------------------------------------------------------------------------------------------------


def test_what_is_written_is_on_disk_at_once(small: Make, tmp_path: Path) -> None:
    board = opened(tmp_path / "new" / "run", small())
    for iteration in (3, 7):
        board.log({"loss/train": float(iteration), "loss/validation": math.nan, "loss/perplexity": math.inf}, iteration)
        found = events(tmp_path / "new" / "run")
        assert (found.Scalars("loss/train")[-1].step, found.Scalars("loss/train")[-1].value) == (iteration, iteration)
    assert found.Tags()["scalars"] == ["loss/train"]
    board.close()


def test_runs_that_follow_each_other_at_once_make_one_curve(small: Make, tmp_path: Path) -> None:
    """Each one was killed in the middle of a record, after it had told more than is kept of it."""
    for start in range(0, 50, 5):
        board = opened(tmp_path, small(), resumed_at=start + 1 if start else None)
        for iteration in range(start + 1, start + 9):
            board.log({"loss/train": start + iteration / 100}, iteration)
        board.close()
        newest = max(tmp_path.iterdir())
        newest.write_bytes(newest.read_bytes()[:-7])
    found = events(tmp_path).Scalars("loss/train")
    assert [event.step for event in found] == list(range(1, 53))
    assert [event.value for event in found] == pytest.approx(
        [min((i - 1) // 5 * 5, 45) + i / 100 for i in range(1, 53)]
    )


def test_a_folder_that_cannot_be_written_is_refused_in_one_line(small: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TunemaxError, match=r"file/run: TensorBoard events cannot be written \(Not a directory\)"):
        opened(tmp_path / "file" / "run", small())


def test_a_full_disk_is_refused_in_one_line(small: Make, tmp_path: Path) -> None:
    board = opened(tmp_path, small())
    board._file._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115 - closed below
    with pytest.raises(
        TunemaxError, match=r"TensorBoard events cannot be written \(No space left on device\); make room"
    ):
        board.log({"a": 1.0}, 1)
    board.close()


# ---- softmax --------------------------------------------------------------------------------------------------------


def test_a_study_has_one_curve_a_layer_the_mean_of_its_heads(small: Make, tmp_path: Path, corpus: Corpus) -> None:
    config = small(softmax_variant="constantmax", constantmax__sharing="head")
    found = measured(Trainer(config, corpus), config)
    found.learnables["gamma"][1] = torch.tensor([30.0, 50.0])
    for each_head in (True, False):
        with contextlib.closing(opened(tmp_path / str(each_head), config, each_head=each_head)) as board:
            board.log({}, 1, found)
    heads, means = (events(tmp_path / str(each_head)) for each_head in (True, False))
    assert [heads.Scalars(f"softmax/layer1/head{head}/gamma")[0].value for head in (0, 1)] == [30, 50]
    assert means.Scalars("softmax/layer1/gamma")[0].value == 40
    assert len(means.Tags()["scalars"]) == len(heads.Tags()["scalars"]) / 2
    for name in ("row_max", "denominator", "row_sum", "guarded"):
        values = [heads.Scalars(f"softmax/layer0/head{head}/{name}")[0].value for head in (0, 1)]
        assert means.Scalars(f"softmax/layer0/{name}")[0].value == pytest.approx(sum(values) / 2)


def test_a_chart_shows_a_learnable_beside_what_it_stands_for(small: Make, tmp_path: Path) -> None:
    opened(tmp_path / "heads", small(softmax_variant="constantmax")).close()
    opened(
        tmp_path / "layers", small(softmax_variant="constantmax", constantmax__learn_beta=False), each_head=False
    ).close()
    opened(tmp_path / "softmax", small()).close()
    heads = charts(tmp_path / "heads")
    assert len(heads) == 8
    assert heads["layer1, head0: gamma and denominator"] == [
        "^softmax/layer1/head0/gamma$",
        "^softmax/layer1/head0/denominator$",
    ]
    assert charts(tmp_path / "layers") == {
        f"layer{layer}: gamma and denominator": [f"^softmax/layer{layer}/gamma$", f"^softmax/layer{layer}/denominator$"]
        for layer in (0, 1)
    }
    assert events(tmp_path / "softmax").Tags()["tensors"] == ["_hparams_/session_start_info"]


# ---- histograms -----------------------------------------------------------------------------------------------------


def test_histograms_are_written_on_request_only(small: Make, tmp_path: Path) -> None:
    for asked in (False, True):
        run.train(small(**FIELDS, tensorboard_histograms=asked, out_dir=str(tmp_path / str(asked))), lambda row: None)
    assert events(tmp_path / "False").Tags()["histograms"] == []
    found = events(tmp_path / "True")
    places = [f"layer{layer}/head{head}" for layer in (0, 1) for head in (0, 1)]
    learnables = ["softmax_learnables/beta", "softmax_learnables/gamma"]
    assert sorted(found.Tags()["histograms"]) == [*learnables, *(f"softmax_log10_weights/{place}" for place in places)]
    for tag in found.Tags()["histograms"]:
        assert [event.step for event in found.Histograms(tag)] == [2, 4]
    scalars = events(tmp_path / "False").Tags()["scalars"]
    assert found.Tags()["scalars"] == scalars


def test_every_attention_weight_is_counted_where_it_lies(small: Make, tmp_path: Path, corpus: Corpus) -> None:
    """At γ = 100 and logits near 0 constantmax weighs about e^(−β)/100 everywhere; softmax 1 in the first row, 1/16 in
    the last."""
    first = {"softmax_variant": "constantmax", "constantmax__beta": 1.0, "constantmax__gamma": 100}
    rows = range(1, 17)
    for fields, expected in ((first, [math.exp(-1) / 100]), ({}, [1 / n for n in rows])):
        config = small(**fields, init_std=0.02, tensorboard_histograms=True)
        found = measured(Trainer(config, corpus), config)
        assert found.weights is not None
        assert found.weights.shape == (2, 2, len(WEIGHT_EDGES) - 1)
        assert (found.weights.sum(-1) == WINDOWS * sum(rows)).all()
        filled = WEIGHT_EDGES[:-1][found.weights[0, 0].numpy() > 0]
        assert filled.min() == pytest.approx(math.log10(min(expected)), abs=0.1)
        assert filled.max() == pytest.approx(math.log10(max(expected)), abs=0.1)
        folder = tmp_path / config.softmax.name
        with contextlib.closing(opened(folder, config, each_head=False)) as board:
            board.log({}, 1, found)
        (shown,) = events(folder).Histograms("softmax_log10_weights/layer0")
        value = shown.histogram_value
        assert value.num == 2 * WINDOWS * sum(rows)
        assert math.log10(min(expected)) - 0.2 < value.min < value.max < math.log10(max(expected)) + 0.2
        assert sum(value.bucket) == value.num


def test_weights_that_no_bin_has_are_counted_at_the_ends(small: Make, corpus: Corpus) -> None:
    config = small(softmax_variant="constantmax", constantmax__gamma=1e-6, tensorboard_histograms=True)
    found = measured(Trainer(config, corpus), config)
    assert found.weights is not None
    assert found.weights[0, 0].sum() == found.weights[0, 0, -1] == WINDOWS * 136


def test_only_members_that_ask_are_counted(small: Make, corpus: Corpus) -> None:
    trainer = Trainer(small(), corpus)
    asks, is_quiet = (trainer.add(small(tensorboard_histograms=asked)) for asked in (True, False))
    found = probe(trainer)
    assert found[asks].weights is not None
    assert found[is_quiet].weights is None
    assert torch.equal(found[asks].row_sum, found[is_quiet].row_sum)
    assert small(tensorboard_histograms=True).identity == small().identity


def test_learnables_are_a_histogram_over_layers_and_heads(small: Make, tmp_path: Path, corpus: Corpus) -> None:
    config = small(softmax_variant="constantmax", constantmax__sharing="head", tensorboard_histograms=True)
    found = measured(Trainer(config, corpus), config)
    found.learnables["gamma"].copy_(torch.tensor([[10.0, 20.0], [20.0, 70.0]]))
    with contextlib.closing(opened(tmp_path, config)) as board:
        board.log({}, 5, found)
        found.learnables["gamma"][0, 0] = math.nan
        board.log({}, 6, found)
    gamma = events(tmp_path).Histograms("softmax_learnables/gamma")
    assert [event.step for event in gamma] == [5]
    shown = gamma[0].histogram_value
    assert (shown.min, shown.max, shown.num) == (10, 70, 4)
    filled = np.array(shown.bucket_limit)[np.array(shown.bucket) > 0]
    assert filled.tolist() == pytest.approx([12, 22, 70])


# ---- the hparams tab ------------------------------------------------------------------------------------------------


def test_a_run_has_its_active_fields_as_hyperparameters(small: Make, tmp_path: Path) -> None:
    config = small(**FIELDS, learning_rate=1e-2, out_dir=str(tmp_path / "run"))
    run.train(config, lambda row: None)
    contents = events(tmp_path / "run").PluginTagToContent("hparams")
    started = parse_session_start_info_plugin_data(contents["_hparams_/session_start_info"])
    assert started.hparams["learning_rate"].number_value == 1e-2
    assert started.hparams["softmax_variant"].string_value == "constantmax"
    assert started.hparams["constantmax.gamma"].number_value == 100
    assert started.hparams["constantmax.learn_gamma"].bool_value is True
    for absent in ("polymax.power", "decay_fraction", "out_dir", "tensorboard", "eval_interval"):
        assert absent not in started.hparams
    assert parse_session_end_info_plugin_data(contents["_hparams_/session_end_info"]).status == 1  # success
    assert "_hparams_/experiment" not in contents


def test_a_run_that_diverges_is_a_failure(small: Make, tmp_path: Path) -> None:
    fields = {**FIELDS, "max_iters": 30, "learning_rate": 10, "grad_clip": 0, "warmup_fraction": 0}
    assert run.train(small(**fields, out_dir=str(tmp_path / "run")), lambda row: None).event
    ended = events(tmp_path / "run").PluginTagToContent("hparams")["_hparams_/session_end_info"]
    assert parse_session_end_info_plugin_data(ended).status == 2
