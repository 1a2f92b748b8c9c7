"""A member on disk goes on as the one in memory does; a file that is not whole, or of something else, is refused in one
line."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from tunemax.gpt import checkpoint
from tunemax.gpt.config import Config
from tunemax.gpt.data import Corpus
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.snapshot import Snapshot
from tunemax.gpt.trainer import Member, Trainer

Make = Callable[..., Config]
Same = Callable[[Snapshot, Snapshot], None]

MEMBERS: list[dict[str, Any]] = [
    {"softmax_variant": "softmax"},
    {"softmax_variant": "constantmax", "constantmax__sharing": "head", "dropout": 0.1},
    {"softmax_variant": "strongermax", "strongermax__learn_temperature": True, "tie_weights": False, "bias": True},
]


@pytest.fixture
def trained(small: Make, corpus: Corpus) -> tuple[Trainer, Member]:
    config = small(softmax_variant="constantmax")
    trainer = Trainer(config, corpus)
    member = trainer.add(config)
    trainer.step(3)
    return trainer, member


@pytest.fixture
def saved(trained: tuple[Trainer, Member], corpus: Corpus, tmp_path: Path) -> Path:
    trainer, member = trained
    path = tmp_path / "member.safetensors"
    checkpoint.save(trainer.snapshot(member), path, corpus.manifest.fingerprint)
    return path


def header(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    with safetensors.safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["tunemax"]), safetensors.torch.load_file(path)


def rewrite(path: Path, changes: dict[str, Any]) -> None:
    """The same checkpoint with something else in its header; None takes an entry out."""
    told, tensors = header(path)
    told = {name: value for name, value in {**told, **changes}.items() if value is not None}
    safetensors.torch.save_file(tensors, path, metadata={"tunemax": json.dumps(told)})


@pytest.mark.parametrize("fields", MEMBERS, ids=lambda fields: fields["softmax_variant"])
def test_a_member_goes_on_from_disk_as_if_never_disturbed(
    fields: dict[str, Any], small: Make, corpus: Corpus, tmp_path: Path, assert_same: Same
) -> None:
    config = small(**fields)
    first = Trainer(config, corpus)
    member = first.add(config)
    first.step(2)
    first.set(member, "weight_decay", 0.7)
    first.step(1)
    path = tmp_path / "new" / "folder" / "member.safetensors"
    checkpoint.save(first.snapshot(member), path, corpus.manifest.fingerprint)
    first.step(4)
    second = Trainer(config, corpus)
    second.add(small(**{**fields, "seed": 9}))
    loaded = checkpoint.load(path, corpus.manifest.fingerprint)
    assert loaded.config == config
    restored = second.restore(loaded)
    assert restored.values == member.values
    second.step(4)
    assert_same(second.snapshot(restored), first.snapshot(member))


def test_tensors_have_the_names_of_the_parameters_and_the_header_says_the_rest(
    saved: Path, trained: tuple[Trainer, Member]
) -> None:
    told, tensors = header(saved)
    member = trained[1]
    assert told["variant"] == "constantmax"
    assert told["iteration"] == 3
    assert Config.of(told["config"]) == member.config
    assert tensors["theta/h.0.attn.qkv.weight"].shape == (16, 48)
    assert tensors["second/h.1.constantmax.gamma"].shape == (1,)


def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(
    saved: Path, trained: tuple[Trainer, Member], corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved.read_bytes()
    trainer, member = trained
    trainer.step()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(trainer.snapshot(member), saved, corpus.manifest.fingerprint)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def refused(path: Path, message: str, fingerprint: str | None = None) -> None:
    with pytest.raises(TunemaxError, match=message) as error:
        checkpoint.load(path, fingerprint)
    assert len(str(error.value).splitlines()) == 1
    assert str(path) in str(error.value)


@pytest.mark.parametrize("share", [0, 0.0005, 0.1, 0.5, 0.999])
def test_a_truncated_file_is_refused(share: float, saved: Path) -> None:
    data = saved.read_bytes()
    saved.write_bytes(data[: int(len(data) * share)])
    refused(saved, "not a tunemax checkpoint, or damaged")


def test_other_files_are_refused_and_nothing_is_unpickled(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.mkdir, (str(tmp_path / "exploded"),))

    pickled = tmp_path / "pickled.safetensors"
    pickled.write_bytes(pickle.dumps(Bomb()))
    refused(pickled, "not a tunemax checkpoint, or damaged")
    torch.save({"theta": Bomb()}, pickled)
    refused(pickled, "not a tunemax checkpoint, or damaged")
    assert not (tmp_path / "exploded").exists()
    plain = tmp_path / "plain.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(2)}, plain)
    refused(plain, "not a tunemax checkpoint")
    refused(tmp_path / "missing.safetensors", "no checkpoint here")
    refused(tmp_path, "no checkpoint here")


def test_other_data_is_refused(saved: Path, corpus: Corpus) -> None:
    refused(saved, f"trained on data {corpus.manifest.fingerprint[:12]}, not on ffffffffffff", fingerprint="f" * 64)
    assert checkpoint.load(saved).iteration == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variant": "softmax"}, "says variant softmax, its configuration says constantmax"),
        ({"format": 2}, "format 2, this tunemax reads 1; update tunemax"),
        ({"iteration": None}, "iteration: missing"),
        ({"iteration": "three"}, "iteration = three"),
        ({"values": [1]}, "values"),
        ({"config": None}, "config: missing"),
    ],
)
def test_a_header_that_was_tampered_with_is_refused(changes: dict[str, Any], message: str, saved: Path) -> None:
    rewrite(saved, changes)
    refused(saved, message)


@pytest.mark.parametrize(
    ("entry", "changes", "message"),
    [
        ("config", {"n_embd": 15}, "n_embd = 15 is not divisible"),
        ("config", {"learning_rat": 1}, "did you mean `learning_rate`"),
        ("values", {"dropout": 7}, "dropout = 7"),
    ],
)
def test_impossible_fields_in_a_header_are_refused(
    entry: str, changes: dict[str, Any], message: str, saved: Path
) -> None:
    told, _ = header(saved)
    rewrite(saved, {entry: {**told[entry], **changes}})
    with pytest.raises(TunemaxError, match=message):
        checkpoint.load(saved)


def test_weights_under_another_variants_name_or_shape_are_refused(
    saved: Path, small: Make, trained: tuple[Trainer, Member]
) -> None:
    trainer, _ = trained
    told, _ = header(saved)
    other = small(softmax_variant="polymax")
    rewrite(saved, {"variant": "polymax", "config": other.flat(), "values": other.active()})
    with pytest.raises(TunemaxError, match="does not belong to a polymax model"):
        trainer.restore(checkpoint.load(saved))
    rewrite(saved, {"variant": "constantmax", "config": {**told["config"], "block_size": 8}, "values": told["values"]})
    with pytest.raises(TunemaxError, match="block_size"):
        trainer.restore(checkpoint.load(saved))
    good = dataclasses.replace(checkpoint.load(saved), config=trained[1].config)
    assert trainer.restore(good).iteration == 3


# ---- weights alone ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", MEMBERS, ids=lambda fields: fields["softmax_variant"])
def test_weights_alone_begin_another_training(
    fields: dict[str, Any], small: Make, corpus: Corpus, tmp_path: Path
) -> None:
    config = small(**fields)
    trainer = Trainer(config, corpus)
    member = trainer.add(config)
    trainer.step(3)
    checkpoint.save(trainer.snapshot(member).weights, tmp_path / "weights", "text")
    assert checkpoint.heading(tmp_path / "weights").iteration == 3
    weights = checkpoint.load(tmp_path / "weights", "text")
    other = Trainer(config.replace({"max_iters": 7}), corpus)
    begun = other.restore(weights.begun(config.replace({"max_iters": 7})))
    assert (begun.iteration, begun.config.train.max_iters) == (0, 7)
    row = trainer.members.index(member)
    assert torch.equal(other.rows()[0], trainer.rows()[row])
    tensors = other.snapshot(begun).tensors
    assert all(not tensor.any() for name, tensor in tensors.items() if not name.startswith("theta/"))
    other.step(2)
    assert begun.event is None


def test_weights_alone_do_not_go_on_in_the_middle(trained: tuple[Trainer, Member]) -> None:
    """What the optimizer knew is missing, and would count as nothing after so many iterations."""
    trainer, member = trained
    with pytest.raises(TunemaxError, match=r"parameter (count|first/|second/)"):
        trainer.restore(trainer.snapshot(member).weights)


@pytest.mark.parametrize("part", ["h.0.attn.qkv.weight", "wte"])
def test_weights_that_are_not_all_there_begin_nothing(trained: tuple[Trainer, Member], part: str) -> None:
    trainer, member = trained
    weights = trainer.snapshot(member).begun(member.config)
    fewer = {name: tensor for name, tensor in weights.tensors.items() if name != f"theta/{part}"}
    with pytest.raises(TunemaxError, match=f"{part} does not belong"):
        trainer.restore(dataclasses.replace(weights, tensors=fewer))
