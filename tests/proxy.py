"""A network between a client and a server that can be cut: nothing gets through, and nobody is told."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import Self

PIECE = 2**16
FORGOTTEN = struct.pack("ii", 1, 0)
"""SO_LINGER with which a socket is closed by a reset, as by a router that has forgotten its connections."""


class Proxy:
    """Passes on what comes to `port`; in a `with` block.

    port: of 127.0.0.1, free. to: of the server, on 127.0.0.1 as well.
    """

    def __init__(self, to: int) -> None:
        self._to = to
        self._open = threading.Event()
        self._open.set()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self._forget()
        self._open.set()

    def cut(self) -> None:
        """From now on nothing gets through. What is sent is kept, as the sender's own system would send it again."""
        self._open.clear()

    def mend(self, *, forgetting: bool) -> None:
        """Everything gets through again. forgetting: connections from before are reset, with what was on its way."""
        if forgetting:
            self._forget()
        self._open.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._to))
                self._sockets += [client, server]
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._pass, args=pair, daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(PIECE):
                self._open.wait()
                target.sendall(piece)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _forget(self) -> None:
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, FORGOTTEN)
                each.close()
        self._sockets.clear()
