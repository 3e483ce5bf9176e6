"""Tensors in, a table and a curve out: the run of `lit-knn test`, without a configuration."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from lit_knn.backbones import Tap
from lit_knn.backbones.tapping import require_layers
from lit_knn.data import ImageData
from lit_knn.data.datamodule import LARGEST_SEED
from lit_knn.database import Database
from lit_knn.defenses import KNN, NoDefense
from lit_knn.engine.callbacks import RunRecord
from lit_knn.engine.trainer import EvalTrainer
from lit_knn.errors import UserError
from lit_knn.evaluation.module import Evaluation
from lit_knn.notebook.arguments import shown, whole
from lit_knn.notebook.choices import (
    Attacks,
    Defenses,
    K,
    Normalization,
    Output,
    Sizes,
    Taps,
    Threats,
    attacks_of,
    classifier_of,
    defenses_of,
    device_of,
    middle_tap,
    sizes_of,
    taps_of,
    threats_of,
)
from lit_knn.notebook.held_images import Held, Labels, held_images
from lit_knn.notebook.process_state import as_it_was
from lit_knn.notebook.settings import settings
from lit_knn.report.results.budgets import DEFAULT, NormName
from lit_knn.report.run_view import RunView
from lit_knn.storage.origin import claim
from lit_knn.threat_models import Threat


def evaluate(
    network: nn.Module,
    images: Held,
    labels: Labels,
    *,
    database: tuple[Held, Labels | None] | None = None,
    mean: Normalization = None,
    std: Normalization = None,
    output: Output = None,
    tap: Taps = None,
    surrogate: nn.Module | None = None,
    threats: Threats = None,
    attacks: Attacks = None,
    defenses: Defenses = None,
    deltas: Sizes = (0.02, 0.04, 0.06),
    norm: NormName = DEFAULT,
    device: str | torch.device | None = None,
    batch_size: int = 64,
    seed: int = 0,
    folder: str | Path | None = None,
) -> RunView:
    """Attack images, let defenses answer from their neighbors in a database, and count what survives.

    The network is copied, and stays as it is: its mode, device, weights and gradients; so do random state and settings
    of the process.

    Args:
        network: From RGB images ``(N, 3, H, W)`` to logits ``(N, C)``.
        images: The queries, ``(N, 3, H, W)`` or ``(N, H, W, 3)``, uint8 or float in [0, 1], not normalized.
        labels: Their classes, ``(N,)`` integers from 0 to C − 1.
        database: Images and labels whose neighbors are searched, the labels None where they are not known; without one
            only the network itself answers.
        mean: What the network's images are normalized with, in pixels of [0, 1], for all channels or each.
        std: The same. Without both, timm's own for a network of timm; any other is given pixels as they are, with a
            warning.
        output: Where the logits are in what the network returns: a key, position or attribute; by default it returns
            nothing else.
        tap: Layers whose features are compared, one or several names or `Tap`; by default one halfway through the
            network.
        surrogate: A black box's own network, which is given the same as the network.
        threats: One or several of ``gray``, ``black`` and ``white``, or objects; by default all, black if there is a
            surrogate, white if there is a database.
        attacks: One or several; by default `PGD` of 10 steps on the network, and for a white box on the vote of the
            neighbors. ``configs/attack/adaptive.yaml`` has those that a claim of robustness should survive.
        defenses: One or several; by default none, and `KNN` of 50 neighbors, or as many as there are, at each tap.
        deltas: One or several sizes of perturbations, by default of Δ = ‖x* − x‖₂ / ‖x‖₂; the clean images are
            measured in any case.
        norm: What these are in: ``relative_l2`` (Δ), ``l2`` or ``linf``.
        device: Where it runs; by default where the network lies.
        batch_size: Images per batch.
        seed: Of all random numbers.
        folder: Of the run, with a database of its own; that of a stopped run goes on. By default the next free one
            below ``runs``.

    Returns:
        Its ``table``, ``curve()`` and ``folder``, which `lit-knn report` takes.

    Raises:
        UserError: If something is not accepted, in one sentence.
    """
    seed = whole(seed, "seed", 0, LARGEST_SEED)
    batch_size = whole(batch_size, "batch_size", 1, sys.maxsize)
    place = _place(folder)
    sizes, chosen_taps, chosen_defenses = sizes_of(deltas, norm), taps_of(tap), defenses_of(defenses)
    queries = held_images(images, labels, "images", attacked=True)
    rows = None if database is None else held_images(*_pair(database), "database images")
    where = device_of(network, device)
    classifier, other = classifier_of(network, mean, std, output).to(where), None
    if surrogate is not None:
        other = classifier_of(surrogate, mean, std, role="surrogate").to(where)
    data = ImageData(queries=queries, database=rows, batch_size=batch_size)
    knowing = threats_of(threats, other, rows is not None)
    climbing = attacks_of(attacks, knowing)
    with as_it_was(where, seed):
        taps = [] if rows is None else chosen_taps or [middle_tap(classifier, data.first_images(where)["image"])]
        require_layers(classifier.network, taps)  # before a folder is made for them
        if chosen_defenses is None:
            k = min(K, data.about_database_rows) if rows is not None else K
            chosen_defenses = [NoDefense(), *([KNN(taps=[one.name for one in taps], k=[k])] if taps else [])]
        trainer = EvalTrainer(
            accelerator=where.type,
            devices=[where.index] if where.index is not None and where.type != "cpu" else 1,
            threads=min(torch.get_num_threads(), os.cpu_count() or 1),
            callbacks=[RunRecord(show=False)],
            default_root_dir="runs" if place is None else place.parent,
            run="" if place is None else place.name,
            deterministic="warn",
            logger=False,
        )
        searched = None
        if rows is not None:
            searched = Database(path=trainer.run_folder / "database", taps=taps, build_missing=True)
        evaluation = Evaluation(
            classifier=classifier,
            attacks=climbing,
            deltas=sizes,
            defenses=chosen_defenses,
            threats=knowing,
            database=searched,
            norm=norm,
        )
        trainer.run_config = _configuration(seed, data, evaluation, knowing, taps, sizes)
        if searched is not None:
            _claim(searched.path, evaluation, data, trainer.run_config)
        trainer.test(evaluation, data)
        return RunView(trainer.run_folder)


def _pair(database: object) -> tuple[Held, Labels | None]:
    if not isinstance(database, tuple | list) or len(database) != 2:
        parts = f", of {len(database)} parts" if isinstance(database, tuple | list) else ""
        raise UserError(f"database is a {type(database).__name__}{parts}: a pair of images and labels is accepted")
    return database[0], database[1]


def _place(folder: object) -> Path | None:
    if folder is None:
        return None
    if not isinstance(folder, str | os.PathLike) or not str(folder):
        raise UserError(f"folder is {shown(folder)}: the path of a folder is accepted, or None for one below runs")
    return Path(folder).resolve()


def _configuration(
    seed: int, data: ImageData, evaluation: Evaluation, threats: Sequence[Threat], taps: Sequence[Tap], sizes: object
) -> dict[str, object]:
    """Return what a configuration of the same run would say."""
    sources = {
        name: None if source is None else f"{len(source.open_shard(0))} images in memory"
        for name, source in (("queries", data.queries), ("database", data.database))
    }
    return {
        "seed_everything": seed,
        "data": {**sources, "batch_size": settings(data.batch_size)},
        "model": {
            "classifier": settings(evaluation.classifier),
            "threats": settings(threats),
            "attacks": settings(evaluation.attacks),
            "deltas": settings(sizes),
            "norm": evaluation.norm,
            "database": None if evaluation.database is None else {"taps": settings(taps)},
            "defenses": settings(evaluation.defenses),
        },
    }


def _claim(folder: Path, evaluation: Evaluation, data: ImageData, configuration: dict[str, object]) -> None:
    """Hold a folder that is given again to what it was given for.

    Raises:
        UserError: If that was something else.
    """
    held = {"images": data.queries.identity(), "database images": data.database_source.identity()}
    claim(
        folder,
        {"network": evaluation.classifier.fingerprint(), **held, **configuration},
        other="is of another evaluation",
        remedy="give another folder, or none",
        damage="remove it",
    )
