"""The rounds of a confirmation whose runs are counted: who is trained further, for how long, at what error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunemax.gpt.errors import TunemaxError
from tunemax.search.api import run_study
from tunemax.search.question.looks import least_seeds, looks
from tunemax.search.question.stages import Confirm
from tunemax.search.results.confirmation import Confirmation, confirmation
from tunemax.search.results.rounds import Stand, allotted, first_seeds, next_seeds
from tunemax.search.results.sequential import Pairs, Settled, settle
from tunemax.search.results.winners import confirm
from tunemax.search.storage.questions import Question, load_from

OPEN, WORSE, EQUAL = Settled(0.2, 0.3, 0, None, None), Settled(0.01, 1, 1, 10, None), Settled(1, 0.01, 0, None, 10)
SETTLED = st.sampled_from([None, OPEN, Settled(0.9, 0.06, 0, None, None), WORSE, EQUAL])
STANDS = st.integers(9, 40).flatmap(
    lambda seeds: st.builds(Stand, seeds=st.just(seeds), pairs=st.integers(seeds - 3, seeds), settled=SETTLED)
)
FAMILIES = st.dictionaries(st.sampled_from("abcdef"), STANDS, min_size=1)


@given(FAMILIES, st.integers(0, 30), st.integers(8, 24), st.integers(0, 200))
def test_a_round_stays_within_its_runs_and_trains_only_who_is_open(
    others: Mapping[str, Stand], more: int, planned: int, left: int
) -> None:
    there = max(stand.seeds for stand in others.values()) + more
    before = {name: stand.seeds for name, stand in others.items()} | {"softmax": there}
    runs = sum(before.values()) + left
    after = next_seeds(others, "softmax", there, planned, len(others), runs)
    assert after.keys() == before.keys()
    assert sum(after.values()) <= runs
    for name, stand in others.items():
        assert after[name] >= stand.seeds
        assert stand.is_open or after[name] == stand.seeds
        assert after["softmax"] >= after[name]
        if after[name] > stand.seeds:
            assert after[name] - (stand.seeds - stand.pairs) in looks(planned, len(others))


@given(FAMILIES, st.integers(8, 24))
def test_with_enough_runs_all_who_are_open_go_on_to_their_next_look(others: Mapping[str, Stand], planned: int) -> None:
    there = max(stand.seeds for stand in others.values())
    after = next_seeds(others, "softmax", there, planned, len(others), 10**6)
    for name, stand in others.items():
        assert (after[name] > stand.seeds) == stand.is_open


def test_who_is_better_worse_or_equal_is_settled() -> None:
    """Before the first look nobody is."""
    settled = (None, OPEN, WORSE, EQUAL)
    assert [Stand(12, 12, each).is_open for each in settled] == [True, True, False, False]


def test_what_does_not_suffice_for_all_is_given_to_the_nearest() -> None:
    far, near = Stand(12, 12, Settled(0.8, 0.9, 0, None, None)), Stand(12, 12, Settled(0.9, 0.07, 0, None, None))
    assert next_seeds({"far": far, "near": near}, "softmax", 12, 12, 2, 36 + 8) == {
        "softmax": 16,
        "far": 12,
        "near": 16,
    }
    assert next_seeds({"far": far, "near": near}, "softmax", 12, 12, 2, 36 + 7) == {
        "softmax": 12,
        "far": 12,
        "near": 12,
    }
    assert next_seeds({"far": far, "near": near}, "softmax", 12, 12, 2, 36 + 12)["far"] == 16


@given(st.integers(1, 20))
def test_the_least_number_of_seeds_can_settle_something_and_one_fewer_nothing(family: int) -> None:
    least = least_seeds(family)

    def best(seeds: int) -> int:
        """Candidates that are settled where every pair says the same."""
        pairs = Pairs(tuple(1 + 0.01 * place for place in range(seeds)), tuple([2.0] * seeds))
        return sum(each.sign != 0 for each in settle(dict.fromkeys(map(str, range(family)), pairs), seeds).values())

    assert best(least) == family
    assert best(least - 1) == 0


def test_too_few_runs_are_refused_with_the_least_number() -> None:
    with pytest.raises(
        TunemaxError, match=r"^runs = 83, too few .*; 7 candidates need at least 84 runs, 12 seeds each$"
    ):
        first_seeds(12, 7, 83)
    assert first_seeds(12, 7, 84) == 12


def replayed(losses: Mapping[str, np.ndarray], planned: int, runs: int) -> tuple[dict[str, Settled], int]:
    """What a confirmation within so many runs settles, and what it spends. losses: by candidate, softmax first."""
    others = [name for name in losses if name != "softmax"]
    seeds = dict.fromkeys(losses, first_seeds(planned, len(losses), runs))
    while True:
        family = {
            name: Pairs(tuple(losses[name][: seeds[name]]), tuple(losses["softmax"][: seeds[name]])) for name in others
        }
        found = settle(family, planned)
        stands = {name: Stand(seeds[name], seeds[name], found[name]) for name in others}
        after = next_seeds(stands, "softmax", seeds["softmax"], planned, len(others), runs)
        if after == seeds:
            return found, sum(seeds.values())
        seeds = after


def test_stopping_early_makes_no_more_errors_than_the_test_allows() -> None:
    """Three candidates do not differ from softmax, one does: of 300 families hardly one in twenty errs."""
    rng, wrong, spent = np.random.default_rng(1), 0, []
    for _ in range(300):
        common = rng.normal(0, 0.02, 60)
        losses = {name: 2 + common + rng.normal(0, 0.01, 60) for name in ("softmax", "a", "b", "c")}
        losses["worse"] = losses["a"] + 0.2
        found, runs = replayed(losses, 10, 90)
        wrong += any(found[name].sign for name in "abc")
        spent.append(runs)
        assert found["worse"].sign == 1
    assert wrong <= 0.05 * 300 + 2.5 * (0.05 * 0.95 * 300) ** 0.5
    assert max(spent) <= 90


# ---- more of a confirmation that is there ----------------------------------------------------------------------------


def there(seeds: Mapping[str, int], budget: int | None, settled: Mapping[str, Settled] | None = None) -> Confirmation:
    """A confirmation whose runs have ended; the first candidate is the reference."""
    names = list(seeds)
    entries = [
        SimpleNamespace(
            candidate=name,
            trials=[None] * seeds[name],
            losses=dict.fromkeys(range(seeds[name]), 2.0),
            versus=SimpleNamespace(n=seeds[name], settled=(settled or {}).get(name, OPEN))
            if name != names[0]
            else None,
        )
        for name in names
    ]
    facts = {"reference": names[0], "left": 0, "rechosen": False, "planned": 8}
    return SimpleNamespace(entries=entries, budget=budget, seeds=max(seeds.values()), **facts)  # type: ignore[return-value]


def test_who_joins_has_its_first_round_within_the_runs_or_is_refused() -> None:
    begun, names = there({"softmax": 12, "a": 12, "b": 8}, 32), ["softmax", "a", "b", "new"]
    assert allotted(Confirm(runs=40), begun, names, 8, False) == ({"softmax": 12, "a": 12, "b": 8, "new": 8}, 40)
    with pytest.raises(TunemaxError, match=r"^runs = 39: 32 are spent, and new needs 8 seeds; expected at least 40$"):
        allotted(Confirm(runs=39), begun, names, 8, False)


def test_what_was_begun_with_runs_goes_on_with_them() -> None:
    begun = there({"softmax": 24, "a": 24, "b": 8}, 60, {"b": WORSE})
    assert allotted(Confirm(), begun, ["softmax", "a", "b"], 8, False) == ({"softmax": 24, "a": 24, "b": 8}, 60)
    assert allotted(Confirm(runs=30), begun, ["softmax", "a", "b"], 8, False)[1] == 60, "fewer change nothing"
    seeds, runs = allotted(Confirm(seeds=10), begun, ["softmax", "a", "b"], 8, False)
    assert (seeds, runs) == ({"softmax": 24, "a": 24, "b": 10}, 60), "who is settled has what was asked for, no more"
    assert allotted(Confirm(runs=90), begun, ["softmax", "a", "b"], 8, False)[0] == {"softmax": 32, "a": 32, "b": 8}


def test_without_runs_all_have_the_same_seeds() -> None:
    begun = there({"softmax": 12, "a": 12}, None)
    assert allotted(Confirm(seeds=4), begun, ["softmax", "a", "new"], 8, False) == (
        {"softmax": 12, "a": 12, "new": 12},
        None,
    )


def test_a_candidate_alone_has_its_planned_seeds() -> None:
    assert allotted(Confirm(seeds=12, runs=30), None, ["softmax"], 12, False) == ({"softmax": 12}, 30)
    assert allotted(Confirm(seeds=12, runs=30), there({"softmax": 12}, 30), ["softmax"], 12, False)[0] == {
        "softmax": 12
    }


def test_a_candidate_of_which_no_run_has_ended_well_gets_no_more() -> None:
    others = {"broken": Stand(8, 0, None), "fine": Stand(8, 8, OPEN)}
    assert next_seeds(others, "softmax", 8, 8, 2, 1000) == {"softmax": 12, "broken": 8, "fine": 12}


def test_too_few_seeds_are_refused_with_the_least_number() -> None:
    with pytest.raises(TunemaxError, match=r"^seeds = 8: too few to settle anything; 7 candidates need at least 9$"):
        allotted(Confirm(seeds=8, runs=1000), None, list("abcdefg"), 8, False)
    grown = there({"softmax": 6, "a": 6}, 12)  # one comparison needs 6 seeds, two need 7: who joins is looked at later
    grown = SimpleNamespace(**vars(grown) | {"planned": 6})
    assert allotted(Confirm(runs=40), grown, ["softmax", "a", "b"], 6, False)[0] == {"softmax": 6, "a": 6, "b": 8}


# ---- as a user meets it ----------------------------------------------------------------------------------------------

Ask = Callable[..., Question]


def test_a_confirmation_goes_on_round_by_round_with_those_that_are_open(ask: Ask, where: str) -> None:
    """A model that drops nearly everything is worse at the first look; one that drops little is not told apart yet."""
    asked = {"seeds": 9, "runs": 45, "reference": 0.0, "margin": 1e-6}
    question = ask(
        per="dropout",
        compare=[0.0, 0.02, 0.95],
        space={"weight_decay": [0.1, 0.2]},
        base={"learning_rate": 0.03, "warmup_fraction": 0},
        budget={"trials": 1},
        confirm=asked,
    )
    assert run_study("q", where, workers=1, slots=6).waiting == 0
    found = confirmation(load_from(where, "q.confirmed"))
    worse, near = found.entry("0.95"), found.entry("0.02")
    assert worse
    assert near
    assert (worse.verdict, near.verdict) == ("worse", "undecided")
    assert (len(worse.losses), len(near.losses)) == (9, 16)
    assert sum(len(entry.losses) for entry in found.entries) <= 45
    again = confirm(question, question.definition.confirm or Confirm())
    assert not again.states()["waiting"], "what has ended begins no new round"
