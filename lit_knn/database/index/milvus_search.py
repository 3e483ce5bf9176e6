"""Search in a collection of a Milvus server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lit_knn.database.index.milvus_connection import Connection
from lit_knn.database.index.milvus_vectors import VectorFormat
from lit_knn.database.index.neighbors import Neighbors, nearest
from lit_knn.database.index.opened import Searcher
from lit_knn.database.index.selection import Selection
from lit_knn.storage.sidecar import REMEDY

if TYPE_CHECKING:
    from pymilvus import MilvusClient

QUERIES = 256  # in one message; exact search in milvus-lite holds all their differences from all rows at once
LISTED = 10_000  # ids in one filter; milvus-lite 3.2.2 reads 100,000 in 3.6 s, for each message anew


@dataclass(frozen=True)
class Collection(Searcher):
    """A loaded collection, all of whose rows can be found.

    Attributes:
        server: Where it is.
        name: Of the collection.
        vectors: What it has.
        order_seed: Of the random order in which ``rank`` numbers the rows.
        parameters: Milvus's names and values.
    """

    server: Connection
    name: str
    vectors: VectorFormat
    order_seed: int
    parameters: Mapping[str, Any]

    def find(self, features: Tensor, k: int, among: Selection | None) -> Neighbors:
        """Return what the server finds."""
        queries = self.vectors.encoded(features.cpu().numpy())
        found = [self._find(queries, k, expression) for expression in self._expressions(among)]
        return nearest(found, k).to(features.device)

    def _find(self, queries: list[Any], k: int, expression: str) -> Neighbors:
        ids, found = Neighbors.none(len(queries), k)
        for start in range(0, len(queries), QUERIES):
            batch = queries[start : start + QUERIES]

            def search(client: MilvusClient, batch: list[Any] = batch) -> Any:
                return client.search(
                    self.name,
                    batch,
                    anns_field="vector",
                    filter=expression,
                    limit=k,
                    output_fields=["id"],  # milvus-lite sends the vectors as well if nothing is said
                    search_params={"metric_type": self.vectors.metric, "params": self.parameters},
                    consistency_level="Bounded",  # no row was added since it was opened; Strong waits for .2 s
                    timeout=self.server.timeout,
                )

            answer = self.server.ask(f"search collection {self.name}", search, REMEDY, self._load_again)
            for row, hits in enumerate(answer, start):
                ids[row, : len(hits)] = torch.tensor(hits.ids, dtype=torch.int64)
                found[row, : len(hits)] = torch.tensor(hits.distances, dtype=torch.float32)
        return Neighbors(ids, self.vectors.euclidean(found.double()).float())

    def _load_again(self, client: MilvusClient) -> None:
        """A server that was started again may not remember to."""
        client.load_collection(self.name, _async=True, timeout=self.server.timeout)

    def _expressions(self, among: Selection | None) -> list[str]:
        """Return filters in Milvus's language that together let some rows be found."""
        if among is None:
            return [""]
        if among.window and among.window.order_seed == self.order_seed:
            return [f"rank >= {among.window.start} and rank < {among.window.stop}"]
        ids = among.ids()
        return [f"id in {ids[start : start + LISTED].tolist()}" for start in range(0, len(ids), LISTED)]
