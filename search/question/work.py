"""Whether the trials of a study do equal work in an iteration, and if not, whether it says what is held equal."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

from tunemax.gpt.config import Config, all_specs
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.feedback.fields import COSTLY
from tunemax.gpt.fields import Value
from tunemax.search.question.budget import FASTEST, VOCABULARY, Budget
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.dimension import combinations, extremes
from tunemax.search.question.yaml_lines import Fault, Where

MOST = 400
"""Combinations that are looked at."""
EVERY = "feedback_every"
CHOICES = (
    "write tokens, flops or seconds in budget in place of horizon, or beside it equal: iterations if that is meant"
)


def check_work(definition: StudyDefinition) -> None:
    """Raise Fault if a study counts iterations that are no equal work and does not say so, if its budget of tokens is
    below one batch, or of seconds below any iteration, if its base counts iterations that mean nothing in its unit, or
    if a trial would end before it has written anything to learn from."""
    _check_measure(definition)
    _check_written(definition)


def _check_measure(definition: StudyDefinition) -> None:
    budget = definition.budget
    if budget.horizon is not None:
        if not budget.equal and (unequal := [*_odd_candidates(definition), *_places(definition)]):
            listed = " and ".join(f"{name} changes {what} an iteration" for _, name, what in unequal)
            raise Fault(unequal[0][0], f"{listed}, so equal iterations are no equal work; {CHOICES}")
        return
    if "eval_interval" in definition.base:
        instead = f"with budget.{budget.unit} a trial is evaluated at equal shares of it (budget.looks)"
        raise Fault(("base", "eval_interval"), f"counts iterations, but {instead}; take it out of base")
    if budget.seconds is not None and budget.seconds < FASTEST:
        reason = f"is below one iteration, which takes {FASTEST:g} seconds or more on any machine"
        raise Fault(("budget", "seconds"), f"{budget.seconds:g} {reason}; take more")
    if budget.tokens is not None:
        try:
            lengths(definition, VOCABULARY)
        except TunemaxError as error:
            raise Fault(("budget", "tokens"), str(error).removeprefix("budget.tokens = ")) from None


def _check_written(definition: StudyDefinition) -> None:
    if definition.budget.seconds is not None:  # which nobody knows yet in iterations
        return
    for shapes in _shapes(definition, {EVERY, *changing(definition)}):
        faults = list(map(partial(_unwritten, definition.budget), itertools.islice(shapes, MOST)))
        if not faults or not all(faults):
            continue
        if place := next((place for place in ("space", "base") if EVERY in getattr(definition, place)), ""):
            raise Fault((place, EVERY), faults[0].removeprefix(f"{EVERY} = "))
        raise Fault(("budget",), faults[0])


def _unwritten(budget: Budget, config: Config) -> str:
    """Why such a trial, which is to learn from what it writes, writes nothing; empty if it does, or need not."""
    try:
        config.feedback.check_horizon(budget.iterations(config, VOCABULARY))
        return ""
    except TunemaxError as error:
        return str(error)


def changing(definition: StudyDefinition) -> dict[str, str]:
    """The fields in which trials differ, and that change what an iteration costs: name → tokens, operations or both."""
    found = {}
    for name in (*([definition.per] if definition.per else []), *definition.space):
        if not (all_specs()[name].declared.shared or name in COSTLY):  # what changes no shape costs the same
            continue
        groups = [list(itertools.islice(shapes, MOST)) for shapes in _shapes(definition, {name})]
        groups = [list(itertools.chain(*groups))] if name == definition.per else groups
        if what := _unequal(groups):
            found[name] = what
    return found


def _places(definition: StudyDefinition) -> Iterator[tuple[Where, str, str]]:
    """Where a file names the fields that change what an iteration costs, with these and what they change."""
    for name, what in changing(definition).items():
        yield ("per",) if name == definition.per else ("space", name), name, what


def _odd_candidates(definition: StudyDefinition) -> Iterator[tuple[Where, str, str]]:
    """The same of the candidates whose iterations cost something else than those of the first one."""
    firsts = [list(itertools.islice(shapes, 1)) for shapes in _shapes(definition, set())]
    for candidate, config in zip(definition.candidates, firsts, strict=False):
        if what := _unequal([[*firsts[0], *config]]):
            yield ("candidates", candidate), candidate, what


def _unequal(groups: Sequence[Sequence[Config]]) -> str:
    """What an iteration costs otherwise within one of these groups: tokens, operations or both; empty if nothing."""
    tokens = any(len({_tokens(config) for config in group}) > 1 for group in groups)
    flops = any(len({_tokens(config) * _flops(config) for config in group}) > 1 for group in groups)
    return " and ".join(["tokens"] * tokens + ["operations"] * flops)


def lengths(definition: StudyDefinition, vocab_size: int) -> list[int]:
    """Iterations of the largest, the smallest and more of the trials that a study may have, by its budget.

    Raises TunemaxError for a budget that is below one iteration of the largest. Not of a budget of seconds.
    """
    budget, groups = definition.budget, _shapes(definition, set(changing(definition)))
    shapes = itertools.chain(*(itertools.islice(shapes, MOST) for shapes in groups))
    largest_first = sorted(shapes, key=lambda config: -budget.of_an_iteration(config, vocab_size))
    return [budget.iterations(config, vocab_size) for config in largest_first]


def _shapes(definition: StudyDefinition, names: set[str]) -> Iterator[Iterator[Config]]:
    """Of each sibling the configurations with all values of these fields, of ranges the ends; all others at their first
    one."""
    for fixed in definition.siblings().values():
        start = next(
            combinations(definition.space_of(fixed), fixed, lambda spec, dimension: extremes(spec, dimension)[:1])
        )
        varied = {name: dim for name, dim in definition.dimensions(fixed).items() if name in _behind(names)}
        yield _possible({**fixed, **start}, combinations(varied, {**fixed, **start}, extremes))


def _possible(fixed: Mapping[str, Value], combined: Iterable[Mapping[str, Value]]) -> Iterator[Config]:
    for values in combined:
        with contextlib.suppress(TunemaxError):  # a large space is not tried to its last combination
            yield Config.of({**fixed, **values})


def _behind(names: set[str]) -> set[str]:
    """These fields and those that their conditions name."""
    specs = all_specs()
    more = {other for name in names for other in specs[name].depends_on} - names
    return names | _behind(more) if more else names


def _tokens(config: Config) -> int:
    return config.train.batch_size * config.model.block_size


def _flops(config: Config) -> float:
    from tunemax.gpt.cost import flops_a_token  # loads torch, which whoever reads a study of one shape never needs

    return flops_a_token(config, VOCABULARY)
