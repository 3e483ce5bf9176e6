import torch

from lit_knn.attacks import FGSM, PGD
from lit_knn.evaluation.cache import BatchKey, CachedCase
from lit_knn.evaluation.case_runner import CaseRunner
from lit_knn.evaluation.module import Evaluation
from lit_knn.evaluation.observation import Observer
from lit_knn.evaluation.provenance import CLEAN


def test_clean_then_every_case_at_every_delta(classifier, data):
    evaluation = Evaluation(classifier=classifier, attacks=[FGSM(), PGD(steps=2)], deltas=[0.05, 0.1])
    told = []
    observer = Observer(classifier, [], {}, [])
    names = [CLEAN, ("gray_box", "FGSM"), ("gray_box", "PGD")]
    cached = {name: CachedCase(None, {}, observer.wanted) for name in names}
    runner = CaseRunner(evaluation, observer, cached, told.append)
    batch = data.first_images(torch.device("cpu"))
    image, label, ids = batch["image"][:5], batch["label"][:5], batch["id"][:5]
    key = BatchKey.of(image, label, ids)
    found = [observation.query.logits for observation in runner.everything(key, image, label)]
    assert told == ["gray_box: FGSM", "gray_box: PGD"]
    versions = [image, *FGSM()(classifier, image, label, ids, [0.05, 0.1])]
    versions += PGD(steps=2)(classifier, image, label, ids, [0.05, 0.1])
    for logits, version in zip(found, versions, strict=True):
        torch.testing.assert_close(logits, classifier(version))
    (alone,) = runner.attacked(1, key, image, label, [0.1])
    torch.testing.assert_close(alone.query.logits, found[-1])
    (clean,) = runner.clean(key, image)
    assert float(clean.realized.max()) == 0
