"""A copy of the course, served by JupyterLab as `make lab` does, and a Chromium to read it with."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ["notebooks", "source", "tutor", "grading"]
BROWSERS = ["chromium", "chromium-browser", "google-chrome"]
# No sandbox: in CI the user is root. The rest keeps Chromium from calling home at every start.
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip
TOKEN = "only-for-this-test"
FAILED = pytest.StashKey[bool]()


@dataclass
class Lab:
    """A running JupyterLab: the course's copy, its address and what it printed."""

    root: Path
    url: str
    log: Path

    def address(self, path: str) -> str:
        """The address of one file of the course, opened in a JupyterLab workspace of its own."""
        workspace = path.replace("/", "-").replace(".", "-")
        return f"{self.url}/lab/workspaces/{workspace}/tree/{path}?token={TOKEN}&reset"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(url: str, server: subprocess.Popen, log: Path, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{url}/api?token={TOKEN}", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """JupyterLab on a copy of the course, with a Jupyter home of its own, by the lab's launcher."""
    root = tmp_path_factory.mktemp("course")
    for room in ROOMS:
        shutil.copytree(ROOT / room, root / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "nbgrader_config.py", root)
    home = tmp_path_factory.mktemp("jupyter")
    environment = {**os.environ, "PYTHONPATH": str(root), "NO_COLOR": "1"}
    for name in ["JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"]:
        environment[name] = str(home / name.lower())
    placed = [sys.executable, "-m", "grading.homework"]
    subprocess.run(placed, cwd=root, env=environment, check=True, timeout=120)
    port = free_port()
    log = home / "log.txt"
    options = ["--no-browser", f"--port={port}", "--ServerApp.port_retries=0",
               f"--IdentityProvider.token={TOKEN}"]  # fmt: skip
    with log.open("w") as output:
        server = subprocess.Popen([sys.executable, "-m", "tutor.lab", *options], cwd=root,
                                  env=environment, stdout=output, stderr=subprocess.STDOUT,
                                  stdin=subprocess.DEVNULL)  # fmt: skip
    try:
        wait_for(f"http://127.0.0.1:{port}", server, log)
        yield Lab(root, f"http://127.0.0.1:{port}", log)
    finally:
        server.terminate()
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            server.kill()


@pytest.fixture(scope="session")
def chromium():
    """A headless Chromium. Its absence is an error: a skipped gate has looked at nothing."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not found:
        raise RuntimeError(f"none of {', '.join(BROWSERS)} is installed: .ci/run installs one")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium, album, request):
    """An empty page of a browser that remembers nothing; photographed if its test fails."""
    context = chromium.new_context(viewport={"width": 1280, "height": 1400}, locale="zh-CN")
    context.set_default_timeout(30_000)
    page = context.new_page()
    yield page
    if request.node.stash.get(FAILED, False):
        page.screenshot(path=album / f"failed-{request.node.name}.png")
    context.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


@pytest.fixture(scope="session")
def album():
    """Where the screenshots go: a temporary folder, printed, kept for a person to look at."""
    folder = Path(tempfile.mkdtemp(prefix="screenshots-"))
    yield folder
    pictures = sorted(path.name for path in folder.glob("*.png"))
    print(f"\n{len(pictures)} screenshots in {folder}: {', '.join(pictures)}")
