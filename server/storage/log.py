"""The log on disk: segments of checksummed frames, written at the end, removed from the front. Called by `storage.durable`.

Recovery cuts a damaged end off and says so; damage with good frames behind it is refused, never repaired by guessing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import structlog

from chowk.server.raft.records import Entry
from chowk.server.storage import segment
from chowk.server.storage.errors import Corrupt
from chowk.server.storage.filesystem import FileSystem, WritableFile

log = structlog.get_logger("chowk.storage")
SEGMENT_BYTES_MAX: Final = 16 * 1024 * 1024
"""A segment this long is followed by a new one; a single frame may be longer."""
FRAME_BYTES_MAX: Final = 32 * 1024 * 1024
"""What is written at once is cut into frames of this much: recovery takes one above `segment.BODY_BYTES_MAX` for damage."""
ENDING: Final = ".log"


class Segment:
    """What is known of one file: its place in the order of files, and the highest index in it."""

    def __init__(self, path: Path, number: int, first_index: int, salt: int) -> None:
        self.path = path
        self.number = number
        self.first_index = first_index
        self.salt = salt
        self.last_index = first_index - 1
        self.size = segment.HEADER.size


def _random_salt() -> int:
    return int.from_bytes(os.urandom(4), "big")


class SegmentLog:
    """Entries on disk. Open it with `recover`; then `append`, `compact` and `reset`, one at a time, from any thread."""

    def __init__(self, files: FileSystem, folder: Path, segment_bytes_max: int = SEGMENT_BYTES_MAX,
                 make_salt: Callable[[], int] = _random_salt) -> None:  # fmt: skip
        self._files = files
        self._folder = folder
        self._segment_bytes_max = segment_bytes_max
        self._make_salt = make_salt
        self._segments: list[Segment] = []
        self._file: WritableFile | None = None
        self._last_index = 0

    @property
    def last_index(self) -> int:
        """The last entry's index; 0 for an empty log."""
        return self._last_index

    def recover(self) -> list[Entry]:
        """Every entry on disk. Corrupt when one that may have been acknowledged is damaged; OSError as the disk gives.

        All of them are durable when this returns: a process that was killed may have left some in the system's memory only.
        """
        self._files.make_folder(self._folder)
        names = [name for name in self._files.names(self._folder) if name.endswith(ENDING)]
        entries: list[Entry] = []
        for position, name in enumerate(names):
            self._recover_segment(self._folder / name, entries, is_last=position == len(names) - 1)
        if self._segments:
            self._open_file().sync()
        self._files.sync_folder(self._folder)
        self._last_index = entries[-1].index if entries else 0
        return entries

    def _recover_segment(self, path: Path, entries: list[Entry], *, is_last: bool) -> None:
        data = self._files.read(path)
        try:
            number, first_index, salt = segment.read_header(data)
        except segment.Damage as damage:
            if not is_last or len(data) > segment.HEADER.size or isinstance(damage, segment.UnknownFormat):
                raise Corrupt(path, damage.offset, damage.what) from damage
            log.warning("removed a log segment that was not made whole", path=str(path), bytes=len(data))
            self._files.remove(path)
            return
        if path.name != _name(number) or (self._segments and number != self._segments[-1].number + 1):
            raise Corrupt(path, 0, f"this is segment {number} of the log: one is missing or renamed")
        found = Segment(path, number, first_index, salt)
        while found.size < len(data):
            try:
                some, end = segment.read_frame(data, found.size, salt)
            except segment.Damage as damage:
                self._cut(found, data, damage, is_last=is_last)
                break
            _join(found, entries, some)
            found.last_index, found.size = max(found.last_index, some[-1].index), end
        self._segments.append(found)

    def _cut(self, found: Segment, data: bytes, damage: segment.Damage, *, is_last: bool) -> None:
        follows = segment.find_frame(data, damage.offset + 1, found.salt)
        if follows is not None or not is_last:
            where = f"good data follows at byte {follows}" if follows is not None else "other segments follow"
            raise Corrupt(found.path, damage.offset, f"{damage.what}, and {where}, so acknowledged writes are damaged")
        log.warning(
            "cut off the log's damaged end, as a crash in the middle of a write leaves it",
            path=str(found.path),
            offset=damage.offset,
            bytes=len(data) - damage.offset,
            last_index=found.last_index,
            reason=damage.what,
        )
        with contextlib.closing(self._files.append(found.path)) as file:
            file.truncate(damage.offset)

    def append(self, entries: Sequence[Entry]) -> None:
        """Make entries durable: after a crash all of them, or the first of them. Those they replace are gone with the first.

        What is replaced stays in the file and is passed over by recovery: cutting it off first would for a moment lose
        entries of the same frame that are not replaced.
        """
        for some in _batches(entries):
            self._append_frame(some)

    def _append_frame(self, entries: Sequence[Entry]) -> None:
        if not self._segments or self._segments[-1].size >= self._segment_bytes_max:
            self._begin_segment(entries[0].index)
        last = self._segments[-1]
        data = segment.frame(entries, last.salt)
        file = self._open_file()
        file.write(data)
        file.sync()
        last.size += len(data)
        self._last_index = entries[-1].index
        last.last_index = max(last.last_index, self._last_index)

    def _open_file(self) -> WritableFile:
        if self._file is None:
            self._file = self._files.append(self._segments[-1].path)
        return self._file

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _begin_segment(self, first_index: int) -> None:
        """The header and the name are durable before any entry is written: an entry is never behind a torn header."""
        self._close_file()
        number = self._segments[-1].number + 1 if self._segments else 1
        new = Segment(self._folder / _name(number), number, first_index, self._make_salt())
        self._file = self._files.create(new.path)
        self._file.write(segment.header(number, first_index, new.salt))
        self._file.sync()
        self._files.sync_folder(self._folder)
        self._segments.append(new)

    def compact(self, index: int) -> None:
        """Remove the segments whose entries are all at or before `index`; never the last.

        One at a time, durably: of two removals that are not synced a crash may keep the second only, and leave a gap.
        """
        while len(self._segments) > 1 and self._segments[0].last_index <= index:
            self._remove(self._segments.pop(0))

    def reset(self) -> None:
        """Remove everything: a snapshot has taken its place. The newest first, so that what a crash leaves is a log as it
        once was; without its front it would look like one with a piece missing."""
        self._close_file()
        while self._segments:
            self._remove(self._segments.pop())
        self._last_index = 0

    def _remove(self, removed: Segment) -> None:
        self._files.remove(removed.path)
        self._files.sync_folder(self._folder)

    def close(self) -> None:
        """Let go of the file."""
        self._close_file()


def _join(found: Segment, entries: list[Entry], some: list[Entry]) -> None:
    """Put a frame's entries after, or in the place of, those before it.

    The first segment that is left may hold entries that its own next frames replace together with some before it, whose
    segments compaction removed: then all that was read so far is replaced.
    """
    first = some[0].index
    base = entries[0].index if entries else found.first_index
    expected = entries[-1].index + 1 if entries else found.first_index
    gapless = all(entry.index == first + position for position, entry in enumerate(some))
    if first > expected or not gapless:
        raise Corrupt(found.path, found.size, f"entry {first} stands where {expected} should: one is missing")
    del entries[max(0, first - base) :]
    entries += some


def _batches(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    start = size = 0
    for position, entry in enumerate(entries):
        if size and size + entry.size > FRAME_BYTES_MAX:
            yield entries[start:position]
            start, size = position, 0
        size += entry.size
    yield entries[start:]


def _name(number: int) -> str:
    return f"{number:012d}{ENDING}"
