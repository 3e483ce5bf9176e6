import pytest

from lit_knn.database.index import Faiss
from lit_knn.database.index.faiss_library import load_faiss
from lit_knn.errors import UserError


@pytest.mark.parametrize("factory", ["Nope", "", "IVF256,PQ7", "Flat,IVF4"])
def test_a_bad_factory_string_is_refused_with_examples(factory, store, tmp_path):
    with pytest.raises(UserError, match=r"FAISS has no index .* for 64 dimensions .*for example 'Flat'") as error:
        Faiss(factory=factory).build(store, "late", tmp_path / "index")
    assert repr(factory) in str(error.value)
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "index").iterdir())


def test_cuda_without_a_device_is_refused(small, tmp_path):
    if load_faiss().get_num_gpus():
        pytest.skip("there is a device")
    Faiss().build(small, "late", tmp_path)
    with pytest.raises(UserError, match="FAISS sees no GPU"):
        Faiss(device="cuda").open(small, "late", tmp_path)
    Faiss(device="auto").open(small, "late", tmp_path)
