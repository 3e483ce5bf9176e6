"""What an attacker is given: the images to change, a network to look into, and perhaps a copy of the defense."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_knn.errors import UserError
from lit_knn.randomness import Randomness
from lit_knn.threat_models.budget import RELATIVE_L2, Budget
from lit_knn.threat_models.norms import Norm
from lit_knn.threat_models.passes import Passes

if TYPE_CHECKING:
    from lit_knn.threat_models.surrogate_defense import SurrogateDefense


@dataclass(eq=False)
class AttackTarget:
    """Hold a batch under attack, with the network and the copy of the defense that an attack may ask.

    Args:
        model: Function from images ``(N, 3, H, W)`` in [0, 1] to logits ``(N, C)``.
        image: ``(N, 3, H, W)`` float32 or float64 in [0, 1], the clean images.
        label: ``(N,)`` int64 in [0, C), the true classes.
        ids: ``(N,)`` int64, which the random numbers depend on and messages name.
        surrogate_defense: The attacker's copy of the defense; by default None, of an attacker who does not know it.
        highest: Largest value that the attack's objective can have; by default infinite.
        budget: What limits the perturbation; by default Δ.
        transfer: Whether the images are made for another network or database than is asked here, whose answers say
            nothing final then.

    Attributes:
        flat: For each gradient taken since `take_flat` ``(N,)`` bool: whether it was zero although the objective
            was below ``highest``; of images that a gradient was not taken of, as if it had been.
        answer: Returns the scores ``(V, N, C)`` of the last answers to the images, once there are any: of the network,
            or of the copy and what is beside it.
        acceptance: How far the best wrong one of the last answers is from being rejected, ``(N,)``; None where none is.
        settled: ``(N,)`` bool, the images that no run has to attack any more; None for no image.
        calls: Number of calls of `scores` since `draw_from`.
        passes: Counts of outputs of the network and of the copy that this target was asked for.
    """

    model: Callable[[Tensor], Tensor]
    image: Tensor
    label: Tensor
    ids: Tensor
    surrogate_defense: SurrogateDefense | None = None
    highest: float = math.inf
    budget: Budget = RELATIVE_L2
    transfer: bool = False
    flat: list[Tensor] = field(default_factory=list, init=False)
    calls: int = field(default=0, init=False)
    settled: Tensor | None = field(default=None, init=False)
    _chosen: Tensor | None = field(default=None, init=False)  # (N,) bool, of a batch that this is a part of
    _wrong: dict[str, Tensor] = field(default_factory=dict, init=False)  # (N,) bool of each name: not finite, ever
    _known: dict[Hashable, Tensor] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.draw_from(Randomness(0, self.ids))
        self.passes = Passes(len(self.image))
        self.answer: Callable[[], Tensor]
        self.acceptance: Tensor | None = None
        self._all_ids = self.ids  # of the batch that this is a part of, if it is

    @cached_property
    def _highest_label(self) -> int:
        return int(self.label.max())

    @property
    def norm(self) -> Norm:
        """The geometry of the ball that each image is to stay in."""
        return self.budget.norm

    def logits(self, image: Tensor) -> Tensor:
        """Return the attacked network's logits ``(N, C)``, by one forward pass.

        Raises:
            UserError: If a label is not one of the network's C classes.
        """
        logits = self.passes.through(self.model(image))
        if self._highest_label >= logits.shape[1]:  # on a GPU a loss of it would take the process down
            raise UserError(f"label {self._highest_label} is outside the {logits.shape[1]} classes of the model")
        detached = logits.detach()  # which holds no graph
        self.answer = lambda: detached[None]
        return logits

    def cross_entropy(self, image: Tensor) -> Tensor:
        """Return the attacked network's cross-entropy of each image ``(N,)``, by one forward pass."""
        return F.cross_entropy(self.logits(image), self.label, reduction="none")

    def once(self, key: Hashable, make: Callable[[], Tensor]) -> Tensor:
        """Return what depends on the clean images only, made when first asked for under this key."""
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]

    @property
    def described(self) -> str:
        """Name of the network and of the copied defense, for messages."""
        network = f"network {getattr(self.model, 'name', type(self.model).__name__)}"
        return (
            network
            if self.surrogate_defense is None
            else f"{network}, or defense {self.surrogate_defense.defense.variants[0].defense} of it,"
        )

    @property
    def defense(self) -> SurrogateDefense:
        """The attacker's copy of the defense.

        Raises:
            UserError: If the attacker has none.
        """
        if self.surrogate_defense is None:
            raise UserError("this attack looks at the defense, which its threat does not know: run it as a WhiteBox")
        return self.surrogate_defense

    @property
    def random(self) -> bool:
        """Whether the same image may be answered otherwise the next time, so that no single answer is final."""
        copied = self.surrogate_defense is not None and self.surrogate_defense.defense.random
        return copied or getattr(self.model, "randomized", False)

    def draw_from(self, randomness: Randomness) -> None:
        """Set the random streams of a copy that answers at random, and count its calls from 0."""
        self._randomness, self.calls = randomness, 0

    def among(self, chosen: Tensor) -> AttackTarget:
        """Return the target of some of the images, ``(N,)`` bool, whose streams of random numbers go on."""
        part = AttackTarget(
            self.model,
            self.image[chosen],
            self.label[chosen],
            self.ids[chosen.to(self.ids.device)],
            self.surrogate_defense,
            self.highest,
            self.budget,
            self.transfer,
        )
        part._randomness, part.calls = self._randomness.among(chosen), self.calls
        part.passes, part.flat, part._wrong = self.passes.among(chosen), self.flat, self._wrong
        part._all_ids = self._all_ids
        part._chosen = chosen if self._chosen is None else self._chosen.masked_scatter(self._chosen, chosen)
        part._known = {key: known[chosen] for key, known in self._known.items()}
        return part

    def scores(self, image: Tensor) -> Tensor:
        """Return the copy's scores ``(N, C)``; a random copy draws new numbers at each call, never the defense's."""
        self.calls += 1
        query = self.defense.query(image, self._randomness.of("call", self.calls))
        scores = self.passes.through(self.defense.defense(query)[0])
        self.acceptance = self.defense.defense.acceptance(query, scores, self.label)
        self.answer = cache(partial(self.defense.answers, query, scores.detach()))  # asked for more than once
        return scores

    def features(self, image: Tensor) -> Tensor:
        """Return the copy's features ``(N, D)``, by one forward pass up to the tap."""
        return self.passes.through(self.defense.features(image))

    def searched(self, image: Tensor) -> dict[str, Tensor]:
        """Return the copy's features ``(N, D)`` at each tap that it searches, by one forward pass up to the last."""
        found = self.defense.searched(image)
        together = self.passes.through(torch.cat(list(found.values()), dim=1))
        parts = together.split([part.shape[1] for part in found.values()], dim=1)
        return dict(zip(found, parts, strict=True))

    def neighbors(self, k: int, *, exclude_self: bool) -> Tensor:
        """Return the rows ``(N, k)`` int64 nearest to the clean images, by one such pass and a search."""
        ids = self.defense.neighbors(self.image, k, exclude_self=exclude_self)
        self.passes.add()
        return ids

    def note_flat(self, flat: Tensor) -> None:
        """Note for which images ``(N,)`` bool a gradient was zero."""
        self.flat.append(self._placed(flat, True))

    def take_flat(self) -> list[Tensor]:
        """Return `flat`, and empty it."""
        taken, self.flat[:] = self.flat[:], []
        return taken

    def note_finite(self, values: Tensor, what: str) -> Tensor:
        """Note which images have NaN or infinity in ``values (N, ...)``, without waiting for the device.

        Args:
            values: ``(N, ...)`` float.
            what: Name of the values, with which the sentence of `require_finite` begins.

        Returns:
            ``(N,)`` bool, true for the images with finite values only.
        """
        rows = values.flatten(1) if values.ndim > 1 else values[:, None]  # whose extremes tell, a tenth of the work
        finite = torch.maximum(rows.amax(dim=1), -rows.amin(dim=1)).isfinite()
        self._wrong[what] = self._wrong.get(what, False) | self._placed(~finite, False)
        return finite

    def require_finite(self) -> None:
        """Refuse values that were not finite in any `note_finite`, by a UserError that names their images."""
        if not self._wrong or not torch.stack(list(self._wrong.values())).any():
            return
        what, wrong = next((what, wrong) for what, wrong in self._wrong.items() if wrong.any())
        raise UserError(f"{what} is not finite for the images with id {name_ids(self._all_ids, wrong)}")

    def _placed(self, values: Tensor, others: bool) -> Tensor:
        """Return values ``(n,)`` bool of these images as such of the batch that they are a part of, if they are."""
        if self._chosen is None:
            return values
        return torch.full_like(self._chosen, others).masked_scatter(self._chosen, values)


def name_ids(ids: Tensor, where: Tensor) -> str:
    """Return the ids ``(N,)`` where a mask ``(N,)`` is true as text for a message: up to five, then how many more."""
    named = ids[where.to(ids.device)].tolist()
    return ", ".join(map(str, named[:5])) + (f" and {len(named) - 5} more" if len(named) > 5 else "")
