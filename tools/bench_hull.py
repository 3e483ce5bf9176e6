"""The nearest points of convex hulls, all queries at once, beside scipy's SLSQP one by one: target at least 20 times.

    OMP_NUM_THREADS=1 python tools/bench_hull.py --clock cpu

SLSQP is given what suits it: the products of the vertices relative to the query (K × K) instead of the vectors, the
gradient, and a tolerance with which its objective comes within 1e-6 of ours, and not closer; the products are not
timed. Ours starts from the vectors. It is an error if any objective is farther than 1e-6 from that of SLSQP.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
import torch
from bench import Line, Target, in_turn, parser, report
from scipy.optimize import minimize

from lit_knn.defenses.neighbors.hull import project_onto_hull

AGREEMENT = 1e-6


def one_by_one(products: np.ndarray, tolerance: float) -> np.ndarray:
    """Return half the smallest squared distances by SLSQP, of products ``(N, K, K)``."""
    k = products.shape[1]
    ones = np.ones(k)
    return np.array(
        [
            minimize(
                lambda w, p=part: (w @ p @ w / 2, p @ w),
                ones / k,
                jac=True,
                bounds=[(0, 1)] * k,
                constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: ones},
                method="SLSQP",
                options={"ftol": tolerance, "maxiter": 1000},
            ).fun
            for part in products
        ]
    )


def line(options: argparse.Namespace, dimension: int, tolerance: float) -> Line:
    """Return the line of one number of dimensions."""
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(options.queries, dimension, generator=generator)
    vertices = torch.randn(options.queries, options.neighbors, dimension, generator=generator)
    relative = (vertices.double() - query.double()[:, None]).numpy()
    products = relative @ relative.transpose(0, 2, 1)
    found = project_onto_hull(query, vertices)
    mine = np.square((found.weights[:, None].numpy() @ relative)[:, 0]).sum(1) / 2
    theirs = one_by_one(products, tolerance)
    farthest = float(np.abs(mine / theirs - 1).max())
    if farthest > AGREEMENT:
        sys.exit(f"the objectives differ by {farthest:.1e}")
    alone, together = in_turn(
        options, lambda: one_by_one(products, tolerance), lambda: project_onto_hull(query, vertices)
    )
    name = f"SLSQP / hull projection, {dimension} dimensions (differ by ≤ {farthest:.0e})"
    return Line(name, "s", alone, together, Target(low=20))


def main(args: list[str] | None = None) -> None:
    """Measure and print, a line for each number of dimensions."""
    options = parser(__doc__, rounds=5)
    options.add_argument("--queries", type=int, default=64)
    options.add_argument("--neighbors", type=int, default=50)
    options.add_argument("--dimensions", type=int, nargs="+", default=[256])
    options.add_argument("--tolerance", type=float, default=1e-6, help="ftol of SLSQP")
    options = options.parse_args(args)
    lines = [line(options, dimension, options.tolerance) for dimension in options.dimensions]
    report(f"Hull: {options.queries} queries, {options.neighbors} neighbors", lines, options)


if __name__ == "__main__":
    main()
