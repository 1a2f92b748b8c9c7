"""``tunemax plugin …``: begin a plug-in, see whether it keeps the contract, and list those that are loaded."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tunemax.gpt.errors import TunemaxError, did_you_mean
from tunemax.search.cli.common import print_json
from tunemax.search.cli.parser import add_command
from tunemax.search.question.counting import counted

if TYPE_CHECKING:
    from tunemax.search.cli.parser import Subcommands

FLAG = "--plugin"


def register(commands: Subcommands) -> None:
    about = "parts of a training from files and packages of your own"
    group = commands.add_parser("plugin", help=about, description=f"{about[0].upper()}{about[1:]}.")
    actions = group.add_subparsers(metavar="ACTION", required=True)

    parser = add_command(actions, "new", "write a plug-in to begin with", new)
    parser.add_argument("family", metavar="FAMILY", help="softmax, attention, norm, mlp, positions or optimizer")
    parser.add_argument("name", metavar="NAME", help="of the part; the file is NAME.py, in the current folder")

    parser = add_command(actions, "check", "try all that a part has to keep, and say what a plug-in does not", check)
    parser.add_argument("plugin_file", metavar="FILE|MODULE")

    parser = add_command(actions, "list", "list the plug-ins that are loaded, and what each of them brings", list_)
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")


def load_named(words: Sequence[str]) -> None:
    """Load the plug-ins that the words of a command name: flags and values depend on them. Raises TunemaxError."""
    left = iter(words)
    for word in left:
        if word == "--":
            return
        flag, equals, value = word.partition("=")
        named = (value if equals else next(left, "")) if flag == FLAG else ""
        if named:
            from tunemax.gpt import plugins
            from tunemax.gpt.config import all_specs

            assert all_specs()  # what it adds to is there first
            plugins.load(named, FLAG)


def new(arguments: argparse.Namespace) -> None:
    """Copy a template under its own name."""
    import re
    from importlib.resources import files

    from tunemax.gpt.files import write_whole
    from tunemax.gpt.plugins import FAMILIES
    from tunemax.gpt.plugins.loading import NAME

    family, name = arguments.family, arguments.name
    if family not in FAMILIES:
        raise TunemaxError(f"{family}: no such family of parts{did_you_mean(family, FAMILIES)}")
    if not re.fullmatch(NAME, name):
        raise TunemaxError(f"{name}: cannot name a part; expected at most 40 letters a-z, digits and _")
    if name in FAMILIES[family].registry:
        raise TunemaxError(f"{name}: there is a {FAMILIES[family].noun} of this name; choose another")
    path = Path(f"{name}.py")
    if path.exists():
        raise TunemaxError(f"{path}: is there already; choose another name, or move it away")
    template = (files("tunemax.gpt.plugins.templates") / f"{family}.py").read_text()
    named = template.replace("Template", name.title().replace("_", "")).replace("template", name)
    write_whole(path, named.encode())
    print(f"{path}: {FAMILIES[family].noun} {name}; see whether it keeps the contract with tunemax plugin check {path}")


def check(arguments: argparse.Namespace) -> None:
    """A line for each promise that is not kept; status 2 if there is one."""
    from tunemax.gpt import plugins
    from tunemax.gpt.config import all_specs
    from tunemax.gpt.testing import breaches, cases
    from tunemax.search.machine.processes import set_up

    assert all_specs()
    named = arguments.plugin_file
    plugin = plugins.load(named, FLAG)
    set_up("default", threads=1)
    tried = list(cases(plugin.kinds))
    promises = len({(case.kind, case.promise) for case in tried})
    broken = 0
    for line in breaches(tried):
        broken += 1
        print(line, file=sys.stderr, flush=True)
    if broken:
        raise TunemaxError(
            f"{named}: {counted(broken, 'promise')} of {promises} not kept; mend what the lines above name"
        )
    names = ", ".join(kind.name for kind in plugin.kinds)
    print(f"{named}: {names} keeps all {promises} promises, in {counted(len(tried), 'case')}")


def list_(arguments: argparse.Namespace) -> None:
    """Those of flags, of the environment, and of installed packages."""
    from tunemax.gpt import plugins
    from tunemax.gpt.config import all_specs
    from tunemax.search.views.document import tabulated
    from tunemax.search.views.writers.terminal import aligned

    assert all_specs()
    found = plugins.loaded().values()
    if arguments.json:
        kept = ("name", "version", "digest", "word", "by")
        print_json(
            [
                {**{key: getattr(each, key) for key in kept}, "kinds": {kind.field: kind.name for kind in each.kinds}}
                for each in found
            ]
        )
        return
    if not found:
        print("no plug-in is loaded; name one with --plugin or TUNEMAX_PLUGINS, or begin one with tunemax plugin new")
        return
    heads = ("", "version", "sha256", "brings", "from", "named by")
    rows = [
        (
            each.name,
            each.version,
            each.digest[:12],
            ", ".join(f"{kind.field} = {kind.name}" for kind in each.kinds),
            each.word,
            each.by,
        )
        for each in found
    ]
    print("\n".join(aligned(tabulated(heads, rows, words=heads))))
