from torch import nn

from lit_knn.defenses import NoDefense
from lit_knn.threat_models import GrayBox


def test_it_attacks_the_defended_network_and_knows_no_defense():
    defended, threat = nn.Flatten(), GrayBox()
    assert threat.name == "gray_box"
    assert threat.attacked(defended) is defended
    assert not threat.adaptive
    assert threat.against([NoDefense()]) == [threat]
    assert threat.surrogate_defense(defended, None) is None
