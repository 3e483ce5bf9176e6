"""A thread in the first process that passes on what all processes of a run have to know."""

from __future__ import annotations

import json
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from lit_knn.distributed.failure import Failure

LONGEST = 1 << 20  # bytes of a message
SETTLING_SECONDS = 0.3  # of several that fail at the same time, all name the one of the lowest rank


class Hub(threading.Thread):
    """Hears from each process when it is done or has failed, and tells all when all are done or one has failed.

    A connection that ends without farewell is a process that was killed. Messages are lists in JSON, the first of each
    connection proves by a secret that it comes from a process of the run.

        to the hub      ["hello", secret, rank, who]  ["done", n]  ["failed", rank, kind, text]  ["bye"]
        to a process    ["go", n]  ["stop", rank, kind, text]

    Args:
        size: Number of processes, the one with the hub included.
        host: Address under which it listens; "" for all that the machine has.
        ending: Called with the rank of a process that has ended without a word; returns how, as far as that is known.
    """

    def __init__(self, size: int, host: str, ending: Callable[[int], str]) -> None:
        super().__init__(daemon=True, name="hub")
        self._size, self._ending = size, ending
        self._server = socket.create_server((host, 0), backlog=size)
        self.port: int = self._server.getsockname()[1]
        self.secret = uuid.uuid4().hex
        self._ranks: dict[Connection, int] = {}
        self._who: dict[int, str] = {}
        self._done = dict.fromkeys(range(size), 0)
        self._failures: list[Failure] = []
        self._told = 0

    def run(self) -> None:
        """Serve until every process has said farewell, or one has failed and no connection is left."""
        decided, since = False, 0.0
        open_connections: list[Any] = [self._server]
        while len(self._who) < self._size or len(open_connections) > 1:
            for ready in wait(open_connections, timeout=SETTLING_SECONDS if self._failures else None):
                if ready is self._server:
                    open_connections.append(Connection(self._server.accept()[0].detach()))
                elif not self._hear(ready):  # type: ignore[arg-type]
                    open_connections.remove(ready)
                    ready.close()  # type: ignore[union-attr]
            if self._failures and not decided:
                since = since or time.monotonic()
                if decided := time.monotonic() - since >= SETTLING_SECONDS:
                    self._tell(["stop", *self._cause().message()])
            if decided and len(open_connections) == 1:
                break
            if (done := min(self._done.values())) > self._told:
                self._told = done
                self._tell(["go", done])
        self._server.close()

    def _hear(self, connection: Connection) -> bool:
        """Take note of a message; return whether there will be others."""
        rank = self._ranks.get(connection)
        try:
            word, *rest = json.loads(connection.recv_bytes(LONGEST))
        except (EOFError, OSError, ValueError):
            if rank is not None:
                self._lose(self._ranks.pop(connection))
            return False
        if rank is None:
            if word != "hello" or rest[0] != self.secret:
                return False  # a stranger
            self._ranks[connection], self._who[rest[1]] = rest[1:]
        elif word == "failed":
            self._failures.append(Failure(*rest))
        elif word == "done":
            self._done[rank] = rest[0]
        elif word == "bye":
            del self._ranks[connection]
        return bool(word != "bye")

    def _lose(self, rank: int) -> None:
        how = self._ending(rank) or "has ended without a word, as one that was killed"
        self._failures.append(Failure(rank, "lost", f"process {rank + 1} of {self._size} ({self._who[rank]}) {how}"))

    def _cause(self) -> Failure:
        """Return what was there first, as far as that can be told: who is lost may have led to others' failures."""
        return min(self._failures, key=lambda failure: (failure.kind != "lost", failure.rank))

    def _tell(self, message: list[Any]) -> None:
        for connection in self._ranks:
            with suppress(OSError):  # it is gone, which the next `wait` notices
                connection.send_bytes(json.dumps(message).encode())
