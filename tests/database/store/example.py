"""A small store with known contents."""

from pathlib import Path

import numpy as np

from lit_knn.database.store import Schema, ShardWriter, pack, shard_name, write_manifest

FINGERPRINT = {"classifier": "abc", "dataset": "digits"}


def schema(*, num_classes=30, packed=False, bits=False):
    return Schema(
        num_classes=num_classes,
        dimensions={"early": 5, "late": 3} | ({"signs": 16} if bits else {}),
        weights=("entropy", "gap"),
        packed=packed,
        key_width=24,
        bits=("signs",) if bits else (),
    )


def rows(columns, count, seed=0, first=0):
    """Keyword arguments of `ShardWriter.append`: some exact zeros, some ties, keys that are not ASCII."""
    rng = np.random.default_rng(seed)
    features = {tap: rng.normal(size=(count, size)).astype(np.float32) for tap, size in columns.dimensions.items()}
    features |= {tap: np.where(features[tap] < 0, -1, 1).astype(np.float32) for tap in columns.bits}
    softmax = rng.dirichlet(np.full(columns.num_classes, 0.1), count).astype(np.float32)
    softmax[::3, columns.num_classes // 2 :] = 0
    softmax[::3, :2] = 1
    softmax /= softmax.sum(axis=1, keepdims=True)
    return {
        "features": features,
        "softmax": softmax,
        "weights": {name: rng.random(count, dtype=np.float32) for name in columns.weights},
        "ids": np.arange(first, first + count) * 2,
        "label": rng.integers(-1, columns.num_classes, count),
        "key": [f"köln/{seed}-{row}.png" for row in range(count)],
    }


def write_shard(folder, shard, columns, batches, *, capacity=None, fingerprint=FINGERPRINT, failures=()):
    count = sum(len(batch["key"]) for batch in batches) + len(failures)
    path = Path(folder) / shard_name(shard)
    with ShardWriter(path, capacity=capacity or count, schema=columns, fingerprint=fingerprint) as writer:
        for batch in batches:
            writer.append(**batch)
        for failure in failures:
            writer.skip(failure)
        writer.seal()
    return path


def write_store(folder, columns, counts=(7, 1, 12)):
    """Write shards of these many rows and the manifest; return what their columns must hold, as stored."""
    batches = [rows(columns, count, seed) for seed, count in enumerate(counts)]
    for shard, batch in enumerate(batches):
        write_shard(folder, shard, columns, [batch])
    write_manifest(Path(folder), range(len(counts)))
    softmax = np.concatenate([batch["softmax"] for batch in batches])
    return {
        **{
            tap: np.concatenate([batch["features"][tap] for batch in batches]).astype(np.float16)
            for tap in columns.dimensions
        },
        "softmax": pack(softmax) if columns.packed else softmax.astype(np.float16),
        **{name: np.concatenate([batch["weights"][name] for batch in batches]) for name in columns.weights},
        **{name: np.concatenate([batch[name] for batch in batches]) for name in ("ids", "label", "key")},
        "shard": np.repeat(np.arange(len(counts)), counts),
    }
