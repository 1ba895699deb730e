"""What is wrong with a head: the slow half of `heads`, only run for input that is refused or not complete yet."""

from __future__ import annotations

import re
from typing import Final

from chowk.connect.http1.grammar import TOKEN, VALUE
from chowk.connect.http1.limits import Limits
from chowk.connect.http1.refusal import Refusal

_END: Final = b"\r\n\r\n"
_NEVER: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?!\n|\Z)")
"""Bytes that no head holds, complete or not: control characters, and line ends that are not CRLF."""
_METHOD: Final = re.compile(rb"%b+" % TOKEN)
_NAME: Final = re.compile(rb"%b+" % TOKEN)
_LINE_SLACK: Final = 64
"""What a start line holds besides its target: the method, the version and spaces."""


class PartialHead:
    """Bytes of a head that is not complete. Refuses early what cannot become one, so that nobody waits for a timeout.

    Every byte is searched once: `_searched` says how far. A head that comes in one piece is not copied. `held` is where
    pieces are collected.
    """

    def __init__(self, limits: Limits, status: int, held: bytearray | None = None) -> None:
        self._limits = limits
        self._status = status
        self._held = bytearray() if held is None else held
        self._searched = 0
        self._line_checked = False

    @property
    def size(self) -> int:
        """Bytes held."""
        return len(self._held)

    def feed(self, piece: bytes) -> tuple[bytes, bytes] | None:
        """`(head, rest)`, or None when more is needed. Raises Refusal."""
        maximum = self._limits.head_bytes_max
        if not self._held:
            end = piece.find(_END, 0, maximum) + len(_END)
            if end >= len(_END):
                return piece[:end], piece[end:]
        self._held += piece
        end = self._held.find(_END, max(self._searched - 3, 0), maximum) + len(_END)
        if end >= len(_END):
            head, rest = bytes(self._held[:end]), bytes(self._held[end:])
            self._held.clear()
            self._searched, self._line_checked = 0, False
            return head, rest
        self._check()
        self._searched = len(self._held)
        return None

    def _check(self) -> None:
        held, limits, status = self._held, self._limits, self._status
        wrong = _NEVER.search(held, max(self._searched - 1, 0), limits.head_bytes_max)
        if wrong is not None:
            byte = wrong[0][0]
            wrong = None  # it would keep the buffer from growing
            raise _byte_refusal(byte, status)
        if not self._line_checked:
            self._line_checked = self._check_line()
        if len(held) >= limits.head_bytes_max:
            code = 431 if status == 400 else status
            raise Refusal(code, "head_size", f"a head of more than {limits.head_bytes_max} bytes")

    def _check_line(self) -> bool:
        """True when the start line is complete and may pass."""
        end = self._held.find(b"\r\n", max(self._searched - 1, 0))
        if end >= 0:
            line = bytes(self._held[:end])
            refusal = _of_request_line(line) if self._status == 400 else _of_status_line(line)
            if refusal is not None:
                raise refusal
            return True
        if self._status == 400 and len(self._held) > self._limits.target_bytes_max + _LINE_SLACK:
            raise Refusal(
                414, "target_size", f"the request target is longer than {self._limits.target_bytes_max} bytes"
            )
        return False


def of_request(head: bytes) -> Refusal:
    """The reason why this complete head was not accepted."""
    lines = head.removesuffix(_END).split(b"\r\n")
    return _of_bytes(head, 400) or _of_request_line(lines[0]) or _of_headers(lines[1:], 400)


def of_response(head: bytes) -> Refusal:
    """The reason why this complete head was not accepted."""
    lines = head.removesuffix(_END).split(b"\r\n")
    return _of_bytes(head, 502) or _of_status_line(lines[0]) or _of_headers(lines[1:], 502)


def _of_bytes(head: bytes, status: int) -> Refusal | None:
    wrong = _NEVER.search(head)
    return None if wrong is None else _byte_refusal(wrong[0][0], status)


def _byte_refusal(byte: int, status: int) -> Refusal:
    if byte == 0x0A:
        return Refusal(status, "bare_lf", "a line that ends with LF alone")
    if byte == 0x0D:
        return Refusal(status, "bare_cr", "a CR that no LF follows")
    return Refusal(status, "control", "a control character in the head")


def _of_request_line(line: bytes) -> Refusal | None:
    method, _, rest = line.partition(b" ")
    target, _, version = rest.rpartition(b" ")
    if not line or line[:1] in b" \t":
        return Refusal(400, "request_line", "an empty line or white space where a request should begin")
    if not _METHOD.fullmatch(method):
        return Refusal(400, "method", "a method that is no token")
    if re.fullmatch(rb"HTTP/[0-9]+(\.[0-9]+)?", version) is None:
        return Refusal(
            400, "request_line", "a first line that is not method, target and HTTP version with single spaces"
        )
    if version not in (b"HTTP/1.0", b"HTTP/1.1"):
        return Refusal(505, "version", "an HTTP version other than 1.0 and 1.1")
    if not target or re.search(rb"[^!-~]", target):
        return Refusal(400, "target", "a request target that is empty or holds white space or bytes that are not ASCII")
    return None


def _of_status_line(line: bytes) -> Refusal | None:
    if re.match(rb"HTTP/1\.[01] ", line) is None:
        return Refusal(502, "version", "a response that does not begin with HTTP/1.0 or HTTP/1.1")
    if re.fullmatch(rb"HTTP/1\.[01] [1-9][0-9]{2}(?: %b*)?" % VALUE, line) is None:
        return Refusal(502, "status_line", "a status line without a status of three digits")
    return None


def _of_headers(lines: list[bytes], status: int) -> Refusal:
    for number, line in enumerate(lines):
        name, colon, _ = line.partition(b":")
        if line[:1] in (b" ", b"\t"):
            if number == 0:
                return Refusal(status, "leading_space", "white space before the first header")
            return Refusal(status, "obs_fold", "a header continued on the next line")
        if not colon:
            return Refusal(status, "header_line", "a header line without a colon")
        if name.endswith((b" ", b"\t")):
            return Refusal(status, "space_before_colon", "white space between a header's name and its colon")
        if not _NAME.fullmatch(name):
            return Refusal(status, "header_name", "a header name that is empty or no token")
    return Refusal(status, "header_line", "a head that does not follow the grammar")
