"""`docs/results/safety.md`: a page of sections, each written by the benchmark that measured it."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/results/safety.md"
ORDER = ("faults", "success", "tracking", "endurance")
"""Of the known sections; others follow."""
_HEAD = """# Safety

Written by the benchmarks named below; figures in `safety.json`.
"""


def write_section(
    name: str, title: str, text: str, figures: Any, page: Path = PAGE, note: str = ""
) -> None:
    """Write or replace a section of the page, and its figures in the JSON file beside it.

    Args:
        name: of the section, for the JSON file.
        title: its heading.
        text: Markdown.
        figures: what was measured, for JSON.
        page: the page.
        note: follows what is said of the machine.
    """
    store = page.with_suffix(".json")
    sections = json.loads(store.read_text()) if store.is_file() else {}
    sections[name] = {
        "title": title,
        "command": shlex.join(["python", *_own_arguments()]),
        "machine": machine() + (f"; {note}" if note else ""),
        "commit": commit(),
        "text": text,
        "figures": figures,
    }
    page.parent.mkdir(parents=True, exist_ok=True)
    store.write_text(json.dumps(sections, indent=1) + "\n")
    names = [*(n for n in ORDER if n in sections), *(n for n in sections if n not in ORDER)]
    page.write_text("\n".join([_HEAD, *(_section(sections[n]) for n in names)]))


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(_cell(c) for c in line) + " |\n" for line in lines)


def machine() -> str:
    """Processor, cores, load and Python of this machine."""
    model = platform.processor() or platform.machine()
    cpus = Path("/proc/cpuinfo")
    if cpus.is_file():
        names = [line for line in cpus.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    load = os.getloadavg()[0]
    python = platform.python_version()
    return f"{model}, {os.cpu_count()} cores, load {load:.1f}, Python {python}"


def commit() -> str:
    """The checkout's commit, and whether files have changed since."""
    git = ["git", "-C", str(ROOT)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True
        )
        state = subprocess.run(
            [*git, "status", "--porcelain", "-uno", "--", "moe_robot_control", "config", "models"],
            capture_output=True,
            text=True,
        )
    except OSError:
        return "unknown"
    changed = " with changes" if state.stdout.strip() else ""
    return (head.stdout.strip() or "unknown") + changed


def _section(section: dict[str, Any]) -> str:
    return (
        f"## {section['title']}\n\n{section['text'].rstrip()}\n\n"
        f"`{section['command']}` at commit {section['commit']}; {section['machine']}.\n"
    )


def _own_arguments() -> list[str]:
    script = Path(sys.argv[0])
    try:
        script = script.resolve().relative_to(ROOT)
    except ValueError:
        pass
    return [str(script), *sys.argv[1:]]


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|")
