"""``tunemax rl …``: agents that steer a training, the baselines that they have to beat, and the verdict."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import math
import shlex
import sys
from collections.abc import Callable
from contextlib import nullcontext, redirect_stdout
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.paths import path_typed
from tunemax.search.cli import headroom, published, steer
from tunemax.search.cli.common import count_flag, print_json, storage_flag, whole
from tunemax.search.cli.parser import add_command
from tunemax.search.cli.scenes import flags_of, scene_flags, scene_of
from tunemax.search.question.counting import counted
from tunemax.search.storage.paths import default_storage

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

    from tunemax.envs.agents.training import Plan, Trained
    from tunemax.search.cli.parser import Subcommands

ALGORITHMS = ("sac", "ppo", "tqc", "dqn")
INSTANCES = 256
"""That contenders are compared on, where a set has as many."""


def register(commands: Subcommands) -> None:
    group = commands.add_parser("rl", help="agents that steer trainings", description="Agents that steer trainings.")
    actions = group.add_subparsers(metavar="ACTION", required=True)

    parser = add_command(actions, "train", "train an agent, or go on with one that was interrupted", train)
    scene_flags(parser)
    parser.add_argument("--algo", required=True, metavar="NAME", help=f"one of {', '.join(ALGORITHMS)}")
    parser.add_argument(
        "--seed", type=_seed, default=1, metavar="N", help="of networks, instances and exploration (default 1)"
    )
    count_flag(parser, "--steps", "of the environment, all trainings together, up to whole rounds", required=True)
    count_flag(parser, "--envs", "trainings at once, as one model (default 16)")
    count_flag(parser, "--round", "episodes of each between two looks at validation (default 10)")
    parser.add_argument("--absolute", action="store_true", help="actions are places between bounds instead of moves")
    parser.add_argument(
        "--preset", type=path_typed, metavar="FILE", help="hyperparameters (default: ours in envs/agents/presets)"
    )
    parser.add_argument(
        "--out", type=path_typed, metavar="DIR", help="of the agent (default: in runs/rl/ beside the storage)"
    )
    storage_flag(parser, as_json=True)

    parser = add_command(actions, "tune", "tune the baselines that agents are compared with", tune)
    scene_flags(parser)
    parser.add_argument("--policy", metavar="A,B", help="only these baselines (default: all that mean something here)")
    count_flag(parser, "--member-steps", "for each tuning (default: what the dearest agent has cost)")
    count_flag(parser, "--tunings", "of each baseline, those that are there included (default 8)", default=8)
    storage_flag(parser)

    headroom.register(actions)

    parser = add_command(actions, "evaluate", "compare agents and baselines on held-out instances", evaluate)
    scene_flags(parser)
    parser.add_argument(
        "agents",
        nargs="*",
        metavar="AGENT",
        help="folders, files or names (default: all finished agents of the environment in the folder of runs)",
    )
    parser.add_argument(
        "--sets", default="test", metavar="A,B", help="of instances: test, larger, longer (default test)"
    )
    count_flag(parser, "--instances", "of each set (default: 256, or all of a set that has fewer)")
    parser.add_argument(
        "--margin", type=_margin, metavar="PERCENT", help="less than this share of the loss is equal (default 1)"
    )
    parser.add_argument("--absolute", action="store_true", help="agents whose actions are places between bounds")
    parser.add_argument("--out", type=path_typed, metavar="DIR", help="of the report (default: beside the agents)")
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")
    storage_flag(parser)

    parser = add_command(actions, "study", "tune an agent's own hyperparameters, as a file asks", study)
    parser.add_argument("file", metavar="FILE", help="such as studies/rl_constantmax.yaml")
    storage_flag(parser)

    steer.register(actions)
    published.register(actions)


def train(arguments: argparse.Namespace) -> None:
    """Train an agent as a trial of its environment's study. What is not said of one that goes on is as it was begun."""
    import torch

    from tunemax.envs.agents.hyperparameters import checked, load, usual
    from tunemax.envs.agents.training import BEGUN, ROUND, Plan
    from tunemax.envs.texts import check_sets
    from tunemax.search.machine.alone import check_room
    from tunemax.search.rl.flags import scene_words
    from tunemax.search.rl.trials import agent_folder, as_begun
    from tunemax.search.storage.commands import typed
    from tunemax.search.storage.database import open_storage
    from tunemax.search.storage.patience import LONG

    torch.set_num_threads(1)
    algorithm = checked(arguments.algo)
    if algorithm == "dqn" and arguments.absolute:
        raise TunemaxError("--absolute: dqn acts with action = discrete; leave it out, or take sac, ppo or tqc")
    action = "discrete" if algorithm == "dqn" else "absolute" if arguments.absolute else "box"
    scene = scene_of(arguments, action)
    preset = load(algorithm, arguments.preset) if arguments.preset else usual(algorithm, scene.id)
    size = (arguments.steps, arguments.envs or 16, arguments.round or ROUND)
    plan = Plan(scene, algorithm, preset, arguments.seed, *size)
    for values in scene.task.variations():
        check_room(scene.task.config_of(values), plan.envs)
    check_sets(scene.task, ("train", "validation"))
    where = arguments.storage or default_storage()
    storage = open_storage(where, create=True)
    storage.patience.limit = LONG  # it is there, and is waited for from now on
    plan = replace(plan, scene=as_begun(storage, plan.scene))
    folder = arguments.out or agent_folder(storage, plan.scene, algorithm, plan.seed)
    plan = plan.as_begun(folder, [name for name in BEGUN if not getattr(arguments, name, None)])
    words = [*scene_words(plan.scene), "--algo", algorithm, "--seed", str(plan.seed), "--steps", str(plan.steps)]
    words += flags_of(arguments, "absolute", "envs", "round", "preset", "out", "json")
    with redirect_stdout(sys.stderr) if arguments.json else nullcontext():
        trained = _train(plan, folder, storage, typed(where, "rl", "train", *words))
    if arguments.json:
        print_json(trained.to_json())


def _train(plan: Plan, folder: Path, storage: RDBStorage, again: str) -> Trained:
    from tunemax.envs.agents.file import Evaluation
    from tunemax.envs.agents.training import last_of
    from tunemax.search.rl.bar import bar
    from tunemax.search.rl.train import learn, state_of
    from tunemax.search.storage.urls import storage_errors
    from tunemax.search.views.writers.terminal import hanging, side_by_side

    name, total, before = f"{plan.algorithm} {plan.seed}", plan.rounds * plan.round_steps, last_of(folder)
    rounds = f"{counted(total, 'step')} in {counted(plan.rounds, 'round')} of {plan.round_steps:,}"
    begun = f"trained for {before.steps:,} steps already, asked for {total:,}" if before else rounds
    try:
        how = f"{plan.algorithm} with seed {plan.seed}, {begun}; {folder}"
        print(hanging(f"{plan.scene.id}: ", how), flush=True)
        with storage_errors(storage.url), bar(name, total, "steps") as (move, say):

            def report(found: Evaluation, spent: int) -> None:
                lost = f"{found.diverged:.0%} diverged" if found.diverged else ""
                steps, total_return = f"{name}: steps {found.steps:,}/{total:,}", f"validation return {found.total:.4f}"
                state = state_of(found).split("  ")
                say(side_by_side(steps, total_return, lost, *state, f"{spent:,} member-steps"))

            trained = learn(storage, plan, folder, report, move)
    except KeyboardInterrupt:
        kept = "the last save is kept; go on" if last_of(folder) else "nothing was saved yet; begin again"
        raise KeyboardInterrupt(f"{kept} with {again}") from None
    best = trained.best_evaluation
    costs = trained.spent
    spent = (
        f"{costs.learning:,} member-steps of learning, {costs.validation:,} of validation, {costs.check:,} of the check"
    )
    found = f"validation return {best.total:.4f} after {best.steps:,} steps; {spent}; {trained.best}"
    print(hanging(f"{name} best: ", found))
    if trained.learning:
        print(hanging(f"{name} ", trained.learning.sentence), flush=True)
    return trained


def tune(arguments: argparse.Namespace) -> None:
    """Tune each baseline for what an agent has cost, unless told otherwise."""
    import torch

    from tunemax.envs.texts import check_sets
    from tunemax.search.rl.bar import bar
    from tunemax.search.rl.baselines import TUNINGS, check_kind, check_tunings, kinds_for, least_budget
    from tunemax.search.rl.baselines import tune as tune_baseline
    from tunemax.search.rl.flags import scene_words
    from tunemax.search.rl.trials import as_begun, dearest
    from tunemax.search.storage.commands import typed
    from tunemax.search.storage.database import open_storage
    from tunemax.search.storage.patience import LONG
    from tunemax.search.storage.urls import storage_errors

    torch.set_num_threads(1)
    scene = scene_of(arguments)
    kinds = kinds_for(scene.task) if arguments.policy is None else tuple(arguments.policy.split(","))
    for kind in kinds:
        check_kind(kind, scene.task)
    check_tunings(arguments.tunings)
    check_sets(scene.task, ("train", "validation"))
    where = arguments.storage or default_storage()
    storage = open_storage(where, create=True)
    storage.patience.limit = LONG  # it is there, and is waited for from now on
    scene = as_begun(storage, scene)
    budget = arguments.member_steps or dearest(storage, scene)
    if budget is None:
        raise TunemaxError(
            f"{scene.id}: no agent is trained yet, so nobody knows what it costs; "
            f"give --member-steps N, at least {least_budget(scene.task):,}"
        )
    words = [*scene_words(scene), "--member-steps", str(budget), *flags_of(arguments, "policy")]
    words += ["--tunings", str(arguments.tunings)] if arguments.tunings != TUNINGS else []
    again = typed(where, "rl", "tune", *words)
    for kind, tuning in itertools.product(kinds, range(1, arguments.tunings + 1)):
        label = f"{kind} {tuning}"
        with storage_errors(storage.url), bar(label, budget, "member-steps") as (move, say):
            try:
                found = tune_baseline(storage, scene, kind, tuning, budget, _better(label, budget, move, say))
            except KeyboardInterrupt:
                raise KeyboardInterrupt(f"finished candidates are kept; go on with {again}") from None
        cost = f"{found.member_steps:,} member-steps"
        print(f"{label}: validation return {found.validation:.4f}, trial {found.trial}, {cost}", flush=True)


def evaluate(arguments: argparse.Namespace) -> None:
    """Hold a contest on each set, print what it says, and keep it as a report."""
    import torch

    from tunemax.envs.agents.agent import BEST, Agent
    from tunemax.envs.agents.cards import find
    from tunemax.envs.instances import find_set
    from tunemax.envs.texts import check_sets
    from tunemax.gpt.paths import inside
    from tunemax.search.rl import score
    from tunemax.search.rl.baselines import chosen, kinds_for
    from tunemax.search.rl.contest import hold
    from tunemax.search.rl.flags import scene_words
    from tunemax.search.rl.gains import Headroom
    from tunemax.search.rl.report import explained, tables, write
    from tunemax.search.rl.trials import (
        as_begun,
        find_study,
        finished_folders,
        headroom_folder,
        study_name,
    )
    from tunemax.search.rl.verdict import MARGIN, judge
    from tunemax.search.storage.commands import typed
    from tunemax.search.storage.database import open_storage
    from tunemax.search.storage.paths import study_folder
    from tunemax.search.views.writers.terminal import aligned, wrapped

    torch.set_num_threads(1)
    scene = scene_of(arguments, "absolute" if arguments.absolute else "box")
    names = [find_set(name).name for name in arguments.sets.split(",")]
    counts = {name: arguments.instances or min(INSTANCES, find_set(name).count) for name in names}
    for name, count in counts.items():
        if count > find_set(name).count:
            raise TunemaxError(f"--instances = {count}: set {name} has {find_set(name).count}")
    check_sets(scene.task, names)
    where = arguments.storage or default_storage()
    storage = open_storage(where, create=False)
    scene = as_begun(storage, scene)
    study = find_study(storage, scene)
    folders, elsewhere = [find(given) for given in arguments.agents], list[Path]()
    if study and not folders:
        folders, elsewhere = finished_folders(storage, study)
    others = (
        f"agents outside of the folder of runs are left out; name those you want: {shlex.join(map(str, elsewhere))}"
    )
    paths = [folder / BEST if folder.is_dir() else folder for folder in folders]
    tuned = [each for kind in kinds_for(scene.task) for each in chosen(storage, scene.moves, kind)]
    if not paths and not tuned:
        begin = typed(where, "rl", "train", *scene_words(scene), "--algo", "sac", "--steps", "N")
        nothing = "neither an agent nor a tuned baseline is there to be compared"
        raise TunemaxError(f"{scene.id}: {nothing}; {others if elsewhere else f'begin with {begin}'}")
    agents = [(Agent.load(path), path) for path in paths]
    if elsewhere:
        print(others, file=sys.stderr)
    folder = arguments.out or study_folder(str(storage.url), f"{study_name(scene)}/verdict")
    report = partial(print, file=sys.stderr, flush=True)
    headroom = Headroom.of(scene, headroom_folder(storage, scene))
    words = [
        *arguments.agents,
        *scene_words(scene),
        *flags_of(arguments, "sets", "instances", "absolute", "out", "json"),
    ]
    words += ["--margin", f"{100 * arguments.margin:g}"] if arguments.margin is not None else []
    again = typed(where, "rl", "evaluate", *words)
    found = []
    for name, count in counts.items():
        place = inside(folder, f"{name}-{count}")
        try:
            contest = hold(scene, agents, tuned, name, count, place / "runs", where, report)
            verdict = judge(contest, MARGIN if arguments.margin is None else arguments.margin)
            scores = score.scores(contest, headroom)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"what has run is kept; go on with {again}") from None
        write(verdict, place)
        found.append({**verdict.to_json(), "scores": [asdict(each) for each in scores]})
        if not arguments.json:
            for table in tables(verdict):
                print("\n".join(["", *aligned(table)] if table.of else []))
            print()
            if scores:
                print("\n".join([*aligned(score.table(scores)), ""]))
            scored = score.explained(scores, headroom)
            for sentence in (*explained(verdict), *scored, "", *verdict.sentences, "", *verdict.remarks):
                print("\n".join(wrapped(sentence)))
            print(f"\nThe report is in {place}", flush=True)
    if arguments.json:
        print_json(found)


def study(arguments: argparse.Namespace) -> None:
    """Train candidates until the file's budget is spent; then write the best one's preset."""
    import torch

    from tunemax.envs.texts import check_sets
    from tunemax.search.question.packaged import named
    from tunemax.search.rl.agent_study import read, tune_agent
    from tunemax.search.storage.commands import typed
    from tunemax.search.storage.database import open_storage
    from tunemax.search.storage.lookup import storage_of_file
    from tunemax.search.storage.patience import LONG
    from tunemax.search.storage.urls import storage_errors
    from tunemax.search.views.writers.terminal import hanging, with_command

    torch.set_num_threads(1)
    path = named(arguments.file)
    asked = read(path)
    check_sets(asked.scene.task, ("train", "validation"))
    default = storage_of_file(arguments.file)
    where = arguments.storage or default
    storage = open_storage(where, create=True)
    storage.patience.limit = LONG  # it is there, and is waited for from now on
    trainings = (
        f"{counted(asked.trials, 'training')} of {asked.algorithm} on {asked.scene.id}, {asked.steps:,} steps each"
    )
    print(f"{hanging('', asked.question)}\n{hanging('', trainings)}", flush=True)
    try:
        with storage_errors(storage.url):
            preset = tune_agent(storage, asked, lambda line: print(line, flush=True))
    except KeyboardInterrupt:
        again = typed(where, "rl", "study", arguments.file, default=default)
        raise KeyboardInterrupt(f"finished trainings are kept; go on with {again}") from None
    use = shlex.join(["tunemax", "rl", "train", "--preset", str(preset)])
    print(with_command(f"The best hyperparameters are in {preset}; use them with", use))


def _better(
    label: str, budget: int, move: Callable[[int], None], say: Callable[[str], None]
) -> Callable[[int, float], None]:
    """Tells how far a tuning is, and each candidate that is better than all before."""
    leader = -math.inf

    def report(spent: int, best: float) -> None:
        nonlocal leader
        move(spent)
        if best > leader:
            leader = best
            say(f"{label}: {spent:,}/{budget:,} member-steps  best return {best:.4f}")

    return report


def _margin(text: str) -> float:
    """A share, of percent."""
    from tunemax.gpt.fields import shown

    with contextlib.suppress(ValueError):
        if 0 < float(text) <= 20:
            return float(text) / 100
    raise TunemaxError(f"--margin = {shown(text)}: expected percent of the loss, above 0 and at most 20")


def _seed(text: str) -> int:
    from tunemax.search.rl.trials import MOST_SEED

    return whole("--seed", 0, MOST_SEED)(text)
