"""What happens around a run: signals, progress, record, pictures, dashboards."""

from pytorch_lightning import Callback
from pytorch_lightning.callbacks import ProgressBar

from .evaluation_checks import EvaluationChecks
from .kept_memory import KeptMemory
from .neighbor_pictures import NeighborPictures
from .preemption_guard import PreemptionGuard
from .progress import Progress
from .run_record import RunRecord
from .threads import FixedThreads
from .wandb_results import WandbResults

__all__ = [
    "EvaluationChecks",
    "FixedThreads",
    "KeptMemory",
    "NeighborPictures",
    "PreemptionGuard",
    "Progress",
    "RunRecord",
    "WandbResults",
    "default_callbacks",
    "place",
]


def default_callbacks() -> list[Callback]:
    """Return what every run has, in the order in which it acts: dashboards come last and show all files."""
    return [Progress(), RunRecord(), NeighborPictures(), WandbResults()]


def place(callback: Callback) -> int:
    """Bars go before anything is printed; dashboards come last and show all files; the rest stays in order."""
    return isinstance(callback, WandbResults) - isinstance(callback, ProgressBar)
