import logging
import warnings

from lit_knn.engine.chatter import CHATTY, silence


def test_tips_are_silent_and_warnings_are_not():
    before = [logging.getLogger(name).level for name in CHATTY]
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            silence()
            warnings.warn("isinstance(treespec, LeafSpec) is deprecated", FutureWarning, stacklevel=1)
            warnings.warn("The `srun` command is available on your system but is not used.", UserWarning, stacklevel=1)
            warnings.warn("something else", FutureWarning, stacklevel=1)
        assert [str(one.message) for one in seen] == ["something else"]
        for name in CHATTY:
            assert not logging.getLogger(name).isEnabledFor(logging.INFO)
            assert logging.getLogger(name).isEnabledFor(logging.WARNING)
    finally:
        for name, level in zip(CHATTY, before, strict=True):
            logging.getLogger(name).setLevel(level)
