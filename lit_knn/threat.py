"""Who knows what: the network that is attacked, in place of the defended one."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn

from lit_knn.backbones.classifier import Classifier


class Threat(nn.Module, ABC):
    """What the attacker can take gradients of.

    A module, so that whatever it holds moves to the device with the module that holds it.
    """

    def __init__(self, *, name: str) -> None:
        super().__init__()
        self.name = name

    @abstractmethod
    def attacked(self, defended: Classifier) -> Classifier:
        """Return the network that is attacked, pixels in [0, 1] → logits.

        Args:
            defended: The classifier behind the defense, without the defense.
        """


class GrayBox(Threat):
    """The attacker knows the classifier, and neither the defense nor its database.

    References:
        Dubey et al. 2019, Section 5.1.
    """

    def __init__(self) -> None:
        super().__init__(name="gray_box")

    def attacked(self, defended: Classifier) -> Classifier:
        """Return the defended classifier itself."""
        return defended


class BlackBox(Threat):
    """The attacker knows neither classifier nor defense, and attacks a network of their own.

    Args:
        surrogate: The attacker's network.
        name: What tables and figures call it: to be set where a run has several surrogates.

    References:
        Dubey et al. 2019, Section 5.1 (there, a ResNet-18 for a ResNet-50).
    """

    def __init__(self, *, surrogate: Classifier, name: str = "black_box") -> None:
        super().__init__(name=name)
        self.surrogate = surrogate

    def attacked(self, defended: Classifier) -> Classifier:
        """Return the surrogate."""
        del defended
        return self.surrogate
