"""pymilvus comes through an extra, and says at length what one sentence can say."""

from __future__ import annotations

import functools
import importlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from lit_knn.errors import UserError

REPEATED = (  # loggers
    "pymilvus",
    "pymilvus.milvus_client",
    "milvus_lite.server_manager",
    "milvus_lite.adapter",
    "grpc._server",  # of milvus-lite 3.2.2, which lacks a method that pymilvus 3.0.2 calls, and does without
)


@functools.cache
def load_pymilvus() -> ModuleType:
    """Import pymilvus.

    Raises:
        UserError: If it is not installed.
    """
    try:
        pymilvus = importlib.import_module("pymilvus")
    except ImportError as error:
        raise UserError(f"pymilvus cannot be imported ({error}): `pip install lit_knn[milvus]`") from error
    for name in REPEATED:
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what they print with a traceback is raised as well
    return pymilvus


@contextmanager
def refusals(uri: str, what: str, remedy: str = "") -> Iterator[None]:
    """Say in one sentence what a server could not do.

    Args:
        uri: Of the server.
        what: Follows "cannot".
        remedy: What may help.

    Raises:
        UserError: If pymilvus raises an error, or lets one of gRPC pass, as it does when a token is refused.
    """
    pymilvus, grpc = load_pymilvus(), importlib.import_module("grpc")
    try:
        yield
    except (pymilvus.MilvusException, grpc.RpcError) as error:
        message = error.message if isinstance(error, pymilvus.MilvusException) else error.details()
        reason = " ".join(message.split()).rstrip(".") or type(error).__name__
        raise UserError(f"Milvus at {uri} cannot {what} ({reason}){remedy and f'; {remedy}'}") from error
