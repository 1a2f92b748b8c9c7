"""What is said of a confirmation: its order, its headline, every candidate's sentence, what would settle the rest."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from optuna.trial import FrozenTrial, create_trial

from tunemax.search.question.stages import Frozen
from tunemax.search.results.comparison import Runs, compare
from tunemax.search.results.confirmation import Confirmation, confirmed, ranked
from tunemax.search.results.remedies import remedies, seconds_for
from tunemax.search.results.seeds import runs_per_second
from tunemax.search.results.statistics import estimate

FIELDS = {"n_layer": 2, "n_embd": 32, "n_head": 2}
URL = f"sqlite:///{Path('studies/tunemax.db').absolute()}"


def told(losses: dict[str, Runs], *, waiting: int = 0, trials: Sequence[FrozenTrial] = ()) -> Confirmation:
    """A confirmation of these losses; those of softmax first."""
    versus = {each.name: each for each in compare(losses, "softmax", 8)}
    entries = []
    for name, found in losses.items():
        frozen, study = Frozen(study=f"q/{name}", trial=1, fields=FIELDS), f"q.confirmed/{name}"
        entry = confirmed(frozen, study, found, trials, versus.get(name), losses["softmax"])
        entries.append(replace(entry, waiting=waiting))
    return Confirmation("q.confirmed", "q", 1000, 1, 8, "softmax", "python_stdlib", ranked(entries, "softmax"), URL, 8)


WOBBLE = [0.01, -0.02, 0.015, 0.0, -0.01, 0.02, -0.015, 0.005]
SOFTMAX: dict[int, float | None] = {1001 + index: 2.0 + wobble for index, wobble in enumerate(WOBBLE)}


def times(factor: float, step: float = 0.001) -> dict[int, float | None]:
    """Losses by so much higher than softmax's, with a scatter."""
    return {seed: loss * (factor + step * (seed % 8) / 4) for seed, loss in SOFTMAX.items() if loss}


def lost(runs: Runs, *seeds: int) -> dict[int, float | None]:
    return {**runs, **dict.fromkeys(seeds, math.inf)}


WHERE = "at 1,000 iterations of a 2×32 model on python_stdlib"


def test_a_candidate_that_is_worse_is_called_so() -> None:
    found = told({"softmax": SOFTMAX, "constantmax": times(1.008)})
    expected = (
        r"constantmax is typically 0\.8\d % worse than softmax in validation loss "
        rf"\(95 % interval 0\.8\d … 0\.9\d %, 8 seeds; p 0\.011\), {WHERE}\."
    )
    assert re.fullmatch(expected, found.verdict)
    assert remedies(found) == ()


def test_the_best_of_those_that_are_better_is_the_headline() -> None:
    better, best = times(0.95), times(0.93)
    found = told({"softmax": SOFTMAX, "a": times(1.05), "b": better, "c": best, "late": {}})
    assert [entry.candidate for entry in found.entries] == ["c", "b", "softmax", "a", "late"]
    assert found.verdict.startswith("c is typically 6.9 % better than softmax")
    assert found.verdict.endswith(f"{WHERE}. Better than softmax, too: b. The others: a: worse.")
    assert found.sentences[0] in found.verdict


def test_a_better_candidate_is_not_hidden_by_one_that_loses_its_runs() -> None:
    """Whose last run has the lowest loss of all."""
    long = {seed: 2.0 + WOBBLE[seed % 8] + 0.001 * (seed % 7) for seed in range(1, 13)}
    lucky = {**dict.fromkeys(range(1, 11), math.inf), 11: 1.5, 12: 1.5}
    better = {seed: loss * (0.95 + 0.001 * (seed % 5)) for seed, loss in long.items()}
    found = told({"softmax": long, "lucky": lucky, "better": better})
    assert found.verdict.startswith("better is typically 4.")
    assert found.verdict.endswith(f"{WHERE}. The others: lucky (diverged in 10 of 12 runs): worse.")
    assert [entry.candidate for entry in found.entries] == ["better", "softmax", "lucky"]
    worse = told({"softmax": long, "lucky": lucky, "tie": {**long, 12: 2.1}})
    assert worse.verdict.startswith("None of 2 candidates is shown to be better than softmax, at 1,000 iterations")
    assert "lucky (diverged in 10 of 12 runs): worse" in worse.verdict


def test_eleven_of_twelve_lost_are_said_of_either_side() -> None:
    long = {seed: 2.0 + WOBBLE[seed % 8] for seed in range(1, 13)}
    gone = {**dict.fromkeys(range(1, 12), math.inf), 12: 2.0}
    assert "polymax diverged in 11 of 12 runs" in told({"softmax": long, "polymax": gone}).verdict
    saved = told({"softmax": gone, "polymax": long})
    assert saved.verdict.startswith("polymax is typically better than softmax in validation loss (12 seeds;")
    assert saved.verdict.endswith("; softmax diverged in 11 of 12 runs.")


def test_a_tie_is_called_a_tie_and_says_what_would_separate_it() -> None:
    near = {seed: loss + 0.03 * (-1) ** seed + 0.006 for seed, loss in SOFTMAX.items() if loss}
    start = datetime(2026, 1, 1)
    runs = [trial_of(start, start + timedelta(seconds=30)), trial_of(start, start + timedelta(seconds=60))]
    found = told({"softmax": SOFTMAX, "polymax": near}, trials=runs)
    assert found.verdict.startswith(
        "polymax and softmax are not told apart in validation loss: typically +0.3 % (95 % interval -"
    )
    (remedy,) = remedies(found)
    tie = found.entry("polymax").versus  # type: ignore[union-attr]
    assert tie
    assert tie.needed
    assert tie.needed.low
    assert tie.needed.low > 8
    assert remedy.startswith(
        f"To tell polymax and softmax apart would probably take {tie.needed.low} to more than 1,000 seeds (about "
    )
    assert remedy.endswith(f"; begin with tunemax study confirm q --seeds {tie.needed.low}")


def trial_of(start: datetime, end: datetime) -> FrozenTrial:
    trial = create_trial(value=1.0)
    trial.datetime_start, trial.datetime_complete = start, end
    return trial


def test_more_seeds_cost_what_the_runs_so_far_have_taken() -> None:
    """Two at once in a minute; what lies between two days of work does not count."""
    start, minute = datetime(2026, 1, 1), timedelta(minutes=1)
    later = start + timedelta(days=2)
    spans = [(start, start + minute), (start, start + minute), (later, later + minute), (later, later + minute)]
    runs = [trial_of(*span) for span in spans]
    assert runs_per_second(runs) == pytest.approx(4 / 120)
    assert runs_per_second([]) is None
    found = told({"softmax": SOFTMAX}, trials=runs)
    assert seconds_for(found, 20) == pytest.approx((20 - 8) * 1 * 30)


def test_seeds_too_few_to_show_anything_are_said_to_be() -> None:
    few = {seed: SOFTMAX[seed] for seed in (1001, 1002, 1003)}
    found = replace(told({"softmax": few, "polymax": {seed: times(2)[seed] for seed in few}}), seeds=3, planned=3)
    assert (
        "are not told apart in validation loss, since 3 seeds are too few to say: 6 or more may; so far typically"
        in found.verdict
    )
    assert "∞" not in found.verdict
    assert remedies(found)[0] == "3 seeds can never show a difference; 6 or more could."


def test_runs_that_diverged_are_counted_in_the_sentence() -> None:
    found = told({"softmax": SOFTMAX, "polymax": lost(times(1.1), 1008)})
    assert found.verdict.endswith("; polymax diverged in 1 of 8 runs.")
    assert "8 seeds" in found.verdict


def test_a_mean_loss_leaves_out_runs_that_diverged_and_no_others() -> None:
    entry = told({"softmax": SOFTMAX, "polymax": lost(SOFTMAX, 1002)}).entry("polymax")
    assert entry
    kept = [loss for seed, loss in SOFTMAX.items() if seed != 1002 and loss]
    assert entry.estimate == estimate(kept)
    assert entry.diverged == (1002,)


def test_a_candidate_that_loses_more_runs_is_not_called_better() -> None:
    better = {seed: 2.0 + WOBBLE[seed % 8] - 0.1 + 0.001 * (seed % 5) for seed in range(1, 25)}
    softmax = {seed: 2.0 + WOBBLE[seed % 8] for seed in range(1, 25)}
    found = told({"softmax": softmax, "polymax": lost(better, 7, 11)})
    entry = found.entry("polymax")
    assert entry
    assert entry.verdict == "mixed"
    assert found.verdict.startswith("polymax is not called better than softmax in validation loss: typically it is 4.")
    assert found.verdict.endswith("; polymax diverged in 2 of 24 runs.")
    assert remedies(found) == ()


def test_a_candidate_of_which_every_run_diverged_is_named() -> None:
    found = told({"softmax": SOFTMAX, "polymax": dict.fromkeys(SOFTMAX, math.inf)})
    assert found.verdict.startswith("polymax is typically worse than softmax in validation loss (8 seeds; p 0.0")
    assert found.verdict.endswith("; polymax diverged in all 8 runs.")
    assert found.sentences == (found.verdict,)
    json.dumps(found.to_json(), allow_nan=False)


def test_a_tie_whose_interval_leaves_0_out_says_why_it_is_one() -> None:
    near = times(1.002)
    found = told({"softmax": SOFTMAX, **dict.fromkeys("abcde", near)})
    (entry, *_) = [entry for entry in found.entries if entry.versus]
    assert entry.versus
    assert entry.versus.typical.low > 0
    assert entry.verdict == "undecided", "8 seeds cannot show a difference among five"
    assert "the interval by itself leaves 0 out, p counts all candidates and looks" in found.sentence(entry)


def test_what_is_still_being_confirmed_says_so() -> None:
    assert told({"softmax": SOFTMAX, "polymax": times(0.999, 0.0)}, waiting=2).verdict.startswith(
        "4 runs still to come; so far: polymax "
    )
    assert told({"softmax": {1: 2.0}}, waiting=3).verdict.startswith(
        "3 runs still to come; so far: Nothing can be said"
    )


def test_nobody_is_left_out() -> None:
    found = told({"softmax": SOFTMAX, "polymax": times(1.1), "late": {1001: None}, "gone": {1001: math.inf}})
    assert "late: nothing known yet" in found.verdict
    assert "gone (diverged in 1 of 1 run)" in found.verdict
    assert len(found.sentences) == 3
    assert any(each.startswith("late: nothing can be said before two seeds") for each in found.sentences)


def test_where_all_runs_of_both_diverged_nothing_is_better_and_no_seeds_are_asked_for() -> None:
    found = told({"softmax": dict.fromkeys(SOFTMAX, math.inf), "polymax": dict.fromkeys(SOFTMAX, math.inf)})
    (entry,) = [each for each in found.entries if each.versus]
    assert entry.versus
    assert entry.versus.relative == (0.0, 0.0, 0.0)
    assert found.verdict.startswith("polymax and softmax are not told apart in validation loss: typically 0.00 % ")
    assert remedies(found) == ("All runs of polymax and softmax diverged; more seeds would hardly tell them apart.",)


def test_a_candidate_of_which_every_run_failed_is_named() -> None:
    start = datetime(2026, 1, 1)
    found = told({"softmax": SOFTMAX, "broken": {}}, trials=[trial_of(start, start + timedelta(seconds=30))] * 8)
    assert found.sentences == ("broken: all 8 runs of it have failed.",)


def test_one_candidate_alone_waits_for_no_other_one() -> None:
    none = told({"softmax": dict.fromkeys(SOFTMAX, math.inf)})
    lost_all = "softmax (diverged in 8 of 8 runs): fewer than two of its runs have a loss"
    assert none.verdict == f"{lost_all}, and there is nothing to compare it with."
    some = told({"softmax": lost(SOFTMAX, 1001)})
    assert some.verdict.startswith("softmax (diverged in 1 of 8 runs) has validation loss 1.9")
    assert some.verdict.endswith(f", 7 seeds), {WHERE}; there is nothing to compare it with.")


def test_runs_that_wait_come_before_more_seeds() -> None:
    """And what they cost is to come, too."""
    start = datetime(2026, 1, 1)
    runs = [trial_of(start, start + timedelta(seconds=30)), trial_of(start, start + timedelta(seconds=60))]
    waiting: dict[str, Runs] = {
        "softmax": SOFTMAX | dict.fromkeys(range(1009, 1017)),
        "polymax": times(0.95) | dict.fromkeys(range(1009, 1017)),
    }
    found = replace(told(waiting, trials=runs, waiting=8), planned=16, seeds=16)
    versus = {each.name: each for each in compare(waiting, "softmax", 16)}["polymax"]
    found = replace(found, entries=tuple(replace(e, versus=e.versus and versus) for e in found.entries))
    (remedy,) = remedies(found)
    assert remedy.endswith("; begin with tunemax study confirm q --seeds 16")
    assert seconds_for(found, 16) == pytest.approx(16 * 15), "four runs a minute"


def test_a_command_for_more_seeds_asks_for_the_same_candidates() -> None:
    near = {seed: loss + 0.03 * (-1) ** seed + 0.006 for seed, loss in SOFTMAX.items() if loss}
    found = replace(told({"softmax": SOFTMAX, "polymax": near}), partial=True, factor=4)
    (remedy,) = remedies(found)
    assert re.search(r"begin with tunemax study confirm q --top 1 --seeds \d+ --longer 4$", remedy)


# ---- two modes -------------------------------------------------------------------------------------------------------

CALMED = (
    "Wider initial weights (init_std 0; now 0.02), a longer warm-up (warmup_fraction 0.2; now 0.05), a smaller "
    "grad_clip (0.25; now"
)


def in_two_modes(runs: Runs) -> dict[int, float | None]:
    """The same, but one run ends far above the others."""
    return {**runs, 1003: 2.6}


def test_behind_two_modes_stands_what_would_calm_them() -> None:
    found = told({"softmax": SOFTMAX, "constantmax": in_two_modes(times(1.008))})
    assert re.search(r"1 of 8 runs of constantmax ends 0\.\d+ higher\. Wider initial weights", found.verdict)
    assert found.verdict.endswith(f"{CALMED} 1) or a lower learning rate may calm constantmax.")
    assert "calm" not in told({"softmax": SOFTMAX, "constantmax": times(1.008)}).verdict


def test_of_the_reference_it_is_said_once() -> None:
    others = {"constantmax": times(1.008), "polymax": times(1.02), "sigsoftmax": in_two_modes(times(1.03))}
    said = told({"softmax": in_two_modes(SOFTMAX), **others}).sentences
    assert [sentence.count("calm softmax") for sentence in said] == [1, 0, 0]
    assert sum(sentence.count("calm sigsoftmax") for sentence in said) == 1
