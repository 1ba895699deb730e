"""One normal form: however a path is spelled, rules see the same, or it is refused."""

from __future__ import annotations

import random

import pytest

from chowk.connect.http1.path import joined, normalise, offset_of, rule_key
from chowk.connect.http1.refusal import Refusal

SEGMENTS = ("admin", "public", "a b", "caf\xe9", "x:y", "a;b", "~u", "v1.2", "...", "100%")


def spelled(segments: list[str], rng: random.Random) -> bytes:
    """The path of these segments in one of its many spellings."""
    parts: list[str] = []
    for segment in segments:
        while rng.random() < 0.3:
            parts.append(rng.choice(("", ".", "%2e")))
        if rng.random() < 0.3:
            parts += ["elsewhere", rng.choice(("..", ".%2e", "%2E%2e"))]
        parts.append("".join(respelled(code, rng) for code in segment.encode()))
    return ("/" + "/".join(parts)).encode()


def respelled(code: int, rng: random.Random) -> str:
    plain = 0x21 <= code < 0x7F and code not in b'%#?/\\"<>'
    if plain and rng.random() < 0.7:
        return chr(code)
    return f"%{code:02x}" if rng.random() < 0.5 else f"%{code:02X}"


def test_every_spelling_of_a_path_has_the_same_key_as_a_rule_that_names_it() -> None:
    rng = random.Random(5)
    for _ in range(3000):
        segments = [rng.choice(SEGMENTS) for _ in range(rng.randint(1, 4))]
        path, key = normalise(spelled(segments, rng))
        assert key == ("/" + "/".join(segments)).encode()
        assert rule_key("/" + "/".join(segments), is_prefix=False) == key
        assert normalise(path) == (path, key)


def test_nothing_random_that_passes_keeps_what_servers_read_differently() -> None:
    rng = random.Random(6)
    pieces = ("/", "/", ".", "..", "%2e", "%2f", "%5c", "%25", "2e", "%c0%af", "%00", ";", "a", "\\", "%", "//", "%3b")
    passed = 0
    for _ in range(20_000):
        raw = "/" + "".join(rng.choice(pieces) for _ in range(rng.randint(0, 8)))
        try:
            path, key = normalise(raw.encode())
        except Refusal:
            continue
        passed += 1
        assert normalise(path) == (path, key)
        for form in (path, key):
            assert b"//" not in form
            assert b"\\" not in form
            assert b"\0" not in form
            assert not {b".", b".."} & {segment.partition(b";")[0] for segment in form.split(b"/")}
        assert key.count(b"/") == path.count(b"/")
    assert passed > 1000


@pytest.mark.parametrize(
    ("rule", "is_prefix", "key"),
    [
        ("/a", False, b"/a"),
        ("/a//b", False, b"/a/b"),
        ("/a/../b", False, b"/b"),
        ("/caf\xe9", False, b"/caf\xc3\xa9"),
        ("/caf%c3%a9", False, b"/caf\xc3\xa9"),
        ("/a b", True, b"/a b"),
        ("/100%", False, b"/100%"),
        ("/a//b/", True, b"/a/b/"),
        ("/a/..", True, b"/a/.."),
        ("/a/.x", True, b"/a/.x"),
        ("/", True, b"/"),
        ("/a?b", False, b"/a?b"),
        ("/a%2Fb", True, None),
        ("/a\\b", False, None),
        ("/a%00", False, None),
        ("a", False, None),
        ("a/b", True, None),
    ],
)
def test_rules_are_brought_to_the_same_form(rule: str, is_prefix: bool, key: bytes | None) -> None:
    assert rule_key(rule, is_prefix=is_prefix) == key


def test_a_prefix_ends_in_the_path_where_it_ends_in_the_key() -> None:
    for raw, prefix, rest in ((b"/a/b", b"/a", b"/b"), (b"/a%20b/c%3Ad", b"/a b/c:", b"d"), (b"/a%20", b"/a ", b"")):
        path, key = normalise(raw)
        assert key.startswith(prefix)
        assert path[offset_of(path, len(prefix)) :] == rest


def test_a_rewritten_path_is_normal_and_does_not_leave_its_place() -> None:
    assert joined("/v1", b"/x") == b"/v1/x"
    assert joined("/", b"/x") == b"/x"
    assert joined("//evil.example", b"/x") == b"/evil.example/x"
    assert joined("/a b%3a", b"%20c") == b"/a%20b%3A%20c"
    for text, rest in (("/files/", b"../etc"), ("/files/.", b"./etc"), ("/files", b"/%2e%2e/etc"), ("x", b"")):
        with pytest.raises(Refusal):
            joined(text, rest)
