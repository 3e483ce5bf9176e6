from lit_knn.defenses import KNN, NoDefense, most_needed


def test_the_largest_number_of_neighbors_by_tap():
    defenses = [KNN(taps=["a"], k=[3, 9]), NoDefense(), KNN(taps=["b", "a"], k=[5])]
    assert most_needed(defenses) == {"a": 9, "b": 5}
