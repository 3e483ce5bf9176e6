import pytest

from lit_knn.backbones import Classifier, Ensemble, set_precision
from lit_knn.errors import UserError
from tests.conftest import NETWORK


def test_all_classifiers_within_a_module_are_told_and_their_fingerprints_say_it(classifier):
    ensemble = Ensemble([classifier, Classifier(**NETWORK)])
    before = classifier.fingerprint(), ensemble.fingerprint()
    set_precision(ensemble, "bf16-mixed")
    assert [member.precision for member in ensemble.members] == ["bf16-mixed"] * 2
    assert classifier.fingerprint() == f"{before[0]} in bf16-mixed"
    assert ensemble.fingerprint() != before[1]
    set_precision(ensemble, "64-true")
    expected = classifier.fingerprint()
    assert classifier.double().fingerprint() == expected == f"{before[0]} in 64-true"


@pytest.mark.parametrize("precision", ["16-true", "bf16-true", "16-mixed"])
def test_what_attacks_cannot_use_is_refused(precision, classifier):
    with pytest.raises(
        UserError, match=f"trainer.precision is {precision}; accepted are 32-true, 64-true and bf16-mixed"
    ):
        set_precision(classifier, precision)
    assert classifier.precision == "32-true"
