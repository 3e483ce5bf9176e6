import signal

import pytest

from lit_knn.distributed import Failure
from lit_knn.distributed.preemption import Preempted
from lit_knn.errors import ProcessError, UserError, WriteError


@pytest.mark.parametrize(
    ("error", "kind", "text", "code"),
    [
        (UserError("a bad image"), UserError, "a bad image", 2),
        (WriteError("no space"), UserError, "no space", 2),
        (Preempted(signal.SIGTERM), Preempted, "75", 75),
        (KeyboardInterrupt(), Preempted, "130", 130),
        (KeyError("x"), ProcessError, "process 2 of 4 has failed, and says where above: KeyError: 'x'", 1),
    ],
)
def test_what_the_others_end_with(error, kind, text, code):
    failure = Failure.of(error, 1, 4)
    told = Failure(*failure.message()).exception()
    assert type(told) is kind
    assert str(told) == text
    assert failure.code == code
