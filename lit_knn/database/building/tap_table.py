"""Prints what a network can be tapped at."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from lit_knn.backbones import Classifier
from lit_knn.data import ImageData

READ = "read: traced, in the network's graph; hooked, at a module. Either may be a tap."


def print_taps(classifier: Classifier, data: ImageData) -> None:
    """Print each name that a tap may have, as two queries show it.

    Args:
        classifier: Whose network.
        data: Gives the queries; it needs no database.
    """
    image = data.first_images(classifier.mean.device)["image"][:2]
    found, objection = classifier.layers(image if len(image) > 1 else image.repeat(2, 1, 1, 1))
    size = "×".join(map(str, image.shape[2:]))
    source = f"hooked at its modules and not in its graph: {objection}" if objection else "traced"
    table = Table(
        title=f"{classifier.name}: {len(found)} layers for images of {size} pixels, {source}",
        title_justify="left",
        caption=READ,
        caption_justify="left",
    )
    table.add_column("layer", no_wrap=True)
    table.add_column("activation of an image", justify="right")
    table.add_column("with pool: 1", justify="right")
    table.add_column("read")
    for layer in found:
        pooled = "set channels" if layer.pooled is None else str(layer.pooled)
        table.add_row(layer.name, " × ".join(map(str, layer.shape)), pooled, "traced" if layer.traced else "hooked")
    Console(soft_wrap=True).print(table)
