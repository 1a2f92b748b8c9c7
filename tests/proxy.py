"""A network between a client and a server that can be cut: nothing gets through, and nobody is told."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
from typing import Self

PIECE = 2**16
LOOK = 0.1
"""Seconds between two looks whether the network is still there."""
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with which a socket is closed by a reset, as by a router that has forgotten its connections."""


class Proxy:
    """Passes on what comes to `port` of 127.0.0.1, in a `with` block. to: the port of the server there."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._open = threading.Event()
        self._open.set()
        self._ended = threading.Event()
        self._age = 0
        """How often connections were forgotten."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(LOOK)
        self.port = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.mend(forgetting=True)

    def cut(self) -> None:
        """From now on nothing gets through. What is sent is kept, as the sender's own system would send it again."""
        self._open.clear()

    def mend(self, *, forgetting: bool) -> None:
        """Everything gets through again. forgetting: connections from before are reset, with what was on its way."""
        self._age += forgetting
        self._open.set()

    def _accept(self) -> None:
        with self._listener:
            while not self._ended.is_set():
                with contextlib.suppress(TimeoutError):
                    client, _ = self._listener.accept()
                    threading.Thread(target=self._pass, args=(client, self._age), daemon=True).start()

    def _pass(self, client: socket.socket, age: int) -> None:
        """Everything of one connection, until one side ends it or it is forgotten."""
        with client, socket.create_connection(("127.0.0.1", self._to)) as server, contextlib.suppress(OSError):
            other = {client: server, server: client}
            while self._age == age:
                for source in select.select(other, [], [], LOOK)[0] if self._open.wait(LOOK) else ():
                    piece = source.recv(PIECE)
                    if not piece:
                        return
                    other[source].sendall(piece)
            for each in other:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
