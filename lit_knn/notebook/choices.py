"""What an evaluation takes where nobody has chosen: a network as it is, a tap in its middle, attacks, a defense."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lit_knn.attacks import PGD, Attack
from lit_knn.attacks.objectives import SoftKNN
from lit_knn.backbones import Classifier, Tap
from lit_knn.defenses import Defense
from lit_knn.errors import UserError, first_line
from lit_knn.notebook.arguments import is_number, plain, several, shown
from lit_knn.report.results.budgets import UNITS, NormName, parse_size
from lit_knn.threat_models import BlackBox, GrayBox, Threat, WhiteBox

PIXELS = 0.0, 1.0  # mean and std of a network that is given pixels as they are
K = 50  # neighbors, as in the paper
POOLS = (4, 2)  # sides of a grid that a map is averaged to, if it is no smaller
POOLED = 1024  # numbers of a pooled activation, of which PCA takes a second

Normalization = float | Sequence[float] | None
Output = str | int | None
Taps = str | Tap | Sequence[str | Tap] | None
Threats = str | Threat | Sequence[str | Threat] | None
Attacks = Attack | Sequence[Attack] | None
Defenses = Defense | Sequence[Defense] | None
Sizes = float | str | Sequence[float | str]
DEVICES = ("cpu", "cuda", "mps")


def classifier_of(
    network: object, mean: Normalization, std: Normalization, output: Output = None, *, role: str = "network"
) -> Classifier:
    """Return a classifier over a copy of a network at hand, which stays as it is.

    Args:
        network: From RGB images to logits, in any mode and on any device.
        mean: Of its images, in pixels of [0, 1], for all channels or each.
        std: The same. Without both, timm's for a network of timm; any other is given pixels as they are, with a
            warning.
        output: Where its logits are, as `Classifier` takes it.
        role: What messages call it.

    Raises:
        UserError: If it is no module, cannot be copied, or mean, std or output are not accepted.
    """
    if not isinstance(network, nn.Module):
        raise UserError(f"the {role} is {shown(network)}: a torch.nn.Module is accepted, such as resnet18()")
    output = plain(output)
    if not isinstance(output, str | int | None) or isinstance(output, bool):
        raise UserError(f"output is {shown(output)}: a key, a position or the name of an attribute is accepted")
    if (mean is None) != (std is None):
        raise UserError(f"mean is {shown(mean)} and std is {shown(std)}: both or none are accepted")
    try:
        copied = copy.deepcopy(network)
    except (RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"the {role} cannot be copied, and must not be changed: {first_line(error)}") from error
    own = getattr(network, "pretrained_cfg", None) or getattr(network, "default_cfg", None)
    says = isinstance(own, dict) and own.get("mean") and own.get("std")
    made = Classifier(
        network="lit_knn.backbones.networks.given",
        arguments={"network": copied},
        mean=None if mean is None and says else _channels(PIXELS[0] if mean is None else mean, "mean"),
        std=None if std is None and says else _channels(PIXELS[1] if std is None else std, "std"),
        output=output,
        name=type(network).__name__,
    )
    if mean is None and not says:
        made.warn(
            f"{role} {made.name} is given pixels in [0, 1] as they are: unless it normalizes them itself, give its "
            "mean and std"
        )
    return made


def _channels(given: object, name: str) -> list[float]:
    values = several(given, name, (int, float), "a number, or three, in pixels of [0, 1] are accepted")
    return values * 3 if is_number(plain(given)) else values


def taps_of(chosen: Taps) -> list[Tap] | None:
    """Return the chosen taps, None if nobody has chosen.

    Raises:
        UserError: If one is neither the name of a layer nor a tap.
    """
    if chosen is None:
        return None
    parts = several(chosen, "tap", (str, Tap), "names of layers, and Tap objects, are accepted")
    return [Tap(layer=part) if isinstance(part, str) else part for part in parts]


def middle_tap(classifier: Classifier, image: Tensor) -> Tap:
    """Return a tap halfway through a network: earlier ones keep less of the clean accuracy, later ones fall with it.

    Sums of residual blocks before their last activation are preferred, as in the paper; then blocks that are numbered,
    such as ``blocks.5``, and other maps and tokens. A map is averaged to a grid, of 4×4 or 2×2 where that stays short.

    Args:
        classifier: On the device of the images.
        image: ``(N, 3, H, W)`` float32 in [0, 1].

    Raises:
        UserError: If nothing but its logits can be tapped.

    References:
        Dubey et al. 2019, Section 5.1 and Figure 4.
    """
    found, _ = classifier.layers(image[:2] if len(image) > 1 else image.repeat(2, 1, 1, 1))
    known = [layer for layer in found[:-1] if layer.shape != tuple(image.shape[1:])]  # the last is what it returns
    maps = [layer for layer in known if len(layer.shape) > 1]
    sums = [layer for layer in maps if re.search(r"(^|\.)add(_\d+)?$", layer.name)]
    numbered = [layer for layer in maps if layer.name.rpartition(".")[2].isdigit()]
    blocks = [layer for layer in numbered if layer.name.count(".") == numbered[0].name.count(".")]
    chosen = sums or blocks or maps or known
    if not chosen:
        raise UserError(f"network {classifier.name} has no layer to tap by itself: give tap=, such as Tap(layer=...)")
    layer = chosen[len(chosen) // 2]
    if layer.pooled is None:  # it looks like a map with its channels at the end
        return Tap(layer=layer.name, channels="last")
    sides = layer.shape[1:] if len(layer.shape) == 3 else (1,)
    fits = (side for side in POOLS if side <= min(sides) and layer.shape[0] * side**2 <= POOLED)
    return Tap(layer=layer.name, pool=next(fits, 1))


def threats_of(chosen: Threats, surrogate: Classifier | None, retrieves: bool) -> list[Threat]:
    """Return attackers: by default gray box, black box if there is a surrogate, white box if a defense retrieves.

    Args:
        chosen: ``gray``, ``black``, ``white``, or threats of one's own.
        surrogate: The black box's own network.
        retrieves: Whether there is a database.

    Raises:
        UserError: If a name is none of these, or there is nothing that the attacker could attack.
    """
    if chosen is None:
        chosen = ["gray", *(["black"] if surrogate else []), *(["white"] if retrieves else [])]
    accepted = "gray, black, white and Threat objects are accepted"
    made: list[Threat] = []
    for threat in several(chosen, "threats", (str, Threat), accepted):
        if isinstance(threat, Threat):
            made.append(threat)
        elif threat == "gray":
            made.append(GrayBox())
        elif threat == "black" and surrogate is not None:
            made.append(BlackBox(surrogates=[surrogate]))
        elif threat == "white":
            made.append(WhiteBox())
        else:
            lacks = "a black box attacks a network of its own: give surrogate=" if threat == "black" else ""
            raise UserError(lacks or f"threats has {threat!r}: {accepted}")
    if surrogate is not None and not any(isinstance(threat, BlackBox) for threat in made):
        raise UserError("surrogate is given, but no black box attacks it: add 'black' to threats, or leave it out")
    return made


def attacks_of(chosen: Attacks, threats: Sequence[Threat]) -> list[Attack]:
    """Return attacks: by default PGD of 10 steps, on the network and, for who knows the defense, on its vote.

    Raises:
        UserError: If one is none, such as a class instead of an object.
    """
    if chosen is not None:
        return several(chosen, "attacks", (Attack,), "Attack objects are accepted, such as PGD(steps=10)")
    knowing = [threat.adaptive for threat in threats]
    blind, adaptive = PGD(steps=10), PGD(steps=10, objective=SoftKNN())
    return [*([] if all(knowing) else [blind]), *([adaptive] if any(knowing) else [])]


def defenses_of(chosen: Defenses) -> list[Defense] | None:
    """Return the chosen defenses, None if nobody has chosen.

    Raises:
        UserError: If one is none, such as a class instead of an object.
    """
    if chosen is None:
        return None
    return several(chosen, "defenses", (Defense,), "Defense objects are accepted, such as NoDefense()")


def sizes_of(chosen: Sizes, norm: NormName) -> list[float | str]:
    """Return sizes of perturbations as they are given, without that of the clean images.

    Raises:
        UserError: If there is no such norm, or one is no size of it.
    """
    if not isinstance(norm, str) or norm not in UNITS:
        raise UserError(f"norm is {shown(norm)}: {', '.join(UNITS)} are accepted")
    unit, sizes = UNITS[norm], several(chosen, "deltas", (int, float, str), "numbers, and text as 8/255, are accepted")
    perturbed = [size for size in sizes if parse_size(size, "deltas") != 0]
    for size in perturbed:
        if not unit.accepts(parse_size(size, "deltas")):
            raise UserError(f"deltas has {size}: sizes of {unit.accepted}, and 0, are accepted in norm {norm}")
    if not perturbed:
        raise UserError(f"deltas is {shown(chosen)}: at least one of {unit.accepted} is needed, 0 is measured anyway")
    return perturbed


def device_of(network: object, chosen: str | torch.device | None) -> torch.device:
    """Return the chosen device, or the one where the network lies.

    Raises:
        UserError: If there is no such device.
    """
    if chosen is None:
        weights = network.parameters() if isinstance(network, nn.Module) else iter(())
        return next((weight.device for weight in weights), torch.device("cpu"))
    accepted = f"{', '.join(DEVICES)} are accepted, and one of several as cuda:1"
    if not isinstance(chosen, str | torch.device):
        raise UserError(f"device is {shown(chosen)}: {accepted}")
    try:
        device = torch.device(chosen)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device {shown(chosen)} is not there: {first_line(error)}") from error
    if device.type not in DEVICES:
        raise UserError(f"device is {device}: {accepted}")
    return device
