"""How images are prepared for a network: what those who trained it say, and whether the data agree."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from torch import nn

from lit_knn.backbones.carried import Normalization
from lit_knn.errors import UserError

if TYPE_CHECKING:
    from lit_knn.data.preprocessing import Preprocessing

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and standard deviation
LOADED_BY = {
    "torchvision/": ("weights", "pretrained"),
    "timm/": ("pretrained", "checkpoint_path"),
}  # and their arguments


@dataclass(frozen=True)
class Preparation:
    """What a network was trained, or tested, to see.

    Args:
        source: Who says so.
        mean: Per channel, in pixels of [0, 1].
        std: Per channel, in pixels of [0, 1].
        crop: Height and width in pixels; None if unknown, as below.
        resize: Pixels of the shorter side before the crop.
        interpolation: ``bilinear`` or ``bicubic``, as PyTorch calls it.
    """

    source: str
    mean: tuple[float, ...] = IMAGENET[0]
    std: tuple[float, ...] = IMAGENET[1]
    crop: tuple[int, int] | None = None
    resize: int | None = None
    interpolation: str | None = None

    def caution(self, size: tuple[int, ...], preprocessing: Preprocessing | None) -> str:
        """Return what to know of a network that sees other images, as a sentence that lacks who, or "" if it does not.

        The arguments are those of `differences`.
        """
        differences = ", ".join(self.differences(size, preprocessing))
        return differences and (
            f"sees other images than {self.source} says ({differences}): set data.preprocessing or its input_size, "
            "unless its weights were trained with these"
        )

    def differences(self, size: tuple[int, ...], preprocessing: Preprocessing | None) -> Iterator[str]:
        """Yield in words in what images differ from this, as far as both are known.

        Args:
            size: Their height and width.
            preprocessing: What made them; None where they are taken as they are.
        """
        if self.crop and self.crop != size:
            yield f"{size[0]}×{size[1]} pixels for {self.crop[0]}×{self.crop[1]}"
        if preprocessing and preprocessing.resize:
            if self.resize and self.resize != preprocessing.resize:
                yield f"resize: {preprocessing.resize} for {self.resize}"
            if self.interpolation and self.interpolation != preprocessing.interpolation:
                yield f"{preprocessing.interpolation} interpolation for {self.interpolation}"


def own_preparation(
    network: str, arguments: dict[str, Any], built: nn.Module, carried: Normalization | None = None
) -> Preparation | None:
    """Return what timm or torchvision say of a network: of timm's wherever they come from, of torchvision's weights.

    What a file of weights carries goes before both.

    Args:
        network: As `build` takes it.
        arguments: As `build` takes them.
        built: What it has built.
        carried: Mean and std of the file of its weights, if there are any.
    """
    if carried is not None:
        known = own_preparation(network, arguments, built) or Preparation(source="the file of its weights")
        return replace(known, mean=carried.mean, std=carried.std)
    configuration = getattr(built, "pretrained_cfg", None) or getattr(built, "default_cfg", None)
    if isinstance(configuration, dict) and configuration.get("mean") and configuration.get("std"):
        return _of_timm(configuration)
    if network.startswith("torchvision/"):
        return _of_torchvision(network.removeprefix("torchvision/"), arguments.get("weights"))
    return None


def cautions(network: str, arguments: dict[str, Any], *, loaded: bool, normalized: bool) -> Iterator[str]:
    """Yield what to know before the numbers of a network are believed, as sentences that lack who.

    Args:
        network: As `build` takes it.
        arguments: As `build` takes them.
        loaded: Whether it has its weights from a file.
        normalized: Whether anybody says how its images are normalized.
    """
    if not loaded and has_random_weights(network, arguments):
        yield (
            "has random weights, and no number of it means anything: set its weights to a file, or to the library's "
            "own in its arguments"
        )
    if not normalized:
        yield (
            "does not say how its images are normalized, and ImageNet's mean and std are taken: set its mean "
            "and std to those that it was trained with"
        )


def has_random_weights(network: str, arguments: dict[str, Any]) -> bool:
    """Return whether a network of torchvision or timm is built without any of its weights."""
    return any(
        network.startswith(library) and not any(arguments.get(argument) for argument in loading)
        for library, loading in LOADED_BY.items()
    )


def _of_timm(configuration: dict[str, Any]) -> Preparation:
    _, *crop = configuration.get("input_size") or (3,)
    share = configuration.get("crop_pct")
    return Preparation(
        source=f"timm's {configuration.get('architecture') or 'configuration'}",
        mean=tuple(configuration["mean"]),
        std=tuple(configuration["std"]),
        crop=(crop[0], crop[1]) if len(crop) == 2 else None,
        resize=math.floor(min(crop) / share) if share and crop else None,
        interpolation=configuration.get("interpolation"),
    )


def _of_torchvision(name: str, weights: object) -> Preparation:
    from torchvision.models import get_model_weights

    if not weights:
        return Preparation(source="ImageNet")
    chosen = get_model_weights(name).verify(weights)
    made = chosen.transforms()
    crop, resize = getattr(made, "crop_size", None), getattr(made, "resize_size", None)
    return Preparation(
        source=f"torchvision's {chosen}",
        mean=tuple(getattr(made, "mean", IMAGENET[0])),
        std=tuple(getattr(made, "std", IMAGENET[1])),
        crop=(crop[0], crop[-1]) if crop else None,
        resize=resize[0] if resize else None,
        interpolation=getattr(getattr(made, "interpolation", None), "value", None),
    )


def normalization(
    own: Preparation | None, mean: Sequence[float] | None, std: Sequence[float] | None
) -> tuple[Sequence[float], Sequence[float]]:
    """Return mean and std per channel, in pixels of [0, 1]: those given, else the network's own, else ImageNet's.

    Raises:
        UserError: If they are not of three channels, a mean is not in [0, 1], or a std is not above 0.
    """
    own = own or Preparation(source="ImageNet")
    mean, std = mean or own.mean, std or own.std
    within = all(0 <= value <= 1 for value in mean) and all(0 < value < math.inf for value in std)
    if len(mean) != 3 or len(std) != 3 or not within:
        raise UserError(
            f"mean {list(mean)} and std {list(std)} need three values each, of pixels in [0, 1], those of std above 0"
        )
    return mean, std
