"""What Lightning says that helps nobody."""

from __future__ import annotations

import logging
import warnings

CHATTY = ("pytorch_lightning", "lightning_fabric", "lightning.pytorch")  # tips, and which accelerators there are not


def silence() -> None:
    """Leave of Lightning's log what is a warning, and of its warnings those that a user could do something about."""
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated", category=FutureWarning)
    warnings.filterwarnings("ignore", message="The `srun` command is available")  # who wants it writes it
