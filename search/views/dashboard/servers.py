"""optuna-dashboard and TensorBoard, each in a process of its own that does not outlive its starter.

A server is told what to serve through its standard input: a command line, which every user of the machine can read,
would show a database's password. The input stays open as long as the starter lives; when it closes, however the starter
ended, the server ends too.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import IO, Any
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from tunemax.gpt.errors import TunemaxError
from tunemax.search.machine.processes import python
from tunemax.search.storage.artifacts import ArtifactStore
from tunemax.search.storage.secrets import redacted
from tunemax.search.storage.urls import storage_errors

ABOUT = "/tunemax"
"""Where a dashboard of ours says which database it shows."""
PATIENCE = 5.0
"""Seconds that a server has to end before it is killed."""
_NAMED = re.compile(r"(?:\[([0-9a-f:.]+)\]|([\w.-]+))(?::\d*)?", re.IGNORECASE)
"""A Host header: a number of IPv6 in brackets or another name, and maybe a port."""


class Server:
    """A running server process. Keyword arguments go to the function of this module that serves.

    port: 0 is any. Which one it is the server says on its standard output when it listens: one that is chosen before
    may be somebody else's by then.
    """

    def __init__(self, name: str, serve: Callable[..., None], host: str, port: int, **what: Any) -> None:
        self.name = name
        self._host = host
        self._port: int | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `stop`
        # A session of its own: Ctrl-C is for the starter, who then stops the server and all that it has started.
        # The order of the dashboard's figures is that of a set: without a fixed seed every start would shuffle them.
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        environment.pop("TUNEMAX_STORAGE", None)  # it is told what to serve
        self._process = subprocess.Popen(
            python(__name__),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
            env=environment,
        )
        assert self._process.stdin
        line = json.dumps([serve.__name__, {"host": host, "port": port, **what}])
        with contextlib.suppress(BrokenPipeError):  # it has died already; `fate` says why
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()

    @property
    def address(self) -> str | None:
        """Its URL; None before it listens."""
        said = self._process.stdout
        if self._port is None and said and _has_more(said) and (line := said.readline()):
            self._port = int(line)
        return None if self._port is None else address(self._host, self._port)

    @property
    def answers(self) -> bool:
        return (found := self.address) is not None and get(found, seconds=5) is not None

    @property
    def fate(self) -> str | None:
        """What it ended with, in one line; None while it runs."""
        status = self._process.poll()
        if status is None:
            return None
        if status < 0:
            return f"killed by {signal.Signals(-status).name}"
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f"exit status {status}: {last}" if last else f"exit status {status}"

    def ask_to_end(self) -> None:
        self._signal(signal.SIGTERM)

    def stop(self) -> None:
        """End it, and everything that it has started; with patience if it was asked before."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE)
        self._signal(signal.SIGKILL)
        self._process.wait()
        with contextlib.suppress(BrokenPipeError):
            assert self._process.stdin
            self._process.stdin.close()
        assert self._process.stdout
        self._process.stdout.close()
        self._log.close()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            # macOS answers the second for a group of zombies
            os.killpg(self._process.pid, number)


def _has_more(pipe: IO[bytes]) -> bool:
    """Whether a pipe has something to read, or has ended. `select` knows the first 1,024 files of a process only."""
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    return bool(poll.poll(0))


def address(host: str, port: int) -> str:
    """The URL under which a server can be reached from here."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{reached}]' if ':' in reached else reached}:{port}"


def get(url: str, seconds: float) -> bytes | None:
    """What a server of this machine answers; None if nothing, or no HTTP, comes in time."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=seconds) as response:
            return bytes(response.read())
    except (OSError, http.client.HTTPException, urllib.error.URLError):
        return None


def fault_of(host: str, port: int) -> OSError | None:
    """Why nobody can listen there now; None if one can. Port 0 is any."""
    try:
        with _listening(host, port):
            return None
    except OSError as error:
        return error


def free_port(host: str, wanted: Iterable[int] = (0,)) -> int:
    """The first of some ports that is free, or any."""
    for port in [*wanted, 0]:
        with contextlib.suppress(OSError), _listening(host, port) as listener:
            return int(listener.getsockname()[1])
    raise OSError(f"{host}: no port is free")


def _listening(host: str, port: int) -> socket.socket:
    return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)


def serve_dashboard(
    listens: Callable[[int], object],
    host: str,
    port: int,
    storage: str,
    artifacts: str,
    about: str,
    tensorboard: int | None = None,
) -> None:
    """Our first page, and behind it optuna-dashboard, on a storage URL and an artifact folder.

    listens: told the port. about: the storage's name. tensorboard: its port, if it is known.
    """
    from optuna.storages import RDBStorage
    from optuna_dashboard import wsgi

    # Optuna's plain storage reads without locking, where ours would hold up the workers.
    with storage_errors(storage):
        url, look = storage.replace("{", "{{").replace("}", "}}"), {"pool_pre_ping": True}  # a server may be restarted
        opened = RDBStorage(url, look, skip_table_creation=True)
    app = with_home(wsgi(opened, ArtifactStore(Path(artifacts))), opened, tensorboard)
    app = guarded(described(app, json.dumps({"storage": about})), is_local(host))
    server = make_server(host, port, app, _Server6 if ":" in host else _Server, _Quiet)
    listens(server.server_port)
    server.serve_forever()


def serve_tensorboard(listens: Callable[[int], object], host: str, port: int, folder: str) -> None:
    """TensorBoard on a folder of runs. listens: told the port."""
    from tensorboard import default, main_lib, program

    def serving(app: Any, flags: Any) -> program.TensorBoardServer:
        return program.create_port_scanning_werkzeug_server(guarded(app, is_local(host)), flags)

    main_lib.global_init()
    board = program.TensorBoard(plugins=default.get_plugins(), server_class=serving)
    board.configure(["tensorboard", "--logdir", folder, "--host", host, "--port", str(port)])
    listens(int(urlsplit(board.launch()).port or port))
    threading.Event().wait()  # `launch` serves in a thread


def is_local(host: str) -> bool:
    """Whether a host is this machine by a name, or a number, that no page from elsewhere can have."""
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def with_home(app: Any, storage: Any, tensorboard: int | None) -> Any:
    """A WSGI application with our page in front. tensorboard: its port, where it is reached by the same name."""
    from tunemax.search.storage.database import stored
    from tunemax.search.views.dashboard.home import page
    from tunemax.search.views.writers.html import POLICY

    def answer(environ: dict[str, Any], start: Any) -> Any:
        if environ["PATH_INFO"] not in ("", "/") or environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return app(environ, start)
        name = urlsplit(f"//{environ.get('HTTP_HOST', '')}").hostname
        runs = f"{address(name, tensorboard)}/" if name and tensorboard else None
        text = page(stored(storage), runs).encode()
        start("200 OK", [("Content-Type", "text/html; charset=utf-8"), ("Content-Security-Policy", POLICY)])
        return [text] if environ["REQUEST_METHOD"] == "GET" else []

    return answer


def guarded(app: Any, local: bool) -> Any:
    """A WSGI application behind what neither optuna-dashboard nor TensorBoard checks itself.

    local: only requests addressed to this machine by a local name are answered: a page from elsewhere whose name was
    made to point here could read everything. No page of another origin may change anything.
    """

    def answer(environ: dict[str, Any], start: Any) -> Any:
        host, origin = environ.get("HTTP_HOST", ""), environ.get("HTTP_ORIGIN", "")
        foreign = origin != "" and origin.partition("://")[2].lower() != host.lower()
        changes = environ["REQUEST_METHOD"] not in ("GET", "HEAD")
        named = _NAMED.fullmatch(host)
        if (local and not (named and is_local(named[1] or named[2]))) or (foreign and changes):
            start("403 Forbidden", [("Content-Type", "text/plain")])
            return [b"This server answers only to 127.0.0.1 and localhost.\n"]
        return app(environ, start)

    return answer


def described(app: Any, about: str) -> Any:
    """optuna-dashboard, which says on ABOUT what it shows. No page of another origin reads its artifacts, and none of
    these runs scripts, whatever somebody has uploaded."""

    def answer(environ: dict[str, Any], start: Any) -> Any:
        if environ["PATH_INFO"] == ABOUT:
            start("200 OK", [("Content-Type", "application/json")])
            return [about.encode()]

        def careful(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            if environ["PATH_INFO"].startswith("/artifacts/"):
                headers = [header for header in headers if header[0].lower() != "access-control-allow-origin"]
                headers += [("Content-Security-Policy", "sandbox"), ("X-Content-Type-Options", "nosniff")]
            return start(status, headers, *rest)

        return app(environ, careful)

    return answer


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def _end_with_starter() -> None:
    while os.read(0, 1024):  # not sys.stdin: Python could not end while a thread waits in it
        pass
    os._exit(0)


def main() -> None:
    """The body of a server process. What goes wrong is its last line."""
    name, what = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_starter, daemon=True).start()
    starter = os.dup(1)
    os.dup2(2, 1)  # what is printed is for the log

    def listens(port: int) -> None:
        os.write(starter, b"%d\n" % port)

    try:
        {serve.__name__: serve for serve in (serve_dashboard, serve_tensorboard)}[name](listens, **what)
    except Exception as error:
        traceback.print_exc()
        kind = "" if isinstance(error, TunemaxError) else f"{type(error).__name__}: "
        sys.exit(redacted(kind + " ".join(str(error).split()), [str(what.get("storage", ""))]))
