"""A file system in memory that crashes when it is told to: what was not synced is lost, torn or kept, as the seed decides.

Stricter than most real ones: names that were not synced are kept or lost each by itself, not in order.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path


class Crash(BaseException):
    """The process ends here. No Exception, so that no code under test takes it for an error it could handle."""


class Inode:
    """A file's bytes: as a reader sees them, and as they are on the platter."""

    def __init__(self) -> None:
        self.cached = bytearray()
        self.durable = b""

    def lose_power(self, rng: random.Random) -> None:
        """What was not synced: all there, a part of it, a hole in it, or nothing."""
        kept = self.durable
        if bytes(self.cached[: len(kept)]) == kept:
            rest = bytearray(self.cached[len(kept) :])
            rest = rest[: rng.choice((0, len(rest), rng.randint(0, len(rest))))]
            if len(rest) > 2 and rng.random() < 0.3:
                start = rng.randrange(len(rest))
                hole = rng.randint(1, len(rest) - start)
                rest[start : start + hole] = bytes(hole)
            kept += bytes(rest)
        elif rng.random() < 0.5:
            kept = bytes(self.cached)
        self.cached, self.durable = bytearray(kept), kept


class Names:
    """A folder: its files as seen, as they are on the platter, and the changes between the two."""

    def __init__(self) -> None:
        self.seen: dict[str, Inode] = {}
        self.durable: dict[str, Inode] = {}
        self._pending: list[tuple[tuple[str, Inode | None], ...]] = []

    def change(self, *changes: tuple[str, Inode | None]) -> None:
        """Names that change together, or not at all."""
        self._pending.append(changes)
        self._perform(self.seen, changes)

    @staticmethod
    def _perform(names: dict[str, Inode], changes: tuple[tuple[str, Inode | None], ...]) -> None:
        for name, inode in changes:
            if inode is None:
                names.pop(name, None)
            else:
                names[name] = inode

    def sync(self) -> None:
        """What is seen is durable."""
        self.durable = dict(self.seen)
        self._pending = []

    def lose_power(self, rng: random.Random) -> None:
        """Each change that was not synced happened or did not."""
        chance = rng.choice((0.0, 0.5, 1.0))
        for changes in self._pending:
            if rng.random() < chance:
                self._perform(self.durable, changes)
        self.seen, self._pending = dict(self.durable), []
        for inode in self.seen.values():
            inode.lose_power(rng)


class CrashingFile:
    """An open file of the CrashingDisk."""

    def __init__(self, disk: CrashingDisk, inode: Inode) -> None:
        self._disk = disk
        self._inode = inode

    def write(self, data: bytes) -> None:
        size = self._disk.rng.randint(0, len(data))
        self._disk.step(lambda: self._inode.cached.extend(data), lambda: self._inode.cached.extend(data[:size]))

    def sync(self) -> None:
        self._disk.step(self._sync)

    def _sync(self) -> None:
        self._inode.durable = bytes(self._inode.cached)

    def truncate(self, size: int) -> None:
        def cut() -> None:
            del self._inode.cached[size:]

        self._disk.step(cut)

    def close(self) -> None:
        pass


class OpenBytes:
    """A file as it was when it was opened."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def read(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + length]

    def close(self) -> None:
        pass


class CrashingDisk:
    """Implements storage.filesystem.FileSystem. It crashes in the step `crash_at`, counted from 0, and stays down."""

    def __init__(self, seed: int, crash_at: int | None = None) -> None:
        self.rng = random.Random(seed)
        self.crash_at = crash_at
        self.refuse_at: tuple[int, int] | None = None
        """A step, and the errno with which the system refuses it and all that follow."""
        self.steps = 0
        self._folders: dict[Path, Names] = {}

    def step(self, whole: Callable[[], None], part: Callable[[], None] | None = None) -> None:
        """Do one thing to the disk; in the step that crashes: the whole of it, a part, or nothing."""
        self.steps += 1
        if self.refuse_at is not None and self.steps > self.refuse_at[0]:
            (part or (lambda: None))()
            raise OSError(self.refuse_at[1], os.strerror(self.refuse_at[1]))
        if self.crash_at is None or self.steps <= self.crash_at:
            whole()
            return
        if self.steps == self.crash_at + 1:
            self.rng.choice((whole, part or whole, lambda: None))()
        raise Crash

    def restart(self, *, power_lost: bool) -> None:
        """After a kill everything written is seen still; after a power cut only what the platter has."""
        self.crash_at = None
        if power_lost:
            for names in self._folders.values():
                names.lose_power(self.rng)

    def rot(self, rng: random.Random) -> bool:
        """Flip a bit in a file that another follows, so that no crash explains it: False when there is none."""
        names = next((names for folder, names in sorted(self._folders.items()) if folder.name == "log"), None)
        files = [inode for _name, inode in sorted(names.seen.items())][:-1] if names is not None else []
        if not files:
            return False
        inode = rng.choice(files)
        position = rng.randrange(len(inode.cached))
        inode.cached[position] ^= 1 << rng.randrange(8)
        inode.durable = bytes(inode.cached)
        return True

    def make_folder(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)  # the lock is a real file
        self._folders.setdefault(folder, Names())

    def names(self, folder: Path) -> list[str]:
        return sorted(self._folders[folder].seen)

    def create(self, path: Path) -> CrashingFile:
        inode = Inode()
        self.step(lambda: self._folders[path.parent].change((path.name, inode)))
        return CrashingFile(self, inode)

    def append(self, path: Path) -> CrashingFile:
        return CrashingFile(self, self._folders[path.parent].seen[path.name])

    def read(self, path: Path) -> bytes:
        return bytes(self._folders[path.parent].seen[path.name].cached)

    def read_blocks(self, path: Path, size: int) -> Iterator[bytes]:
        data = self.read(path)
        return (data[start : start + size] for start in range(0, len(data), size))

    def open(self, path: Path) -> OpenBytes:
        return OpenBytes(self.read(path))

    def rename(self, source: Path, target: Path) -> None:
        names = self._folders[source.parent]
        inode = names.seen[source.name]
        self.step(lambda: names.change((source.name, None), (target.name, inode)))

    def remove(self, path: Path) -> None:
        self.step(lambda: self._folders[path.parent].change((path.name, None)))

    def sync_folder(self, folder: Path) -> None:
        self.step(self._folders[folder].sync)
