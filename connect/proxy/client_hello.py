"""What the first message of a TLS client says of sessions. Pure; called by the TLS link of a server before the handshake.

A ticket costs the server as much as a third of a resumed handshake, and who has one already needs no other: Python's ssl can
say how many are sent only before a handshake begins, so the client's first message is looked at here.
"""

from __future__ import annotations

from typing import Final

_HANDSHAKE: Final = 22
_CLIENT_HELLO: Final = 1
_PRE_SHARED_KEY: Final = 41
_RECORD_HEAD: Final = 5
_BEFORE_SESSION_ID: Final = _RECORD_HEAD + 4 + 2 + 32


def offers_session(hello: bytes) -> bool:
    """Whether a ClientHello (RFC 8446 section 4.1.2) asks to resume a session: its last extension is pre_shared_key
    (section 4.2.11). False for anything else, so also when only a part of it has come; it is for OpenSSL to judge.
    """
    try:
        if hello[0] != _HANDSHAKE or hello[_RECORD_HEAD] != _CLIENT_HELLO:
            return False
        at = _BEFORE_SESSION_ID + 1 + hello[_BEFORE_SESSION_ID]
        at += 2 + _two_bytes(hello, at)
        at += 1 + hello[at]
        end = at + 2 + _two_bytes(hello, at)
        at += 2
        last = -1
        while at < end:
            last = _two_bytes(hello, at)
            at += 4 + _two_bytes(hello, at + 2)
    except IndexError:
        return False
    return last == _PRE_SHARED_KEY and at == end <= len(hello)


def _two_bytes(data: bytes, at: int) -> int:
    return data[at] << 8 | data[at + 1]
