"""A study file, read and checked: every mistake is told with its line, before anything is trained."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import pydantic

from tunemax.gpt.config import Config, all_specs
from tunemax.gpt.data.download import is_address
from tunemax.gpt.data.sources import DATASETS
from tunemax.gpt.defaults import SCHEMA, defaults_of
from tunemax.gpt.errors import TunemaxError, did_you_mean
from tunemax.gpt.evaluation import tokens_of
from tunemax.gpt.fields import Choices, Value, expectation, explain
from tunemax.search.question.budget import GRID_LIMIT, Budget
from tunemax.search.question.candidates import check_candidates, read_candidates, read_per
from tunemax.search.question.definition import INNER, StudyDefinition, bundles
from tunemax.search.question.dimension import (
    Space,
    combinations,
    defaults,
    extremes,
    inert_everywhere,
    points,
    read_fields,
    read_values,
    shown,
    tried,
)
from tunemax.search.question.looks import least_seeds, looks, too_few_runs
from tunemax.search.question.named import Named
from tunemax.search.question.phases import check_phases
from tunemax.search.question.plugins import KEY as PLUGINS
from tunemax.search.question.plugins import without_plugins
from tunemax.search.question.samplers import Sampler
from tunemax.search.question.space import read_space
from tunemax.search.question.stages import MOST_SEEDS, NAME_RULE, is_name
from tunemax.search.question.twins import twin_siblings
from tunemax.search.question.work import check_work
from tunemax.search.question.yaml_lines import Fault, Where, read_yaml

SETTLING = 3
"""The first schema whose study files are refused if their confirmation could settle nothing."""
TWINS = 5
"""The first whose files are refused for two names of one training."""
ACROSS = {"parametrisation": ("optimizer",), "feedback_ngram": ("block_size",)}
"""Fields that restrict those of another group, beside conditions."""

Begun = Callable[[str], int]
"""The schema of the question of a name, whose defaults its file is read by: today's if there is none."""


def not_begun(_name: str) -> int:
    return SCHEMA


def load_study_file(file: str | Path, begun: Begun = not_begun) -> StudyDefinition:
    """Read and check a study file. A path in `data` is that of a text beside the file, else of one here.

    Raises TunemaxError: ``FILE:LINE: field: value, expectation, remedy``.
    """
    path = Path(file)
    located = read_yaml(path)
    try:
        definition = define(without_plugins(path, located), name=path.stem, begun=begun)
    except Fault as fault:
        raise TunemaxError(f"{path}:{located.line(fault.where)}: {fault}") from None
    return definition.model_copy(update={"data": placed(definition.data, path.parent)})


def placed(data: str, folder: Path) -> str:
    """The text of a study file in this folder, by a path that leads to it from everywhere; a dataset by its name."""
    if data in DATASETS or is_address(data):
        return data
    beside = (place / os.path.expanduser(data) for place in (folder, Path()))
    return next((os.path.abspath(path) for path in beside if path.exists()), data)


def define(data: Any, *, name: str, begun: Begun = not_begun) -> StudyDefinition:
    """Check the plain data of a study file. name: the study's, if the data does not give one. Raises Fault."""
    known = [key for key in StudyDefinition.model_fields if key not in INNER]
    if not isinstance(data, dict):
        content = "empty" if data is None else shown(data)
        raise Fault((), f"a study file is a mapping of {', '.join(known)}; this is {content}")
    for key in data:
        if key not in known:
            raise Fault((key,), f"no such key in a study file{did_you_mean(str(key), [*known, PLUGINS])}")
    given = {key: value for key, value in data.items() if value is not None}
    if "name" not in given and not is_name(name):
        raise Fault((), f"the file's name {name} cannot name a study; add `name:` with {NAME_RULE}")
    if isinstance(given.get("name"), str) and not is_name(given["name"]):
        raise Fault(("name",), f"{shown(given['name'])}, expected {NAME_RULE}")
    schema = begun(str(given.get("name", name)))
    base = _read_base(_mapping(given, "base"), schema)
    searched = read_fields(("space",), _mapping(given, "space"))
    candidates = read_candidates(data)
    per, compare = read_per(given, base, schema, [spec.name for spec, _, _ in searched])
    space, own = read_space(searched, base, schema, bundles(per, compare) if per else candidates)
    for key in ("budget", "sampler", "pruner"):
        if isinstance(given.get(key), dict):
            given[key] = {option: value for option, value in given[key].items() if value is not None}
    named = {
        "schema_version": schema,
        "name": name,
        **given,
        "base": base,
        "space": space,
        "own": own,
        "per": per,
        "compare": compare,
        "candidates": candidates,
    }
    for key in ("sampler", "pruner"):
        if isinstance(given.get(key), str):
            named[key] = {"name": given[key]}
    confirm = given.get("confirm")
    if type(confirm) is int:
        named["confirm"] = {"seeds": confirm}
    elif not isinstance(confirm, (dict, type(None))):
        expected = "a number of seeds, such as 12, or a mapping with options"
        raise Fault(("confirm",), f"{shown(confirm)}, expected {expected}")
    if Sampler.chosen(named.get("sampler")).is_grid and isinstance(given.get("budget"), dict):
        named["budget"] = {"trials": GRID_LIMIT, **given["budget"]}  # replaced below, once the points can be counted
    definition = _checked(named)
    if not space and not (definition.sampler.is_grid and definition.compared):
        raise Fault(
            ("space",), "missing or empty; at least one is needed, unless a grid compares candidates as they are"
        )
    _check_seeds(definition)
    _check_siblings(definition)
    _check_stage(definition)
    _check_later(definition)
    check_work(definition)
    check_phases(definition)
    if definition.schema_version >= TWINS:
        definition = _without_twins(definition, "compare" in given)
    if not definition.sampler.is_grid:
        return definition
    size = _grid_size(definition)
    trials = given["budget"].get("trials", size)
    if trials != size:
        reason = f"the grid has {size} points and trains each once; leave trials out"
        raise Fault(("budget", "trials"), f"{trials}, but {reason}")
    return definition.with_trials(size)


def _read_base(given: Mapping[str, Any], schema: int) -> dict[str, Value]:
    """What all trials share; `eval_iters` becomes `eval_tokens` here, once, whatever batch and context a trial has."""
    base = read_values(("base",), given)
    whole = {**defaults(base), **defaults_of(schema), **base}
    if "eval_iters" not in base or whole["eval_by"] == "windows":
        return base
    iters, batch, context = (int(whole[name]) for name in ("eval_iters", "batch_size", "block_size"))
    tokens = tokens_of(iters, batch, context)
    if base.get("eval_tokens", tokens) != tokens:
        both = f"eval_iters = {iters} stands for eval_tokens = {tokens}, and eval_tokens is {base['eval_tokens']}"
        raise Fault(("base", "eval_tokens"), f"{both}; keep one of them")
    return {**base, "eval_tokens": tokens}


def _check_seeds(definition: StudyDefinition) -> None:
    """A seed is nothing to be tuned: only a grid may have several, to train each of its points on all of them."""
    if "seed" in definition.space and not definition.sampler.is_grid:
        remedy = "with sampler: grid several may be listed, else leave it to `confirm`"
        raise Fault(("space", "seed"), f"a seed is no setting to tune; {remedy}")


def _check_siblings(definition: StudyDefinition) -> None:
    """Every sibling is a valid configuration, and every dimension means something in one of them at least."""
    siblings = definition.siblings()
    for study, fixed in siblings.items():
        candidate = ("candidates", study.rpartition("/")[2])
        _check_combinations(definition, fixed, candidate if definition.candidates else ("base",))
    check_candidates(definition)
    for name in definition.space:
        if reason := inert_everywhere(name, definition.spaces):
            raise Fault(("space", name), f"{reason}; take it out, or change what makes it inert")


def _without_twins(definition: StudyDefinition, listed: bool) -> StudyDefinition:
    """Candidates that train the same thing are refused where they are listed; of all that there are, the first is
    taken."""
    for place, first in (twins := twin_siblings(definition)).items():
        names = list(definition.compared)
        if definition.candidates:
            raise Fault(("candidates", names[place]), f"trains the same as {names[first]}; keep one of them")
        if listed:
            raise Fault(("compare", place), f"{names[place]} trains the same as {names[first]} here; keep one")
    compare = tuple(value for place, value in enumerate(definition.compare) if place not in twins)
    return definition.model_copy(update={"compare": compare})


def _check_stage(definition: StudyDefinition) -> None:
    """The reference of a confirmation is one of the candidates, and what is planned can settle something."""
    stage = definition.confirm
    reference = stage.reference if stage else None
    compared = list(definition.compared)
    if not compared and isinstance(searched := definition.space.get("softmax_variant"), Choices):
        compared = list(map(shown, searched.values))
    if reference is not None and reference not in compared:
        near = did_you_mean(reference, compared)
        raise Fault(("confirm", "reference"), f"{reference}, no candidate of this study{near}")
    if stage and len(compared) > 1 and definition.schema_version >= SETTLING:
        family = min(stage.top or MOST_SEEDS, len(compared) - 1)
        if stage.seeds < (least := least_seeds(family)):
            among = f"{family + 1} candidates need at least {least}"
            raise Fault(("confirm", "seeds"), f"{stage.seeds}, too few to settle anything; {among}")
        if stage.runs and (fault := too_few_runs(stage.runs, family + 1, looks(stage.seeds, family)[0])):
            raise Fault(("confirm", "runs"), fault)


def _check_later(definition: StudyDefinition) -> None:
    """What is asked for after the tuning is within the limits, too: it would be refused when that is paid."""
    last = definition.seed + definition.repeats - 1
    try:
        all_specs()["seed"].check(last)
    except TunemaxError:
        need = f"{definition.repeats} repeats need seeds up to {last}, expected {all_specs()['seed'].valid()}"
        raise Fault(("seed",), f"{definition.seed}, and {need}") from None
    for factor in definition.confirm.horizons if definition.confirm else ():
        longer = definition.budget.times(factor, 1)
        try:
            Budget.model_validate(longer.model_dump())
        except pydantic.ValidationError as error:
            reason = explain(error, "budget")
            raise Fault(("confirm", "horizons"), f"{factor}, which makes {reason}; take a smaller multiple") from None


def _check_combinations(definition: StudyDefinition, fixed: Mapping[str, Value], where: Where) -> None:
    """Refuse a sibling with combinations of values that no training can have, so that no trial is lost to one.

    Fields restrict each other only within a group (the model's shape, one variant's own), but for those of ACROSS:
    groups are tried one by one, each beside the first values of the others.
    """
    specs = all_specs()
    groups = {name: (specs[name].group, name.rpartition(".")[0]) for name in definition.space}
    for group in sorted(set(groups.values())):
        names = {name for name in groups if groups[name] == group}
        names |= {other for name in names for other in (*specs[name].depends_on, *ACROSS.get(name, ()))}
        possible, clash = False, ""
        space = definition.space_of(fixed)
        own = {name: dimension for name, dimension in space.items() if name in names}
        others = {name: dimension for name, dimension in space.items() if name not in names}
        first = _beside(others, fixed)
        linked = any(specs[name].depends_on & own.keys() for name in others)
        for chosen in tried(own, first):
            beside = _beside(others, {**fixed, **chosen}) if linked else first
            try:
                Config.of({**beside, **chosen})
                possible = True
            except TunemaxError as error:
                clash = clash or str(error)
            if clash and possible:
                raise Fault(("space",), f"{clash}; every combination of values must be possible")
        if clash:
            raise Fault(where, clash)


def _beside(space: Space, fixed: Mapping[str, Value]) -> dict[str, Value]:
    """These fixed values, with the first one of each dimension that means something beside them."""
    first = next(combinations(space, fixed, lambda spec, dimension: extremes(spec, dimension)[:1]))
    return {**fixed, **first}


def _grid_size(definition: StudyDefinition) -> int:
    """The points of the grid, the same number in every sibling."""
    for name, dimension in definition.space.items():
        if not points(all_specs()[name], dimension):
            raise Fault(("space", name), "a grid needs few values; list them, or give the range a step")
    sizes = {
        name: sum(1 for _ in itertools.islice(combinations(definition.space_of(fixed), fixed, points), GRID_LIMIT + 1))
        for name, fixed in definition.siblings().items()
    }
    if max(sizes.values()) > GRID_LIMIT:
        raise Fault(("space",), f"the grid has more than {GRID_LIMIT} points; list fewer values")
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} {size}" for name, size in sizes.items())
        remedy = "make one study of each"
        raise Fault(("space",), f"the siblings' grids differ in size ({listed}), so their budgets would; {remedy}")
    return sizes.popitem()[1]


def _mapping(given: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = given.get(key, {})
    if not isinstance(value, dict):
        raise Fault((key,), f"{shown(value)}, expected `name: value` lines")
    return value


def _checked(values: dict[str, Any]) -> StudyDefinition:
    """Pydantic's check, its first complaint as a Fault with our words for unknown keys."""
    try:
        return StudyDefinition.model_validate(values)
    except pydantic.ValidationError as error:
        # A misspelt key is told before the one that is missing because of it.
        first = min(error.errors(include_url=False), key=lambda mistake: mistake["type"] != "extra_forbidden")
        where: Where = first["loc"]
        if first["type"] == "extra_forbidden":
            part = StudyDefinition.model_fields[str(where[0])].annotation
            options = [
                option
                for kind in get_args(part) or (part,)
                if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)
                for option in (kind.fields() if issubclass(kind, Named) else kind.model_fields)
            ]
            raise Fault(where, f"no such key here{did_you_mean(str(where[-1]), options)}") from None
        if first["type"] == "missing":
            raise Fault(where, "missing; a study file needs it") from None
        if first["type"] == "too_short" and not first["input"]:
            raise Fault(where, "missing or empty; at least one is needed") from None
        if first["type"] == "value_error":
            raise Fault(where, str(first["ctx"]["error"])) from None
        expected = expectation(first["type"], first.get("ctx", {}), first["msg"])
        raise Fault(where, f"{shown(first['input'])}, expected {expected}") from None
