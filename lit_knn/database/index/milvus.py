"""An index on a Milvus server, for teams that keep their vectors on one; softmax rows stay in the store.

A tap has a collection whose name ends in a hash of all that it depends on. So a changed store or setting gets another
collection, no two are ever mixed, and none is removed: whoever operates the server drops those that nobody needs. A
store that has grown is sent anew, whole: each of its rows has another place in the random order.

    lit_knn_layer3_0_add_5f0c1f6e2b9d4a37    id INT64, the row of the store; rank INT64, its place in the random order
                                             that views take rows in; vector FLOAT_VECTOR or BINARY_VECTOR
    folder/collection                        that name and a sidecar, written when all rows are in it
"""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lit_knn.database.index.base import Index
from lit_knn.database.index.milvus_connection import Connection
from lit_knn.database.index.milvus_library import load_pymilvus
from lit_knn.database.index.milvus_search import Collection
from lit_knn.database.index.milvus_vectors import VectorFormat
from lit_knn.database.index.opened import OpenIndex
from lit_knn.database.index.parts import part_rows
from lit_knn.database.random_order import RandomOrder
from lit_knn.database.store import Store
from lit_knn.distributed.partition import WHOLE, Partition
from lit_knn.errors import UserError
from lit_knn.storage.fingerprint import Fingerprint, digest
from lit_knn.storage.sidecar import REMEDY, checked, describe_file, described, is_described

if TYPE_CHECKING:
    from pymilvus import MilvusClient

REFUSED = (
    "index.index_parameters takes what that type needs, index.index_type what the server knows: all know FLAT, "
    "IVF_FLAT, IVF_SQ8, IVF_PQ, HNSW, SCANN, AUTOINDEX, BIN_FLAT, BIN_IVF_FLAT"
)
SAMPLE = 16  # rows that are compared with the store when a collection is opened


class Milvus(Index):
    """Milvus, Euclidean distance, through pymilvus.

    Any number of jobs may add parts at once, and a part that is added again replaces its own rows. A server that ends
    and comes back within the timeout is waited for; otherwise the command ends, and goes on when it is run again.

    What it cannot promise, as the server decides it: which of equally near rows come last of k, and in which order,
    also with ``FLAT``; distances to the bit; that nobody else changes a collection while it is searched. On opening,
    the number of rows and a sample of them are compared with the store.

    Args:
        uri: Of the server, such as ``http://localhost:19530``, from Milvus 2.3 on; or a file ``….db`` for milvus-lite,
            which one process at a time can open.
        token_variable: Name of the environment variable that holds ``user:password`` or an API key. The token itself is
            no argument, as run records keep those.
        collection: How the names of its collections start: letters, digits and ``_``.
        index_type: Milvus's name for the index, such as ``FLAT`` (exact), ``IVF_FLAT``, ``HNSW`` or ``DISKANN``;
            ``AUTOINDEX`` leaves it to the server. ``BIN_FLAT`` and ``BIN_IVF_FLAT`` keep the bits of a tap with ``bits:
            true``, at a 32nd of the size, with distances as of `Binary`.
        index_parameters: Milvus's names and values, such as ``nlist`` (IVF), ``M`` and ``efConstruction`` (HNSW).
        search_parameters: Milvus's names and values, such as ``nprobe`` (IVF) and ``ef`` (HNSW).
        insert_rows: How many rows are sent at a time, at most; no message has more than 32 MiB.
        timeout: Seconds to wait for a connection, an answer, or a server that went away; building and loading may take
            longer, as long as they go on.

    Attributes:
        order_seed: Of the random order that its rows are numbered in.
    """

    def __init__(
        self,
        *,
        uri: str = "http://localhost:19530",
        token_variable: str | None = None,
        collection: str = "lit_knn",
        index_type: str = "AUTOINDEX",
        index_parameters: dict[str, Any] | None = None,
        search_parameters: dict[str, Any] | None = None,
        insert_rows: int = 4096,
        timeout: float = 60.0,
    ) -> None:
        if "@" in uri:
            raise UserError(
                "index.uri holds a password, which run records would keep: put `user:password` into an environment "
                "variable and its name into index.token_variable"
            )
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,99}", collection):
            raise UserError(
                f"index.collection is {collection!r}; accepted are up to 100 letters, digits and _, no digit first"
            )
        if insert_rows < 1 or timeout <= 0:
            raise UserError(
                f"an index has insert_rows: {insert_rows}, timeout: {timeout}; numbers above 0 are accepted"
            )
        self.uri, self.token_variable, self.collection = uri, token_variable, collection
        self.index_type, self.index_parameters = index_type, index_parameters or {}
        self.search_parameters = search_parameters or {}
        self.insert_rows, self.timeout = insert_rows, timeout
        self.order_seed = 0
        self._format = VectorFormat(bits=index_type.startswith("BIN_"))

    def ordered(self, seed: int) -> Milvus:
        """Return the same index with its rows in another random order."""
        other = copy.copy(self)
        other.order_seed = seed
        return other

    @property
    def settings(self) -> Fingerprint:
        """What the collection depends on; the server may move, and search parameters may change."""
        names = ("index_type", "index_parameters", "order_seed")
        return {name: getattr(self, name) for name in names}

    # ---------------------------------------------------------------- building

    def train(self, store: Store, tap: str, folder: Path) -> None:
        """Make the collection, empty, and say which index it shall have.

        Raises:
            UserError: If the store does not have the tap, or the server refuses.
        """
        origin = self.collection_origin(store, tap)
        self._format.require(store, tap)
        name = origin["collection"]
        with self._connect() as server:
            if not server.has(name):
                describe_file(folder / "collection").unlink(missing_ok=True)  # it was dropped since
                server.ask(f"make collection {name}", lambda client: self._create(client, origin))
            if not self.uri.endswith(".db"):  # milvus-lite takes any index_type as long as there are no rows
                self._index(server, name)

    def add(self, store: Store, tap: str, folder: Path, part: Partition) -> None:
        """Send the rows of one part.

        Raises:
            UserError: If there is no collection, or the server refuses.
        """
        origin = self.collection_origin(store, tap)
        name, order = origin["collection"], RandomOrder(len(store), self.order_seed)
        if is_described(folder / "collection", origin):
            return
        with self._connect() as server:
            server.require(name)
            for ids, vectors in self._format.messages(store, tap, part_rows(range(len(store)), part), self.insert_rows):
                ranks = order.positions(np.array(ids)).tolist()
                rows = [
                    {"id": row, "rank": rank, "vector": vector}
                    for row, rank, vector in zip(ids, ranks, vectors, strict=True)
                ]
                server.take(name, rows)

    def merge(self, store: Store, tap: str, folder: Path) -> None:
        """Let the server index all rows, and load them.

        Raises:
            UserError: If some rows are missing, or the server refuses.
        """
        origin, record = self.collection_origin(store, tap), folder / "collection"
        name = origin["collection"]
        if is_described(record, origin):
            return
        with self._connect() as server:
            server.require(name)
            server.seal(name)
            self._index(server, name)
            server.build(name)
            self._load(server, name, store, tap)
        with described(record, lambda: origin) as unfinished:
            unfinished.write_text(f"{name}\n")

    def is_built(self, folder: Path) -> bool:
        """Return whether all rows were once in a collection; asks no server."""
        return describe_file(folder / "collection").exists()

    def collection_origin(self, store: Store, tap: str) -> Fingerprint:
        """Return what a collection depends on, with its name, which is unlike that of any other."""
        found = self.origin(store, tap)
        readable = re.sub(r"\W", "_", tap, flags=re.ASCII)[:100]
        return {**found, "collection": f"{self.collection}_{readable}_{digest(found)}"}

    # ---------------------------------------------------------------- searching

    def open(self, store: Store, tap: str, folder: Path, share: Partition = WHOLE, *, alone: bool = False) -> OpenIndex:
        """Return the collection, loaded.

        Raises:
            UserError: If there is none, it is not what was built, a share of it is asked for, or the server refuses.
        """
        del alone
        if not share.is_whole:
            raise UserError("a Milvus server shares out its rows by itself: use the index Milvus without Sharded")
        origin = self.collection_origin(store, tap)
        checked(folder / "collection", origin)
        name, server = origin["collection"], self._connect()
        server.require(name)
        self._load(server, name, store, tap)
        collection = Collection(server, name, self._format, self.order_seed, self.search_parameters)
        return OpenIndex(self, store, tap, folder, collection)

    # ---------------------------------------------------------------- the server

    def _connect(self) -> Connection:
        return Connection.to(self.uri, self.token_variable, self.timeout)

    def _create(self, client: MilvusClient, origin: Fingerprint) -> None:
        types = load_pymilvus().DataType
        schema = client.create_schema(auto_id=False, description=json.dumps(origin, sort_keys=True))
        schema.add_field("id", types.INT64, is_primary=True)
        schema.add_field("rank", types.INT64)
        schema.add_field("vector", self._format.data_type, dim=origin["dimension"])
        client.create_collection(origin["collection"], schema=schema, timeout=self.timeout)

    def _index(self, server: Connection, name: str) -> None:
        """Say which index the vectors shall have; what a server does not know, it refuses here."""

        def index(client: MilvusClient) -> None:
            if not client.list_indexes(name, field_name="vector", timeout=self.timeout):
                parameters = {"params": self.index_parameters}  # milvus-lite drops all that has another form
                how = client.prepare_index_params()
                how.add_index("vector", index_type=self.index_type, metric_type=self._format.metric, params=parameters)
                client.create_index(name, how, sync=False, timeout=self.timeout)

        server.ask(f"index collection {name}", index, REFUSED)

    def _load(self, server: Connection, name: str, store: Store, tap: str) -> None:
        """Wait until a collection can be searched and shows all rows, of whichever job, and compare some of them."""
        server.load(name)
        count = server.count(name)
        if count != len(store):
            raise UserError(
                f"collection {name} of Milvus at {self.uri} has {count} of {len(store)} rows; {REMEDY} for the others"
            )
        ids = np.linspace(0, len(store) - 1, min(SAMPLE, len(store)), dtype=np.int64)
        rows = server.rows(name, ids.tolist())
        ranks = RandomOrder(len(store), self.order_seed).positions(ids).tolist()
        numbered = [(row["id"], row["rank"]) for row in rows] == list(zip(ids.tolist(), ranks, strict=True))
        stored = store.features(tap, ids)
        if not numbered or not np.allclose(self._format.decoded([row["vector"] for row in rows]), stored, rtol=1e-3):
            raise UserError(
                f"collection {name} of Milvus at {self.uri} has other rows than the store: drop it and {REMEDY} again"
            )
