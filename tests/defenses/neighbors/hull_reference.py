"""The nearest point of a convex hull by scipy, one query at a time, in float64."""

import numpy as np
from scipy.optimize import minimize


def nearest_by_slsqp(relative):
    """Return half the squared distance of 0 to the hull of vertices ``(K, D)``, the weights, and the scale of both."""
    scale, k = (relative**2).sum(1).mean(), len(relative)
    products = relative @ relative.T / scale
    found = minimize(
        lambda w: (w @ products @ w / 2, products @ w),
        np.full(k, 1 / k),
        jac=True,
        bounds=[(0, 1)] * k,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: np.ones(k)},
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 1000},
    )
    return found.fun * scale, found.x, scale
