"""What the listeners of one proxy process share: the snapshot, credentials, limits, open pipes. Made by `proxy.Proxy`."""

from __future__ import annotations

import asyncio
import random
import resource
from typing import Final

import msgspec
import structlog

from chowk.connect.limits.gate import Gate
from chowk.connect.proxy.credentials import Credentials
from chowk.connect.proxy.distrust import SecuredLinks
from chowk.connect.proxy.handshakes import HandshakeLine
from chowk.connect.proxy.http_roster import Roster
from chowk.connect.proxy.links import Pipe, TlsLink
from chowk.connect.proxy.outdated import OutdatedLinks
from chowk.connect.proxy.peers import Peers
from chowk.connect.proxy.verdict import bypassed
from chowk.connect.snapshot import ProxySnapshot
from chowk.connect.stats.edges import Edges
from chowk.connect.stats.observation import Observers
from chowk.core.runtime.clock import Clock
from chowk.core.runtime.tasks import TaskOwner

log = structlog.get_logger("chowk.proxy")
CONNECTIONS_MAX: Final = 16_384
HANDSHAKES_MAX: Final = 1_024
_SPARE_DESCRIPTORS: Final = 128


class ProxySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds. The defaults are what runs in production; tests shorten them."""

    handshake_timeout_s: float = 5.0
    idle_timeout_s: float = 3600.0
    drain_s: float = 5.0
    drain_quiet_s: float = 2.0
    reconnect_s_max: float = 0.5
    report_s: float = 1.0
    report_s_max: float = 10.0
    connections_max: int = 0
    """0: as many as CONNECTIONS_MAX and the process's descriptors allow."""
    handshakes_max: int = HANDSHAKES_MAX
    http_head_s: float = 10.0
    """A request's head, from its first byte to its last."""
    http_body_s: float = 60.0
    """A request's body may stand still for so long."""
    http_stall_s: float = 300.0
    """A client may leave its answer untaken for so long."""
    http_linger_s: float = 2.0
    """After an early answer, what the client still sends is dropped for so long before its connection ends."""
    http_pool_idle_s: float = 60.0
    """A connection to an instance is kept for the next request for so long."""
    http_app_idle_s: float = 4.0
    """And one to the application: many frameworks close theirs after 5 s."""
    http_drain_quiet_s: float = 0.5
    """A connection that takes no more requests is closed when none came for so long."""
    http_look_s: float = 1.0
    """How often the above are looked at."""


class ProxyState:
    """One instance a process. Listeners read `snapshot` and `credentials` anew for each connection."""

    def __init__(self, settings: ProxySettings, clock: Clock, rng: random.Random) -> None:
        self.settings = settings
        self.clock = clock
        self.rng = rng
        self.snapshot: ProxySnapshot | None = None
        self.credentials: Credentials | None = None
        self.line = HandshakeLine(asyncio.get_running_loop(), clock.now)
        self.peers = Peers()
        self.connections = Gate(settings.connections_max or _connections_max())
        self.handshakes = Gate(settings.handshakes_max)
        self.handshake_failures = 0
        self.pipes: set[Pipe] = set()
        self.outdated = OutdatedLinks()
        self.secured_links = SecuredLinks()
        self.http = Roster()
        self.edges = Edges()
        self.observers = Observers()
        self.tasks = TaskOwner("proxy")
        self._warned: dict[str, float] = {}
        self._lenient: tuple[Credentials, Credentials] | None = None

    def usable_credentials(self, service: str = "") -> Credentials | None:
        """The credentials for connections to `service`, None while there is no valid leaf: then nobody may connect."""
        credentials = self.credentials
        if credentials is not None and self.bypassed(service):
            return self._lenient_of(credentials)
        if credentials is None or not credentials.valid(self.clock.wall()):
            self.warn("no valid leaf certificate: connections are refused")
            return None
        return credentials

    def bypassed(self, service: str) -> bool:
        """Whether connections to `service` are in a bypass now."""
        return bypassed(self.snapshot, service, self.clock.wall())

    def secured(self, link: TlsLink, service: str, credentials: Credentials) -> None:
        """`link`, to `service`, is secured by `credentials`, its peer identified. If nothing but a bypass makes up for the
        dates of a certificate, of either end, it is to end with the bypass.
        """
        self.secured_links.add(link)
        if credentials.lenient is not None or self.snapshot is None:
            return
        now_s, domain = self.clock.wall(), self.snapshot.roots.trust_domain
        if not (credentials.valid(now_s) and self.peers.in_time(link.peer_leaf, domain, now_s)):
            self.outdated.add(link, service)

    def end_outdated(self) -> None:
        """A bypass may be over: what it alone let in ends."""
        ended = self.outdated.end(self.bypassed)
        if ended:
            log.warning("connections made by certificates that had ended are cut: their bypass is over", count=ended)

    def _lenient_of(self, credentials: Credentials) -> Credentials:
        """Made once for each credentials, and only when a bypass asks for it."""
        if self._lenient is None or self._lenient[0] is not credentials:
            made = credentials.lenient() if credentials.lenient is not None else credentials
            self._lenient = (credentials, made)
        return self._lenient[1]

    def warn(self, event: str, **details: object) -> None:
        """Log what any peer can cause, at most once a second for each `event`."""
        now = self.clock.now()
        if now - self._warned.get(event, -10.0) >= 1.0:
            self._warned[event] = now
            log.warning(event, **details)


def _connections_max() -> int:
    """Two descriptors for each connection; asks the kernel for as many as this user may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError):
            """Some kernels refuse an unlimited number; the soft limit stays."""
    if soft == resource.RLIM_INFINITY:
        return CONNECTIONS_MAX
    return max(16, min(CONNECTIONS_MAX, (soft - _SPARE_DESCRIPTORS) // 2))
