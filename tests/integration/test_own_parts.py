"""One journey through the command line with parts as people have them: the right numbers, or one sentence.

The digits are packed, and their network is wrapped and saved, in the ways that users do. However that is, the answers
are those of the network itself to those images, computed here without the package's data and taps.
"""

import csv
import tarfile
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_digits

from lit_knn.backbones.digits import digits_resnet
from tests.conftest import run

DIGITS = load_digits()
IMAGES = np.rint(DIGITS.images * (255 / 16)).astype(np.uint8)[..., None].repeat(3, axis=3)  # (M, 8, 8, 3)
LABELS = DIGITS.target
QUERIES, ROWS = range(1200, 1280), range(240)
CLASSES = [f"c{digit}" for digit in range(10)]

NETWORKS = """
import torch
from torch import nn
from lit_knn.backbones.digits import digits_resnet

class Wrap(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = digits_resnet()
    def forward(self, x):
        return self.net(x)

class Kept(Wrap):
    def forward(self, x):
        logits = self.net(x)
        self.last = -logits
        return logits

class Isinstance(Wrap):
    def forward(self, x):
        return self.net(x if isinstance(x, torch.Tensor) else -x)

class Flow(Wrap):
    def forward(self, x):
        return self.net(x if x.sum() > -1e9 else -x)

class Pair(Wrap):
    def forward(self, x):
        return self.net(x), -self.net(x)

class Record(Wrap):
    def forward(self, x):
        return {"loss": -self.net(x), "logits": self.net(x)}

class Flat(Wrap):
    def forward(self, x):
        return self.net(x).flatten()

class Best(Wrap):
    def forward(self, x):
        return self.net(x).argmax(1, keepdim=True)

class Raising(Wrap):
    def forward(self, x):
        raise ValueError("not today")

class Gray(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
    def forward(self, x):
        return self.net(x)

def parallel():
    return nn.DataParallel(Wrap())

def half():
    return Wrap().half()

def leaving():
    raise SystemExit(0)

def nothing():
    return None
"""


@pytest.fixture(scope="module")
def truth():
    """Clean accuracy of the network, asked by nothing but PyTorch."""
    pixels = torch.from_numpy(IMAGES[QUERIES]).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        answer = digits_resnet().eval()((pixels - 0.5) / 0.5).argmax(dim=1).numpy()
    return float((answer == LABELS[QUERIES]).mean())


@pytest.fixture
def journey(tmp_path, config):
    """A network in a file, folders of classes as queries and database, one small test; everything below `tmp_path`."""
    (tmp_path / "nets.py").write_text(NETWORKS)
    for name, rows in (("queries", QUERIES), ("database", ROWS)):
        folders(tmp_path / name, rows)
        config["data"][name] = {"class_path": "ImageFolder", "init_args": {"root": str(tmp_path / name)}}
    config["data"] |= {"batch_size": len(QUERIES), "num_queries": None}
    tap = {"layer": "net.layer2.1.conv2", "pool": 2, "name": "middle"}
    config["model"] |= {
        "classifier": {"network": f"{tmp_path / 'nets.py'}:Wrap", "mean": [0.5] * 3, "std": [0.5] * 3},
        "deltas": [0.1],
        "database": {"path": str(tmp_path / "store"), "taps": [tap], "build_missing": True},
        "defenses": [{"class_path": "NoDefense"}, {"class_path": "KNN", "init_args": {"taps": ["middle"], "k": [10]}}],
    }
    return config


def encoded(row, suffix="png"):
    buffer = BytesIO()
    Image.fromarray(IMAGES[row]).save(buffer, suffix)
    return buffer.getvalue()


def folders(root, rows, name=lambda label: f"c{label}"):
    for row in rows:
        path = root / name(LABELS[row]) / f"{row:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(row))


def tar(path, rows, key=lambda row: f"{row:04d}", suffix="png"):
    with tarfile.open(path, "w") as file:
        for row in rows:
            for end, data in ((suffix, encoded(row, suffix)), ("cls", str(LABELS[row]).encode())):
                info = tarfile.TarInfo(f"{key(row)}.{end}")
                info.size = len(data)
                file.addfile(info, BytesIO(data))
    return str(path)


def accuracies(config):
    """Run a test, and return the accuracy of each line of its results."""
    with (run("test", config) / "results.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["topk"] == "1"]
    keys = ("defense", "delta", "weighting", "combination")
    return {tuple(row[key] for key in keys): float(row["accuracy"]) for row in rows}


def clean(found):
    return found["none", "0.0", "", ""]


# ---------------------------------------------------------------- networks


@pytest.mark.slow
def test_networks_that_are_the_same_function_give_the_same_numbers(journey, tmp_path, truth):
    def found(network, **more):
        journey["model"]["classifier"] |= {"network": f"{tmp_path / 'nets.py'}:{network}", **more}
        journey["model"]["database"]["path"] = str(tmp_path / f"store-{network}")
        return accuracies(journey)

    expected = found("Wrap")
    assert clean(expected) == pytest.approx(truth, abs=1e-9)
    for network in ("Kept", "Isinstance", "Flow"):
        assert found(network) == expected, network
    assert found("Record", output="logits") == expected
    assert found("Pair", output=0) == expected


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ("Pair", ["tuple", "output"]),
        ("Record", ["logits", "output"]),
        ("Flat", ["(800,)", "(80, C)"]),
        ("Best", ["int64"]),
        ("Raising", ["nets.py", "not today"]),
        ("Gray", ["channel"]),
        ("leaving", ["nets.py"]),
        ("nothing", ["NoneType"]),
    ],
)
def test_networks_that_give_no_logits_are_one_sentence(journey, mistake, tmp_path, network, words):
    journey["model"]["classifier"]["network"] = f"{tmp_path / 'nets.py'}:{network}"
    journey["model"] |= {"defenses": [{"class_path": "NoDefense"}], "database": None}
    sentence = mistake("test", journey)
    assert all(word in sentence for word in words), sentence


# ---------------------------------------------------------------- images


def in_tars(tmp_path, **options):
    return {"class_path": "TarShards", "init_args": {"urls": tar(tmp_path / "q.tar", QUERIES, **options)}}


def in_arrays(tmp_path, kind):
    images, labels = IMAGES[QUERIES], LABELS[QUERIES]
    floats = images.astype(np.float32) / 255
    path, more = tmp_path / f"q.{kind.split('-')[0]}", {}
    if path.suffix == ".npz":
        np.savez(path, x=images, y=labels)
        more = {"images_key": "x", "labels_key": "y"}
    elif path.suffix == ".safetensors":
        save_file({"x": torch.from_numpy(floats), "y": torch.from_numpy(labels)}, path)
        more = {"images_key": "x", "labels_key": "y"}
    elif path.suffix == ".pt":
        torch.save(
            {"x": torch.from_numpy(floats).permute(0, 3, 1, 2).contiguous(), "y": torch.from_numpy(labels)}, path
        )
        more = {"images_key": "x", "labels_key": "y"}
    else:
        np.save(path, floats if kind == "npy-float" else np.concatenate([images[::-1], images]))
        np.save(tmp_path / "y.npy", labels if kind == "npy-float" else np.concatenate([labels[::-1], labels]))
        more = {"labels": str(tmp_path / "y.npy")}
        more |= {} if kind == "npy-float" else {"rows": [len(labels), 2 * len(labels)]}
    return {"class_path": "Arrays", "init_args": {"images": str(path), **more}}


PACKINGS = {
    "tar": in_tars,
    "tar of ppm": lambda path: in_tars(path, suffix="ppm"),
    "tar of bmp": lambda path: in_tars(path, suffix="bmp"),
    **{
        kind: lambda path, kind=kind: in_arrays(path, kind) for kind in ("npy", "npy-float", "npz", "pt", "safetensors")
    },
}


@pytest.mark.parametrize("packing", PACKINGS)
def test_however_images_are_packed_the_numbers_are_the_same(journey, tmp_path, truth, packing):
    journey["data"]["queries"] = PACKINGS[packing](tmp_path)
    journey["model"] |= {"defenses": [{"class_path": "NoDefense"}], "database": None}
    assert clean(accuracies(journey)) == pytest.approx(truth, abs=1e-9)


def test_images_of_a_shard_that_are_not_read_are_refused_for_queries(journey, mistake, tmp_path):
    journey["data"]["queries"] = in_tars(tmp_path, key=lambda row: f"shot_{row}.5" if row % 2 else f"shot_{row}")
    sentence = mistake("test", journey)
    assert "40 " in sentence
    assert "shot_1201.5.png" in sentence


@pytest.mark.parametrize(
    ("name", "stray"),
    [
        (lambda label: str(label + 1), ()),  # 1 to 10, which text sorts otherwise
        (lambda label: f"{label:02d}", ()),
        (lambda label: f"c{label}", ("__MACOSX", "a-first-folder")),
    ],
    ids=["whole numbers", "padded", "stray folders"],
)
def test_folders_mean_the_classes_that_people_mean(journey, tmp_path, truth, name, stray):
    folders(tmp_path / "own", QUERIES, name)
    for folder in stray:
        (tmp_path / "own" / folder).mkdir()
    journey["data"]["queries"]["init_args"]["root"] = str(tmp_path / "own")
    journey["model"] |= {"defenses": [{"class_path": "NoDefense"}], "database": None}
    assert clean(accuracies(journey)) == pytest.approx(truth, abs=1e-9)


def test_some_of_the_classes_need_to_be_told_which(journey, mistake, tmp_path):
    some = [row for row in QUERIES if LABELS[row] in (3, 5, 8)]
    folders(tmp_path / "own", some)
    journey["data"]["queries"]["init_args"]["root"] = str(tmp_path / "own")
    journey["model"] |= {"defenses": [{"class_path": "NoDefense"}], "database": None}
    assert "classes" in mistake("test", journey)
    journey["data"]["queries"]["init_args"]["classes"] = [f"c{digit}" for digit in range(10)]
    assert clean(accuracies(journey)) > 0.9


def test_the_same_images_as_queries_and_database_are_refused_unless_wanted(journey, mistake):
    journey["data"]["queries"] = journey["data"]["database"]
    assert "allow_overlap" in mistake("test", journey)
    journey["data"]["allow_overlap"] = True
    accuracies(journey)


# ---------------------------------------------------------------- weights


def good():
    return {f"net.{name}": value for name, value in digits_resnet().state_dict().items()}


def bad():
    return {name: torch.zeros_like(value) for name, value in good().items()}


def under(prefix):
    return {prefix + name: value for name, value in good().items()}


FILES = {
    "plain": good,
    "parallel": lambda: {"state_dict": under("module."), "epoch": 3},
    "compiled": lambda: {"net": under("_orig_mod."), "acc": 0.95},
    "lightning": lambda: {"state_dict": under("model."), "pytorch-lightning_version": "2.6"},
    "nested": lambda: {"checkpoint": {"model_state_dict": good()}, "optimizer_state_dict": {"state": {}}},
}
NO_WEIGHTS = {
    "web page": b"<!DOCTYPE html><html>quota exceeded</html>",
    "git-lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 10\n",
    "empty": b"",
}


@pytest.fixture
def untrained(journey, tmp_path):
    """The journey without database, with weights to come from a file."""
    (tmp_path / "nets.py").write_text(NETWORKS.replace("digits_resnet()", "digits_resnet(pretrained=False)"))
    journey["model"] |= {"defenses": [{"class_path": "NoDefense"}], "database": None}
    journey["model"]["classifier"]["weights"] = str(tmp_path / "weights.pth")
    return journey


@pytest.mark.parametrize("kind", FILES)
def test_weights_are_found_wherever_a_file_keeps_them(untrained, tmp_path, truth, kind):
    torch.save(FILES[kind](), tmp_path / "weights.pth")
    assert clean(accuracies(untrained)) == pytest.approx(truth, abs=1e-9)


def test_two_sets_of_weights_are_chosen_by_name(untrained, mistake, tmp_path, truth):
    torch.save({"state_dict": bad(), "state_dict_ema": good()}, tmp_path / "weights.pth")
    sentence = mistake("test", untrained)
    assert all(name in sentence for name in ("state_dict", "state_dict_ema", "weights_key"))
    untrained["model"]["classifier"]["weights_key"] = "state_dict_ema"
    assert clean(accuracies(untrained)) == pytest.approx(truth, abs=1e-9)


@pytest.mark.parametrize("kind", NO_WEIGHTS)
def test_what_is_no_weights_file_is_one_sentence(untrained, mistake, tmp_path, kind):
    (tmp_path / "weights.pth").write_bytes(NO_WEIGHTS[kind])
    sentence = mistake("test", untrained)
    assert kind in sentence
    assert "weights.pth" in sentence
    assert "\x1b" not in sentence
