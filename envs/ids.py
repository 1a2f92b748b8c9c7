"""The ids of environments, a row each: what it changes of `tunemax/Steer-v1`, and what its docstring says of that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

SMALL = {
    "softmax_variant": "constantmax",
    "n_layer": 2,
    "n_head": 2,
    "n_embd": 32,
    "block_size": 32,
    "batch_size": 8,
    "learning_rate": 1e-2,
    "device": "cpu",
}
"""The training that most ids steer: about a second of one idle core for an episode."""
STEER = "tunemax/Steer-v1"
"""The id that all others are defaults of; its docstring is that of the class."""

V1 = "v1: rewards of order 1 (`reward_scale`), and today's defaults of the training, a faster recipe."
V0 = "v0: first."


@dataclass(frozen=True)
class Row:
    """An id: default arguments of `Steer` (config on top of SMALL; None leaves the task's own), and words about them.

    summary and about: what is steered. moves: what each number of an action moves. starts: what an instance has wrong
    at first. headroom: what there is to be won, as `tunemax rl headroom` says it. versions: its history. The sizes of
    spaces and episodes follow from the arguments.
    schema: whose defaults hold for fields that nobody names, see `tunemax.gpt.defaults`; None for today's.
    whole_slices: as `Task` has it.
    """

    controls: tuple[str, ...]
    summary: str = ""
    about: str = ""
    moves: str = ""
    starts: str = ""
    headroom: str = ""
    versions: tuple[str, ...] = (V1, V0)
    config: Mapping[str, Any] = field(default_factory=dict)
    horizon: int = 400
    frame_skip: int = 20
    windows: int | None = None
    test_windows: int | None = None
    vary: Mapping[str, Any] = field(default_factory=dict)
    disturb: Mapping[str, Any] = field(default_factory=dict)
    reward_scale: float = 10.0
    """A step's fall of the log loss has a standard deviation of about 0.1 under random actions; in `Tiny` of 0.05."""
    schema: int | None = None
    whole_slices: bool = False


LATEST = {
    "tunemax/Constantmax-v1": Row(
        controls=("constantmax.beta", "constantmax.gamma"),
        summary="Steer β and γ of constantmax, which SGD leaves alone.",
        about="Constantmax replaces the softmax of attention by b^(x − β) / γ: no maximum, no row sum, two constants. "
        "Here they are not learned but steered, one β and one γ for all layers. Only g = −β·ln b − ln γ matters to "
        "what attention computes, so the two are one dimension in effect, and the second axis is degenerate: it "
        "has another unit and other bounds, and nothing else; `ConstantmaxGain` has one axis. A GPT of 2 layers, 32 "
        "wide, is trained for 400 iterations, 20 a step. Everything that is not said here is as in `Steer`.",
        moves="β (additive, ln 1.5 at most), γ (a factor of 1.5 at most)",
        headroom="As of `ConstantmaxGain`, since only g matters: cannot say yet whether anything is to be won here: "
        "look-ahead 4 gains 0.3 % (-0.5 … 1.2 %); measure more --instances.",
        starts="γ is wrong by up to a factor of 10 either way, β by up to ln 10",
    ),
    "tunemax/ConstantmaxGain-v1": Row(
        controls=("gain",),
        summary="Steer the one number that β and γ of constantmax decide together.",
        about="With b^(x − β) / γ = e^(x·ln b + g) only g = −β·ln b − ln γ matters to what attention computes. Here "
        "the action moves g; β stays where it is and γ follows. Everything that is not said here is as in "
        "`Constantmax`.",
        moves="g, additive, ln 1.5 at most",
        headroom="Cannot say yet whether anything is to be won here: look-ahead 4 gains 0.3 % (-0.5 … 1.2 %); "
        "measure more --instances.",
        starts="g is wrong by up to ln 10 either way",
    ),
    "tunemax/LearningRate-v1": Row(
        controls=("learning_rate",),
        summary="Steer the learning rate of a training, on top of its schedule.",
        about="The schedule stays what it is (a warm-up, then a decay); the action moves its peak. β and γ of "
        "constantmax are learned by SGD. Everything that is not said here is as in `Constantmax`.",
        moves="the peak learning rate, a factor of 1.5 at most",
        headroom="Nothing is to be won here by choosing for each training: schedule gains -0.13 % (-0.43 … 0.17 %).",
        starts="the learning rate is wrong by up to a factor of 10 either way",
    ),
    "tunemax/Joint-v1": Row(
        controls=("learning_rate", "constantmax.beta", "constantmax.gamma"),
        summary="Steer the learning rate together with β and γ of constantmax.",
        about="`LearningRate` and `Constantmax` in one: what is right for β and γ depends on how fast the rest moves. "
        "Everything that is not said here is as in `Constantmax`.",
        moves="peak learning rate (a factor of 1.5 at most), β (additive, ln 1.5), γ (a factor of 1.5)",
        headroom="Nothing is to be won here by choosing for each training: schedule gains -0.03 % (-0.58 … 0.51 %).",
        starts="learning rate and γ are wrong by up to a factor of 10 either way, β by up to ln 10",
    ),
    "tunemax/Tiny-v1": Row(
        controls=("learning_rate", "gain"),
        summary="A training of milliseconds, for tests and for learning how this works.",
        about="One layer, 8 wide, context 8, 20 iterations, 2 a step: a step takes a few milliseconds of one idle "
        "core. The learning rate and the gain of constantmax are steered. What is learned here says nothing about "
        "larger models. Everything else is as in `Steer`.",
        moves="the peak learning rate (a factor of 1.5 at most), g (additive, ln 1.5 at most)",
        headroom="At most 1.2 % (0.9 … 1.5 %) is to be won here by choosing for each training (by training).",
        starts="the learning rate is wrong by up to a factor of 10 either way, g by up to ln 10",
        config={"n_layer": 1, "n_head": 1, "n_embd": 8, "block_size": 8, "batch_size": 4, "learning_rate": 3e-2},
        horizon=20,
        frame_skip=2,
        windows=32,
        test_windows=128,
        reward_scale=20.0,
    ),
    "tunemax/MixedWidths-v1": Row(
        controls=("learning_rate",),
        summary="Steer the learning rate of trainings of several widths and depths, of which each wants its own.",
        about="An instance is 1 or 2 layers deep and 8 or 64 wide, and its learning rate starts wrong: the best rates "
        "of the two widths are a factor of 5 apart, and the observation says which it is. The set `larger` is 96 "
        "wide, `longer` twice as long. Everything else is as in `LearningRate`.",
        moves="the peak learning rate, a factor of 1.5 at most",
        headroom="At most 0.63 % (0.41 … 0.91 %) is to be won here by choosing for each training (by training); 0.41"
        " % of it by n_embd alone.",
        starts="width and depth are drawn, and the learning rate is wrong by up to a factor of 10 either way",
        versions=("v1: first.",),
        config={"n_head": 4},
        horizon=200,
        frame_skip=10,
        vary={
            "n_embd": {"values": [8, 64], "held_out": [96]},
            "n_layer": [1, 2],
            "horizon": {"held_out": [400]},
        },
    ),
    "tunemax/Unscheduled-v1": Row(
        controls=("learning_rate",),
        summary="Steer the whole learning rate: nothing else warms it up or lets it decay.",
        about="The schedule is a constant without a warm-up, so what the agent does is the schedule. An instance is 8 "
        "or 64 wide, and the best rates of the two are a factor of 8 apart; the observation says which it is. A GPT of "
        "1 layer with a context of 16 is trained for 60 iterations, 4 a step. The set `larger` is 96 wide, `longer` "
        "twice as long. Everything else is as in `LearningRate`.",
        moves="the learning rate, a factor of 1.5 at most",
        headroom="At most 1.8 % (1.4 … 2.3 %) is to be won here by choosing for each training (by training); 1.6 % of "
        "it by n_embd alone.",
        starts="the width is drawn, and the learning rate is wrong by up to a factor of 10 either way",
        versions=("v1: first.",),
        config={
            "n_layer": 1,
            "n_head": 4,
            "block_size": 16,
            "batch_size": 4,
            "schedule": "constant",
            "warmup_fraction": 0.0,
        },
        horizon=60,
        frame_skip=4,
        vary={"n_embd": {"values": [8, 64], "held_out": [96]}, "horizon": {"held_out": [120]}},
    ),
    "tunemax/DisturbedText-v1": Row(
        controls=("learning_rate",),
        summary="Steer the learning rate of a training whose text changes on the way, from code to prose.",
        about="Somewhere in the middle three fifths of an episode the text becomes another one, and so does what the "
        "loss is measured on: `python_docstrings`, after `python_stdlib`. Nothing says so but the losses. A GPT of 1 "
        "layer, 32 wide, is trained for 200 iterations, 10 a step. Everything else is as in `LearningRate`.",
        moves="the peak learning rate, a factor of 1.5 at most",
        headroom="Nothing is to be won here by choosing for each training: by training gains 0.00 % (-0.07 … 0.07 %).",
        starts="the learning rate is wrong by up to a factor of 10 either way",
        versions=("v1: first.",),
        config={"n_layer": 1},
        horizon=200,
        frame_skip=10,
        disturb={"text": ["python_docstrings"]},
    ),
    STEER: Row(controls=("learning_rate",)),
}


def _before(row: Row) -> Row:
    """What the row was as v0, for agents of that time and whoever compares with them."""
    windows, tested = (16, 64) if row is LATEST["tunemax/Tiny-v1"] else (32, 128)
    then = replace(row, reward_scale=1.0, schema=2, versions=(V0,), headroom="")
    return replace(then, windows=windows, test_windows=tested, whole_slices=True)


IDS = {**LATEST, **{id.replace("-v1", "-v0"): _before(row) for id, row in LATEST.items() if V0 in row.versions}}
