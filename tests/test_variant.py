import subprocess
import sys

from lit_knn.variant import Variant


def test_what_a_defense_does_not_have_is_blank():
    assert Variant("none") == ("none", "", "", "", "")


def test_results_can_be_read_without_pytorch():
    script = "import sys, lit_knn.report; assert not {'torch', 'faiss', 'h5py'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
