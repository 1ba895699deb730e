"""Which sidecar of this host has which port: given once, kept over restarts. Made and called by `agent.local.state`."""

from __future__ import annotations

from collections.abc import Callable, Collection

import structlog

from chowk.agent.local.registrations import Registrations
from chowk.agent.local.sidecar import choose_port

log = structlog.get_logger("chowk.local")


class SidecarPortBook:
    """`registrations` None keeps nothing over a restart. `is_taken` tells of a port that a process listens on."""

    def __init__(self, registrations: Registrations | None, ports: range, is_taken: Callable[[int], bool]) -> None:
        self._registrations = registrations
        self._ports = ports
        self._is_taken = is_taken
        self._given = registrations.sidecar_ports() if registrations else {}
        self._differs = False

    def choose(self, sidecar_id: str, used: Collection[int]) -> int:
        """The port of a sidecar that names none; `used` are those of other services. InvalidRequest when none is left."""
        return choose_port(self._ports, self._given, used, sidecar_id, self._is_taken)

    def note(self, sidecar_id: str, port: int) -> None:
        """A sidecar has this port now."""
        if port in self._ports and self._given.get(sidecar_id) != port:
            self._given = {key: given for key, given in self._given.items() if given != port}
            self._given[sidecar_id] = port
            self._differs = True

    def save(self) -> None:
        """Called once a change, however many sidecars it brought. A disk that refuses costs the ports at the next start."""
        if not self._differs or self._registrations is None:
            return
        self._differs = False
        try:
            self._registrations.save_sidecar_ports(self._given)
        except OSError as error:
            log.error("the ports of sidecars could not be kept on disk", error=error.strerror)
