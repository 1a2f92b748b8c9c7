"""What a trainer promises about one member: controls, evaluation, events, interrupts, and plain refusals."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import tunemax.gpt.compile.step
import tunemax.gpt.trainer
from tunemax.gpt.config import Config, all_specs
from tunemax.gpt.data import Corpus, open_data
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.fields import Above
from tunemax.gpt.optimizer.adamw import AdamW
from tunemax.gpt.parameters import MATRICES
from tunemax.gpt.probe import probe
from tunemax.gpt.snapshot import Snapshot
from tunemax.gpt.softmax import variants
from tunemax.gpt.trainer import Member, Trainer

Make = Callable[..., Config]
Same = Callable[[Snapshot, Snapshot], None]


def started(
    config: Config, corpus: Corpus, steps: int = 0, dtype: torch.dtype = torch.float32
) -> tuple[Trainer, Member]:
    trainer = Trainer(config, corpus, dtype)
    member = trainer.add(config)
    trainer.step(steps)
    return trainer, member


# --- set

CONTROLS = [name for name, spec in all_specs().items() if spec.declared.control]
ACTIVATED: dict[str, dict[str, Any]] = {  # beside the variant, what makes a control mean something
    "strongermax.guess": {"strongermax.maximum": "guess", "strongermax.obo": 1.0},
    "strongermax.clamp_value": {"strongermax.clamp": True},
    "feedback_share": {"feedback_share": 0.25, "feedback_every": 1},
}


def with_control(name: str, small: Make) -> Config:
    owner = name.partition(".")[0]
    variant = {"softmax_variant": owner} if owner in variants() else {}
    spec = all_specs()[name]
    conditions = {
        other: allowed[0]
        for condition in (spec.when, *spec.any_of[:1])
        for other, allowed in condition.items()
        if not isinstance(allowed, Above)  # as by default
    }
    return small().replace({**conditions, **variant, **ACTIVATED.get(name, {})})


@pytest.mark.parametrize("name", CONTROLS)
def test_every_control_changes_what_is_trained(name: str, small: Make, corpus: Corpus) -> None:
    trainer, member = started(with_control(name, small), corpus, steps=2)
    fork = trainer.restore(trainer.snapshot(member))
    control = all_specs()[name].declared.control
    assert control is not None
    value = control.low if control.low != member.values[name] else control.high
    trainer.set(fork, name, value)
    assert fork.values[name] == value
    assert member.values[name] != value
    trainer.step(3)
    one, other = (trainer.snapshot(m).tensors["theta/wte"] for m in (member, fork))
    assert not torch.equal(one, other)


@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("sharing", ["layer", "head"])
def test_a_learnable_that_is_set_is_as_if_started_there(
    learned: bool, sharing: str, small: Make, corpus: Corpus
) -> None:
    common = {
        "softmax_variant": "constantmax", "constantmax__sharing": sharing, "constantmax__learn_beta": learned,
        "constantmax__learn_gamma": learned,
    }  # fmt: skip
    trainer, member = started(small(**common), corpus)
    trainer.set(member, "constantmax.beta", 5)
    trainer.set(member, "consmax.gamma", 3.5)
    other, expected = started(small(**common, constantmax__beta=5, constantmax__gamma=3.5), corpus)
    assert trainer.evaluate()[member] == other.evaluate()[expected]
    trainer.step(3)
    other.step(3)
    assert trainer.evaluate()[member] == other.evaluate()[expected]
    learnables = trainer.learnables(member)
    assert set(learnables) == ({"beta", "gamma"} if learned else set())
    for values in learnables.values():
        assert values.shape == (2, 2 if sharing == "head" else 1)


def test_a_learnable_is_put_to_its_value_in_every_layer_and_goes_on_learning(small: Make, corpus: Corpus) -> None:
    trainer, member = started(small(softmax_variant="constantmax", variant_lr_ratio=10), corpus, steps=5)
    before = trainer.learnables(member)
    assert before["gamma"].unique().numel() == 2  # the layers have learned different values
    trainer.set(member, "constantmax.gamma", 12)
    after = trainer.learnables(member)
    assert after["gamma"].flatten().tolist() == pytest.approx([12, 12])
    assert torch.equal(after["beta"], before["beta"])
    trainer.step()
    assert all(value != pytest.approx(12, rel=1e-6) for value in trainer.learnables(member)["gamma"].flatten().tolist())


def test_the_learning_rate_scales_the_next_update(small: Make, corpus: Corpus) -> None:
    trainer, member = started(small(), corpus, steps=5, dtype=torch.float64)
    fork = trainer.restore(trainer.snapshot(member))
    trainer.set(fork, "learning_rate", member.values["learning_rate"] / 4)
    assert fork.learning_rate == pytest.approx(member.learning_rate / 4)
    before = trainer.snapshot(member).tensors
    trainer.step()
    one, other = (trainer.snapshot(m).tensors for m in (member, fork))
    for name, start in before.items():
        if name.startswith("theta/"):
            torch.testing.assert_close((other[name] - start) * 4, one[name] - start, rtol=1e-6, atol=1e-15)


@pytest.mark.parametrize(
    ("fields", "name", "value", "message"),
    [
        ({}, "seed", 3, "seed: not a control"),
        ({}, "n_layer", 3, "n_layer: not a control"),
        ({}, "learning_rat", 3, "did you mean `learning_rate`"),
        ({}, "constantmax.beta", 3, "constantmax.beta: means nothing for this member .softmax_variant is softmax"),
        ({}, "variant_lr_ratio", 3, "variant_lr_ratio: means nothing"),
        ({"softmax_variant": "strongermax"}, "strongermax.guess", 3, "strongermax.maximum is row"),
        ({}, "learning_rate", 0, "learning_rate = 0: expected a number > 0"),
        ({}, "learning_rate", math.nan, "learning_rate = nan"),
        ({}, "dropout", 1, "dropout = 1"),
        ({"softmax_variant": "constantmax"}, "constantmax.gamma", -1, "constantmax.gamma = -1"),
        (
            {"softmax_variant": "strongermax", "strongermax__learn_obo": True, "strongermax__obo": 1},
            "strongermax.obo",
            0,
            "obo = 0",
        ),
    ],
)
def test_what_cannot_be_set_is_refused_in_one_line(
    fields: dict[str, Any], name: str, value: float, message: str, small: Make, corpus: Corpus, assert_same: Same
) -> None:
    trainer, member = started(small(**fields), corpus)
    before, values = trainer.snapshot(member), dict(member.values)
    with pytest.raises(TunemaxError, match=message) as error:
        trainer.set(member, name, value)
    assert len(str(error.value).splitlines()) == 1
    assert member.values == values
    assert_same(trainer.snapshot(member), before)


# --- evaluation


def test_looking_does_not_move_the_training(small: Make, corpus: Corpus, assert_same: Same) -> None:
    configs = [small(dropout=0.2), small(softmax_variant="constantmax", dropout=0.1, seed=2)]
    quiet, watched = Trainer(configs[0], corpus), Trainer(configs[0], corpus)
    quiet_members, members = ([trainer.add(config) for config in configs] for trainer in (quiet, watched))
    quiet.step(5)
    for _ in range(5):
        watched.evaluate()
        watched.step()
        watched.evaluate("test", members=members[:1])
        probe(watched)
        watched.learnables(members[1])
        watched.snapshot(members[0])
    for one, other in zip(quiet_members, members, strict=True):
        assert_same(quiet.snapshot(one), watched.snapshot(other))


def test_by_the_old_rule_an_evaluation_covers_as_many_windows_as_asked(small: Make, corpus: Corpus) -> None:
    trainer = Trainer(small(), corpus)
    old = {"eval_by": "windows"}
    whole, few = trainer.add(small(**old, eval_iters=0)), trainer.add(small(**old, eval_iters=2))
    found = trainer.evaluate()
    for member, count in ((whole, 0), (few, 8)):
        windows = corpus.windows("tuning", 16, count)
        assert found[member] == pytest.approx(trainer.window_losses([member], windows).mean(), rel=1e-12)
    assert found[whole] != found[few]
    assert len(corpus.windows("tuning", 16, 0)) > 64  # more than one pass


def test_members_are_evaluated_on_the_slices_of_their_configurations(small: Make, corpus: Corpus) -> None:
    trainer = Trainer(small(), corpus)
    tuned, confirmed = trainer.add(small()), trainer.add(small(eval_slice="confirmation"))
    found = trainer.evaluate()
    assert found[tuned] != found[confirmed]
    assert found == {tuned: trainer.evaluate("tuning")[tuned], confirmed: trainer.evaluate("confirmation")[confirmed]}


def test_an_unknown_slice_is_refused(small: Make, corpus: Corpus) -> None:
    trainer, _ = started(small(), corpus)
    with pytest.raises(TunemaxError, match="did you mean `tuning`"):
        trainer.evaluate("tunin")


# --- training


def test_training_learns_and_reports_the_mean_of_its_iterations(small: Make, corpus: Corpus) -> None:
    config = small(learning_rate=1e-2)
    trainer, member = started(config, corpus)
    start = trainer.evaluate()[member]
    single, own = started(config, corpus)
    losses = []
    for _ in range(40):
        single.step()
        losses.append(own.train_loss)
    trainer.step(40)
    assert member.train_loss == pytest.approx(sum(losses) / 40, rel=1e-5)
    assert member.grad_norm == own.grad_norm > 0
    assert member.iteration == 40
    assert trainer.evaluate()[member] < start - 2
    trainer.step(0)
    assert member.iteration == 40


def test_a_variants_scalars_have_their_own_learning_rate(small: Make, corpus: Corpus) -> None:
    moved = {}
    for ratio in (0, 1, 10):
        trainer, member = started(
            small(softmax_variant="constantmax", learning_rate=1e-3, variant_lr_ratio=ratio, warmup_fraction=0),
            corpus,
            steps=1,
        )
        moved[ratio] = (trainer.learnables(member)["beta"] - 2.5).abs().max().item()
    assert moved[0] == 0
    assert moved[1] == pytest.approx(1e-3, rel=1e-2)  # Adam's first step is one learning rate long
    assert moved[10] == pytest.approx(1e-2, rel=1e-2)


def test_decay_shrinks_matrices_only(small: Make, corpus: Corpus) -> None:
    base = {"bias": True, "learning_rate": 1e-3, "warmup_fraction": 0, "softmax_variant": "constantmax"}
    ends = [started(small(weight_decay=decay, **base), corpus, steps=1) for decay in (0, 50)]
    plain, decayed = (trainer.snapshot(member).tensors for trainer, member in ends)
    start = ends[0][0].layout.split(ends[0][0].layout.start(small(**base)))
    for name, value in plain.items():
        if name.startswith("theta/"):
            parameter = next(p for p in ends[0][0].layout.parameters if p.name == name.removeprefix("theta/"))
            shrunk = 1e-3 * 50 * start[parameter.name] if parameter.role in MATRICES else 0.0
            torch.testing.assert_close(decayed[name], value - shrunk, rtol=1e-4, atol=1e-7)


def test_members_train_on_their_own_parts_of_the_text(small: Make, corpus: Corpus) -> None:
    configs = [small(), small(data_start=0.5), small(data_end=0.5), small(data_start=0.25, data_end=0.75)]
    trainer = Trainer(configs[0], corpus)
    for config in configs:
        trainer.add(config)
    (batch,) = trainer._batches(1)
    parts = [(0.0, 1.0), (0.5, 1.0), (0.0, 0.5), (0.25, 0.75)]
    for windows, (start, end) in zip(batch.numpy(), parts, strict=True):
        assert (windows == corpus.at(corpus.batch_offsets(1, 0, 4, 16, start, end), 16)).all()
    before = trainer.rows()
    trainer.step(2)
    after = trainer.rows()
    assert len({tuple(row.tolist()) for row in before}) == 1
    assert len({tuple(row.tolist()) for row in after}) == len(configs)


def test_a_clip_bounds_the_update_of_its_member_only(small: Make, corpus: Corpus) -> None:
    """Adam hides the size of one gradient, but not a change of size: the first moment holds it as it is."""
    trainer = Trainer(small(), corpus)
    clipped, free = trainer.add(small(grad_clip=1e-3)), trainer.add(small(grad_clip=0))
    trainer.step()
    assert clipped.grad_norm == free.grad_norm > 0.1
    norms = [
        math.sqrt(
            sum(t.square().sum().item() for n, t in trainer.snapshot(m).tensors.items() if n.startswith("first/"))
        )
        for m in (clipped, free)
    ]
    assert norms[0] == pytest.approx(1e-3 * 0.1, rel=1e-2)
    assert norms[1] == pytest.approx(free.grad_norm * 0.1, rel=1e-2)


def test_the_cap_is_even_guessing_plus_the_margin(small: Make, corpus: Corpus) -> None:
    trainer = Trainer(small(), corpus)
    fields = {"learning_rate": 2, "grad_clip": 0, "warmup_fraction": 0, "schedule": "constant", "eval_by": "windows"}
    strict, lenient = (
        trainer.add(small(**fields, divergence_margin=0.5)),
        trainer.add(small(**fields, divergence_margin=1e6)),
    )
    trainer.step(10)
    assert strict.event is not None
    assert strict.event.reason.endswith(f"above {math.log(256) + 0.5:.3g}")
    assert lenient.event is None
    event = strict.event
    trainer.step(2)
    assert strict.event == event


def test_a_gradient_that_is_not_finite_is_told_though_the_loss_is_fine(
    small: Make, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    objective = tunemax.gpt.compile.step.objective

    def flawed(views: dict[str, torch.Tensor], *rest: Any) -> tuple[torch.Tensor, torch.Tensor]:
        loss, minimised = objective(views, *rest)
        return loss, minimised + (views["wte"].sum() * 0).sqrt()

    monkeypatch.setattr(tunemax.gpt.compile.step, "objective", flawed)
    _, member = started(small(), corpus, steps=1)
    assert math.isfinite(member.train_loss)
    assert member.event is not None
    assert member.event.reason == "diverged: norm of the gradient is nan"
    assert member.event.iteration == 1


def test_an_interrupt_waits_for_the_update_to_be_whole(
    small: Make, corpus: Corpus, monkeypatch: pytest.MonkeyPatch, assert_same: Same
) -> None:
    config = small(softmax_variant="constantmax")
    trainer, member = started(config, corpus)
    update = AdamW.step_
    done = 0

    def interrupted(*arguments: Any) -> None:
        nonlocal done
        done += 1
        if done == 3:
            signal.raise_signal(signal.SIGINT)
        update(*arguments)

    monkeypatch.setattr(AdamW, "step_", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trainer.step(10)
    assert member.iteration == 3
    trainer.step(4)
    other, own = started(config, corpus, steps=7)
    assert_same(trainer.snapshot(member), other.snapshot(own))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# --- refusals


def test_members_of_another_bucket_are_refused(small: Make, corpus: Corpus) -> None:
    trainer, _ = started(small(), corpus)
    changes: list[tuple[str, Any]] = [
        ("n_layer", 1),
        ("n_head", 4),
        ("bias", True),
        ("precision", "bf16"),
        ("batch_size", 5),
    ]
    for name, value in changes:
        with pytest.raises(TunemaxError, match=f"{name} = {value}: members stacked here have"):
            trainer.add(small(**{name: value}))
    assert len(trainer.members) == 1


@pytest.mark.parametrize("device", ["nonsense", "cuda:77", "cpu:x"])
def test_a_device_that_is_not_here_is_refused_in_one_line(device: str, small: Make, corpus: Corpus) -> None:
    with pytest.raises(TunemaxError, match=f"device = {device}: .*use auto or cpu") as error:
        Trainer(small(device=device), corpus)
    assert len(str(error.value).splitlines()) == 1


def test_a_text_shorter_than_the_context_is_refused_before_training(small: Make, tmp_path: Path) -> None:
    short = tmp_path / "short.txt"
    short.write_text("so short a text " * 20)
    with pytest.raises(TunemaxError, match=r"block_size = 16: tuning of short has 16 tokens"):
        Trainer(small(), open_data(str(short)))
