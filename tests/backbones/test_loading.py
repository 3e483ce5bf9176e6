from collections import OrderedDict

import pytest
import torch
from torch import nn

from lit_knn.backbones.loading import load_weights
from lit_knn.errors import UserError


def network(seed=0, classes=4):
    torch.manual_seed(seed)
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 2, 1), norm=nn.BatchNorm2d(2), fc=nn.Linear(2, classes)))


WANTED, OTHER = network(1).state_dict(), network(2).state_dict()


def prefixed(prefix, state=WANTED):
    return {prefix + name: value for name, value in state.items()}


def load(content, path, key=None):
    torch.save(content, path / "w.pth")
    target = network()
    load_weights(target, path / "w.pth", key)
    return target.state_dict()


def same(state, expected=WANTED):
    return all(torch.equal(state[name], value) for name, value in expected.items())


@pytest.mark.parametrize(
    "content",
    [
        WANTED,
        prefixed("module."),
        {"state_dict": WANTED, "epoch": 3},
        {"model": WANTED, "optimizer": {"state": {0: {"momentum_buffer": torch.zeros(2, 3, 1, 1)}}}},
        {"net": prefixed("module."), "acc": 95.1},
        {"model_state_dict": WANTED},
        {"state_dict": prefixed("model.") | {"criterion.weight": torch.ones(3)}, "hyper_parameters": {"lr": 0.1}},
        {"state_dict": prefixed("net.backbone.")},
        prefixed("_orig_mod."),
        prefixed("module._orig_mod."),
        prefixed("_orig_mod.module."),
        {"a": {"b": {"c": prefixed("backbone.")}}},
        [WANTED],
        {"n_averaged": torch.tensor(3), **prefixed("module.")},
        {"model": {**prefixed("module.model."), **prefixed("module.attacker.model."), "module.mean": torch.zeros(3)}},
        {"state_dict": WANTED, "state_dict_ema": {name: value.clone() for name, value in WANTED.items()}},
        {"state_dict": WANTED, "state_dict_of_more_classes": network(3, classes=9).state_dict()},
        {**WANTED, "total_ops": torch.zeros(1), "conv.total_params": torch.zeros(1)},
        {name: value for name, value in WANTED.items() if "num_batches" not in name},
        {name: value.double() for name, value in WANTED.items()},
    ],
)
def test_one_set_of_weights_is_found_wherever_it_is(content, tmp_path):
    assert same(load(content, tmp_path))


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ({"state_dict": OTHER, "state_dict_ema": WANTED}, "state_dict_ema"),
        ({"model_ema": WANTED, "model": OTHER}, "model_ema"),
        (
            {"state_dict": {**prefixed("module.encoder_k.", OTHER), **prefixed("module.encoder_q.")}},
            "state_dict.module.encoder_q",
        ),
    ],
)
def test_of_two_sets_the_user_names_one(content, key, tmp_path):
    with pytest.raises(UserError, match=r"hold 2 sets that differ, .* and .*: name one with weights_key") as refusal:
        load(content, tmp_path)
    assert repr(key) in str(refusal.value)
    assert same(load(content, tmp_path, key))
    assert same(load(content, tmp_path, f"{key}."))
    with pytest.raises(UserError, match="no weights of the network under 'best'; there is "):
        load(content, tmp_path, "best")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"a": 1, "b": "c"}, "hold no tensors"),
        ([1, 2], "hold no tensors"),
        (
            {**WANTED, "fc.weight": torch.zeros(9, 2)},
            r"size mismatch for fc.weight, \(9, 2\) in the file, \(4, 2\) in the net",
        ),
        (
            prefixed("module.", {**WANTED, "gate.weight": torch.ones(3)}),
            r"it has 'gate.weight' \(3,\), which the network lacks",
        ),
        (
            {("head" + name[2:] if name.startswith("fc") else name): value for name, value in WANTED.items()},
            (
                r"it has 'head.weight' \(4, 2\) and 'head.bias' \(4,\) "
                r"where the network has 'fc.weight' \(4, 2\) and 'fc.bias'"
            ),
        ),
        (
            {f"features.{i}": torch.ones(i) for i in range(5)},
            r"it has 'features.0' \(0,\) and 'features.1' \(1,\) and 3 more where the network has 'conv.weight'",
        ),
        ({"conv.weight": WANTED["conv.weight"]}, "has nothing else where the network has 'conv.bias'"),
    ],
)
def test_what_does_not_fit_is_shown_beside_what_would(content, sentence, tmp_path):
    with pytest.raises(UserError, match=f"do not fit the network: .*{sentence}|{sentence}"):
        load(content, tmp_path)


def test_weights_that_two_layers_share_are_needed_once(tmp_path):
    def tied():
        built = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        built[1].weight = built[0].weight
        return built

    source, target = tied(), tied()
    state = source.state_dict()
    del state["1.weight"]  # as safetensors saves it
    torch.save(state, tmp_path / "w.pth")
    load_weights(target, tmp_path / "w.pth")
    assert torch.equal(target[1].weight, source[0].weight)
    assert target[1].weight is target[0].weight
