"""What the database knows of each row: sealed HDF5 shards, written once and memory-mapped ever after."""

from .bits import pack_signs, unpack_signs
from .confidence import STORED_WEIGHTS, stored_weights
from .held_columns import HeldColumns
from .joined_store import JoinedStore
from .manifest import read_manifest, write_manifest
from .predictions import NeighborPredictions
from .reader import Skipped, Store
from .schema import (
    SCHEMA_VERSION,
    Header,
    Schema,
    changed_columns,
    hash_keys,
    read_header,
    shard_name,
)
from .softmax import pack, unpack
from .writer import ShardWriter, sealed_header

__all__ = [
    "SCHEMA_VERSION",
    "STORED_WEIGHTS",
    "Header",
    "HeldColumns",
    "JoinedStore",
    "NeighborPredictions",
    "Schema",
    "ShardWriter",
    "Skipped",
    "Store",
    "changed_columns",
    "hash_keys",
    "pack",
    "pack_signs",
    "read_header",
    "read_manifest",
    "sealed_header",
    "shard_name",
    "stored_weights",
    "unpack",
    "unpack_signs",
    "write_manifest",
]
