"""Workers as actors of a Ray cluster: each takes what waits as `tunemax worker` does, wherever the cluster has room.

An actor whose machine is lost begins again on another, and with it what it trained. Needs ray:
``pip install 'tunemax[ray]'``.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import socket
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from tunemax.gpt import plugins
from tunemax.gpt.config import Config
from tunemax.gpt.errors import TunemaxError, did_you_mean
from tunemax.gpt.fields import shown
from tunemax.search.question.counting import counted
from tunemax.search.storage.paths import runs_folder
from tunemax.search.storage.questions import Question
from tunemax.search.storage.secrets import redacted
from tunemax.search.storage.urls import storage_url
from tunemax.search.workers.pulling import Puller

if TYPE_CHECKING:
    from types import ModuleType

ANSWERING = 5.0
"""Seconds in which an address must answer."""
GIVING_BACK = 60.0
"""Seconds in which actors that are told to stop save what they train."""
REMEDY = "start one with ray start --head, or name its address"
AUTO = "auto"
"""The cluster of this machine, or the one that RAY_ADDRESS names."""
_ADDRESS = re.compile(r"(ray://)?\[?(?P<host>[\w.:%-]+?)\]?:(?P<port>\d{1,5})")

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)
"""With which a client of gRPC begins, RFC 9113, section 3.4: a preface and empty settings."""
_HEADER, _SETTINGS = 9, b"\x04"
"""Bytes of the head of a frame, and the kind of the first that a server answers with."""


@dataclass
class RayCrew:
    """A number of workers on a cluster, for as long as a `with` block lasts. Then what they train is given back.

    Args:
        question: what they train, with its repeats and its confirmations.
        where: its storage, as every machine of the cluster reaches it.
        address: of the cluster, ``auto``, ``host:port`` or ``ray://host:port``.
        workers: how many; by default one for each GPU, or for each core if the question needs none.
        slots: members that each trains at once; by default as the study says.

    Raises TunemaxError if ray is not installed, nothing answers, or the cluster has no room for so many.
    """

    question: Question
    where: str
    address: str
    workers: int | None = None
    slots: int | None = None
    _actors: list[Any] = field(default_factory=list)
    _endings: list[Any] = field(default_factory=list)
    """What each will return once it has ended."""
    _machines: int = 0

    def __enter__(self) -> Self:
        self._ray = _ray()
        _connect(self._ray, self.address, self.question)
        try:
            self._check_storage()
            needs, count = self._room()
            self._machines = self._living()
            actor = self._ray.remote(**needs, max_restarts=-1, max_task_retries=-1, max_concurrency=2)(_Worker)
            where = storage_url(self.where).render_as_string(hide_password=False)  # a path leads there from anywhere
            order = (where, self.question.name, self.slots, os.getcwd())
            self._actors = [actor.remote(*order) for _ in range(count)]
            self._endings = [each.work.remote() for each in self._actors]
        except BaseException:
            self._ray.shutdown()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(self._ray.exceptions.RayError):  # of one whose machine is lost, or the whole cluster
            self._ray.wait([each.stop.remote() for each in self._actors], num_returns=len(self._actors), timeout=1.0)
            self._ray.wait(self._endings, num_returns=len(self._endings), timeout=GIVING_BACK)
        self._ray.shutdown()

    def look(self) -> str | None:
        """A line on what has changed, if there is one to tell. Raises TunemaxError if its workers cannot go on."""
        try:
            ended, _ = self._ray.wait(self._endings, num_returns=len(self._endings), timeout=0)
            if faults := [fault for fault in self._ray.get(ended) if fault]:
                raise TunemaxError(faults[0])
            before, self._machines = self._machines, self._living()
        except (self._ray.exceptions.RayError, ConnectionError) as error:
            lost = f"--ray {self.address}: the cluster is lost ({_line(error)})"
            raise TunemaxError(f"{lost}; what is finished is kept") from None
        if self._machines < before:
            lost = counted(before - self._machines, "machine")
            return f"the cluster has lost {lost}; workers of there begin again where there is room"
        return None

    @property
    def words(self) -> str:
        """Where they are, for the user."""
        count = counted(len(self._actors), "worker")
        return f"{count} on {counted(self._machines, 'machine')} of the Ray cluster {self.address}"

    def _living(self) -> int:
        """Machines on which a worker can be."""
        nodes = [node for node in self._ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
        return len(nodes)

    def _check_storage(self) -> None:
        """Raise TunemaxError if the storage is a file of this machine, and the cluster has others."""
        places = {node["NodeManagerAddress"] for node in self._ray.nodes() if node["Alive"]}
        if self.question.storage.url.startswith("sqlite") and len(places) > 1:
            remedy = "name one on a server with --storage, such as postgresql+psycopg://user@host/database"
            raise TunemaxError(f"--ray {self.address}: the storage is a file, for one machine alone; {remedy}")

    def _room(self) -> tuple[dict[str, int], int]:
        """What a worker needs, and how many there shall be. Raises TunemaxError if the cluster has not so much."""
        has = {name: int(self._ray.cluster_resources().get(name, 0)) for name in ("CPU", "GPU")}
        devices = {Config.of(fixed).train.device for fixed in self.question.definition.siblings().values()}
        on_gpu = devices != {"cpu"} and (bool(has["GPU"]) or any(device.startswith("cuda") for device in devices))
        kind = "GPU" if on_gpu else "CPU"
        most = min(has["CPU"], has["GPU"]) if on_gpu else has["CPU"]
        offers = f"the cluster {self.address} has {counted(has['CPU'], 'CPU')} and {counted(has['GPU'], 'GPU')}"
        count = self.workers or max(most, 1)
        if count > most:
            asked = f"--workers = {count}" if self.workers else f"device = {', '.join(sorted(devices))}"
            remedy = f"take at most {most}" if most else "add machines to it, or take device: cpu"
            raise TunemaxError(f"{asked}: each needs a {kind}, and {offers}; {remedy}")
        return {"num_cpus": 1, "num_gpus": int(on_gpu)}, count


class _Worker:
    """The actor: one `Puller`, in a process of the cluster's."""

    def __init__(self, where: str, name: str, slots: int | None, folder: str) -> None:
        """folder: of the run; texts that the question names by a relative path are looked for there."""
        self._stop = threading.Event()
        self._order = (where, name, slots)
        with contextlib.suppress(OSError):  # another machine may not have it
            os.chdir(folder)

    def work(self) -> str:
        """Train what waits until it is told to stop. Returns why it cannot; nothing if it could."""
        where, name, slots = self._order
        try:
            plugins.load_named()
            Puller(where, [name], slots=slots, idle=math.inf, stop=self._stop).run()
        except TunemaxError as error:
            return f"{socket.gethostname()}: {error}"
        return ""

    def stop(self) -> None:
        self._stop.set()


def _ray() -> ModuleType:
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")  # else it prints pages where a machine is lost
    try:
        import ray
        import ray.exceptions
    except ImportError:
        raise TunemaxError("--ray: needs the package ray, which is not installed; pip install 'tunemax[ray]'") from None
    return ray


def _connect(ray: ModuleType, address: str, question: Question) -> None:
    """Raises TunemaxError if no cluster answers there."""
    url = question.storage.url
    environment = {"TUNEMAX_RUNS": str(runs_folder(url).absolute())}
    environment |= {name: os.environ[name] for name in (plugins.PLUGINS, "TUNEMAX_DATA") if name in os.environ}
    try:
        ray.init(
            address=address,
            runtime_env={"env_vars": environment},
            log_to_driver=False,
            logging_level="ERROR",
            configure_logging=False,
        )
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise TunemaxError(f"--ray {address}: no cluster answers ({_line(error)}); {REMEDY}") from None


def check_address(address: str) -> None:
    """Raise TunemaxError for what is no address, or one where no server of Ray's kind listens: Ray itself would wait
    for minutes. Also if ray is not installed."""
    _ray()
    if address == AUTO:
        return
    parts = _ADDRESS.fullmatch(address)
    if not parts or not 0 < int(parts["port"]) < 2**16:
        near = "" if ":" in address else did_you_mean(address, [AUTO])
        raise TunemaxError(f"--ray = {shown(address)}: expected {AUTO}, host:port or ray://host:port{near}")
    try:
        with socket.create_connection((parts["host"], int(parts["port"])), timeout=ANSWERING) as connection:
            connection.sendall(_PREFACE)
            answer = connection.recv(_HEADER, socket.MSG_WAITALL)
    except OSError as error:
        raise TunemaxError(f"--ray {address}: nothing answers there ({error.strerror or error}); {REMEDY}") from None
    if answer[3:4] != _SETTINGS:
        raise TunemaxError(f"--ray {address}: what answers there is no Ray cluster; {REMEDY}")


def _line(error: Exception) -> str:
    """The first sentence of what Ray says, which says much."""
    return redacted(re.split(r"\n|\. ", str(error).strip())[0][:160])
