import subprocess
import sys

from lit_knn.report.results.variant import Variant


def test_what_a_defense_does_not_have_is_blank():
    assert Variant("none") == ("none", "", "", "", "", "")


def test_in_words():
    assert str(Variant("none")) == "none"
    assert str(Variant("kNN", "late", 50, "CBW-D", "soft", 1000)) == "kNN late K=50 CBW-D soft N=1000"


def test_results_can_be_read_without_pytorch():
    script = "import sys, lit_knn.report; assert not {'torch', 'faiss', 'h5py'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
