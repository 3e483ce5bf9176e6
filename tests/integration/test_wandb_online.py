"""A test that is sent to a server of W&B, which is played here: what it would be told, and that a run goes on."""

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lit_knn.report.dashboard import curve_names, points
from lit_knn.report.results import Record
from tests.conftest import restored, run, tiny

pytest.importorskip("wandb")
pytestmark = pytest.mark.slow
ID = "cafe0123"


class Server(BaseHTTPRequestHandler):
    """Answers as much of W&B's protocol as a run needs, and keeps in `told` what it is sent: (path, content)."""

    protocol_version = "HTTP/1.1"
    told: list

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        body = gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body
        content = json.loads(body) if "json" in self.headers["Content-Type"] else {}
        self.told.append((self.path, content))
        asked, given = content.get("query", ""), content.get("variables", {})
        project = {"id": "p", "name": given.get("project"), "entity": {"id": "e", "name": "me"}}
        bucket = {"id": "b", "name": given.get("name"), "displayName": given.get("displayName"), "project": project}
        place = f"http://127.0.0.1:{self.server.server_port}/uploaded/"
        files = [{"name": name, "uploadUrl": place + name} for name in given.get("files", [])]
        known = {
            "upsertBucket": {"bucket": {**bucket, "config": "{}", "historyLineCount": 0}, "inserted": False},
            "createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files},
            "createArtifact": {"artifact": {"id": "a", "state": "COMMITTED", "artifactSequence": {"id": "s"}}},
            "project": None,  # has no artifacts yet
            "viewer": {"id": "u", "username": "me", "entity": "me", "flags": "{}", "teams": {"edges": []}},
        }
        self.answer({"data": {name: answer for name, answer in known.items() if name in asked}})

    def do_PUT(self):
        self.told.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
        self.answer({})

    def answer(self, content):
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def told(monkeypatch):
    """What the server is sent, to which the variables of wandb lead."""
    handler = type("Handler", (Server,), {"told": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        monkeypatch.setenv("WANDB_MODE", "online")
        monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
        monkeypatch.setenv("WANDB_SILENT", "true")
        monkeypatch.setenv("WANDB_CONSOLE", "off")
        monkeypatch.setenv("WANDB_RUN_GROUP", "study")
        yield handler.told
        server.shutdown()


def test_an_interrupted_run_goes_on_and_its_curves_have_their_axis(told, database_path, tmp_path):
    import wandb

    config = tiny(database_path, tmp_path / "runs")
    config["trainer"] |= {"run": "run-mine", "logger": {"class_path": "WandbLogger", "init_args": {"project": "tests"}}}
    folder = tmp_path / "runs" / "run-mine"
    folder.mkdir(parents=True)
    (folder / "wandb-id").write_text(ID)  # as an interrupted test leaves it
    with restored():
        assert run("test", config) == folder
        wandb.finish()
        wandb.teardown()
    graph = [content for path, content in told if path == "/graphql"]
    upserts = [content["variables"] for content in graph if "upsertBucket" in content["query"]]
    assert {upsert["name"] for upsert in upserts} == {ID}
    assert (upserts[-1]["groupName"], upserts[-1]["jobType"]) == ("study", "test")
    assert upserts[-1]["tags"] == ["relative_l2", "gray box"]
    record = Record.load(folder)
    *_, metrics = (json.loads(upsert["config"])["_wandb"]["value"]["m"] for upsert in upserts if upsert["config"])
    names = [metric.get("1") for metric in metrics]  # the number of an axis counts from one
    axes = {metric["1"]: names[metric["5"] - 1] for metric in metrics if metric.get("1", "").startswith("curve/")}
    assert axes == dict.fromkeys(curve_names(record).values(), "size/relative_l2")
    streamed = [content["files"] for path, content in told if path.endswith("/file_stream") and "files" in content]
    lines = [json.loads(line) for files in streamed for line in files.get("wandb-history.jsonl", {}).get("content", [])]
    sent = [line for line in lines if "size/relative_l2" in line]
    expected = points(record)
    assert [{name: line[name] for name in point} for line, point in zip(sent, expected, strict=True)] == expected
    uploaded = {path.rpartition("/")[2] for path, _ in told if path.startswith("/uploaded/")}
    assert any(name.startswith("accuracy_") and name.endswith(".png") for name in uploaded)
