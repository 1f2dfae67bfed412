"""A real browser on a real server; without one the tests say what is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest
from browsing import WAIT_MS, Open, Served

import ptychopinn as pp
from ptychopinn.cli import run

# Debian's name, and those of others.
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# No network of its own, and a sandbox that an administrator's process has not.
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
)  # fmt: skip
PACKAGES = ("playwright", "axe_playwright_python", "fastapi", "uvicorn", "websockets")


@pytest.fixture(scope="session")
def chromium() -> str:
    """The program; skips where it is missing."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}; run: make browser")
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"needs a browser, one of {', '.join(NAMES)}; run: apt-get install chromium")
    return found


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=chromium, args=[*FLAGS])
        yield made
        made.close()


@pytest.fixture(scope="session")
def served(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A scan, one that is damaged, and two results of the first, of which one is poor."""
    folder = tmp_path_factory.mktemp("served") / "beamline"
    folder.mkdir()
    # So many photons that a refinement goes on until somebody stops it.
    scan = pp.simulate(N=32, patterns=225, photons=1e11, seed=3)
    pp.save_scan(scan, folder / "scan.h5")
    (folder / "damaged.h5").write_bytes(b"no scan")
    for name, *how in (("long", "30", "--no-report"), ("short", "1")):
        words = ["refine", str(folder / "scan.h5"), "-o", str(folder / name), "--passes", *how]
        assert run([*words, "--backend", "numpy", "--quiet"]) in (0, 3)
    with subprocess.Popen(
        [sys.executable, "-m", "ptychopinn", "serve", str(folder), "--port", "0"],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as server:  # fmt: skip
        try:
            assert server.stdout is not None
            address, _, token = server.stdout.readline().split()[-1].partition("/#token=")
            yield Served(folder, address, token)
        finally:
            server.terminate()


@pytest.fixture
def opened(browser: Any, served: Served) -> Iterator[Open]:
    """Opens the server's page as a new person would; ``key`` False: without the token."""
    people: list[Any] = []
    said: list[str] = []

    def open_(key: bool = True, **options: Any) -> Any:
        person = browser.new_context(**options)
        people.append(person)
        person.set_default_timeout(WAIT_MS)
        person.on("weberror", lambda found: said.append(str(found.error)))
        page = person.new_page()
        page.goto(served.key if key else served.address)
        return page

    yield open_
    for person in people:
        person.close()
    assert said == [], "a script of a page failed"
