"""A standalone Milvus server of a test's own, from the package `milvus`: loopback, own ports, own folder."""

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Self

import yaml

START_S, STOP_S = 120, 10


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


class MilvusServer:
    """The server; as a context it runs.

    Args:
        folder: For everything that it keeps.
        program: Where it is unpacked, unless it is there: 250 MB.
        token: Whether it asks for one, which is ``root:Milvus`` at first.
    """

    def __init__(self, folder: Path, program: Path, *, token: bool = False) -> None:
        import milvus

        config = milvus.MilvusServerConfig(data_dir=str(folder))
        ports = {name: free_port() for name in config.configurable_items if name.endswith("_port")}
        config.update(**ports)
        config.set("authorization_enabled", token)
        config.resolve()
        milvus._initialize_data_files(str(program))
        self._folder, self._program, self._health_port = folder, program / "bin" / "milvus", free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._move_etcd(ports["etcd_port"], free_port())
        self.uri = f"http://127.0.0.1:{ports['proxy_port']}"

    def _move_etcd(self, client: int, peer: int) -> None:
        """The package's own configuration leaves etcd, which the server runs inside itself, at its usual ports."""
        urls = [f"http://127.0.0.1:{port}" for port in (client, peer)]
        names = (("listen-client-urls", "advertise-client-urls"), ("listen-peer-urls", "initial-advertise-peer-urls"))
        etcd = {name: url for url, of_url in zip(urls, names, strict=True) for name in of_url}
        path = self._folder / "configs" / "etcd.yaml"
        path.write_text(yaml.safe_dump({"name": "default", "initial-cluster": f"default={urls[1]}", **etcd}))
        config = self._folder / "configs" / "milvus.yaml"
        whole = yaml.safe_load(config.read_text())
        whole["etcd"]["config"] = {"path": str(path)}
        config.write_text(yaml.safe_dump(whole))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, and wait until it says that it is well."""
        self.launch()
        end = time.monotonic() + START_S
        while time.monotonic() < end and self._process.poll() is None:
            if self.is_well():
                return
            time.sleep(0.1)
        self.kill()
        raise RuntimeError(f"Milvus did not start in {START_S} s: {(self._folder / 'log').read_text()[-2000:]}")

    def is_well(self) -> bool:
        """Return whether it says so."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._health_port}/healthz", timeout=5) as answer:
                return b"OK" in answer.read()
        except OSError:  # nothing answers yet
            return False

    def launch(self) -> None:
        """Start it, and do not wait."""
        environment = {
            "DEPLOY_MODE": "STANDALONE",
            "METRICS_PORT": str(self._health_port),
            "MILVUS_RUN_DIR": str(self._folder / "run"),
            "LD_LIBRARY_PATH": str(self._program.parent),
        }
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "run", "standalone"],
                cwd=self._folder,
                env=os.environ | environment,
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_S)

    @contextlib.contextmanager
    def silent(self):
        """Let it accept and answer nothing for a while."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)
