from lit_knn.defenses import KNN, BitDepth, NoDefense, Requirements, TransformedClassifier


def test_each_defense_says_what_it_needs():
    assert NoDefense().requirements() == Requirements(image=False)
    assert TransformedClassifier(transformation=BitDepth()).requirements() == Requirements(image=True)
    knn = KNN(taps=["a", "b"], k=[3, 9])
    assert knn.requirements() == Requirements(neighbors={"a": 9, "b": 9}, image=False)
    assert knn.needed == {"a": 9, "b": 9}
    assert not knn.uses_image
