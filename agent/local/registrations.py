"""What was registered over the API, kept on disk so that a restarted agent still has it. Called by `agent.local.state`.

`services/<hash>.json` and `checks/<hash>.json` hold one definition each, `checks/state/<hash>.json` the last status of
a check, `sidecar-ports.json` the ports given to sidecars. Names are hashes of ids, so no id can point outside the folder.
A file that cannot be read is reported, renamed to `….corrupt` and passed over: one bad file never keeps an agent down.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import structlog

from chowk.core.definitions import CheckDefinition, ServiceDefinition
from chowk.core.records.check import STATUSES
from chowk.core.runtime.files import sync_folder, write_durably

log = structlog.get_logger("chowk.local")
T = TypeVar("T")
FILE_BYTES_MAX: Final = 4 * 1024 * 1024
FILES_MAX: Final = 20_000
STATES_MAX: Final = 50_000
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class CheckState(msgspec.Struct, frozen=True, kw_only=True):
    """The last status of a check, and when it was given (Unix seconds: the only clock that outlives a restart); under which
    boot of the kernel, and a digest of what the check looked at ("": written by a version that did not tell).
    """

    check_id: str
    status: str
    output: str
    saved_at_s: float
    boot_id: str = ""
    digest: str = ""


class SidecarPorts(msgspec.Struct, frozen=True, kw_only=True):
    """Ports by sidecar id."""

    ports: dict[str, int]


class Registrations:
    """Keeps definitions under `data_dir`. Saving and removing are durable when they return; OSError as the disk gives.

    `boot_id` names this boot of the kernel; None asks the kernel, "" means that nobody knows.
    """

    def __init__(self, data_dir: Path, boot_id: str | None = None) -> None:
        self.boot_id = _running_boot() if boot_id is None else boot_id
        self._services = data_dir / "services"
        self._checks = data_dir / "checks"
        self._states = self._checks / "state"
        self._ports = data_dir / "sidecar-ports.json"
        for folder in (self._services, self._checks, self._states):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def services(self) -> tuple[ServiceDefinition, ...]:
        """All kept services, by id."""
        return tuple(sorted(_read_all(self._services, ServiceDefinition), key=lambda each: each.id or each.name))

    def checks(self) -> tuple[CheckDefinition, ...]:
        """All kept checks, by id."""
        return tuple(sorted(_read_all(self._checks, CheckDefinition), key=lambda each: each.id))

    def states(self) -> dict[str, CheckState]:
        """The kept statuses, by check id."""
        found = {}
        for state in _read_all(self._states, CheckState, STATES_MAX):
            if state.status in STATUSES:
                found[state.check_id] = state
            else:
                log.error("a kept status is none; it is passed over", check=state.check_id, status=state.status)
        return found

    def sidecar_ports(self) -> dict[str, int]:
        """The ports that sidecars were given."""
        kept = _read(self._ports, SidecarPorts)
        return dict(kept.ports) if kept else {}

    def save_service(self, definition: ServiceDefinition) -> None:
        """Keep a service's definition."""
        write_durably(_path(self._services, definition.id or definition.name), _encode(definition))

    def save_check(self, definition: CheckDefinition) -> None:
        """Keep a check's definition."""
        write_durably(_path(self._checks, definition.id), _encode(definition))

    def save_sidecar_ports(self, ports: Mapping[str, int]) -> None:
        """Keep the ports that sidecars were given."""
        write_durably(self._ports, _encode(SidecarPorts(ports=dict(sorted(ports.items())))))

    def save_state(self, state: CheckState) -> None:
        """Keep a status: whole or not at all, but not fsynced, since it is worth nothing after a power cut."""
        path = _path(self._states, state.check_id)
        temporary = path.with_suffix(".tmp")
        temporary.write_bytes(_encode(state))
        temporary.replace(path)

    def keep_states_of(self, check_ids: Collection[str]) -> None:
        """Forget the statuses of all other checks."""
        kept = {_path(self._states, check_id).name for check_id in check_ids}
        for path in self._states.glob("*.json"):
            if path.name not in kept:
                path.unlink(missing_ok=True)
        for path in self._states.glob("*.tmp"):
            path.unlink(missing_ok=True)

    def remove_service(self, service_id: str) -> None:
        """Forget a service; nothing happens when it was not kept."""
        _remove(_path(self._services, service_id))

    def remove_check(self, check_id: str) -> None:
        """Forget a check and its status; nothing happens when it was not kept."""
        _path(self._states, check_id).unlink(missing_ok=True)
        _remove(_path(self._checks, check_id))


def _path(folder: Path, name: str) -> Path:
    return folder / f"{hashlib.sha256(name.encode()).hexdigest()}.json"


def _encode(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def _remove(path: Path) -> None:
    try:
        path.unlink()
    except FileNotFoundError:
        return
    sync_folder(path.parent)


def _running_boot() -> str:
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _read_all(folder: Path, kind: type[T], limit: int = FILES_MAX) -> list[T]:
    paths = sorted(folder.glob("*.json"))
    if len(paths) > limit:
        log.error("too many kept registrations; the rest is passed over", folder=str(folder), limit=limit)
    found = (_read(path, kind) for path in paths[:limit])
    return [value for value in found if value is not None]


def _read(path: Path, kind: type[T]) -> T | None:
    try:
        if not path.exists():
            return None
        if not path.is_file() or path.stat().st_size > FILE_BYTES_MAX:
            raise ValueError(f"it is not a file of at most {FILE_BYTES_MAX} bytes")
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (ValueError, msgspec.MsgspecError) as error:
        log.error("a kept registration cannot be read; it is set aside", path=str(path), error=str(error))
        _set_aside(path)
    except OSError as error:
        log.error("a kept registration cannot be read; it is passed over", path=str(path), error=str(error))
    return None


def _set_aside(path: Path) -> None:
    try:
        os.replace(path, path.with_name(f"{path.name}.corrupt"))
    except OSError as error:
        log.error("a file could not be set aside", path=str(path), error=str(error))
