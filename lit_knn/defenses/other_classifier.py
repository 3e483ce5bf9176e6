"""Another network in place of the defended one: a rival that is a checkpoint, not code."""

from __future__ import annotations

from torch import Tensor

from lit_knn.backbones import Classifier
from lit_knn.defenses.base import Defense, Variant
from lit_knn.defenses.query import Query
from lit_knn.defenses.requirements import Requirements


class OtherClassifier(Defense):
    """Classify the image with another network, such as one that was trained to be robust.

    In its gray box the attacked images are those made for the defended classifier, and so a transfer; a white box
    attacks the other network itself, through its gradient.

    Cost:
        One forward pass of the other network.

    Args:
        classifier: The other network, with its own weights, image size, mean, std and ``classes``.
        name: What tables and figures call it; by default the network's name.

    References:
        Tramer et al. 2018 (ensemble adversarial training); Kannan et al. 2018 (ALP); Croce et al. 2021 (RobustBench).
    """

    random = False
    differentiable = True

    def __init__(self, *, classifier: Classifier, name: str = "") -> None:
        self.classifier, self.name = classifier, name or classifier.name

    @property
    def variants(self) -> list[Variant]:
        """One line."""
        return [Variant(self.name)]

    def requirements(self) -> Requirements:
        """The image, and the network."""
        return Requirements(networks=[self.classifier])

    def __call__(self, query: Query) -> Tensor:
        """Return the other network's logits, ``(1, N, C)``."""
        logits: Tensor = self.classifier(query.image)
        return logits[None]
