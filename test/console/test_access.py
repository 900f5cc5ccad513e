"""Who is let in, and who is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from moe_robot_control.console.access import Access, AccessError, is_loopback, read_token

TOKEN = "correct-horse-battery"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "127.8.9.10"])
def test_this_machine_alone_needs_no_token(host: str) -> None:
    assert is_loopback(host)
    assert Access.of(host).token == ""


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.1.5", "robot.local", "", "localhost.org"]
)
def test_the_network_gets_a_token_unasked(host: str) -> None:
    first, second = Access.of(host), Access.of(host)
    assert len(first.token) >= 32
    assert first.token != second.token


def test_only_the_token_itself_is_admitted() -> None:
    access = Access.of("0.0.0.0", TOKEN)
    assert access.admits(TOKEN)
    for wrong in (None, "", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "é" * 20):
        assert not access.admits(wrong)


def test_a_token_given_for_this_machine_is_asked_for() -> None:
    assert not Access.of("127.0.0.1", TOKEN).admits(None)


@pytest.mark.parametrize(
    "token", ["short", "x" * 15, "spaces in the token", "tab\tin the token", "ü" * 20]
)
def test_a_bad_token_is_refused(token: str) -> None:
    with pytest.raises(AccessError, match="token"):
        Access.of("0.0.0.0", token)


def test_a_token_file(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(f"  {TOKEN}\n")
    assert read_token(path) == TOKEN
    path.write_text("short")
    with pytest.raises(AccessError, match=str(path)):
        read_token(path)
    with pytest.raises(AccessError, match="No such file"):
        read_token(tmp_path / "none")
    path.write_bytes(b"\xff\xfe" * 20)
    with pytest.raises(AccessError, match="not text"):
        read_token(path)


@pytest.mark.parametrize(
    ("host", "origin", "trusted"),
    [
        ("localhost:8080", None, True),  # no browser
        ("localhost:8080", "http://localhost:8080", True),
        ("127.0.0.1:9000", "http://127.0.0.1:9000", True),  # a forwarded port
        ("localhost:8080", "http://localhost:9999", False),
        ("localhost:8080", "https://localhost:8080", False),
        ("localhost:8080", "http://evil.example", False),
        ("localhost:8080", "null", False),
        ("evil.example:8080", "http://evil.example:8080", False),  # DNS rebinding
        ("evil.example", None, False),
        ("[::1", None, False),
        (None, None, False),
        ("", None, False),
    ],
)
def test_other_sites_are_not_trusted(host: str | None, origin: str | None, trusted: bool) -> None:
    assert Access.of("127.0.0.1").trusts(host, origin, "http") is trusted


def test_with_a_token_any_name_of_the_machine_will_do() -> None:
    access = Access.of("0.0.0.0", TOKEN)
    assert access.trusts("robot.local:8080", "http://robot.local:8080", "http")
    assert not access.trusts("robot.local:8080", "http://evil.example", "http")
