"""What this machine does in a second with the images and networks of a configuration, measured here and now."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lit_knn.backbones import Classifier, Ensemble, Tap
from lit_knn.data import ImageData
from lit_knn.doctor.planning import PlannedTest
from lit_knn.errors import UserError

SECONDS = 1.0  # that each rate is measured for
LONG = 5  # times as long takes what is not done again


class Rates(NamedTuple):
    """What one process passes in a second through the networks of a run, and what these are.

    Attributes:
        forward: Images through the classifier and the network whose activations are searched.
        both: Images through the classifier there and back, as attacks do.
        lengths: Of the pooled activation of each tap, by its name.
        classes: C.
        pixels: Numbers of an image, 3 H W.
    """

    forward: float
    both: float
    lengths: dict[str, int]
    classes: int
    pixels: int


class Speeds:
    """What one process passes through any network in a second, measured when first asked for.

    Args:
        image: ``(N, 3, H, W)`` float32 in [0, 1], on the device of the run.
        classifier: One that has been measured.
        rates: What was found.
    """

    def __init__(self, image: Tensor, classifier: Classifier, rates: Rates) -> None:
        name = _name(classifier)
        self._image, self._known = image, {("forward", name): rates.forward, ("both", name): rates.both}

    def forward(self, network: nn.Module) -> float:
        """Return images a second, forward."""
        return self._measured("forward", network, lambda moved: _forward(moved, self._image))

    def both(self, network: nn.Module) -> float:
        """Return images a second, there and back, as attacks do."""
        return self._measured("both", network, lambda moved: _both(moved, self._image))

    def _measured(self, what: str, network: nn.Module, work: Callable[[nn.Module], object]) -> float:
        key = what, _name(network)
        if key not in self._known:
            moved = network.to(self._image.device)
            self._known[key] = len(self._image) / _each(lambda: work(moved), self._image.device)
        return self._known[key]


class Measured(NamedTuple):
    """All that hours are reckoned from.

    Attributes:
        read: Images that one process reads, decodes and preprocesses in a second; infinite where there are none.
        rates: Of the networks of the run.
        speeds: Of the others that it asks.
    """

    read: float
    rates: Rates
    speeds: Speeds

    def image_seconds(self, workers: int) -> float:
        """Return how long an image takes that is read by so many workers and passes the networks of the run."""
        return 1 / (self.read * max(1, workers)) + 1 / self.rates.forward

    def query_seconds(self, planned: PlannedTest, workers: int) -> float:
        """Return how long a query of a test takes, without searches."""
        seconds = 1 / (self.read * max(1, workers)) + planned.observed / self.rates.forward
        for part in (*planned.asked, *planned.attacks):
            seconds += part.forward / self.speeds.forward(part.network) if part.forward else 0
            seconds += part.both / self.speeds.both(part.network) if part.both else 0
        return seconds


def _name(network: nn.Module) -> str:
    return network.fingerprint() if isinstance(network, Classifier | Ensemble) else str(id(network))


def _forward(network: nn.Module, image: Tensor) -> None:
    with torch.no_grad():
        network(image)


def _both(network: nn.Module, image: Tensor) -> None:
    with torch.enable_grad():
        given = image.clone().requires_grad_()
        torch.autograd.grad(network(given).sum(), given)


def read_rate(data: ImageData) -> float:
    """Return how many images one process reads in a second, from the first batch of queries.

    Raises:
        UserError: If an image cannot be read.
    """
    return len(data.first_queries()["id"]) / _each(data.first_queries, torch.device("cpu"))


def measure(image: Tensor, classifier: Classifier, encoder: Classifier, taps: list[Tap], data: ImageData) -> Rates:
    """Pass images through the networks for some seconds.

    Args:
        image: ``(N, 3, H, W)`` float32 in [0, 1], on the device of the run.
        classifier: The defended one.
        encoder: The network whose activations are searched, which may be the same.
        taps: Where it is read.
        data: Says how the images were prepared.

    Raises:
        UserError: If a network fails, has no such layer or no logits.
    """
    where = image.device
    encoder, classifier = encoder.to(where), classifier.to(where)
    encoder.examine(image, taps, data.preprocessing)
    if encoder is not classifier:
        classifier.examine(image, preprocessing=data.preprocessing)

    def forward() -> tuple[Tensor, dict[str, Tensor]]:
        with torch.no_grad():
            if encoder is classifier:
                return classifier.tapped(image, taps)
            return classifier(image), encoder.activations(image, taps)

    logits, pooled = forward()
    lengths = {name: rows.shape[1] for name, rows in pooled.items()}
    there, both = (len(image) / _each(work, where) for work in (forward, lambda: _both(classifier, image)))
    return Rates(there, both, lengths, logits.shape[1], image[0].numel())


def stand_in(data: ImageData, where: torch.device) -> Tensor:
    """Return a batch of noise of the size of the images, ``(N, 3, H, W)``, where there are none to be read.

    Raises:
        UserError: If nothing says what size they have.
    """
    side = data.preprocessing and data.preprocessing.crop
    if not side:
        raise UserError("without images, only data.preprocessing.crop says what size they have")
    return torch.rand(data.batch_size, 3, side, side, generator=torch.Generator().manual_seed(0)).to(where)


def _each(work: Callable[[], object], where: torch.device) -> float:
    """Return the seconds that something takes once it has been done, or the first time if that takes long."""

    def seconds() -> float:
        started = time.monotonic()
        work()
        _wait(where)
        return time.monotonic() - started

    first = seconds()
    if first >= LONG * SECONDS:
        return first
    taken = [seconds()]
    while sum(taken) < SECONDS:
        taken.append(seconds())
    return sum(taken) / len(taken)


def _wait(where: torch.device) -> None:
    if where.type == "cuda":
        torch.cuda.synchronize(where)
