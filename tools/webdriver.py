"""A headless Chromium, driven over the WebDriver protocol with the standard library alone."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def chromium() -> tuple[str, str] | None:
    """The browser and its driver; ``None`` where they are not installed."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


class Browser:
    """A session."""

    def __init__(self, port: int, binary: str, size: tuple[int, int]) -> None:
        self._root = f"http://127.0.0.1:{port}"
        options = {
            "binary": binary,
            "args": [
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-background-networking",
                "--disable-component-update",
                "--no-first-run",
                f"--window-size={size[0]},{size[1]}",
            ],
        }
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        made = self._send("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{made['sessionId']}"

    def _send(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._root}{path}", data, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())["value"]

    def open(self, file: Path) -> float:
        """Opens a page from disk; seconds until its script was done."""
        start = time.perf_counter()
        self._send("POST", f"{self._session}/url", {"url": file.as_uri()})
        self.wait("document.documentElement.dataset.ready")
        return time.perf_counter() - start

    def visit(self, address: str) -> None:
        """Goes to an address."""
        self._send("POST", f"{self._session}/url", {"url": address})

    def run(self, script: str, *arguments: Any) -> Any:
        """The value of a script's ``return``."""
        body = {"script": script, "args": list(arguments)}
        return self._send("POST", f"{self._session}/execute/sync", body)

    def wait(self, condition: str, seconds: float = 30) -> Any:
        """Waits until an expression is true, and returns its value."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                found = self.run(f"return {condition}")
            except urllib.error.HTTPError:  # between two pages there is nothing to ask
                found = None
            if found:
                return found
            time.sleep(0.02)
        raise AssertionError(f"never became true: {condition}")

    def keys(self, text: str) -> None:
        """Presses keys, wherever the focus is."""
        actions = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        body = {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]}
        self._send("POST", f"{self._session}/actions", body)

    def click(self, selector: str) -> None:
        """Clicks the first element there is for a selector, as a mouse would."""
        found = self._send(
            "POST", f"{self._session}/element", {"using": "css selector", "value": selector}
        )
        self._send("POST", f"{self._session}/element/{next(iter(found.values()))}/click", {})

    def screenshot(self, file: Path) -> None:
        """What is in the window, as PNG."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(base64.b64decode(self._send("GET", f"{self._session}/screenshot")))

    def log(self, kind: str) -> list[Any]:
        """Entries of the ``browser`` or ``performance`` log since last asked."""
        return self._send("POST", f"{self._session}/se/log", {"type": kind})

    def requests(self) -> list[str]:
        """Addresses that were asked for."""
        found: list[str] = []
        for entry in self.log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.append(message["params"]["request"]["url"])
        return found

    def close(self) -> None:
        """Ends the session."""
        self._send("DELETE", self._session)


@contextmanager
def browser(size: tuple[int, int] = (1500, 1100)) -> Iterator[Browser]:
    """A browser for a while."""
    found = chromium()
    assert found is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    driver = subprocess.Popen(
        [found[1], f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        session = Browser(port, found[0], size)
        try:
            yield session
        finally:
            session.close()
    finally:
        driver.terminate()
        driver.wait(10)
