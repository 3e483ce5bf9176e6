"""pymilvus comes through an extra, and says at length what one sentence can say."""

from __future__ import annotations

import functools
import importlib
import logging
import re
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from lit_knn.errors import UserError

REPEATED = (  # loggers
    "pymilvus",
    "pymilvus.milvus_client",
    "milvus_lite.server_manager",
    "milvus_lite.adapter",
    "grpc._server",  # of milvus-lite 3.2.2, which lacks a method that pymilvus 3.0.2 calls, and does without
)
AWAY = (2, 101)  # Milvus's codes: no connection, and not loaded (yet, after a start)
TRACE = re.compile(r"stack trace:|\S+\.go:\d+\s+\S+")  # what a server tells its makers
LONGEST = 300  # characters of a reason


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


def reported() -> tuple[Any, Any]:
    """Return what pymilvus raises: its own errors, and some of gRPC, as when a token is refused."""
    return load_pymilvus().MilvusException, importlib.import_module("grpc").RpcError


def is_away(error: Any) -> bool:
    """Return whether an error says that a server has ended, or was started and is not ready."""
    unavailable = importlib.import_module("grpc").StatusCode.UNAVAILABLE
    if isinstance(error, load_pymilvus().MilvusException):
        return bool(error.code in (*AWAY, unavailable) or error.retriable)
    return bool(error.code() == unavailable)


@contextmanager
def refusals(uri: str, what: str, remedy: str = "") -> Iterator[None]:
    """Say in one sentence what a server could not do.

    Args:
        uri: Of the server.
        what: Follows "cannot".
        remedy: What may help.

    Raises:
        UserError: For each error that is `reported`.
    """
    kinds = reported()
    try:
        yield
    except kinds as error:
        message = error.message if isinstance(error, kinds[0]) else error.details()
        told = textwrap.shorten(TRACE.sub("", message), LONGEST, placeholder=" …")
        reason = told.rstrip(".") or type(error).__name__
        raise UserError(f"Milvus at {uri} cannot {what} ({reason}){remedy and f'; {remedy}'}") from error
