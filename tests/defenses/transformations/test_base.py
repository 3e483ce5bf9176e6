from lit_knn.defenses import Transformation


def test_a_transformation_that_says_nothing_is_taken_to_be_random_and_without_a_gradient():
    assert (Transformation.random, Transformation.differentiable, Transformation.keeps_size) == (True, False, False)
