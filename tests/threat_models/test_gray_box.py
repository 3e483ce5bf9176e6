from torch import nn

from lit_knn.defenses import KNN, NoDefense
from lit_knn.threat_models import GrayBox


def test_it_attacks_the_defended_network_and_knows_no_defense():
    defended, threat = nn.Flatten(), GrayBox()
    assert threat.name == "gray_box"
    assert threat.attacked(defended) is defended
    assert not threat.adaptive
    assert threat.against([NoDefense()]) == [threat]
    assert threat.surrogate_defense(defended, None) is None


def test_its_images_are_a_transfer_to_whatever_else_answers():
    assert not GrayBox().transfers([NoDefense()])
    assert GrayBox().transfers([NoDefense(), KNN(taps=["late"])])
