"""Where the package's data files are: a checkout, an installed share folder, or a chosen one."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "moe_robot_control"
VARIABLE = "MOE_ROBOT_CONTROL_SHARE"


def share_path(relative: str | Path) -> Path:
    """Path of a data file or folder such as `config/arms/panda.yaml`.

    Looked for in the folder that `MOE_ROBOT_CONTROL_SHARE` names, the source tree, and
    `share/moe_robot_control` of every ament prefix and of this Python, in this order. A path
    that exists nowhere is returned below the first of them, for the caller's error message.
    An absolute path is returned as it is.
    """
    relative = Path(relative)
    if relative.is_absolute():
        return relative
    candidates = [root / relative for root in _roots()]
    return next((path for path in candidates if path.exists()), candidates[0])


def _roots() -> Iterator[Path]:
    chosen = os.environ.get(VARIABLE)
    if chosen:
        yield Path(chosen)
    source = Path(__file__).resolve().parent.parent
    if (source / "package.xml").is_file():
        yield source
    prefixes = [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    for prefix in [*prefixes, Path(sys.prefix)]:
        yield prefix / "share" / PACKAGE
