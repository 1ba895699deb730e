"""Copies of the log: `log_file`, put aside when it grows big or old, and syslog. Called by the `agent` command.

Standard error of this process, and so of its children, becomes a pipe that one thread reads, writes on to where standard
error went, and copies line by line. What cannot be written is lost, as with any reader of the log that goes away.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import logging.handlers
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol

READ_BYTES: Final = 64 * 1024
LINE_BYTES_MAX: Final = 64 * 1024
"""A longer line is copied in pieces."""
FILES_LISTED_MAX: Final = 100_000
JOIN_S: Final = 2.0
DEFAULT_NAME: Final = "chowk.log"
SYSLOG_SOCKET: Final = "/dev/log"
_LEVEL: Final = re.compile(rb'\[(debug|info|warning|error|critical)\b|"level": ?"(debug|info|warning|error|critical)"')


class LogCopy(Protocol):
    """Somewhere that lines go."""

    def write(self, line: bytes) -> None:
        """Take one line with its newline. OSError when it cannot."""
        ...

    def close(self) -> None:
        """Write no more."""
        ...


class LogFile:
    """The file `path`; a folder gets `chowk.log`. Over `bytes_max` (0: never), or older than `duration_s` (0: never), it
    is put aside as `name-<time in ns>.ext`, of which `files_max` are kept (0: all, -1: none). OSError when it cannot be."""

    def __init__(
        self, path: str, *, bytes_max: int, duration_s: float, files_max: int, wall: Callable[[], float] = time.time
    ) -> None:
        self._path = Path(path) / DEFAULT_NAME if path.endswith("/") or Path(path).is_dir() else Path(path)
        self._bytes_max = bytes_max
        self._duration_s = duration_s
        self._files_max = files_max
        self._wall = wall
        self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        self._open()

    def _open(self) -> None:
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        self._bytes = os.fstat(self._file).st_size
        self._opened = self._wall()

    def write(self, line: bytes) -> None:
        """Append the line, in a new file when this one is full or old. OSError as the disk gives."""
        too_big = 0 < self._bytes_max < self._bytes + len(line) and self._bytes > 0
        too_old = 0 < self._duration_s <= self._wall() - self._opened
        if too_big or too_old:
            self._put_aside()
        self._bytes += os.write(self._file, line)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _put_aside(self) -> None:
        stamp = int(self._wall() * 1e9)
        with contextlib.suppress(OSError):
            if self._files_max < 0:
                self._path.unlink()
            else:
                self._path.rename(self._path.with_name(f"{self._path.stem}-{stamp:020}{self._path.suffix}"))
                self._forget_oldest()
        old = self._file
        self._open()
        os.close(old)

    def _forget_oldest(self) -> None:
        if self._files_max == 0:
            return
        name = re.compile(rf"{re.escape(self._path.stem)}-\d{{19,20}}{re.escape(self._path.suffix)}")
        kept = sorted(entry for entry in os.listdir(self._path.parent)[:FILES_LISTED_MAX] if name.fullmatch(entry))
        for entry in kept[: max(0, len(kept) - self._files_max)]:
            (self._path.parent / entry).unlink()


class _Handler(logging.handlers.SysLogHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        """A line that the system's log did not take is lost: to say so would be a line more."""


class Syslog:
    """The system's log, as `facility` (LOCAL0, DAEMON, …). OSError when there is none."""

    def __init__(self, facility: str, *, address: str = SYSLOG_SOCKET) -> None:
        if not Path(address).is_socket():
            raise OSError(errno.ENOENT, f"there is no system log at {address}; start one, or leave syslog out")
        self._handler = _Handler(address=address, facility=_Handler.facility_names[facility.lower()])
        self._handler.ident = f"chowk[{os.getpid()}]: "
        self._handler.append_nul = False

    def write(self, line: bytes) -> None:
        """Send the line, at the level that it says it has."""
        found = _LEVEL.search(line)
        level = (found[1] or found[2]).decode().upper() if found else "INFO"
        text = line.decode(errors="replace").rstrip("\n")
        record = logging.LogRecord("chowk", getattr(logging, level), "", 0, "%s", (text,), None)
        self._handler.emit(record)

    def close(self) -> None:
        """Close the socket."""
        self._handler.close()


@contextlib.contextmanager
def copied_standard_error(copies: Sequence[LogCopy]) -> Iterator[None]:
    """Inside, what this process and its children write to standard error goes on there, and to `copies`."""
    if not copies:
        yield
        return
    sys.stderr.flush()
    original = os.dup(2)
    reader, writer = os.pipe()
    os.dup2(writer, 2)
    os.close(writer)
    thread = threading.Thread(target=_pump, args=(reader, original, copies), name="log-copies", daemon=True)
    thread.start()
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(original, 2)  # the pipe ends when the children are gone too
        thread.join(JOIN_S)
        os.close(original) if not thread.is_alive() else None


def _pump(reader: int, original: int, copies: Sequence[LogCopy]) -> None:
    rest = b""
    while data := os.read(reader, READ_BYTES):
        with contextlib.suppress(OSError):
            os.write(original, data)
        *lines, rest = (rest + data).split(b"\n")
        if len(rest) > LINE_BYTES_MAX:
            lines, rest = [*lines, rest], b""
        for line in lines:
            for copy in copies:
                with contextlib.suppress(OSError):
                    copy.write(line + b"\n")
    for copy in copies:
        with contextlib.suppress(OSError):
            copy.write(rest + b"\n") if rest else None
            copy.close()
    os.close(reader)
