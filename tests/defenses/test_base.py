from lit_knn.defenses import KNN, Defense, NoDefense, Variant, most_needed


def test_the_largest_number_of_neighbors_by_tap():
    defenses = [KNN(taps=["a"], k=[3, 9]), NoDefense(), KNN(taps=["b", "a"], k=[5])]
    assert most_needed(defenses) == {"a": 9, "b": 5}


def test_a_defense_of_one_variant_is_its_own_copy():
    class Constant(Defense):
        def __init__(self, names):
            self.names = names

        @property
        def variants(self):
            return [Variant(name) for name in self.names]

        def __call__(self, query):
            raise NotImplementedError

    one = Constant(["a"])
    assert one.copies() == [one]
    assert Constant(["a", "b"]).copies() == []
