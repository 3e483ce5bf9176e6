"""What the processes of a run tell each other beside the collectives of PyTorch: who is done, who failed and why."""

from .failure import Failure
from .hub import Hub
from .launched import Launched

__all__ = ["Failure", "Hub", "Launched"]
