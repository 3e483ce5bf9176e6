"""A connection to a Milvus server on which every call has an end, and outlives a restart of the server."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from lit_knn.database.index.milvus_library import is_away, load_pymilvus, refusals, reported
from lit_knn.errors import UserError
from lit_knn.storage.sidecar import REMEDY

if TYPE_CHECKING:
    from pymilvus import MilvusClient

T = TypeVar("T")
PAUSE = 0.5  # seconds between two tries
STALLED = 10  # timeouts without progress, after which building or loading is given up
OLDEST = (2, 3)  # replaces rows (upsert) and counts them


@dataclass(frozen=True)
class Connection:
    """A client of a server.

    Attributes:
        client: pymilvus's.
        uri: Of the server, for messages.
        timeout: Seconds to wait for an answer, and for a server that went away to come back.
    """

    client: MilvusClient
    uri: str
    timeout: float

    @classmethod
    def to(cls, uri: str, token_variable: str | None, timeout: float) -> Connection:
        """Return a connection.

        Args:
            uri: Of the server, or the file of a milvus-lite.
            token_variable: Name of the environment variable that holds a token; None where none is needed.
            timeout: Seconds to wait for it.

        Raises:
            UserError: If there is no such variable, no server answers, it refuses the token, or is too old.
        """
        token = os.environ.get(token_variable, "") if token_variable else ""
        if token_variable and not token:
            raise UserError(f"environment variable {token_variable}, named by index.token_variable, is not set")
        if uri.endswith(".db"):
            remedy = "its folder has to exist, and no other process may use it"
        else:
            remedy = "index.uri takes the gRPC port of a server, index.token_variable what holds its token"
        with refusals(uri, "be reached", remedy):
            client = load_pymilvus().MilvusClient(uri=uri, token=token, timeout=timeout)
            version = client.get_server_version(timeout=timeout)
        found = re.match(r"v?(\d+)\.(\d+)", version)  # milvus-lite and hosted servers call themselves otherwise
        if found and (int(found[1]), int(found[2])) < OLDEST:
            client.close()
            raise UserError(f"Milvus at {uri} has version {version}; from {OLDEST[0]}.{OLDEST[1]} is accepted")
        return cls(client, uri, timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.client.close()

    def ask(
        self,
        what: str,
        call: Callable[[MilvusClient], T],
        remedy: str = "",
        before_again: Callable[[MilvusClient], object] = lambda _: None,
        *,
        insist: bool = False,
    ) -> T:
        """Return what a call returns.

        Once it fails because the server is away, or is not ready, it is repeated until it succeeds or the timeout is
        over. So it has to be one that may be made twice.

        Args:
            what: Follows "Milvus at … cannot".
            call: Takes the client.
            remedy: What may help.
            before_again: Called before each repetition.
            insist: Repeat it whatever the error says: where nothing can be wrong with what is asked, it comes from a
                server that looks for parts of its former self, half a minute long.

        Raises:
            UserError: If the server refuses, or does not come back.
        """
        end = None
        with refusals(self.uri, what, remedy):
            while True:
                try:
                    if end is not None:
                        before_again(self.client)
                    return call(self.client)
                except reported() as error:
                    if end is None and not (insist or is_away(error)):
                        raise
                    end = end or time.monotonic() + self.timeout
                    if time.monotonic() > end:
                        raise
                time.sleep(PAUSE)

    def has(self, name: str) -> bool:
        """Return whether there is a collection of that name."""
        what = f"look for collection {name}"
        return bool(self.ask(what, lambda client: client.has_collection(name, timeout=self.timeout), insist=True))

    def require(self, name: str) -> None:
        """Refuse to go on without a collection.

        Raises:
            UserError: If there is none of that name.
        """
        if not self.has(name):
            raise UserError(f"Milvus at {self.uri} has no collection {name}; {REMEDY}")

    def take(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Add rows to a collection, or replace those of the same ids."""
        what, remedy = f"take rows into collection {name}", "lower index.insert_rows if a message is too long"
        self.ask(what, lambda client: client.upsert(name, rows, timeout=self.timeout), remedy)

    def seal(self, name: str) -> None:
        """Let a server write what it has of a collection, so that it is indexed."""
        what, remedy = f"seal collection {name}", "its log says why, such as a full disk"
        self.ask(what, lambda client: client.flush(name, timeout=self.timeout), remedy, insist=True)

    def count(self, name: str) -> int:
        """Return how many rows a collection has, of whichever job."""
        (answer,) = self._query(name, output_fields=["count(*)"])
        return int(answer["count(*)"])

    def rows(self, name: str, ids: list[int]) -> list[dict[str, Any]]:
        """Return those of some rows that are there, by ascending id."""
        found = self._query(name, ids=ids, output_fields=["id", "rank", "vector"])
        return sorted(found, key=lambda row: int(row["id"]))

    def _query(self, name: str, **options: Any) -> list[dict[str, Any]]:
        options |= {"consistency_level": "Strong", "timeout": self.timeout}
        what = f"show the rows of collection {name}"
        return self.ask(what, lambda client: list(client.query(name, **options)), insist=True)

    def load(self, name: str) -> None:
        """Return when a collection can be searched; a server that was started again forgets it for a while.

        Raises:
            UserError: If loading fails, or comes to a halt.
        """
        states = load_pymilvus().client.types.LoadState

        def progress(client: MilvusClient) -> float:
            client.load_collection(name, _async=True, timeout=self.timeout)
            answer = client.get_load_state(name, timeout=self.timeout)
            return 100 if answer["state"] == states.Loaded else answer.get("progress", 0) - 1

        self._await(f"load collection {name}", progress)

    def build(self, name: str) -> None:
        """Return when all rows of a collection are in its index.

        Raises:
            UserError: If building fails, or comes to a halt.
        """
        what = f"index collection {name}"

        def progress(client: MilvusClient) -> float:
            answer: dict[str, Any] = client.describe_index(name, "vector", timeout=self.timeout)
            if answer["state"] == "Failed":
                raise UserError(f"Milvus at {self.uri} cannot {what}: its log says why")
            done = answer["state"] == "Finished" and not answer["pending_index_rows"]
            return 100 if done else 100 - 1 / (1 + answer["indexed_rows"])

        self._await(what, progress)

    def _await(self, what: str, progress: Callable[[MilvusClient], float]) -> None:
        """Ask for a number until it is 100, unless it stays what it is for long."""
        last, since = -1.0, time.monotonic()
        while (now := self.ask(what, progress, insist=True)) < 100:
            if now != last:
                last, since = now, time.monotonic()
            elif time.monotonic() > since + STALLED * self.timeout:
                raise UserError(
                    f"Milvus at {self.uri} cannot {what}: no progress for {STALLED * self.timeout:g} s; its log says "
                    "why, such as an index_type that it has not enabled, or raise index.timeout"
                )
            time.sleep(PAUSE)
