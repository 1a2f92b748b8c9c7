"""What every optimizer promises. A promise takes its name, and settings of its fields."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from tunemax.gpt import matmul
from tunemax.gpt.checkpoint import load, save
from tunemax.gpt.compile import step
from tunemax.gpt.config import Config, all_specs
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.optimizer import Optimizer, Rows, Update
from tunemax.gpt.parameters import ROLES, Columns, Matrix
from tunemax.gpt.random import generator
from tunemax.gpt.snapshot import Snapshot
from tunemax.gpt.testing.parts import ends
from tunemax.gpt.testing.tiny import assert_same, corpus, small
from tunemax.gpt.trainer import Trainer

Setting = dict[str, Any]

SHAPES: dict[str, Any] = {"input": [(7, 4)], "hidden": [(4, 4), (4, 4), (4, 6), (6, 4)], "output": [(5, 4)]}
SHAPES |= {"vector": [(4,)], "scalar": [(3,)]}
FIELDS = {"weight_decay": 0.3, "grad_clip": 0.0, "input_lr_ratio": 2.0, "vector_lr_ratio": 0.5, "variant_lr_ratio": 3.0}
FIELDS |= {"output_lr_ratio": 0.7, "input_decay_ratio": 0.5, "vector_decay_ratio": 0.1}


def settings_of(kind: type[Optimizer]) -> dict[str, Setting]:
    """A kind by its defaults, and with both ends of each field."""
    own = {name: spec for name, spec in all_specs().items() if name in kind.model_fields}
    found = [{}, *({name: value} for name, spec in own.items() for value in dict.fromkeys(ends(spec)))]
    return {", ".join(f"{name}={value}" for name, value in one.items()) or "defaults": one for one in found}


def columns_of(shapes: Mapping[str, Sequence[tuple[int, ...]]]) -> Columns:
    """Of parameters by role; the first two hidden ones lie side by side in one."""
    spans, start = {}, 0
    for role in ROLES:
        size = sum(math.prod(shape) for shape in shapes[role])
        spans[role] = slice(start, start + size)
        start += size
    return Columns(spans, (Matrix(4, (4, 4)), Matrix(4, (6,)), Matrix(6, (4,))))


def several(name: str, settings: Sequence[Setting], **more: Any) -> list[Config]:
    """Members of these settings of an optimizer, and of others, that can be stacked."""
    base = small(optimizer=name, softmax_variant="constantmax", **more)
    kinds = [base, base.replace({"seed": 2, "learning_rate": 2 * base.train.learning_rate, "grad_clip": 0.0})]
    kinds += [base.replace({"weight_decay": 2.0, "vector_decay_ratio": 1.0, "seed": 3, "input_lr_ratio": 0.3})]
    kinds += [base.replace({**own, "variant_lr_ratio": 20.0}) for own in settings]
    return [config for config in kinds if config.bucket == base.bucket]


# ---------------------------------------------------------------------------------------------------------- promises


def both_forms_of_an_update_are_the_same(name: str, own: Setting) -> None:
    """In place and as a formula, to 1e-12; whatever has neither gradient nor decay stays."""
    optimizer, columns = Config.of({"optimizer": name, **own}).optimizer, columns_of(SHAPES)
    size = max(span.stop for span in columns.spans.values())
    drawn = torch.randn(9, 2, size, dtype=torch.float64, generator=generator(1, "update"))
    drawn[1:, :, -1] = 0.0  # a column that nobody uses
    values = {spec.name: spec.default for spec in all_specs().values()} | own | FIELDS
    rows = Rows.begin(drawn[0].clone(), len(optimizer.moments))
    formula: tuple[torch.Tensor, ...] = (drawn[0], *Rows.begin(drawn[0], len(optimizer.moments)).moments)
    for number, grad in enumerate(drawn[1:], 1):
        updates = [Update.of(values, rate, number, 0.5) for rate in (0.01, 0.1)]
        steps = torch.tensor([optimizer.coefficients(update) for update in updates], dtype=torch.float64)
        assert steps.shape == (2, optimizer.width)
        theta, *moments = formula
        formula = optimizer.step(theta, grad.clone(), moments, columns, steps)
        rows.count.add_(1)
        optimizer.step_(rows, grad.clone(), columns, updates)
    for one, other in zip((rows.theta, *rows.moments), formula, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    assert torch.equal(rows.theta[:, -1], drawn[0, :, -1])


def a_stacked_member_is_the_same_alone(name: str, settings: Sequence[Setting]) -> None:
    """Bit for bit, whoever multiplies matrices."""
    before = torch.get_float32_matmul_precision()
    try:
        for route in filter(matmul.allowed, matmul.ROUTES):
            matmul.take(route)
            configs = several(name, settings, tie_weights=False, bias=True)
            stacked = Trainer(configs[0], corpus())
            members = [stacked.add(config) for config in configs]
            stacked.step(4)
            for config, member in zip(configs, members, strict=True):
                solo = Trainer(config, corpus())
                alone = solo.add(config)
                solo.step(4)
                assert_same(stacked.snapshot(member), solo.snapshot(alone))
    finally:
        torch.set_float32_matmul_precision(before)


def a_member_goes_on_from_a_file_as_if_nothing_had_been(name: str, settings: Sequence[Setting]) -> None:
    """A checkpoint has its weights, its moments and its count."""
    configs = several(name, settings)
    trainer = Trainer(configs[0], corpus())
    members = [trainer.add(config) for config in configs]
    trainer.step(3)
    with tempfile.TemporaryDirectory() as folder:
        save(trainer.snapshot(members[1]), Path(folder) / "member", "data")
        saved = load(Path(folder) / "member")
    fork = trainer.restore(saved)
    elsewhere = Trainer(configs[0], corpus())
    alone = elsewhere.restore(saved)
    kinds = {key.partition("/")[0] for key in trainer.snapshot(fork).tensors}
    assert kinds == {"theta", "count", *configs[0].optimizer.moments}
    for each in (trainer, elsewhere):
        each.step(3)
    assert_same(trainer.snapshot(members[1]), trainer.snapshot(fork))
    assert_same(trainer.snapshot(members[1]), elsewhere.snapshot(alone))


def a_snapshot_of_another_optimizer_is_refused_in_one_line(name: str, settings: Sequence[Setting]) -> None:
    """Its moments would mean something else."""
    other = next(each for each in Optimizer.kinds().values() if each.moments != Optimizer.kinds()[name].moments)
    trainer = Trainer(small(optimizer=name), corpus())
    found = trainer.snapshot(trainer.add(small(optimizer=name)))
    wrong = Snapshot(small(optimizer=other.name), found.values, 0, found.tensors)
    restored = _refusal(lambda: Trainer(wrong.config, corpus()).restore(wrong))
    assert f"does not belong to a softmax model of this shape, trained by {other.name}" in restored
    added = _refusal(lambda: trainer.add(wrong.config))
    assert f"optimizer = {other.name}: members stacked here have {name}" in added


def _refusal(refused: Callable[[], object]) -> str:
    """What is said; empty if nothing is."""
    try:
        refused()
    except TunemaxError as error:
        return str(error)
    return ""


def what_is_compiled_is_what_eager_mode_computes(name: str, settings: Sequence[Setting]) -> None:
    """The graph as it is handed to the compiler, in float64."""
    found = []
    with patch.object(step, "compiled", lambda key, trace: trace()[0]), patch.object(step, "_known", {}):
        for compiled in (False, True):
            configs = several(name, settings, compile=compiled, n_layer=1)
            trainer = Trainer(configs[0], corpus(), torch.float64)
            members = [trainer.add(config) for config in configs]
            trainer.step(3)
            assert trainer.arithmetic.startswith("compiled" if compiled else "eager")
            found.append([trainer.snapshot(member).tensors for member in members])
    for eager, other in zip(*found, strict=True):
        for key, tensor in eager.items():
            torch.testing.assert_close(other[key], tensor, rtol=1e-10, atol=1e-10)


def columns_that_a_member_does_not_use_stay_zero(name: str, settings: Sequence[Setting]) -> None:
    """Rows have columns for the learnables of all variants."""
    config = small(optimizer=name, softmax_variant="softmax")
    trainer = Trainer(config, corpus())
    trainer.add(config)
    trainer.step(5)
    scalars = trainer.rows()[:, trainer.layout.spans["scalar"]]
    assert scalars.shape[1] > 0
    assert not scalars.any()


def each_role_has_its_own_learning_rate_and_decay(name: str, settings: Sequence[Setting]) -> None:
    """A ratio of 0 leaves a role where it is; a decay changes the role that it is of, and no other."""
    base = {"optimizer": name, "tie_weights": False, "softmax_variant": "constantmax", "warmup_fraction": 0.0}
    base |= {"weight_decay": 0.0}
    ratios = {"input": "input_lr_ratio", "output": "output_lr_ratio", "vector": "vector_lr_ratio"}
    ratios |= {"scalar": "variant_lr_ratio"}
    trainer = Trainer(small(**base), corpus())
    for role, field in ratios.items():
        member = trainer.add(small(**base, **{field: 0.0}))
        before = trainer.rows()[-1]
        trainer.step(1)
        changed = trainer.rows()[-1] != before
        assert {each for each in ROLES if changed[trainer.layout.spans[each]].any()} == {*ROLES} - {role}
        trainer.remove(member)
    decays = {"input": "input_decay_ratio", "output": "output_decay_ratio", "vector": "vector_decay_ratio"}
    for role, field in decays.items():
        found = []
        for ratio in (0.0, 1.0):
            member = trainer.add(small(**{**base, "weight_decay": 0.1}, **{field: ratio}))
            trainer.step(1)
            found.append(trainer.rows()[-1])
            trainer.remove(member)
        changed = found[0] != found[1]
        assert {each for each in ROLES if changed[trainer.layout.spans[each]].any()} == {role}


def it_learns_by_its_defaults(name: str, settings: Sequence[Setting]) -> None:
    """From 5.5 nats to less than 3 in 150 iterations."""
    config = small(optimizer=name, n_layer=1, max_iters=150)
    trainer = Trainer(config, corpus())
    member = trainer.add(config)
    trainer.step(150)
    assert member.event is None
    assert trainer.evaluate()[member] < 3.0


OF_A_SETTING: tuple[Callable[[str, Setting], None], ...] = (both_forms_of_an_update_are_the_same,)
PROMISES: tuple[Callable[[str, Sequence[Setting]], None], ...] = (
    a_stacked_member_is_the_same_alone,
    a_member_goes_on_from_a_file_as_if_nothing_had_been,
    a_snapshot_of_another_optimizer_is_refused_in_one_line,
    what_is_compiled_is_what_eager_mode_computes,
    columns_that_a_member_does_not_use_stay_zero,
    each_role_has_its_own_learning_rate_and_decay,
    it_learns_by_its_defaults,
)
