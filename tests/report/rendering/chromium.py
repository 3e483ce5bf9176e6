"""A headless Chromium that tests speak to through its DevTools pipe: real keys, real layout, no other package."""

import base64
import json
import os
import select
import shutil
import subprocess
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
PATIENCE = 60  # seconds
OPTIONS = (
    *("--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--no-first-run"),
    *("--disable-background-networking", "--disable-dev-shm-usage", "--hide-scrollbars"),
)


class Browser:
    """One page.

    Args:
        folder: For the profile.
    """

    def __init__(self, folder):
        here, there = os.pipe(), os.pipe()  # what the browser reads, and what it writes
        self._out, self._in = os.fdopen(here[1], "wb", buffering=0), there[0]

        command = [CHROMIUM, *OPTIONS, f"--user-data-dir={folder}"]
        moved = f'exec "$@" 3<&{here[0]} 4>&{there[1]}'  # where Chromium reads and writes
        self._process = subprocess.Popen(
            ["bash", "-c", moved, "bash", *command],
            pass_fds=(here[0], there[1]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(here[0])
        os.close(there[1])
        self._text, self._number, self._session, self.events = b"", 0, None, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def close(self):
        self._out.close()
        os.close(self._in)
        self._process.kill()
        self._process.wait()

    def call(self, method, **parameters):
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _read(self):
        while b"\0" not in self._text:
            assert select.select([self._in], [], [], PATIENCE)[0], "Chromium does not answer"
            self._text += (more := os.read(self._in, 1 << 16))
            assert more, "Chromium has ended"
        message, _, self._text = self._text.partition(b"\0")
        return json.loads(message)

    def open(self, path: Path, *, width=1100, height=800, dark=False, script=True):
        """Show a file, and wait until it is loaded."""
        self.events.clear()
        self.call("Emulation.setScriptExecutionDisabled", value=not script)
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=path.resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._read())

    def run(self, expression):
        """Return the value of an expression."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, *keys):
        for key in keys:
            sent = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key]}
            text = {"text": "\r"} if key == "Enter" else {}
            self.call("Input.dispatchKeyEvent", type="keyDown", **sent, **text)
            self.call("Input.dispatchKeyEvent", type="keyUp", **sent)

    def point(self, x, y):
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, x, y):
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def picture(self, path: Path | None = None, *, whole=False):
        """Return a screenshot, PNG, of the window or the whole page."""
        clip = {}
        if whole:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            clip = {"clip": {**size, "height": min(size["height"], 6000), "scale": 1}, "captureBeyondViewport": True}
        content = base64.b64decode(self.call("Page.captureScreenshot", **clip)["data"])
        if path:
            path.write_bytes(content)
        return content

    def pdf(self):
        return base64.b64decode(self.call("Page.printToPDF")["data"])

    @property
    def complaints(self):
        """What the console says that it should not, and whatever was asked of a network."""
        told = []
        for event in self.events:
            method, known = event.get("method"), event.get("params", {})
            if method in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"):
                told.append(json.dumps(known))
            if method == "Network.requestWillBeSent" and not known["request"]["url"].startswith(("file:", "data:")):
                told.append(known["request"]["url"])
        return told
