import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pytorch_lightning import Trainer

from lit_knn.attacks import FGSM, PGD, RandomNoise, Square
from lit_knn.attacks.objectives import EOT, DefenseMargin, FeatureSpace, SoftKNN
from lit_knn.backbones import Classifier
from lit_knn.data import Digits, ImageData
from lit_knn.database import Database
from lit_knn.database.index import Faiss
from lit_knn.defenses import CBWD, KNN, Defense, NoDefense, Query, Transformation, TransformedClassifier, Variant
from lit_knn.errors import UserError
from lit_knn.evaluation.metrics.audit import AuditError
from lit_knn.evaluation.module import Evaluation
from lit_knn.randomness import Randomness, run_seed
from lit_knn.report.results import WORST_CASE
from lit_knn.threat_models import BlackBox, GrayBox, WhiteBox
from tests.conftest import NETWORK
from tests.defenses.transformations.conftest import Noisy

QUERIES = 130
NEAREST = KNN(taps=["late"], k=[5], weightings=[CBWD()], combinations=["soft"])


def build(classifier, database=None, **changes):
    given = {
        "attacks": [PGD(steps=2)],
        "deltas": [0.05],
        "defenses": [NoDefense()] + ([KNN(taps=["early", "late"], k=[1, 5])] if database else []),
        "database": database,
    }
    return Evaluation(**{"classifier": classifier, **given, **changes})


def test(evaluation, data, **options):
    """Run on any Trainer and return the results."""
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
    Trainer(accelerator="cpu", devices=1, **quiet, **options).test(evaluation, data, verbose=False)
    return evaluation.results


test.__test__ = False  # not for pytest


def counts(results):
    return [row["correct"] for row in results]


# ---------------------------------------------------------------- what is measured


def test_accuracies_are_those_of_a_plain_loop(classifier, data):
    """The independent reference: attack and classify all images at once, in plain PyTorch."""
    rows = test(build(classifier, deltas=[0.05, 0.1]), data)
    batches = [data.on_after_batch_transfer(batch) for batch in data.test_dataloader()]
    image, label, id = (torch.cat([batch[part] for batch in batches]) for part in ("image", "label", "id"))
    versions = (image, *PGD(steps=2)(classifier, image, label, id, [0.05, 0.1]))
    expected = [int((classifier(version).argmax(1) == label).sum()) for version in versions]
    assert [row["correct"] for row in rows if row["topk"] == 1] == expected
    assert {row["n"] for row in rows} == {len(data.expected_query_ids())} == {QUERIES}
    assert expected[0] > expected[1] > expected[2]  # the attack does something


def test_neighbors_vote_as_in_numpy(classifier, data, database, gallery):
    """k = 1 without weights: the prediction is that of the nearest stored row."""
    rows = test(build(classifier, database), data)
    clean = {(row["tap"], row["k"], row["weighting"]): row for row in rows if row["delta"] == 0 and row["topk"] == 1}
    store = gallery.store
    batches = [data.on_after_batch_transfer(batch) for batch in data.test_dataloader()]
    image, label = (torch.cat([batch[part] for batch in batches]) for part in ("image", "label"))
    softmax = torch.from_numpy(store.softmax_rows(torch.arange(len(store)).numpy())).float()
    for tap in ("early", "late"):
        stored = torch.cat([torch.from_numpy(block) for _, block in store.feature_blocks(tap)])
        features = gallery.project(tap, classifier.activations(image, [gallery.tap(tap)])[tap])
        nearest = torch.cdist(features.double(), stored.double()).argmin(1)
        expected = int((softmax[nearest].argmax(1) == label).sum())
        assert clean[tap, 1, "UW"]["correct"] == expected


def test_the_realized_perturbation_stays_within_each_delta(classifier, data):
    for row in test(build(classifier, deltas=[0.02, 0.1], attacks=[PGD(steps=2), RandomNoise()]), data):
        assert row["delta_mean"] <= row["delta_max"] <= row["delta"] * (1 + 1e-4)
        assert row["delta_mean"] >= row["delta"] * 0.8  # clipping takes a little of it


@pytest.mark.parametrize(("norm", "given"), [("l2", [0.3, 2]), ("linf", ["4/255", "16/255"])])
def test_sizes_in_the_units_of_others(norm, given, classifier, data):
    evaluation = build(classifier, deltas=given, attacks=[PGD(steps=3), RandomNoise()], norm=norm)
    rows = test(evaluation, data)
    assert [evaluation.deltas, {row["norm"] for row in rows}] == [[0.0, *map(eval, map(str, given))], {norm}]
    for row in rows:
        assert row["delta"] * 0.8 <= row["delta_mean"] <= row["delta_max"] <= row["delta"] * (1 + 1e-5) + 1e-7
    batches = [data.on_after_batch_transfer(batch) for batch in data.test_dataloader()]
    image, label, id = (torch.cat([batch[part] for batch in batches]) for part in ("image", "label", "id"))
    versions = (image, *PGD(steps=3)(classifier, image, label, id, evaluation.deltas[1:], norm=norm))
    expected = [int((classifier(version).argmax(1) == label).sum()) for version in versions]
    assert [r["correct"] for r in rows if (r["attack"], r["topk"]) == ("PGD", 1)] == expected
    assert expected[0] > expected[2]


class Dark(Digits):
    """The first digit is black."""

    def open_shard(self, index):
        shard = super().open_shard(index)
        lit = np.arange(len(shard._labels)) > 0
        return type(shard)(
            shard.name, shard.keys(), shard._images * lit[:, None, None, None].astype(np.uint8), shard._labels
        )


def test_black_queries_have_no_delta_and_are_attacked_in_other_norms(classifier):
    def measure(norm):
        data = ImageData(queries=Dark(split="test"), query_subset=[0, 1, 2], batch_size=3)
        return test(build(classifier, norm=norm, deltas=[0.1], attacks=[RandomNoise()]), data)

    assert {row["n"] for row in measure("linf")} == {3}
    with pytest.raises(UserError, match="every pixel is zero"):
        measure("relative_l2")


def test_evaluations_of_a_defense_that_draws_are_those_of_a_plain_loop(classifier, data):
    """The independent reference: draw for the same images again and again, and count."""
    noisy = TransformedClassifier(transformation=Noisy())
    given = {"defenses": [NoDefense(), noisy], "attacks": [FGSM(), RandomNoise()], "deltas": [0.15], "topk": [1]}
    rows = test(build(classifier, **given, evaluations=4), data)
    batches = [data.on_after_batch_transfer(batch) for batch in data.test_dataloader()]
    image, label, ids = (torch.cat([batch[part] for batch in batches]) for part in ("image", "label", "id"))
    versions = [next(attack(classifier, image, label, ids, [0.15])) for attack in given["attacks"]]

    def right(version, number):
        randomness = Randomness(run_seed(), ids).of("evaluation", number)
        return noisy(Query(version, classifier, randomness=randomness))[0].argmax(1) == label

    times = torch.stack([sum(right(version, number).int() for number in range(4)) for version in [image, *versions]])
    expected = [*times[1:], times.amin(dim=0)]  # under each attack, and the worst one of each image
    found = {(r["attack"], r["protocol"]): r for r in rows if r["defense"] == "noisy" and r["delta"]}
    for attack, count in zip(("FGSM", "RandomNoise", "worst case"), expected, strict=True):
        mean, worst, majority = (found[attack, protocol] for protocol in ("mean", "worst", "majority"))
        assert (mean["correct"], mean["accuracy"]) == (int(count.sum()), int(count.sum()) / (4 * QUERIES))
        assert (worst["correct"], worst["n"]) == (int((count == 4).sum()), QUERIES)
        assert (majority["correct"], majority["n"]) == (int((count > 2).sum()), QUERIES)
        assert worst["correct"] < majority["correct"] < QUERIES
    assert {row["protocol"] for row in rows if row["defense"] == "none"} == {""}


def test_an_attacker_draws_other_numbers_than_the_defender(classifier, data, monkeypatch):
    """All streams that a transformation is given, by what they are for: none of an attacker's is one of a verdict."""
    asked = []

    class Watched(Noisy):
        def __call__(self, image, randomness):
            asked.append((randomness.seed, randomness.purpose, randomness.draw, torch.is_grad_enabled()))
            return super().__call__(image, randomness)

    attacks = [PGD(steps=2, restarts=2, objective=EOT(objective=DefenseMargin(), draws=2, evaluations=10))]
    attacks.append(Square(queries=2, objective=DefenseMargin()))
    noisy = TransformedClassifier(transformation=Watched())
    test(build(classifier, attacks=attacks, threats=[WhiteBox()], defenses=[noisy], evaluations=3), data)
    assert run_seed() == attacks[0].seed == 0  # the same, and yet
    verdicts = {place[:3] for place in asked if place[1].startswith("evaluation ")}
    assert verdicts == {(0, f"evaluation {number}/transformation", 0) for number in range(3)}
    others = {place[:3] for place in asked} - verdicts
    assert {purpose.partition(" ")[0] for _, purpose, _ in others} >= {"run", "choice"}
    assert not any("evaluation" in purpose for _, purpose, _ in others)


@pytest.mark.parametrize("evaluations", [0, -1, 1001])
def test_a_number_of_evaluations_that_there_cannot_be(classifier, evaluations):
    with pytest.raises(UserError, match=f"evaluations is {evaluations}; 1 to 1,000 are accepted"):
        build(classifier, evaluations=evaluations)


def test_the_clean_images_are_always_measured_once_and_first(classifier, data):
    rows = test(build(classifier, deltas=[0.1, 0.05, 0.1]), data)
    assert [row["delta"] for row in rows if row["topk"] == 1] == [0.0, 0.05, 0.1]
    assert rows[0]["delta_max"] == 0


def test_each_threat_and_attack_has_its_rows_and_a_surrogate_is_weaker(classifier, data):
    surrogate = Classifier(**{**NETWORK, "network": "lit_knn.backbones.digits.digits_surrogate"})
    before = surrogate.fingerprint()
    threats = [GrayBox(), BlackBox(surrogates=[surrogate])]
    rows = test(build(classifier, threats=threats, attacks=[FGSM(), PGD(steps=2)], deltas=[0.1]), data)
    found = {(row["threat"], row["attack"]): row["correct"] for row in rows if row["delta"] and row["topk"] == 1}
    cases = {(t, a) for t in ("gray_box", "black_box") for a in ("FGSM", "PGD")}
    assert set(found) == cases | {WORST_CASE}
    assert found[WORST_CASE] <= min(found[case] for case in cases)
    assert found["gray_box", "PGD"] < found["black_box", "PGD"]
    assert surrogate.fingerprint() == before


def test_the_worst_case_is_that_of_each_image(classifier, data):
    """Against the definition: an image counts where no attack breaks it."""
    attacks = [FGSM(), RandomNoise(), PGD(steps=2)]
    rows = test(build(classifier, attacks=attacks, deltas=[0.1]), data)
    batches = [data.on_after_batch_transfer(batch) for batch in data.test_dataloader()]
    image, label, id = (torch.cat([batch[part] for batch in batches]) for part in ("image", "label", "id"))
    versions = [next(attack(classifier, image, label, id, [0.1])) for attack in attacks]
    survives = torch.stack([classifier(version).argmax(1) == label for version in versions]).all(0)
    (worst,) = (row["correct"] for row in rows if (row["threat"], row["attack"]) == WORST_CASE
                if row["delta"] and row["topk"] == 1)  # fmt: skip
    assert worst == int(survives.sum())


def test_a_single_case_needs_no_worst_case(classifier, data):
    assert {row["threat"] for row in test(build(classifier), data)} == {"gray_box"}


def test_a_white_box_attacks_each_tap_and_its_attacks_only(classifier, data, database):
    attacks = [PGD(steps=2), PGD(steps=3, objective=FeatureSpace())]
    rows = test(build(classifier, database, attacks=attacks, threats=[GrayBox(), WhiteBox()], deltas=[0.1]), data)
    cases = {(row["threat"], row["attack"]) for row in rows}
    assert cases == {("gray_box", "PGD"), ("white_box early", "PGD-FS"), ("white_box late", "PGD-FS"), WORST_CASE}
    found = {
        (row["threat"], row["tap"]): row["correct"]
        for row in rows
        if row["delta"] and (row["topk"], row["k"], row["weighting"]) == (1, 5, "CBW-D")
    }
    assert found["white_box early", "early"] < found["white_box late", "early"]  # it was made for this tap


@pytest.mark.parametrize(
    ("threat", "defenses", "stops"),
    [
        (GrayBox(), [NoDefense()], True),
        (GrayBox(), [NoDefense(), NEAREST], False),
        (BlackBox(surrogates=[Classifier(**NETWORK)]), [NoDefense()], False),
        (WhiteBox(defense=NEAREST), [NEAREST], True),
        (WhiteBox(defense=NEAREST, rows=600, overlap=0.0), [NEAREST], False),
    ],
)
def test_no_attack_stops_early_whose_images_are_for_another_network_or_database(
    threat, defenses, stops, classifier, gallery, data
):
    """The rule: what an attacker sees of another network, or of rows of their own, is no verdict."""
    attack = PGD(steps=4, enough=0, objective=SoftKNN(pool=20) if threat.adaptive else None)
    evaluation = build(classifier, attacks=[attack], threats=[threat], defenses=defenses)
    evaluation.views = gallery.nested([600])
    batch = data.on_after_batch_transfer(data.first_queries())
    found = evaluation.attacked(threat, attack, *(batch[name][:16] for name in ("image", "label", "id")), [0.3])
    passes = next(found).passes[:, 0]
    assert passes.max() == 4 or stops
    assert bool(passes.min() < 4) is stops


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attacks": [PGD(objective=FeatureSpace())]}, "PGD-FS needs a threat .* add WhiteBox"),
        ({"threats": [WhiteBox(defense=NoDefense())]}, "PGD needs a threat .* add GrayBox or BlackBox"),
        ({"threats": [GrayBox(), WhiteBox(defense=NoDefense())]}, "white_box has nothing to do"),
        ({"threats": [WhiteBox()]}, "nothing to copy"),
    ],
)
def test_an_attack_and_a_threat_that_do_not_meet(classifier, changes, message):
    with pytest.raises(UserError, match=message):
        build(classifier, **changes)


def test_topk_above_the_classes_is_refused_or_left_out(classifier, data):
    assert {row["topk"] for row in test(build(classifier, topk=[1, 3]), data)} == {1, 3}


# ---------------------------------------------------------------- what must not matter


@pytest.mark.parametrize("options", [{"batch_size": 13}, {"batch_size": 130}, {"num_workers": 2}])
def test_counts_depend_on_neither_batch_size_nor_workers(classifier, database, data, options):
    other = ImageData(
        queries=data.queries, database=data.database, num_queries=QUERIES, **{"batch_size": 50, **options}
    )
    first, second = test(build(classifier, database), data), test(build(classifier, database), other)
    assert counts(first) == counts(second)
    if "num_workers" in options:
        assert first == second  # to the last bit


def test_a_second_test_starts_from_nothing(classifier, data):
    evaluation = build(classifier)
    assert copy.deepcopy(test(evaluation, data)) == test(evaluation, data)


def test_an_attack_leaves_no_trace_in_the_network(classifier, database, data):
    before = copy.deepcopy(classifier.state_dict())
    evaluation = build(classifier, database)
    test(evaluation, data)
    assert all(torch.equal(classifier.state_dict()[name], value) for name, value in before.items())
    assert not any(module.training for module in classifier.modules())
    assert all(parameter.grad is None for parameter in evaluation.parameters())


def test_a_defense_that_draws_is_a_warning_of_this_test_only(classifier, data):
    class Noise(Transformation):
        name = "noise"

        def __call__(self, image, randomness):
            return (image + 0.1 * torch.rand_like(image)).clamp(0, 1)

    evaluation = build(classifier, defenses=[NoDefense(), TransformedClassifier(transformation=Noise())])
    for _ in range(2):
        test(evaluation, data)
        assert [sentence.split(":")[0] for sentence in evaluation.warnings] == [
            "defense noise draws random numbers that are not its query's",
            "defense noise answers at random, and each query is evaluated once",
        ]


# ---------------------------------------------------------------- the audit


class Loader:
    """Batches in a loader of their own; Lightning takes a list for several loaders."""

    def __init__(self, batches):
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        return iter(self.batches)


class Lossy(ImageData):
    """Drops the last batch, as `drop_last` would."""

    def test_dataloader(self):
        return Loader(list(super().test_dataloader())[:-1])


class Padded(ImageData):
    """Repeats the first batch, as a distributed sampler pads."""

    def test_dataloader(self):
        batches = list(super().test_dataloader())
        return Loader([*batches, batches[0]])


@pytest.mark.parametrize("kind", [Lossy, Padded])
def test_a_query_that_is_left_out_or_seen_twice_stops_the_run(classifier, kind):
    with pytest.raises(AuditError, match="130 were to be counted"):
        test(build(classifier), kind(queries=Digits(split="test"), batch_size=50, num_queries=QUERIES))


def test_a_test_of_some_batches_is_not_audited(classifier, data):
    assert {row["n"] for row in test(build(classifier), data, limit_test_batches=2)} == {100}


def test_a_test_of_one_batch_is_not_audited(classifier, data):
    assert {row["n"] for row in test(build(classifier), data, limit_test_batches=1)} == {50}


# ---------------------------------------------------------------- mistakes


def test_retrieval_without_a_database(classifier, data):
    with pytest.raises(UserError, match=r"no model\.database"):
        test(build(classifier, defenses=[KNN(taps=["early"])]), data)


def test_a_defense_that_asks_for_another_tap(classifier, data, database):
    with pytest.raises(
        UserError, match=r"wants neighbors at 'middle', but the database has no such tap; it has early, late"
    ):
        test(build(classifier, database, defenses=[KNN(taps=["middle"])]), data)


class Scale(Defense):
    """A user's own, whose name says nothing of its setting."""

    variants = [Variant("scaled")]  # noqa: RUF012

    def __init__(self, factor):
        self._factor = factor

    def __call__(self, query):
        return query.classify(query.image * self._factor)[None]


@pytest.fixture
def origin(classifier, data, database):
    """Return what the results of an evaluation depend on."""

    def call(attacked=classifier, data=data, precision="32-true", index=None, **changes):
        given = {
            "attacks": [PGD(), PGD(objective=SoftKNN())],
            "deltas": [0.1],
            "defenses": [NoDefense(), KNN(taps=["late"], k=[5]), Scale(1.0)],
            "threats": [GrayBox(), WhiteBox()],
        }
        rows = changes.pop("rows", 1000)
        opened = Database(path=database.path, taps=list(database.taps.values()), index=index, rows=rows)
        evaluation = Evaluation(classifier=attacked, **given | changes)
        evaluation.views = opened.open(classifier, data)
        evaluation._trainer = SimpleNamespace(datamodule=data, precision=precision)
        return evaluation.origin()

    return call


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"attacks": [PGD(steps=3), PGD(objective=SoftKNN())]}, {"attack PGD"}),
        ({"deltas": [0.1, 0.2]}, {"deltas"}),
        ({"topk": [1]}, {"topk"}),
        ({"norm": "l2"}, {"norm"}),
        (
            {"defenses": [NoDefense(), KNN(taps=["late"], k=[5]), Scale(0.1)]},
            {"defenses", "copy of white_box scaled"},
        ),
        ({"defenses": [NoDefense(), KNN(taps=["late"], k=[5], weightings=[CBWD(m=3)])]}, None),
        ({"threats": [GrayBox(), WhiteBox(rows=400)]}, {"copy's rows of white_box late"}),
        ({"threats": [GrayBox(), WhiteBox(rows=400, overlap=0.75)]}, {"copy's rows of white_box late"}),
        ({"index": Faiss()}, {"index", "copy's index of white_box late"}),
        ({"rows": 900}, None),
        ({"precision": "bf16-mixed"}, {"precision"}),
        ({"data": {"batch_size": 25}}, {"batches"}),
        ({"data": {"query_seed": 1}}, {"queries"}),
        ({"attacked": {"std": [0.4] * 3}}, None),
    ],
)
def test_a_run_depends_on_all_that_it_asks(origin, data, changes, named):
    plain = origin()
    assert origin() == plain
    if "data" in changes:
        given = {"batch_size": 50, "num_queries": 130, **changes["data"]}
        changes = {"data": ImageData(queries=data.queries, database=data.database, **given)}
    if "attacked" in changes:
        changes = {"attacked": Classifier(**NETWORK | changes["attacked"])}
    other = origin(**changes)
    different = {name for name in {*plain, *other} if plain.get(name) != other.get(name)}
    assert different
    assert named is None or different == named


# ---------------------------------------------------------------- databases of several sizes


def test_a_sweep_over_sizes_is_a_run_for_each(classifier, data, database):
    taps = list(database.taps.values())

    def sized(rows):
        return build(classifier, Database(path=database.path, taps=taps, index=database.index, rows=rows))

    sweep = test(sized([900, 60, 0.2]), data)
    assert {row["rows"] for row in sweep} == {"", 60, 259, 900}
    for rows in (60, 0.2, 900):
        alone = test(sized(rows), data)
        searched = alone[-1]["rows"]
        assert alone == [row for row in sweep if row["rows"] in ("", searched)]
