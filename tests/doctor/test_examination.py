def test_images_that_are_not_there_end_it(copied, ask):
    copied["data"]["database"]["init_args"]["images"] = "nowhere.npz"
    code, said = ask(copied)
    assert code == 1
    assert "✓ queries 130 images of Digits" in said
    assert "✗ database nowhere.npz does not exist" in said
    assert "network" not in said


def test_queries_that_are_in_the_database(copied, ask):
    copied["data"]["database"] = {"class_path": "Digits", "init_args": {"split": "all"}}
    code, said = ask(copied)
    assert code == 1
    assert "✗ database data.queries are images of data.database" in said


def test_a_layer_that_is_not_there(copied, ask):
    copied["model"]["database"]["taps"][0] = {"layer": "layer9", "name": "early"}
    code, said = ask(copied)
    assert code == 1
    assert "✗ network" in said
    assert "has no layer 'layer9'; near it are" in said


def test_what_is_no_configuration_is_code_2(copied, mistake):
    copied["model"]["attacks"] = ["PDG"]
    assert "no class 'PDG'" in mistake("doctor", copied)


def test_without_a_database_only_the_attack_is_forecast(copied, ask):
    copied["model"] = {key: copied["model"][key] for key in ("classifier", "attacks", "deltas")}
    del copied["data"]["database"]
    code, said = ask(copied)
    assert code == 0
    assert "✓ network digits_resnet, 10 classes" in said
    assert "for 1,430 passes" in said  # of 130 images: 2 steps there and back and an answer at 2 sizes, and clean
    assert "extract" not in said.partition("threads")[2]
