import pytest

from lit_knn.attacks.objectives import SoftKNN
from lit_knn.defenses import KNN, UW, FusedKNN, NoDefense, RandomDatabase, Rejecting
from lit_knn.defenses.rejecting import AcceptedAnswer
from lit_knn.defenses.searching import layers, searching
from lit_knn.errors import UserError
from lit_knn.threat_models.surrogate_defense import SurrogateDefense

VOTE = KNN(taps=["late"], k=[6], weightings=[UW()])
FUSED = FusedKNN(taps=["early", "late"], fusion=["votes"], k=[6], weightings=[UW()])


def rejecting(defense):
    return AcceptedAnswer(rejecting=Rejecting(defense=defense, threshold=0.5))


@pytest.mark.parametrize("vote", [VOTE, FUSED], ids=["one tap", "several"])
@pytest.mark.parametrize("wrap", [lambda d: d, lambda d: RandomDatabase(defense=d), rejecting])
def test_stand_ins_fit_whatever_answers_by_a_knn_and_find_it(vote, wrap, classifier, gallery):
    defense = wrap(vote)
    copy = SurrogateDefense(classifier, defense, gallery)
    assert SoftKNN().fits(defense, gradient=True)
    assert copy.retrieval is searching(defense)
    assert copy.retrieval.variants == vote.variants


def test_a_random_part_whose_answers_may_be_rejected_is_searched_as_deep_as_alone(classifier, gallery):
    part = RandomDatabase(defense=VOTE, share=0.5)
    nested = rejecting(part)
    assert [type(layer).__name__ for layer in layers(nested)] == ["AcceptedAnswer", "RandomDatabase", "KNN"]
    assert SoftKNN().fits(nested, gradient=True)
    found = [SurrogateDefense(classifier, defense, gallery).k for defense in (VOTE, part, nested)]
    assert found == [6, 12, 12]


def test_others_have_none(classifier):
    assert searching(NoDefense()) is None
    assert not SoftKNN().fits(NoDefense(), gradient=True)
    with pytest.raises(UserError, match="its threat's defense is NoDefense"):
        SurrogateDefense(classifier, NoDefense()).retrieval  # noqa: B018
