"""An attack that counts its runs and ends its process in one of them."""

from lit_knn.attacks import PGD


class KilledError(RuntimeError):
    """The end of a process."""


class Mortal(PGD):
    """Counts how often it is run at a Δ, in each batch, and dies in one of the runs if told to."""

    runs = 0
    dies_in = 0

    def prepare(self, attacked, objective, randomness):
        perturb = super().prepare(attacked, objective, randomness)

        def mortal(radius):
            Mortal.runs += 1
            if Mortal.runs == Mortal.dies_in:
                raise KilledError
            return perturb(radius)

        return mortal
