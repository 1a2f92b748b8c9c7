"""Workers as actors of a Ray cluster: of three machines one is lost, and the answer is that of a single machine."""

from __future__ import annotations

import argparse
import builtins
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from alone import check_as_alone
from servers import PostgreSQL

from tunemax.gpt.errors import TunemaxError
from tunemax.search.cli import main
from tunemax.search.cli.work import elsewhere_flags, where_else
from tunemax.search.question.study_file import define
from tunemax.search.storage.questions import Question
from tunemax.search.workers import ray_crew
from tunemax.search.workers.ray_crew import RayCrew, check_address

EXAMPLE = Path(__file__).parents[3] / "examples/ray_three_nodes.py"
SHAPE = {"sampler": "qmc", "slots": 1, "budget": {"trials": 4, "horizon": 200}, "confirm": {"seeds": 6}}


@pytest.mark.services
@pytest.mark.databases
def test_a_machine_is_lost_and_the_answer_is_that_of_one_machine(
    plan: Callable[..., dict[str, Any]], postgresql: PostgreSQL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, file = postgresql.database(), tmp_path / "q.yaml"
    file.write_text(yaml.safe_dump(plan(**SHAPE)))
    environment = {**os.environ, "TUNEMAX_RUNS": str(tmp_path / "runs"), "RAY_raylet_start_wait_time_s": "300"}
    environment["RAY_worker_niceness"] = "0"  # else it steps aside for whatever is tested beside it
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    words = [sys.executable, str(EXAMPLE), str(file), "--storage", url]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 workers on 3 machines of the Ray cluster" in done.stderr
    assert "the cluster has lost 1 machine; workers of there begin again where there is room" in done.stderr
    assert "(raylet)" not in done.stdout + done.stderr
    monkeypatch.setenv("TUNEMAX_RUNS", str(tmp_path / "alone"))
    check_as_alone(url, define(plan(**SHAPE), name="q"), tmp_path / "alone.db")


@pytest.fixture
def listener() -> Iterator[Callable[[bytes], str]]:
    """Something that listens and answers with some bytes; its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def begin(answer: bytes) -> str:
            def go() -> None:
                connection, _ = server.accept()
                with connection:
                    connection.recv(100)
                    connection.sendall(answer)

            threading.Thread(target=go, daemon=True).start()
            return f"127.0.0.1:{server.getsockname()[1]}"

        yield begin


@pytest.mark.parametrize(
    "address", ["atuo", "", "host", "127.0.0.1:99999", "127.0.0.1:0", "http://h:1", "h:6379/x", "h:x"]
)
def test_what_is_no_address_is_refused_with_what_is(address: str) -> None:
    with pytest.raises(TunemaxError, match="expected auto, host:port or ray://host:port"):
        check_address(address)


@pytest.mark.parametrize("form", ["{}", "ray://{}"])
@pytest.mark.parametrize("answer", [b"", b"HTTP/1.0 400 Bad Request\r\n\r\n", b"E"])
def test_another_server_is_told_at_once(listener: Callable[[bytes], str], form: str, answer: bytes) -> None:
    with pytest.raises(TunemaxError, match=r"what answers there is no Ray cluster; start one with ray start --head"):
        check_address(form.format(listener(answer)))


def test_a_server_of_its_kind_is_taken(listener: Callable[[bytes], str]) -> None:
    check_address(listener(b"\x00\x00\x00\x04" + bytes(5)))


def test_a_port_where_nobody_listens_is_told(
    study_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    file = study_file()
    assert main(["study", "run", str(file), "--ray", f"127.0.0.1:{port}"]) == 2
    assert f"tunemax: --ray 127.0.0.1:{port}: nothing answers there" in capsys.readouterr().err
    assert not list(file.parent.glob("*.db")), "the question is created only for a cluster that answers"


def test_the_package_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == "ray":
            raise ImportError(name)
        return before(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(
        TunemaxError, match=r"needs the package ray, which is not installed; pip install 'tunemax\[ray\]'"
    ):
        check_address("auto")


def test_flags_that_do_not_go_together(study_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "run", str(study_file()), "--ray", "auto", "--no-workers"]) == 2
    assert "--ray: means nothing with --no-workers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "words"),
    [([], []), (["--no-workers"], ["--no-workers"]), (["--ray", "head:6379"], ["--ray=head:6379"])],
)
def test_the_way_to_go_on_says_who_trains(typed: list[str], words: list[str]) -> None:
    parser = argparse.ArgumentParser()
    elsewhere_flags(parser)
    assert where_else(parser.parse_args(typed)) == words


class Cluster:
    """What a crew asks of Ray about a cluster."""

    def __init__(self, places: list[str], **has: int) -> None:
        self.places, self.has = places, has

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "NodeManagerAddress": each, "Resources": {"CPU": 1}} for each in self.places]

    def cluster_resources(self) -> dict[str, float]:
        return {name: float(count) for name, count in self.has.items()}


@pytest.mark.parametrize(
    ("workers", "device", "has", "said"),
    [
        (64, "cpu", (6, 0), "--workers = 64: each needs a CPU, {}; take at most 6"),
        (5, "auto", (16, 4), "--workers = 5: each needs a GPU, {}; take at most 4"),
        (None, "cuda", (6, 0), "device = cuda: each needs a GPU, {}; add machines to it, or take device: cpu"),
    ],
)
def test_more_than_the_cluster_has_is_refused(
    ask: Callable[..., Question],
    plan: Callable[..., dict[str, Any]],
    workers: int | None,
    device: str,
    has: tuple[int, int],
    said: str,
) -> None:
    question = ask(base={**plan()["base"], "device": device})
    crew = RayCrew(question, "where", "auto", workers)
    crew._ray = Cluster(["10.0.0.1"], CPU=has[0], GPU=has[1])
    with pytest.raises(TunemaxError) as refused:
        crew._room()
    assert str(refused.value) == said.format("and the cluster auto has {} CPUs and {} GPUs".format(*has))


@pytest.mark.parametrize(
    ("device", "has", "each", "count"),
    [("cpu", {"CPU": 6, "GPU": 2}, 0, 6), ("auto", {"CPU": 6}, 0, 6), ("auto", {"CPU": 6, "GPU": 2}, 1, 2)],
)
def test_there_are_as_many_as_the_cluster_has_room_for(
    ask: Callable[..., Question],
    plan: Callable[..., dict[str, Any]],
    device: str,
    has: dict[str, int],
    each: int,
    count: int,
) -> None:
    crew = RayCrew(ask(base={**plan()["base"], "device": device}), "where", "auto")
    crew._ray = Cluster(["10.0.0.1"], **has)
    assert crew._room() == ({"num_cpus": 1, "num_gpus": each}, count)


def test_a_file_is_no_storage_for_several_machines(ask: Callable[..., Question]) -> None:
    crew = RayCrew(ask(), "where", "auto")
    crew._ray = Cluster(["10.0.0.1", "10.0.0.1"])
    crew._check_storage()
    crew._ray = Cluster(["10.0.0.1", "10.0.0.2"])
    with pytest.raises(
        TunemaxError, match="the storage is a file, for one machine alone; name one on a server with --storage"
    ):
        crew._check_storage()


def test_an_actor_says_why_it_cannot_train(tmp_path: Path) -> None:
    fault = ray_crew._Worker(str(tmp_path / "none.db"), "q", None, "/nowhere").work()
    assert fault.startswith(f"{socket.gethostname()}: ")
    assert "none.db" in fault


def test_an_actor_that_is_told_to_stop_ends(ask: Callable[..., Question], where: str) -> None:
    ask()
    actor = ray_crew._Worker(where, "q", None, "/nowhere")
    actor.stop()
    assert actor.work() == ""


def test_an_actor_works_in_the_folder_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path.cwd())  # and back again
    ray_crew._Worker("studies.db", "q", None, str(tmp_path))
    assert Path.cwd() == tmp_path
