"""Projected gradient descent."""

from __future__ import annotations

from lit_knn.attacks.gradient_descent import GradientDescent


class PGD(GradientDescent):
    """Take gradient steps that together are longer than the radius, so that they follow the surface of the ball.

    Cost:
        ``steps`` forward and backward passes for each Δ and run.

    Args:
        steps: Number of steps, at least 1.
        restarts: Number of runs, at least 1; all but the first start at random, and each image keeps its best.
        random_start: Whether the first run, too, starts uniformly in the ball; by default it starts at the image, which
            with few steps is stronger. Restarts start in the ball in any case, and so do objectives without gradient
            at the image.
        step: Direction of a step: ``l2`` follows the gradient, ``sign`` its sign (the paper's; weak under an L2
            budget); by default what is steepest in the budget's norm, ``l2`` in L2 and ``sign`` in L∞.
        step_size: Length of all steps of a run together, in radii; above 0.
        momentum: Decay μ, at least 0, of the earlier gradients that a step follows as well; 1 is MI-FGSM.
        diversity: Probability with which a step is taken at the image shrunk and moved at random; 0.5 is DI-FGSM.
        enough: By how much the best wrong score has to be above the true one for an image to be left as it is: 0 where
            the answer becomes wrong, that of all variants of a white box's tap; by default none is left, nor ever one
            that is made for another network or database.
        seed: Seed of all random numbers, which also depend on the image's id and the number of the run.
        objective: What the attack maximizes; by default the cross-entropy.
        name: Name in tables and figures; by default the class name and the objective's suffix, as in ``PGD-FS``, after
            ``M-`` for momentum and ``DI-`` for diversity.

    References:
        Madry et al. 2018, Section 2.1; Dubey et al. 2019, Section 3.2, which gives no step size.

    Differences from the paper:
        Madry et al. start every run at random.
    """
