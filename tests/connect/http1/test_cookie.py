"""The cookies that proxies set say a name, a value and for how long, and nothing else, whatever configuration says."""

from __future__ import annotations

import pytest

from chowk.connect.http1.cookie import COOKIE_TTL_S_MAX, set_cookie


def test_a_cookie_lasts_as_long_as_told_and_no_longer_than_browsers_keep_one() -> None:
    assert set_cookie(b"a", b"1", 60.9, b"/x") == b"a=1; Path=/x; Max-Age=60; HttpOnly"
    assert set_cookie(b"a", b"1", 0.0, b"/", b"; SameSite=Lax") == b"a=1; Path=/; HttpOnly; SameSite=Lax"
    most = b"a=1; Max-Age=%d; HttpOnly" % COOKIE_TTL_S_MAX
    assert set_cookie(b"a", b"1", float("inf"), b"") == most
    assert set_cookie(b"a", b"1", float("nan"), b"") == b"a=1; HttpOnly"


@pytest.mark.parametrize("path", [b"/; Domain=x", b"/\r\nX: y", b"x", b"/\xe9"])
def test_a_path_that_is_none_is_left_out(path: bytes) -> None:
    assert set_cookie(b"a", b"1", 0.0, path) == b"a=1; HttpOnly"


@pytest.mark.parametrize("name", [b"", b"a=b", b"a; Domain=x", b"a\r\nb"])
def test_no_cookie_is_made_of_what_is_no_name(name: bytes) -> None:
    with pytest.raises(ValueError, match="no token"):
        set_cookie(name, b"1", 0.0, b"/")
