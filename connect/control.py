"""How a proxy talks with the agent of its host: RPC over the agent's Unix socket `proxies.sock`, the proxy calling.

The agent serves these; a proxy keeps calling `ATTACH` until it is answered, for as long as it lives.
"""

from __future__ import annotations

from typing import Final

from chowk.connect.snapshot import Bypass, ProxySnapshot
from chowk.connect.stats.edges import EdgeTotals, PeerTotals
from chowk.connect.stats.observation import RequestFilter, RequestRecord
from chowk.core.records.ca import LeafCertificate
from chowk.core.requests import Empty, Message, Method


class Attach(Message, frozen=True, kw_only=True):
    """A proxy introduces itself: launched by the agent, or by hand (`manual`), which takes over from a launched one.

    `instance` is a random id of this process; `version` the snapshot it serves now (0: none yet).
    """

    proxy_id: str
    pid: int
    instance: str
    manual: bool = False
    version: int = 0


class Tap(Message, frozen=True, kw_only=True):
    """Somebody wants to see requests: those that `filter` takes, at most `per_s` of them a second, until `ends_s` (Unix
    seconds). `id` is the tap's name in what is sent back.
    """

    id: int
    filter: RequestFilter = RequestFilter()
    per_s: int = 100
    ends_s: float


class HostBypasses(Message, frozen=True, kw_only=True):
    """All that are in force on this host by itself; with `allowed` False none is honoured, of the mesh neither."""

    active: tuple[Bypass, ...] = ()
    allowed: bool = True


class Instruction(Message, frozen=True, kw_only=True):
    """One item of the ATTACH stream: a new `snapshot`; `taps` that are to be served, when those changed; `bypasses` of this
    host as they are now, for a proxy that serves by a snapshot of before; or `stop`: another proxy took over, or the service
    is gone.
    """

    snapshot: ProxySnapshot | None = None
    taps: tuple[Tap, ...] | None = None
    bypasses: HostBypasses | None = None
    stop: bool = False
    reason: str = ""


class Tapped(Message, frozen=True, kw_only=True):
    """Requests that the tap `id` takes, in the order of their ends; `missed` more were over its rate."""

    proxy_id: str
    instance: str
    id: int
    requests: tuple[RequestRecord, ...]
    missed: int = 0


class SignLeaf(Message, frozen=True, kw_only=True):
    """The proxy made a key and asks for its leaf; the agent passes it on for the service this proxy stands for."""

    proxy_id: str
    instance: str
    csr_pem: str


class SignedLeaf(Message, frozen=True, kw_only=True):
    leaf: LeafCertificate


NOT_YET: Final = "not listening yet"
"""The error of a listener that has only begun: nothing is wrong."""


class LeftOut(Message, frozen=True, kw_only=True):
    """An instance that gets no requests for a while, by what came of those before; the registry does not know of it."""

    service: str
    instance: str
    address: str
    port: int
    why: str


LEFT_OUT_MAX: Final = 16
"""So many are named; all are counted."""


class UpstreamStatus(Message, frozen=True, kw_only=True):
    """Counters of one upstream listener; `error` "" when it listens."""

    name: str
    error: str = ""
    connections_open: int = 0
    connections_total: int = 0
    dial_failures_total: int = 0
    bytes_sent_total: int = 0
    bytes_received_total: int = 0
    ejected: int = 0
    ejections_total: int = 0
    left_out: tuple[LeftOut, ...] = ()


class Report(Message, frozen=True, kw_only=True):
    """What a proxy tells of itself, each second while it changes and each 10 s at least."""

    proxy_id: str
    instance: str
    version: int
    leaf_valid_after: str = ""
    leaf_valid_before: str = ""
    inbound_error: str = ""
    inbound_listening: bool = False
    inbound_connections_open: int = 0
    inbound_connections_total: int = 0
    inbound_denied_total: int = 0
    handshake_failures_total: int = 0
    bytes_received_total: int = 0
    bytes_sent_total: int = 0
    upstreams: tuple[UpstreamStatus, ...] = ()
    edges: tuple[EdgeTotals, ...] = ()
    peers: tuple[PeerTotals, ...] = ()
    edges_overflow_total: int = 0
    """Times that an edge or peer found no place of its own."""


ATTACH = Method("Proxy.Attach", Attach, Instruction, "service:write")
SIGN_LEAF = Method("Proxy.SignLeaf", SignLeaf, SignedLeaf, "service:write")
TAPPED = Method("Proxy.Tapped", Tapped, Empty, "service:write")
REPORT = Method("Proxy.Report", Report, Empty, "service:write")
