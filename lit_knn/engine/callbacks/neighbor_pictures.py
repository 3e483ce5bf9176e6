"""Draws the paper's Figure 2 for a few queries of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from lit_knn.data.pixels import unit
from lit_knn.defenses import Query
from lit_knn.engine.callbacks.inspection import Inspection, write_inspected
from lit_knn.engine.run_folder import RunTrainer, require_replaceable
from lit_knn.errors import UserError
from lit_knn.report.figures.neighbor_pictures import Picture, PictureRow, neighbor_picture
from lit_knn.report.results import Case
from lit_knn.report.results.budgets import parse_size, sized
from lit_knn.report.results.inspected import INSPECTED_FOLDER
from lit_knn.storage.fingerprint import digest

if TYPE_CHECKING:
    from lit_knn.database import StoredGallery
    from lit_knn.evaluation.module import Evaluation


class NeighborPictures(Callback):
    """Write ``neighbors-<tap>.png``: queries, what the first attack makes of them, and their nearest neighbors.

    The folder ``neighbors`` has more of them and several attacks, for the inspector of `lit-knn report`: one picture of
    each query, at most some hundred KB, and a JSON file. All of it is attacked again, and searched at once.

    Args:
        queries: How many are drawn: the first that the classifier gets right while they are clean.
        neighbors: How many neighbors of each.
        deltas: Which sizes of the perturbation are drawn; by default none, one in the middle and the largest.
        inspected: How many queries the inspector has, at least those that are drawn.
        attacks: How many of the run's pairs of threat and attack it has, the first ones.
    """

    def __init__(
        self,
        *,
        queries: int = 1,
        neighbors: int = 5,
        deltas: list[float | str] | None = None,
        inspected: int = 4,
        attacks: int = 2,
    ) -> None:
        if min(queries, neighbors, inspected, attacks) < 1:
            raise UserError(
                f"NeighborPictures draws at least 1 query and 1 neighbor, not {queries} and {neighbors}, and inspects "
                f"at least 1 query and 1 attack, not {inspected} and {attacks}"
            )
        self.queries, self.neighbors = queries, neighbors
        self.inspected, self.attacks = max(queries, inspected), attacks
        self.deltas = None if deltas is None else [parse_size(delta, "NeighborPictures.deltas") for delta in deltas]

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a folder in the place of a picture."""
        folder = cast(RunTrainer, trainer).run_folder
        require_replaceable(*(folder / _file(tap) for tap in cast("Evaluation", pl_module).needed))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Attack a few images again (their random numbers depend on their ids only) and draw them."""
        evaluation = cast("Evaluation", pl_module)
        if not trainer.is_global_zero or evaluation.gallery is None or not evaluation.needed:
            return
        batch = evaluation.data.first_images(evaluation.device)
        deltas = self.deltas or sorted({0.0, evaluation.deltas[len(evaluation.deltas) // 2], evaluation.deltas[-1]})
        sizes = [delta for delta in deltas if delta > 0]
        right = evaluation.classifier(batch["image"]).argmax(dim=-1) == batch["label"]
        chosen = (~right).long().argsort(stable=True)[: self.inspected]  # those that are right first
        image, label, ids = batch["image"][chosen], batch["label"][chosen], batch["id"][chosen]
        cases = evaluation.cases[: self.attacks]
        attacked = (one.image for case in cases for one in evaluation.attacked(*case, image, label, ids, sizes))
        versions = torch.stack([image, *attacked], dim=1)  # (N, 1 + A·E, 3, H, W)
        query = Query(versions.flatten(0, 1), evaluation.classifier, evaluation.gallery, evaluation.needed)
        titles = ["clean", *(_title(attack.name, evaluation.norm, delta) for _, attack in cases for delta in sizes)]
        drawn = [0 if delta == 0 else 1 + sizes.index(delta) for delta in deltas]
        folder, shown, names = cast(RunTrainer, trainer).run_folder, [], evaluation.data.class_names
        for tap in evaluation.needed:  # each searched once for all that is drawn: that may read all of the store
            rows = _rows(query, tap, self.neighbors, label.tolist(), titles, names)
            neighbor_picture([row[v] for row in rows[: self.queries] for v in drawn], folder / _file(tap))
            shown.append(rows)
        write_inspected(
            folder / INSPECTED_FOLDER,
            Inspection(
                run=digest(evaluation.origin()),
                cases=[Case(threat.name, attack.name).title for threat, attack in cases],
                sizes=[sized(evaluation.norm, delta) for delta in sizes],
                labels=[_name(true, names) for true in label.tolist()],
                versions=versions,
                realized=torch.stack([evaluation.budget.realized(image, one) for one in versions.unbind(1)], dim=1),
                rows=shown,
                found=[query.neighbors(tap) for tap in evaluation.needed],
                weights=[evaluation.gallery.weights("cbw_d", query.neighbors(tap).ids) for tap in evaluation.needed],
                taps=list(evaluation.needed),
            ),
        )


@torch.no_grad()
def _rows(
    query: Query, tap: str, k: int, labels: Sequence[int], titles: Sequence[str], names: list[str]
) -> list[list[PictureRow]]:
    """Return what is drawn of each of N queries in V versions, which are next to each other in ``query``."""
    gallery, probability = cast("StoredGallery", query.gallery), query.logits.softmax(dim=-1)  # (N·V, C)
    ids = query.neighbors(tap).ids[:, :k]
    images, predictions = gallery.images(ids), gallery.predictions(ids)
    votes, sure = predictions.classes(), predictions.probability.amax(dim=-1)  # (N·V, K)

    def row(place: int, label: int, title: str) -> PictureRow:
        found = zip(images[place], votes[place], sure[place], strict=True)
        neighbors = [_picture(image, int(vote), float(most), label, names) for image, vote, most in found]
        seen = probability[place]
        drawn = _picture(query.image[place], int(seen.argmax()), float(seen.max()), label, names)
        return PictureRow(title=f"{_name(label, names)}, {title}", neighbors=neighbors, **vars(drawn))

    return [
        [row(place, label, title) for place, title in enumerate(titles, n * len(titles))]
        for n, label in enumerate(labels)
    ]


def _picture(image: Tensor, predicted: int, confidence: float, label: int, names: list[str]) -> Picture:
    pixels: np.ndarray[Any, np.dtype[np.uint8]] = (unit(image) * 255).round().byte().cpu().numpy()
    return Picture(image=pixels, predicted=_name(predicted, names), confidence=confidence, correct=predicted == label)


def _file(tap: str) -> str:
    return f"neighbors-{tap}.png"


def _name(label: int, names: list[str]) -> str:
    return names[label].split(",")[0] if label < len(names) else str(label)  # the first of ImageNet's synonyms


def _title(attack: str, norm: str, delta: float) -> str:
    return "clean" if delta == 0 else f"{attack}, {sized(norm, delta)}"
