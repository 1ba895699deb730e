"""The agent's place on disk: the data folder, its lock, the node's id, and the run folder of its sockets. Called by boot."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
import uuid
from pathlib import Path

from chowk.core.errors import ChowkError
from chowk.core.runtime.files import write_durably

DEV_PREFIX = "chowk-dev-"
SOCKET_PATH_MAX = 100
"""Unix socket paths end at 107 bytes; the longest name in the run folder fits below this many."""


class DataDirError(ChowkError):
    """The data folder cannot be used; the text says why and what to do."""


class AgentFolder:
    """Holds the data folder while the agent lives. With `data_dir` "" (-dev) only a temporary run folder."""

    def __init__(self, data_dir: str) -> None:
        self.data_dir = Path(data_dir) if data_dir else None
        self.run_dir = Path()
        self._lock: int | None = None

    def open(self) -> None:
        """Make the folders and take the lock. DataDirError when another agent has it or the disk refuses."""
        try:
            if self.data_dir is None:
                _remove_leftovers()
                self.run_dir = Path(tempfile.mkdtemp(prefix=DEV_PREFIX))
                self._lock = _locked(self.run_dir / "agent.lock")
                return
            self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._take_lock(self.data_dir / "agent.lock")
            self.run_dir = _run_dir(self.data_dir)
            self.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.run_dir.chmod(0o700)
            _refuse_foreign(self.run_dir)
        except OSError as error:
            raise DataDirError(
                f"cannot use data_dir {self.data_dir}: {error.strerror}: {error.filename}; "
                "give chowk a folder it may write to (data_dir, or -data-dir)"
            ) from error

    def close(self) -> None:
        """Let go of the lock; a temporary run folder is removed."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        if self.data_dir is None and self.run_dir != Path():
            shutil.rmtree(self.run_dir, ignore_errors=True)

    def node_id(self, configured: str) -> str:
        """The node's UUID: as configured, else the one remembered, else a new one (remembered before it is used)."""
        if configured or self.data_dir is None:
            return configured or str(uuid.uuid4())
        path = self.data_dir / "node-id"
        try:
            if path.exists():
                return str(uuid.UUID(path.read_text().strip()))
            node_id = str(uuid.uuid4())
            write_durably(path, f"{node_id}\n".encode())
        except ValueError as error:
            raise DataDirError(
                f"{path} holds no UUID ({error}); restore it, or delete it to get a new node id"
            ) from error
        except OSError as error:
            raise DataDirError(f"cannot read or write {path}: {error.strerror}") from error
        return node_id

    def _take_lock(self, path: Path) -> None:
        lock = _locked(path)
        if lock is None:
            holder = path.read_text(errors="replace")[:32].strip() or "unknown"
            raise DataDirError(
                f"another chowk agent (pid {holder}) uses data_dir {path.parent}; stop it, or give this one another data_dir"
            )
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
        self._lock = lock


def _locked(path: Path) -> int | None:
    """The descriptor that holds the lock, None when another process holds it."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _remove_leftovers() -> None:
    """Remove what -dev agents of this user left when they were killed: run folders whose lock nobody holds."""
    for folder in Path(tempfile.gettempdir()).glob(f"{DEV_PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid() or not (folder / "agent.lock").exists():
                continue
            lock = _locked(folder / "agent.lock")
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _run_dir(data_dir: Path) -> Path:
    """`data_dir/run`, or where its sockets' paths would be too long for the kernel a folder named after it."""
    run = data_dir.resolve() / "run"
    if len(os.fsencode(run / "launcher.sock")) <= SOCKET_PATH_MAX:
        return run
    digest = hashlib.sha256(os.fsencode(run)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"chowk-{os.getuid()}-{digest}"


def _refuse_foreign(folder: Path) -> None:
    status = folder.lstat()
    if status.st_uid != os.getuid() or folder.is_symlink():
        raise DataDirError(f"{folder} belongs to another user or is a link; remove it")
