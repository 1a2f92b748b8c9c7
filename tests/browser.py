"""A headless Chromium to look at pages with: the few words of the WebDriver protocol that the tests need, and no
package for them.

https://www.w3.org/TR/webdriver2/
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
MISSING = (
    "{} is not installed, and the dashboard's pages are tested in it: `sudo .ci/chromium` (Debian, Ubuntu), or install "
    "it with chromedriver"
)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip


class Browser:
    """One window of a headless Chromium with an empty profile; use it in a `with` block.

    Raises RuntimeError if there is none.
    """

    def __init__(self, width: int = 1400, height: int = 1000) -> None:
        self.size = (width, height)

    def __enter__(self) -> Self:
        chromium, driver = next(filter(None, map(shutil.which, CHROMIUM)), None), shutil.which("chromedriver")
        if not chromium or not driver:
            raise RuntimeError(MISSING.format("chromedriver" if chromium else "Chromium"))
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._driver = subprocess.Popen(
            [driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._address = f"http://127.0.0.1:{self._port()}"
        flags = [*FLAGS, f"--user-data-dir={self._profile.name}", f"--window-size={self.size[0]},{self.size[1]}"]
        options = {"binary": chromium, "args": flags}
        wanted = {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}}
        self._session = ""
        self._session = "/session/" + self._send("POST", "/session", {"capabilities": wanted})["sessionId"]
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._send("DELETE", "")
        finally:
            self._driver.terminate()
            self._driver.wait()
            self._profile.cleanup()

    def open(self, address: str) -> None:
        self._send("POST", "/url", {"url": address})

    def emulate(self, *, scheme: str | None = None, width: int | None = None) -> None:
        """Have the colours that a reader prefers (light or dark), or the screen of a phone of so many pixels."""
        if scheme:
            self._command("setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
        if width:
            self._command(
                "setDeviceMetricsOverride",
                {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
            )

    def run(self, script: str, *arguments: Any) -> Any:
        """What a piece of JavaScript returns."""
        return self._send("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    @property
    def text(self) -> str:
        """What can be read on the page."""
        return str(self.run("return document.body.innerText"))

    def wait(self, condition: str, *arguments: Any, seconds: float = 120) -> Any:
        """The value of a JavaScript expression as soon as it is true.

        AssertionError, with what the page says, if it never is.
        """
        end = time.monotonic() + seconds
        while not (found := self.run(f"return {condition}", *arguments)):
            assert time.monotonic() < end, (
                f"not seen in {seconds} s: {condition} {arguments}; the page says: {self.text[:2000]}"
            )
            time.sleep(0.1)
        return found

    def wait_for(self, text: str) -> None:
        self.wait("document.body.innerText.includes(arguments[0])", text)

    def faults(self) -> list[str]:
        """What the console says of errors, since it was asked last."""
        logged = self._send("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in logged if entry["level"] == "SEVERE"]

    def picture(self, path: Path) -> None:
        """Save what the window shows, as PNG."""
        path.write_bytes(base64.b64decode(self._send("GET", "/screenshot")))

    def _command(self, name: str, parameters: dict[str, Any]) -> None:
        self._send("POST", "/goog/cdp/execute", {"cmd": f"Emulation.{name}", "params": parameters})

    def _port(self) -> str:
        assert self._driver.stdout
        for line in self._driver.stdout:
            if "started successfully on port" in line:
                return line.rpartition(" ")[2].strip(" .\n")
        raise RuntimeError("chromedriver ended before it listened")

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if method == "GET" or method == "DELETE" else json.dumps(body or {}).encode()
        request = urllib.request.Request(
            self._address + self._session + path, data, {"Content-Type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                return json.load(response)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(json.load(error)["value"]["message"]) from None
