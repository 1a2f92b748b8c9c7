"""Compiled training: the same to rounding, its own bits whoever the neighbours are, and a clear line where nothing can
be compiled."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tunemax.gpt.compile import library, step
from tunemax.gpt.config import PARTS, Config
from tunemax.gpt.data import Corpus
from tunemax.gpt.parts import Part
from tunemax.gpt.random import Dropout
from tunemax.gpt.snapshot import Snapshot
from tunemax.gpt.softmax import variants
from tunemax.gpt.trainer import Member, Trainer

Make = Callable[..., Config]
ALL = {"n_layer": 1, "n_embd": 8, "block_size": 8, "softmax_variant": "constantmax", "compile": True}
"""One graph for all tests that really compile: that takes half a minute, and minutes where much else is going on."""
MEMBERS: list[dict[str, Any]] = [
    {"dropout": 0.2},
    {"dropout": 0.1, "seed": 2, "learning_rate": 5e-3, "grad_clip": 0.1, "weight_decay": 1},
    {"dropout": 0.3, "seed": 3, "grad_clip": 0, "variant_lr_ratio": 20, "beta2": 0.9},
    {"dropout": 0.2, "seed": 4, "constantmax__beta": 1, "constantmax__gamma": 50, "max_iters": 7},
]
QUICK = ("softmax", "constantmax")
"""A row and an element by itself: the graphs of the others take seconds each."""
SHAPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "other": {
        "norm_position": "post", "position": "rotary", "tie_weights": False, "bias": True, "n_embd": 20,
        "block_size": 13, "dropout": 0.2,
    },
}  # fmt: skip


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests of this session, in all its processes, share what they compile."""
    base = tmp_path_factory.getbasetemp()
    monkeypatch.setenv(library.CACHE, str((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "compiled"))
    monkeypatch.setattr(step, "_failed", set())
    step._tell.cache_clear()


def trained(
    configs: list[Config], corpus: Corpus, steps: int, dtype: torch.dtype = torch.float32
) -> tuple[Trainer, list[Member]]:
    trainer = Trainer(configs[0], corpus, dtype)
    members = [trainer.add(config) for config in configs]
    trainer.step(steps)
    return trainer, members


@pytest.mark.long
@pytest.mark.timeout(900)
def test_compiled_members_train_as_eager_ones_do(small: Make, corpus: Corpus) -> None:
    """With other rates, clips and dropout. fp32 sums are taken in another order: 1e-4 nats after ten iterations."""
    found = []
    for compiled in (False, True):
        trainer, members = trained([small(**{**ALL, **fields, "compile": compiled}) for fields in MEMBERS], corpus, 10)
        evaluated = trainer.evaluate()
        found.append([(evaluated[member], member.train_loss, member.grad_norm) for member in members])
        assert trainer.arithmetic.startswith("compiled, fp32, " if compiled else "eager, fp32, ")
    for eager, other in zip(*found, strict=True):
        assert other == pytest.approx(eager, abs=1e-4)


@pytest.mark.parametrize(
    ("variant", "shape"),
    [
        *(pytest.param(name, "plain", marks=() if name in QUICK else pytest.mark.long) for name in variants()),
        *(pytest.param(name, "other", marks=pytest.mark.long) for name in QUICK),
    ],
)
def test_what_is_compiled_is_what_eager_mode_computes(
    variant: str, shape: str, small: Make, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graph of each variant, as it is handed to the compiler, in float64: members with other numbers go through the
    same one."""
    monkeypatch.setattr(step, "compiled", lambda key, trace: trace()[0])
    monkeypatch.setattr(step, "_known", {})
    others = {"seed": 2, "learning_rate": 5e-3, "grad_clip": 0.1, "variant_lr_ratio": 3}
    snapshots, evaluated = [], []
    for compiled in (False, True):
        configs = [
            small(n_layer=1, softmax_variant=variant, compile=compiled, **SHAPES[shape], **fields)
            for fields in ({"grad_clip": 50}, others)  # one that no gradient reaches, one that all do
        ]
        trainer, members = trained(configs, corpus, 3, torch.float64)
        snapshots.append([trainer.snapshot(member).tensors for member in members])
        evaluated.append([trainer.evaluate()[member] for member in members])
    assert len(step._known) == 2
    assert evaluated[1] == pytest.approx(evaluated[0], abs=1e-10)
    for eager, other in zip(*snapshots, strict=True):
        for name, tensor in eager.items():
            torch.testing.assert_close(other[name], tensor, rtol=1e-10, atol=1e-10)


@pytest.mark.long
def test_the_graph_of_bf16_computes_what_eager_mode_does(
    small: Make, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it is compiled: 0.005 nats after five iterations, for the order of sums in eight bits."""
    monkeypatch.setattr(step, "compiled", lambda key, trace: trace()[0])
    monkeypatch.setattr(step, "_known", {})
    losses = []
    for compiled in (False, True):
        fields = {"softmax_variant": "constantmax", "precision": "bf16", "compile": compiled, "learning_rate": 1e-2}
        trainer, members = trained([small(seed=seed, **fields) for seed in (1, 2)], corpus, 5)
        assert trainer.arithmetic.startswith("compiled, bf16" if compiled else "eager, bf16")
        losses.append([trainer.evaluate()[member] for member in members])
    assert losses[1] == pytest.approx(losses[0], abs=0.005)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_compiled_member_does_not_depend_on_its_neighbours(
    small: Make, corpus: Corpus, assert_same: Callable[[Snapshot, Snapshot], None]
) -> None:
    """Bit for bit: alone, stacked, and as one that comes later and goes on from a snapshot.

    Nothing is compiled anew for it.
    """
    configs = [small(**ALL, **fields) for fields in MEMBERS]
    stacked, members = trained(configs, corpus, 3)
    known = len(step._known)
    stacked.remove(members[0])
    snapshot = stacked.snapshot(members[3])
    stacked.step(3)
    for config, member in zip(configs[1:], members[1:], strict=True):
        alone, (own,) = trained([config], corpus, 6)
        assert_same(alone.snapshot(own), stacked.snapshot(member))
    elsewhere = Trainer(configs[0], corpus)
    elsewhere.add(configs[1])
    assert elsewhere.arithmetic == stacked.arithmetic
    resumed = elsewhere.restore(snapshot)
    elsewhere.step(3)
    assert_same(elsewhere.snapshot(resumed), stacked.snapshot(members[3]))
    assert len(step._known) == known


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_member_that_diverges_leaves_its_compiled_neighbours_alone(small: Make, corpus: Corpus) -> None:
    broken = {"learning_rate": 10, "grad_clip": 0, "schedule": "constant", "warmup_fraction": 0, "dropout": 0.1}
    configs = [small(**ALL, **MEMBERS[0]), small(**ALL, **broken)]
    trainer, (member, other) = trained(configs, corpus, 20)
    alone, (own,) = trained(configs[:1], corpus, 20)
    assert other.event is not None
    assert member.event is None
    assert trainer.evaluate()[member] == alone.evaluate()[own]


@pytest.mark.parametrize(
    ("compiler", "said"),
    [
        ("no-such-compiler", "no C++ compiler (no-such-compiler) on this machine"),
        ("false", "false is no working C++ compiler"),
    ],
)
def test_without_a_compiler_it_says_so_once_and_trains_on(
    compiler: str,
    said: str,
    small: Make,
    corpus: Corpus,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CXX", compiler)
    for _ in range(2):
        trainer, (member,) = trained([small(n_layer=1, compile=True)], corpus, 2)
        assert trainer.arithmetic.startswith("eager")
        _, (own,) = trained([small(n_layer=1)], corpus, 2)
        assert member.train_loss == own.train_loss
    assert capsys.readouterr().err == f"compile: {said}; going on without\n"


def test_without_a_place_to_keep_it_nothing_is_compiled(
    small: Make, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv(library.CACHE, str(tmp_path / "file" / "cache"))
    trainer, _ = trained([small(n_layer=1, compile=True)], corpus, 1)
    assert trainer.arithmetic.startswith("eager")
    assert (
        capsys.readouterr().err
        == f"compile: {tmp_path}/file/cache cannot be written (Not a directory); going on without\n"
    )


def test_a_compiler_that_fails_costs_a_line(
    small: Make, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And is not tried again by a trainer of the same shapes."""
    tried = []

    def broken(key: str, trace: object) -> None:
        tried.append(key)
        raise RuntimeError("C++ compile error\nwith many lines")

    monkeypatch.setattr(step, "compiled", broken)
    _, (own,) = trained([small(n_layer=1, n_embd=8)], corpus, 2)
    for _ in range(2):
        trainer, (member,) = trained([small(n_layer=1, n_embd=8, compile=True)], corpus, 2)
        assert trainer.arithmetic.startswith("eager")
        assert (member.train_loss, member.iteration) == (own.train_loss, 2)
    assert len(tried) == 1
    assert capsys.readouterr().err == "compile: failed (C++ compile error); going on without\n"


def test_an_evaluation_that_cannot_be_compiled_leaves_training_compiled(
    small: Make, corpus: Corpus, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def some(key: str, trace: Callable[[], tuple[Any, Any]]) -> Any:
        if "evaluation" in key:
            raise AssertionError("torch stumbles")
        return trace()[0]

    monkeypatch.setattr(step, "compiled", some)
    monkeypatch.setattr(step, "_known", {})
    trainer, (member,) = trained([small(n_layer=1, compile=True)], corpus, 1)
    eager, (own,) = trained([small(n_layer=1)], corpus, 1)
    for _ in range(2):
        assert trainer.evaluate()[member] == pytest.approx(eager.evaluate()[own], abs=1e-5)
    assert trainer.arithmetic.startswith("compiled but for evaluation, ")
    assert capsys.readouterr().err == "compile: evaluation failed (torch stumbles); going on without\n"


def test_masks_are_drawn_once_an_iteration(small: Make, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "compiled", lambda key, trace: trace()[0])
    monkeypatch.setattr(step, "_known", {})
    trainer, _ = trained([small(n_layer=1, compile=True, dropout=0.1)], corpus, 1)
    drawn: list[str] = []
    draw = Dropout.mask

    def mask(self: Dropout, site: str, *rest: Any) -> torch.Tensor:
        drawn.append(site)
        return draw(self, site, *rest)

    monkeypatch.setattr(Dropout, "mask", mask)
    trainer.step(3)
    assert len(drawn) == 3 * len(set(drawn))


def test_a_variant_more_changes_every_key(small: Make, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its learnables are columns of theta, in the rows of all members."""
    keys: list[str] = []
    monkeypatch.setattr(step, "compiled", lambda key, trace: keys.append(key) or trace()[0])
    monkeypatch.setattr(step, "_known", {})
    trained([small(n_layer=1, compile=True)], corpus, 1)
    of_parameters = step.Layout.__init__

    def wider(self: Any, parameters: Any) -> None:
        declared = list(parameters)
        of_parameters(self, [*declared, replace(next(p for p in declared if p.field), name="another")])

    monkeypatch.setattr(step.Layout, "__init__", wider)
    trained([small(n_layer=1, compile=True)], corpus, 1)
    assert len(set(keys)) == len(keys) == 2


ELSEWHERE = {
    "attention": "attention.multi_query.MultiQuery",
    "position": "positions.alibi.Alibi",
    "norm": "norm.rms.RmsNorm",
    "mlp": "mlp.relu2.Relu2",
}


@pytest.mark.parametrize(
    "field", [pytest.param(name, marks=() if name == "attention" else pytest.mark.long) for name in ELSEWHERE]
)
def test_a_part_from_elsewhere_is_compiled_anew_when_its_file_has_changed(
    field: str, small: Make, corpus: Corpus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its code is in no release of this package, whose number would tell."""
    keys: list[str] = []
    monkeypatch.setattr(step, "compiled", lambda key, trace: keys.append(key) or trace()[0])
    monkeypatch.setattr(PARTS[field], "registry", dict(PARTS[field].registry))
    monkeypatch.setattr(Part, "generation", Part.generation)  # fields are those of before again, too
    monkeypatch.syspath_prepend(tmp_path)
    module, _, name = f"tunemax.gpt.{ELSEWHERE[field]}".rpartition(".")
    file = tmp_path / f"elsewhere_{field}.py"
    file.write_text(f"from {module} import {name}\nclass Mine({name}, name='mine'):\n    pass\n")
    importlib.import_module(file.stem)
    for _ in range(2):
        monkeypatch.setattr(step, "_known", {})
        trained([small(n_layer=1, compile=True, **{field: "mine"})], corpus, 1)
        with file.open("a") as more:
            more.write("\n")
    assert len(set(keys)) == len(keys) == 2
