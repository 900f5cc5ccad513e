"""The doctor's findings as a table."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from moe_robot_control.doctor.findings import Finding, Level

_STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.FAULT: "bold red"}
_WIDTH = 160
"""Of the table where it is not shown on a terminal."""


def print_report(findings: Sequence[Finding], console: Console | None = None) -> None:
    """Print a line for each finding and a summary."""
    if console is None:
        console = Console()
        if not console.is_terminal:
            console = Console(width=_WIDTH)
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("what", overflow="fold")
    table.add_column("finding", overflow="fold")
    for finding in findings:
        text = Text(finding.text)
        if finding.advice:
            text.append(f"\n-> {finding.advice}", style="dim")
        level = Text(finding.level.name.lower(), style=_STYLES[finding.level])
        table.add_row(level, Text(finding.subject), text)
    console.print(table)
    console.print(Text(summary(findings)))


def summary(findings: Sequence[Finding]) -> str:
    """How many faults and warnings there are."""
    count = {level: sum(f.level is level for f in findings) for level in Level}
    faults, warnings = count[Level.FAULT], count[Level.WARNING]
    return f"{_number(faults, 'fault')}, {_number(warnings, 'warning')}, {count[Level.OK]} ok"


def _number(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"
