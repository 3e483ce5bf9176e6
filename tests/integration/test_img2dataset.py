"""A crawl by img2dataset itself, of addresses on this machine: some fail, some come late, and one keeps it waiting.

It needs old versions of what this package uses, and so an environment of its own, which `.ci/run` does not make: its
installation alone takes minutes.
"""

import http.server
import os
import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from lit_knn.database import Database
from lit_knn.database.building import findings
from lit_knn.database.building.verification import news
from lit_knn.database.index import Faiss
from lit_knn.database.store import Store
from lit_knn.distributed.partition import Partition
from tests.data.conftest import encode, photo
from tests.database.building.test_taking import Crawl

OWN = Path(__file__).parents[2] / ".venv-img2dataset" / "bin" / "img2dataset"
TOOL = str(OWN) if OWN.exists() else shutil.which("img2dataset")
INSTALL = "python3.11 -m venv .venv-img2dataset && .venv-img2dataset/bin/pip install img2dataset==1.47.0"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(TOOL is None, reason=f"img2dataset is not there: {INSTALL}")]


class Images(http.server.BaseHTTPRequestHandler):
    """Photographs under numbers; 3 is not found, 6 is no image, 12 waits until it may come."""

    asked, may_come = threading.Event(), threading.Event()

    def do_GET(self):
        number = int(Path(self.path).stem)
        if number == 12:
            self.asked.set()
            self.may_come.wait(600)
        self.send_response(404 if number == 3 else 200)
        self.end_headers()
        if number != 3:
            self.wfile.write(b"no image" if number == 6 else encode(photo(number, 8, 8), "png"))

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Images) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        Images.may_come.set()
        running.shutdown()


@pytest.fixture
def download(server, tmp_path):
    """Start img2dataset on some numbers, in shards of five."""

    def start(numbers):
        addresses = tmp_path / f"addresses-{numbers.start}.txt"
        addresses.write_text("".join(f"{server}/{number}.png\n" for number in numbers))
        options = {
            "url_list": addresses,
            "output_folder": tmp_path / "grown" / "crawl",
            "output_format": "webdataset",
            "number_sample_per_shard": 5,
            "processes_count": 1,
            "thread_count": 2,
            "resize_mode": "no",
            "encode_format": "png",
            "encode_quality": 6,
            "incremental_mode": "extend",
            "timeout": 600,
        }
        arguments = [f"--{name}={value}" for name, value in options.items()]
        offline = os.environ | {"NO_ALBUMENTATIONS_UPDATE": "1", "PYTHONPATH": ""}
        return subprocess.Popen([TOOL, *arguments], env=offline, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    return start


def ended(process):
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors.decode()


def test_a_crawl_that_fails_waits_and_goes_on(classifier, download, tmp_path):
    ended(download(range(10)))
    index = Faiss(factory="IVF2,Flat", search_parameters={"nprobe": 2}, device="cpu")
    grown = Crawl(tmp_path / "grown", classifier, index=index)
    told = "of 10 addresses, img2dataset could not download 1 and could not use what 1 gave"
    assert grown.data.database.remark() == told
    grown.run("extract")
    grown.run("index")
    assert len(Store(grown.database.store_path)) == 8

    running = download(range(10, 15))
    assert Images.asked.wait(600)
    grown.run("extract")
    assert len(Store(grown.database.store_path)) == 8
    assert list(news(grown.database, grown.data)) == []
    Images.may_come.set()
    ended(running)

    (new,) = news(grown.database, grown.data)
    assert new.startswith("new: 1 shard not in the store (00002)")
    grown.run("extract")
    (finding,) = findings(grown.database, grown.classifier, grown.data, Partition())
    assert "lacks the rows of 1 shard that the store has got since: run `lit-knn index`" in finding
    grown.run("index")
    assert list(findings(grown.database, grown.classifier, grown.data, Partition())) == []

    gallery = grown.database.open(grown.classifier, grown.data)[-1]
    images = (gallery.images(gallery.ids) * 255).round().byte().permute(0, 2, 3, 1).numpy()  # (M, H, W, 3)
    shown = [photo(number, 8, 8) for number in range(15) if number not in (3, 6)]
    assert sorted(image.tobytes() for image in images) == sorted(np.asarray(image).tobytes() for image in shown)
    scanned = Database(path=grown.database.path, taps=[*grown.database.taps.values()])
    queries = torch.from_numpy(gallery.store.features("late", np.arange(13)) + np.float32(0.01))
    expected = scanned.open(grown.classifier, grown.data)[-1].search("late", queries, 5)
    assert torch.equal(gallery.search("late", queries, 5).ids, expected.ids)
