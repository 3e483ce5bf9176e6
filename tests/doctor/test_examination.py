import numpy as np
from PIL import Image


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


def folders(tmp_path, names=("c0", "c1", "c2")):
    """Write two images of each class as queries and two as database, and return a configuration's data."""
    pixels = np.random.default_rng(0).integers(1, 255, (4 * len(names), 8, 8, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        side = "queries" if number % 2 else "database"
        (of := tmp_path / side / names[number // 4]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(of / f"{number}.png")
    sides = ("queries", "database")
    return {side: {"class_path": "ImageFolder", "init_args": {"root": str(tmp_path / side)}} for side in sides}


def test_labels_that_a_test_refuses_are_refused_by_the_doctor_and_before_anything_is_built(
    config, ask, mistake, tmp_path
):
    config["data"] = {**folders(tmp_path), "batch_size": 3}
    config["model"]["database"]["build_missing"] = True
    code, said = ask(config)
    sentence = (
        "data.queries: the folders of " + str(tmp_path / "queries") + " are 3 classes, but the network has 10 classes"
    )
    assert code == 1
    assert f"✗ labels {sentence}" in said
    assert sentence in mistake("test", config)
    assert not (tmp_path / "database" / "projection").exists()
    for source in ("queries", "database"):
        config["data"][source]["init_args"]["classes"] = [f"c{number}" for number in range(10)]
    code, said = ask(config)
    assert code == 0
    assert "✓ labels are classes of digits_resnet" in said


def test_labels_of_the_database_alone_are_a_warning_unless_a_defense_goes_by_them(config, ask, mistake, tmp_path):
    config["data"] = {"database": folders(tmp_path)["database"], "queries": config["data"]["queries"], "batch_size": 3}
    config["model"]["database"]["build_missing"] = True
    code, said = ask(config)
    assert code == 0
    assert "! labels the store will keep none of the database: the folders of" in said
    assert "a class without images here has no neighbors" in said
    config["model"]["defenses"] = [{"class_path": "DeepKNN", "init_args": {"taps": ["early"], "k": 2}}]
    assert "a defense goes by the labels of rows, but data.database: the folders of" in mistake("test", config)
    assert not (tmp_path / "database" / "projection").exists()


def test_a_network_that_cannot_be_built_is_a_line_in_its_place(copied, ask):
    copied["model"]["classifier"]["weights"] = "nowhere.pth"
    code, said = ask(copied)
    assert code == 1
    places = [said.index(part) for part in ("✓ installed", "✓ queries 130", "✓ database 1,297", "✗ model")]
    assert places == sorted(places)
    assert "nowhere.pth" in said[places[-1] :]
