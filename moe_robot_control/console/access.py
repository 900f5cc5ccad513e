"""Who may talk to the console's server."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from moe_robot_control.errors import MoeRobotControlError

MINIMUM_TOKEN = 16
"""Fewest characters of a token."""
_LOOPBACK_NAMES = ("localhost", "localhost.localdomain")


class AccessError(MoeRobotControlError):
    """A server that would be open to anybody, or a token that is none."""


@dataclass(frozen=True)
class Access:
    """The rules by which a request is let in.

    Attributes:
        token: what every request must bring; empty: none, and only this machine is let in.
    """

    token: str = ""

    @classmethod
    def of(cls, host: str, token: str = "") -> Access:
        """Access to a server that listens on `host`: beyond this machine only with a token.

        Raises:
            AccessError: the token is too short, or not printable ASCII without spaces.
        """
        if token:
            return cls(check_token(token))
        return cls("" if is_loopback(host) else new_token())

    def admits(self, token: str | None) -> bool:
        """Whether `token` is the right one, or none is needed."""
        if not self.token:
            return True
        # compared in constant time, so that no prefix can be found by trying
        return token is not None and hmac.compare_digest(token.encode(), self.token.encode())

    def trusts(self, host: str | None, origin: str | None, scheme: str) -> bool:
        """Whether a request comes from our own page rather than from another site's.

        A browser sends our cookie and reaches this machine on behalf of any page that it shows.
        Such a page has another origin; and where no token is needed, a name that merely points
        to this machine (DNS rebinding) is refused, too.

        Args:
            host: the request's Host header.
            origin: the request's Origin header; browsers alone send one.
            scheme: `http` or `https`.
        """
        if not host or (not self.token and not is_loopback(_name_of(host))):
            return False
        return origin is None or origin.lower() == f"{scheme}://{host}".lower()


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine only."""
    if host.lower() in _LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def new_token() -> str:
    """A token that nobody guesses."""
    return secrets.token_urlsafe(24)


def check_token(token: str) -> str:
    """Return `token`, or raise `AccessError` where it is too weak or cannot be in a link."""
    if len(token) < MINIMUM_TOKEN:
        raise AccessError(
            f"the token has {len(token)} characters, expected {MINIMUM_TOKEN} or more"
        )
    if not all("!" <= character <= "~" for character in token):
        raise AccessError("a token with characters other than printable ASCII without spaces")
    return token


def read_token(path: str | Path) -> str:
    """The token in a file, without white space around it.

    Raises:
        AccessError: the file cannot be read, or holds no good token.
    """
    try:
        return check_token(Path(path).read_text().strip())
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise AccessError(f"{path}: cannot be read: {reason}") from error
    except AccessError as error:
        raise AccessError(f"{path}: {error}") from error


def _name_of(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
