"""``tunemax dashboard``: optuna-dashboard and TensorBoard side by side, until Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import signal
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunemax.gpt.errors import TunemaxError
from tunemax.search.cli.common import whole
from tunemax.search.cli.parser import add_command
from tunemax.search.storage.paths import default_storage

if TYPE_CHECKING:
    from tunemax.search.cli.parser import Subcommands
    from tunemax.search.views.dashboard.servers import Server

PORT, TENSORBOARD_PORT = 8080, 6006
PATIENCE = 300.0
"""Seconds in which the servers must answer: on a cold disk, or a busy machine, their imports alone take many."""


def register(commands: Subcommands) -> None:
    parser = add_command(commands, "dashboard", "show studies in optuna-dashboard and TensorBoard, until Ctrl-C", run)
    parser.add_argument("--storage", metavar="URL", help="path or SQLAlchemy URL, as tunemax study takes it")
    parser.add_argument(
        "--port",
        type=whole("--port", 0, 65535),
        default=PORT,
        metavar="N",
        help=f"of the dashboard (default {PORT}; 0: any)",
    )
    parser.add_argument(
        "--tensorboard-port",
        type=whole("--tensorboard-port", 0, 65535),
        default=TENSORBOARD_PORT,
        metavar="N",
        help=f"of TensorBoard (default {TENSORBOARD_PORT}; 0: any)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default 127.0.0.1: this machine only)")
    parser.add_argument("--no-tensorboard", action="store_true", help="the dashboard alone")


def run(arguments: argparse.Namespace) -> None:
    """Start both, say where they are, and stop both when told to or when one of them ends."""
    from tunemax.search.storage.artifacts import make_artifact_folder
    from tunemax.search.storage.database import check_writable, open_storage
    from tunemax.search.storage.paths import runs_folder
    from tunemax.search.storage.questions import questions
    from tunemax.search.storage.urls import shown
    from tunemax.search.views.dashboard.publish import try_to_publish
    from tunemax.search.views.dashboard.servers import Server, serve_dashboard, serve_tensorboard

    where, host = arguments.storage or default_storage(), arguments.host
    storage = open_storage(where, create=False)
    check_writable(storage)
    about, artifacts = shown(storage.url), make_artifact_folder(storage.url)
    _check_port(host, arguments.port, "--port", about)
    if not arguments.no_tensorboard:
        _check_port(host, arguments.tensorboard_port, "--tensorboard-port", about)

    if sys.stderr.isatty():
        print("starting, which takes some seconds …", file=sys.stderr, flush=True)
    servers: list[Server] = []
    try:
        runs = None if arguments.no_tensorboard else arguments.tensorboard_port or None
        what = {"storage": str(storage.url), "artifacts": str(artifacts), "about": about, "tensorboard": runs}
        servers.append(Server("the dashboard", serve_dashboard, host, arguments.port, **what))
        if not arguments.no_tensorboard:
            folder = str(runs_folder(storage.url).absolute())
            servers.append(Server("TensorBoard", serve_tensorboard, host, arguments.tensorboard_port, folder=folder))
        for name in questions(storage):
            if fault := try_to_publish(where, name):
                print(f"tunemax: the note and figures of {name} are not up to date; {fault}", file=sys.stderr)
        _wait(servers)
        print(f"answers      {servers[0].address}/")
        print(f"dashboard    {servers[0].address}/dashboard")
        if servers[1:]:
            print(f"TensorBoard  {servers[1].address}/")
        print("\n".join(words_of_warning(host, len(servers))))
        sys.stdout.flush()
        while True:
            _check(servers)
            time.sleep(0.2)
    except KeyboardInterrupt:
        print("stopped")
    finally:
        with _undisturbed():
            for server in servers:
                server.ask_to_end()
            for server in servers:
                server.stop()


def words_of_warning(host: str, count: int) -> list[str]:
    """Who can reach so many servers on a host, and how to stop them."""
    from tunemax.search.views.dashboard.servers import is_local

    stop = f"Ctrl-C stops {'them' if count > 1 else 'it'}."
    if is_local(host):
        listen, ask = ("Both listen", "ask") if count > 1 else ("It listens", "asks")
        return [f"{listen} on this machine only, and {ask} for no password. {stop}"]
    return [
        f"WARNING: on {host} whoever reaches this machine can read and delete every study: there is no password.",
        f"Put a proxy that asks for one in front. {stop}",
    ]


def _wait(servers: list[Server]) -> None:
    """Until every server answers."""
    end = time.monotonic() + PATIENCE
    while not all(server.answers for server in servers):
        _check(servers)
        if time.monotonic() > end:
            silent = " and ".join(server.name for server in servers if not server.answers)
            raise TunemaxError(f"no answer within {PATIENCE:.0f} s from {silent}; try again")
        time.sleep(0.1)


def _check(servers: list[Server]) -> None:
    """Raise TunemaxError if one has ended; the caller stops the other."""
    for server in servers:
        if fate := server.fate:
            others = [other.name for other in servers if other is not server and not other.fate]
            stopped = "".join(f"; {name} is stopped too" for name in others)
            raise TunemaxError(f"{server.name} has ended ({fate}){stopped}")


def _check_port(host: str, port: int, flag: str, about: str) -> None:
    """Refuse a port at which nobody can listen, with one that is free; a dashboard of ours that is there is named."""
    from tunemax.search.views.dashboard.servers import ABOUT, address, fault_of, free_port, get

    fault = fault_of(host, port)
    if fault is None:
        return
    if fault.errno == errno.EACCES:
        raise TunemaxError(f"{flag} = {port}: this user may not listen there; take one above 1023")
    cause = str(fault.strerror).partition(" (while")[0]
    if fault.errno != errno.EADDRINUSE:
        raise TunemaxError(
            f"--host = {host}: nobody can listen there ({cause}); leave it out, or name an address of this machine"
        )
    other = f"{flag} {free_port(host, range(port + 1, min(port + 50, 65536)))}"
    theirs: str | None = None
    with contextlib.suppress(ValueError, TypeError, KeyError):
        theirs = str(json.loads(get(address(host, port) + ABOUT, seconds=10) or b"")["storage"])
    if theirs == about:
        raise TunemaxError(
            f"the dashboard of {about} is already running: {address(host, port)}/dashboard; a second one needs {other}"
        )
    by = f"the dashboard of {theirs}" if theirs else "another program"
    raise TunemaxError(f"{flag} = {port}: in use by {by}; take {other}")


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Ignore Ctrl-C and SIGTERM: whoever presses twice still gets both servers stopped."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
