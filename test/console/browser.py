"""A real Chromium that Playwright drives, where both are installed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 20.0
"""Longest wait for anything [s]."""
GAMEPAD = """
window.gamepad = null;
navigator.getGamepads = () => [null, window.gamepad];
window.pad = (axes, pressed) => {
  window.gamepad = {
    id: "Synthetic pad (test)", connected: true, mapping: "standard", axes,
    buttons: Array.from({length: 17}, (_, i) => ({pressed: pressed.includes(i), value: 0})),
  };
};
"""
"""Gives a page a gamepad: `pad(axes, indices of the pressed buttons)`."""


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser without window; skips the test where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    with api.sync_playwright() as playwright:
        # without its sandbox, which containers and root do not have
        launched = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield launched
        launched.close()


@contextmanager
def open_page(browser: Any, url: str, **options: Any) -> Iterator[Any]:
    """A connected page of the console; fails if the page complains of anything."""
    context = browser.new_context(**options)
    context.add_init_script(GAMEPAD)
    page = context.new_page()
    page.set_default_timeout(PATIENCE * 1e3)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
    page.goto(url)
    page.wait_for_selector("body:not(.offline)")
    yield page
    context.close()
    assert faults == []


def until(page: Any, condition: Callable[[], Any], what: str) -> Any:
    """Let the page go on until `condition` is true; returns its value."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, f"no {what} in {PATIENCE:.0f} s"
        page.wait_for_timeout(10)
    return value


def take_control(page: Any) -> None:
    """Become the operator."""
    page.get_by_role("button", name="Take control").click()
    page.wait_for_selector("body:not(.watching)")
