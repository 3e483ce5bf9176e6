"""A configuration that is built and not run, with networks that stand in for the real ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jsonargparse import Namespace

from lit_knn.backbones.networks import network_name
from lit_knn.cli.command_line import KNNCLI, start
from lit_knn.storage.description import describe

STAND_IN = "lit_knn.backbones.stand_in.stand_in"
OF_A_NETWORK = ("network", "arguments", "weights", "weights_key")  # keys of a `Classifier`


class Unrun(KNNCLI):
    """Build all parts, and load no weights."""

    def before_instantiate_classes(self) -> None:
        """Put networks that stand in for others in their places."""
        unload(self.config[self.subcommand].model)

    def after_instantiate_classes(self) -> None:
        """Keep nothing for a record."""

    def _run_subcommand(self, subcommand: str) -> None:
        """Run nothing."""
        del subcommand

    @property
    def queries(self) -> str:
        """What tells its batches of queries from those of another configuration."""
        data = self.config[self.subcommand].data
        chosen = ("queries", "query_subset", "num_queries", "query_seed", "batch_size", "on_query_error")
        return repr([data.get(key) for key in chosen])


def unrun(command: Sequence[str]) -> Unrun:
    """Build what a command, such as ``["test", "--config", "configs/quickstart.yaml"]``, would run.

    Raises:
        UserError: If the command line would refuse it, but for weights and images that are not there.
    """
    return start(Unrun, list(command))


def unload(part: Any) -> None:
    """Replace each network in a configuration, in place, by one that needs no weights; see `stand_in`."""
    if isinstance(part, list):
        for one in part:
            unload(one)
    if not isinstance(part, Namespace | dict):
        return
    settings = vars(part) if isinstance(part, Namespace) else part
    if all(key in settings for key in OF_A_NETWORK):
        network, arguments, *weights = (settings[key] for key in OF_A_NETWORK)
        settings["name"] = settings.get("name") or network_name(network)
        arguments = {"network": network, "arguments": dict(arguments or {}), "weights": repr(describe(weights))}
        settings.update(network=STAND_IN, arguments=arguments, weights=None, weights_key=None)
        return
    for one in settings.values():
        unload(one)
