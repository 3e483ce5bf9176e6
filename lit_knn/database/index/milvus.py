"""An index on a Milvus server, for teams that keep their vectors on one; softmax rows stay in the store.

A tap has a collection whose name ends in a hash of all that it depends on. So a changed store or setting gets another
collection, no two are ever mixed, and none is removed: whoever operates the server drops those that nobody needs.

    lit_knn_layer3_0_add_5f0c1f6e2b9d4a37    id INT64, the row of the store; vector FLOAT_VECTOR
    folder/collection                        that name and a sidecar, written when all rows are in it
"""

from __future__ import annotations

import json
import os
import re
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lit_knn.database.index.base import Index
from lit_knn.database.index.milvus_library import load_pymilvus, refusals
from lit_knn.database.index.milvus_search import Collection
from lit_knn.database.index.opened import OpenIndex
from lit_knn.database.index.parts import part_rows
from lit_knn.database.store import Store
from lit_knn.distributed.partition import WHOLE, Partition
from lit_knn.errors import UserError
from lit_knn.storage.fingerprint import Fingerprint, digest
from lit_knn.storage.sidecar import REMEDY, checked, describe_file, described, is_described

if TYPE_CHECKING:
    from pymilvus import MilvusClient


class Milvus(Index):
    """Milvus, Euclidean distance, through pymilvus.

    Any number of jobs may add parts at once. A part that is added again replaces its own rows.

    Which of equally near rows a server gives as the last of k is its own choice, also with ``FLAT``; every other exact
    index gives those of the lowest ids.

    Args:
        uri: Of the server, such as ``http://localhost:19530``; or a file ``….db`` for milvus-lite, which one process at
            a time can open.
        token_variable: Name of the environment variable that holds ``user:password`` or an API key. The token itself is
            no argument, as run records keep those.
        collection: How the names of its collections start: letters, digits and ``_``.
        index_type: Milvus's name for the index, such as ``FLAT`` (exact), ``IVF_FLAT``, ``IVF_RABITQ``, ``HNSW`` or
            ``DISKANN``; ``AUTOINDEX`` leaves it to the server.
        index_parameters: Milvus's names and values, such as ``nlist`` (IVF), ``M`` and ``efConstruction`` (HNSW).
        search_parameters: Milvus's names and values, such as ``nprobe`` (IVF) and ``ef`` (HNSW).
        insert_rows: How many rows are sent at a time; a server takes 64 MB.
        timeout: Seconds to wait for a connection, a batch of rows or an answer; building and loading may take longer.
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

    @property
    def settings(self) -> Fingerprint:
        """What the collection depends on; the server may move, and search parameters may change."""
        return {"index_type": self.index_type, "index_parameters": self.index_parameters}

    # ---------------------------------------------------------------- building

    def train(self, store: Store, tap: str, folder: Path) -> None:
        """Make the collection, empty.

        Raises:
            UserError: If the store does not have the tap, or the server refuses.
        """
        pymilvus, origin = load_pymilvus(), self.collection_origin(store, tap)
        name = origin["collection"]
        with closing(self._connect()) as client, refusals(self.uri, f"make collection {name}"):
            if client.has_collection(name, timeout=self.timeout):
                return
            describe_file(folder / "collection").unlink(missing_ok=True)  # it was dropped since
            schema = client.create_schema(auto_id=False, description=json.dumps(origin, sort_keys=True))
            schema.add_field("id", pymilvus.DataType.INT64, is_primary=True)
            schema.add_field("vector", pymilvus.DataType.FLOAT_VECTOR, dim=origin["dimension"])
            client.create_collection(name, schema=schema, timeout=self.timeout)

    def add(self, store: Store, tap: str, folder: Path, part: Partition) -> None:
        """Send the rows of one part.

        Raises:
            UserError: If there is no collection, or the server refuses.
        """
        origin = self.collection_origin(store, tap)
        name = origin["collection"]
        if is_described(folder / "collection", origin):
            return
        with closing(self._connect()) as client, refusals(self.uri, f"take rows into collection {name}"):
            self._require(client, name)
            blocks = store.feature_blocks(tap, within=part_rows(len(store), part), rows=self.insert_rows)
            for first, block in blocks:
                rows = [{"id": row, "vector": vector} for row, vector in enumerate(block, first)]
                client.upsert(name, rows, timeout=self.timeout)

    def merge(self, store: Store, tap: str, folder: Path) -> None:
        """Let the server index all rows, and load them.

        Raises:
            UserError: If some rows are missing, or the server refuses.
        """
        origin, record = self.collection_origin(store, tap), folder / "collection"
        name = origin["collection"]
        if is_described(record, origin):
            return
        with closing(self._connect()) as client, refusals(self.uri, f"index collection {name}"):
            self._require(client, name)
            client.flush(name)
            if not client.list_indexes(name, field_name="vector"):
                how, parameters = (
                    client.prepare_index_params(),
                    {"params": self.index_parameters},
                )  # as all engines take
                how.add_index("vector", index_type=self.index_type, metric_type="L2", params=parameters)
                client.create_index(name, how)
            self._load(client, name, len(store))
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
            UserError: If there is none, it lacks rows, a share of it is asked for, or the server refuses.
        """
        del alone
        if not share.is_whole:
            raise UserError("a Milvus server shares out its rows by itself: use the index Milvus without Sharded")
        origin = self.collection_origin(store, tap)
        checked(folder / "collection", origin)
        name, client = origin["collection"], self._connect()
        with refusals(self.uri, f"load collection {name}"):
            self._require(client, name)
            self._load(client, name, len(store))
        collection = Collection(client, self.uri, name, self.search_parameters, self.timeout)
        return OpenIndex(self, store, tap, folder, collection)

    # ---------------------------------------------------------------- the server

    def _connect(self) -> MilvusClient:
        token = os.environ.get(self.token_variable, "") if self.token_variable else ""
        if self.token_variable and not token:
            raise UserError(f"environment variable {self.token_variable}, named by index.token_variable, is not set")
        if self.uri.endswith(".db"):
            remedy = "its folder has to exist, and no other process may use it"
        else:
            remedy = "index.uri takes the gRPC port of a server, index.token_variable what holds its token"
        with refusals(self.uri, "be reached", remedy):
            client: MilvusClient = load_pymilvus().MilvusClient(uri=self.uri, token=token, timeout=self.timeout)
            return client

    def _require(self, client: MilvusClient, name: str) -> None:
        if not client.has_collection(name, timeout=self.timeout):
            raise UserError(f"Milvus at {self.uri} has no collection {name}; {REMEDY}")

    def _load(self, client: MilvusClient, name: str, rows: int) -> None:
        """Wait until a collection can be searched and shows all its rows."""
        client.load_collection(name)
        (answer,) = client.query(name, output_fields=["count(*)"], consistency_level="Strong", timeout=self.timeout)
        if answer["count(*)"] != rows:
            raise UserError(
                f"collection {name} of Milvus at {self.uri} has {answer['count(*)']} of {rows} rows; {REMEDY} for the "
                "others"
            )
