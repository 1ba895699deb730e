"""Hosts, and what may be one."""

from __future__ import annotations

import pytest

from chowk.connect.http1.authority import is_authority, suffixed


@pytest.mark.parametrize("host", [b"a", b"a.b-c_d~e", b"a:80", b"1.2.3.4:5", b"[::1]", b"[::ffff:1.2.3.4]:80"])
def test_names_and_addresses_are_hosts(host: bytes) -> None:
    assert is_authority(host)


@pytest.mark.parametrize(
    "host",
    [b"", b":80", b"a:", b"a:b", b"a:123456", b"::1", b"[::1", b"a b", b"a@b", b"a/b", b"a,b", b"a\r\n", b"x" * 256],
)
def test_other_things_are_not(host: bytes) -> None:
    assert not is_authority(host)


@pytest.mark.parametrize(
    ("host", "expected"),
    [(b"web", b"web-shadow"), (b"web:80", b"web-shadow:80"), (b"[::1]:80", b"[::1]:80"), (b"", b"")],
)
def test_a_suffix_belongs_to_the_name(host: bytes, expected: bytes) -> None:
    assert suffixed(host, b"-shadow") == expected
    assert not host or is_authority(expected)
