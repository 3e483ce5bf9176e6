"""A threat model: the attacker knows classifier and defense, and holds a database of their own."""

from __future__ import annotations

from collections.abc import Sequence

from lit_knn.backbones import Classifier, Ensemble
from lit_knn.database import StoredGallery, require_row_count, row_count
from lit_knn.defenses import KNN, Defense, FusedKNN
from lit_knn.errors import UserError
from lit_knn.report.results import preferred
from lit_knn.threat_models.base import Threat
from lit_knn.threat_models.surrogate_defense import SurrogateDefense


class WhiteBox(Threat):
    """Attack a copy of the defense over the attacker's database, which has all, some or none of the defense's rows.

    Both databases are parts of the same store, in the same random order: the defense searches its first
    ``model.database.rows``; the attacker searches ``rows``, a share ``overlap`` of which the defense searches as well.

    Args:
        defense: Defense to copy, with one variant; by default each of `Defense.copies` of the run becomes a threat of
            its own: of a kNN, for each tap the variant with the largest K, CBW-D and soft, and that of each weighting
            which goes by the query, such as `Similarity`.
        rows: Number of rows in the attacker's database, or below 1 a share of as many as the defense searches; by
            default just as many.
        overlap: Share of these rows that the defense searches as well, in [0, 1]. With 1 the attacker's rows are a
            random subset of the defense's (Figure 6b); with less, the store must hold the others beside the defense's
            (Figure 6c).
        name: Name in tables and figures; must be set where a run has several white boxes.

    Raises:
        UserError: If ``rows`` or ``overlap`` is out of range.

    References:
        Dubey et al. 2019, Section 6.
    """

    adaptive = True

    def __init__(
        self,
        *,
        defense: Defense | None = None,
        rows: int | float | None = None,  # noqa: PYI041 - 500 in YAML stays 500
        overlap: float = 1.0,
        name: str = "white_box",
    ) -> None:
        super().__init__(name=name)
        require_row_count("WhiteBox's rows", rows)
        if not 0 <= overlap <= 1:
            raise UserError(f"WhiteBox's overlap is {overlap}; [0, 1] is accepted")
        self.defense, self.rows, self.overlap = defense, rows, overlap
        self.beside: list[KNN | FusedKNN] = []

    def attacked(self, defended: Classifier) -> Classifier | Ensemble:
        """Return the defended classifier itself."""
        return defended

    def against(self, defenses: Sequence[Defense]) -> list[Threat]:
        """Return one white box for each copy of the defenses, or this one alone if it was given a defense.

        Raises:
            UserError: If it was given none, and there are no copies.
        """
        if self.defense is not None:
            self.beside = _beside(self.defense, defenses)
            return [self]
        variants = {variant for defense in defenses for variant in defense.variants}
        found = [copy for defense in defenses for copy in defense.copies()]
        # of several with one name a defense of the run itself is kept, and not what stands in for another
        # and of these what the results put first
        first = preferred(list(variants))
        found.sort(key=lambda copy: (variants.issuperset(copy.variants), copy.variants[0] in first))
        copies = {_subject(copy): copy for copy in found}
        if not copies:
            raise UserError("WhiteBox has nothing to copy in the defenses of the run: give it a defense of its own")
        boxes = [
            WhiteBox(defense=copy, rows=self.rows, overlap=self.overlap, name=f"{self.name} {subject}")
            for subject, copy in copies.items()
        ]
        named = [{_subject(copy) for copy in defense.copies()} for defense in defenses]
        for box, subject in zip(boxes, copies, strict=True):
            box.chosen, box.of = False, frozenset(place for place, names in enumerate(named) if subject in names)
        return [part for box in boxes for part in box.against(defenses)]

    def transfers(self, defenses: Sequence[Defense]) -> bool:
        """Return whether the copy answers at random, is of no defense of the run, or searches fewer or other rows.

        Variants of other taps or families do not count: each has a white box of its own.
        """
        if self.defense is None or self.defense.random or self.rows is not None or self.overlap < 1:
            return True
        variants = {variant for defense in defenses for variant in defense.variants}
        if not variants.issuperset(self.defense.variants):
            return True
        return any(k > self.defense.needed[tap] for other in self.beside for tap, k in other.needed.items())

    def surrogate_defense(self, defended: Classifier, gallery: StoredGallery | None) -> SurrogateDefense | None:
        """Return a copy of the defense over the attacker's view of the database.

        Raises:
            UserError: If the attacker is to share more rows with the defense than it has.
        """
        if self.defense is None:
            raise RuntimeError("a white box is taken `against` the defenses of a run first")
        if gallery is None or not self.defense.needed:
            return SurrogateDefense(defended, self.defense)
        theirs = len(gallery)
        rows = row_count(self.rows, theirs)
        shared = round(self.overlap * rows)
        if shared > theirs:
            raise UserError(
                f"WhiteBox shares {shared:,} rows with the defense, which has {theirs:,}: lower rows or overlap"
            )
        view = gallery.view(theirs - shared, theirs - shared + rows)
        return SurrogateDefense(defended, self.defense, view.resident(), self.beside)


def _subject(copy: Defense) -> str:
    """Return what a white box is named after: the tap of a kNN, another defense itself."""
    (variant,) = copy.variants
    return " ".join(filter(None, [variant.tap, variant.kind])) if isinstance(copy, KNN) else str(variant)


def _beside(copy: Defense, defenses: Sequence[Defense]) -> list[KNN | FusedKNN]:
    """Return what of the defenses of a run answers from the neighbors that a copy looks for."""
    if copy.random:
        return []  # nothing that it says of an image is final
    (variant,) = copy.variants
    if isinstance(copy, FusedKNN):
        same = [defense for defense in defenses if isinstance(defense, FusedKNN) and defense.taps == copy.taps]
        fused = [one.by(fusion) for one in same for fusion in copy.fusion if fusion in one.fusion]
        return [part for one in fused for part in one.alike(variant)]
    knns = [defense for defense in defenses if isinstance(defense, KNN)]
    on = [knn.on(tap) for tap in copy.needed for knn in knns if tap in knn.taps]
    return [part for one in on for part in one.alike(variant)]
