"""Bypasses of this host: break glass where no server is left to ask. Set over the agent's API, by whoever may write to it.

Each names a service, ends by itself, and says why and who. They survive a restart of the agent, in one small file that is
whole or not used. Asked by the sources of snapshots; the API is in `agent.api.agent_bypass`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import structlog

from chowk.connect.snapshot import Bypass
from chowk.core.errors import InvalidRequest, NotFound, TooManyRequests, Unavailable
from chowk.core.runtime.checked_files import DamagedFile, read_checked, write_checked
from chowk.core.runtime.clock import Clock

log = structlog.get_logger("chowk.bypass")
FILE: Final = "bypasses"
KIND: Final = "bypasses-1"
FILE_BYTES_MAX: Final = 1024 * 1024
BYPASSES_MAX: Final = 64
LASTS_S_MAX: Final = 24 * 3600.0
TEXT_CHARACTERS_MAX: Final = 512


class HostBypasses:
    """`data_dir` None keeps them in memory (-dev). With `allowed` False there are none, and none can be set."""

    def __init__(self, data_dir: Path | None, clock: Clock, *, allowed: bool) -> None:
        self._path = data_dir / FILE if data_dir is not None else None
        self._clock = clock
        self.allowed = allowed
        self._known: dict[str, Bypass] = self._load() if allowed else {}
        self._callbacks: list[Callable[[], None]] = []

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back at each change; returns what ends that."""
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback) if callback in self._callbacks else None

    def active(self) -> tuple[Bypass, ...]:
        """Those that are in force, by service."""
        now_s = self._clock.wall()
        return tuple(self._known[name] for name in sorted(self._known) if now_s < self._known[name].expires_s)

    def begin(self, service: str, lasts_s: float, reason: str, by: str) -> Bypass:
        """Let connections to `service` through on this host. InvalidRequest, TooManyRequests; Unavailable: not kept."""
        if not self.allowed:
            raise InvalidRequest("bypasses are turned off here: connect { allow_bypass = false }")
        if not 0 < lasts_s <= LASTS_S_MAX:
            raise InvalidRequest(f"a bypass lasts more than 0s and at most {LASTS_S_MAX / 3600:.0f}h")
        if not reason.strip() or max(len(reason), len(by)) > TEXT_CHARACTERS_MAX:
            raise InvalidRequest(f"a bypass needs a reason, of at most {TEXT_CHARACTERS_MAX} characters")
        kept = {each.service: each for each in self.active()}
        if service not in kept and len(kept) >= BYPASSES_MAX:
            raise TooManyRequests(f"{BYPASSES_MAX} bypasses are in force on this host already")
        bypass = Bypass(service=service, expires_s=self._clock.wall() + lasts_s, reason=reason, by=by, host=True)
        self._save({**kept, service: bypass})
        log.warning("bypass begins on this host", service=service, lasts_s=round(lasts_s), reason=reason, by=by)
        return bypass

    def end(self, service: str, by: str) -> None:
        """End one before its time. NotFound; Unavailable: not kept."""
        kept = {each.service: each for each in self.active()}
        if kept.pop(service, None) is None:
            raise NotFound(f'no bypass of "{service}" is in force on this host')
        self._save(kept)
        log.warning("bypass ended on this host", service=service, by=by)

    def _save(self, wanted: dict[str, Bypass]) -> None:
        """Durable first: a bypass that was acknowledged is there after a crash."""
        if self._path is not None:
            try:
                write_checked(self._path, KIND, msgspec.json.encode(list(wanted.values())))
            except OSError as error:
                raise Unavailable(f"the bypass cannot be kept: {error}") from error
        self._known = wanted
        for callback in list(self._callbacks):
            callback()

    def _load(self) -> dict[str, Bypass]:
        if self._path is None:
            return {}
        try:
            content = read_checked(self._path, KIND, FILE_BYTES_MAX)
            found = msgspec.json.decode(content, type=list[Bypass]) if content is not None else []
        except (DamagedFile, OSError, msgspec.MsgspecError) as error:
            log.error("the bypasses of before are not used", path=str(self._path), error=str(error))
            return {}
        latest = self._clock.wall() + LASTS_S_MAX
        for each in found:
            log.warning("bypass of before is in force", service=each.service, reason=each.reason, by=each.by)
        kept = (msgspec.structs.replace(each, host=True) for each in found if each.expires_s <= latest)
        return {each.service: each for each in kept}
