"""Search in a collection of a Milvus server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lit_knn.database.index.milvus_library import refusals
from lit_knn.database.index.neighbors import Neighbors, nearest
from lit_knn.database.index.opened import Searcher
from lit_knn.database.index.selection import Selection
from lit_knn.errors import UserError

if TYPE_CHECKING:
    from pymilvus import MilvusClient

QUERIES = 256  # in one message; exact search in milvus-lite holds all their differences from all rows at once
MOST_SELECTED = 10_000  # ids that a filter lists; milvus-lite 3.2.2 reads 100,000 in 3.6 s, for each message anew


@dataclass(frozen=True)
class Collection(Searcher):
    """A loaded collection.

    Attributes:
        client: Of the server.
        uri: Of the server, for messages.
        name: Of the collection.
        parameters: Milvus's names and values.
        timeout: Seconds to wait for an answer.
    """

    client: MilvusClient
    uri: str
    name: str
    parameters: Mapping[str, Any]
    timeout: float

    def find(self, features: Tensor, k: int, among: Selection | None) -> Neighbors:
        """Return what the server finds."""
        ids, squared = Neighbors.none(len(features), k)
        queries, expression = features.cpu().numpy(), _expression(among)
        for start in range(0, len(queries), QUERIES):
            with refusals(self.uri, f"search collection {self.name}"):
                answer = self.client.search(
                    self.name,
                    list(queries[start : start + QUERIES]),
                    anns_field="vector",
                    filter=expression,
                    limit=k,
                    output_fields=["id"],  # milvus-lite sends the vectors as well if nothing is said
                    search_params={"metric_type": "L2", "params": self.parameters},
                    timeout=self.timeout,
                )
            for row, hits in enumerate(answer, start):
                ids[row, : len(hits)] = torch.tensor([hit["id"] for hit in hits])
                squared[row, : len(hits)] = torch.tensor([hit["distance"] for hit in hits])
        return nearest([Neighbors(ids, squared.double().clamp_min(0).sqrt().float())], k).to(features.device)


def _expression(among: Selection | None) -> str:
    """Return the filter that lets some rows be found, in Milvus's language."""
    if among is None:
        return ""
    if len(among) > MOST_SELECTED:
        raise UserError(
            f"an index Milvus searches all rows or up to {MOST_SELECTED:,} of them, not {len(among):,}: leave out "
            "`rows` of the database, or use another index"
        )
    return f"id in {among.ids().tolist()}"
