"""Serves the control socket that proxies of this host attach to: snapshots out, CSRs and reports in.

Trust: the socket is 0600 in a 0700 folder, and a caller of another user (root excepted) is refused. A proxy gets a leaf
only for the service of the connect-proxy registration it attached as.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from typing import Protocol

import structlog

from chowk.agent.client.pool import ServerClient
from chowk.agent.proxies.bypasses import HostBypasses as Bypasses
from chowk.agent.proxies.source import SnapshotSource
from chowk.agent.proxies.taps import TapHub
from chowk.agent.proxies.totals import Totals
from chowk.agent.proxies.traffic import Traffic
from chowk.connect.control import (
    ATTACH,
    NOT_YET,
    REPORT,
    SIGN_LEAF,
    TAPPED,
    Attach,
    HostBypasses,
    Instruction,
    Report,
    SignedLeaf,
    SignLeaf,
    Tap,
    Tapped,
)
from chowk.core import errors
from chowk.core.requests import CA_SIGN, Empty, SignRequest
from chowk.core.runtime.clock import Clock
from chowk.core.runtime.rpc.endpoints import Endpoints, Peer

log = structlog.get_logger("chowk.proxies")
SIGN_TIMEOUT_S = 10.0


class Sources(Protocol):
    """Where the control socket finds the source of a proxy; None when this agent has no such registration."""

    def source(self, proxy_id: str) -> SnapshotSource | None: ...


class Attachment:
    """A proxy process that is attached now. `stop(reason)` ends it."""

    def __init__(self, attach: Attach, source: SnapshotSource) -> None:
        self.attach = attach
        self.taps: tuple[Tap, ...] = ()
        self.taps_changed = False
        self.bypasses: HostBypasses | None = None
        self.bypasses_changed = False
        self.report: Report | None = None
        self.stop_reason = ""
        self._source = source

    def stop(self, reason: str) -> None:
        """Tell the proxy to drain and exit."""
        self.stop_reason = reason
        self._source.wake()

    def serve_taps(self, taps: tuple[Tap, ...]) -> None:
        """Tell the proxy to serve these, when they are others than before."""
        if taps != self.taps:
            self.taps = taps
            self.taps_changed = True
            self._source.wake()

    def tell_bypasses(self, bypasses: HostBypasses) -> None:
        """Tell the proxy of these, when they are others than before."""
        if bypasses != self.bypasses:
            self.bypasses = bypasses
            self.bypasses_changed = True
            self._source.wake()

    def interrupted(self) -> bool:
        """True while there is something to tell the proxy besides snapshots."""
        return bool(self.stop_reason) or self.taps_changed or self.bypasses_changed


class ControlService:
    """The endpoints of the socket, and who is attached. `on_change` is called when a proxy attaches or leaves,
    `on_listening` with its id when its public listener has come up."""

    def __init__(
        self,
        sources: Sources,
        client: ServerClient,
        node: str,
        on_change: Callable[[], None],
        on_listening: Callable[[str], None],
        clock: Clock,
        bypasses: Bypasses,
    ) -> None:
        self._sources = sources
        self._bypasses = bypasses
        bypasses.on_change(self._tell_bypasses)
        self._client = client
        self._node = node
        self._on_change = on_change
        self._on_listening = on_listening
        self._clock = clock
        self.attached: dict[str, Attachment] = {}
        self.traffic = Traffic()
        self.totals = Totals()
        self.taps = TapHub(clock)
        self.taps.on_change = self._tell_taps

    def endpoints(self) -> Endpoints:
        """What proxies may call."""
        endpoints = Endpoints()
        endpoints.serve_stream(ATTACH, self._attach)
        endpoints.serve(SIGN_LEAF, self._sign)
        endpoints.serve(REPORT, self._report)
        endpoints.serve(TAPPED, self._tapped)
        return endpoints

    async def _attach(self, attach: Attach, peer: Peer) -> AsyncIterator[Instruction]:
        _refuse_strangers(peer)
        source = self._sources.source(attach.proxy_id)
        if source is None:
            yield Instruction(stop=True, reason=f'no proxy service "{attach.proxy_id}" is registered on this agent')
            return
        refusal = self._make_room(attach)
        if refusal:
            yield Instruction(stop=True, reason=refusal)
            return
        attachment = self.attached[attach.proxy_id] = Attachment(attach, source)
        log.info("proxy attached", proxy=attach.proxy_id, pid=attach.pid, manual=attach.manual, version=attach.version)
        self._on_change()
        try:
            async for instruction in self._instructions(attachment, source):
                yield instruction
        finally:
            if self.attached.get(attach.proxy_id) is attachment:
                del self.attached[attach.proxy_id]
                self.traffic.forget(attach.proxy_id)
                self.totals.ended(attach.proxy_id)
            log.info("proxy detached", proxy=attach.proxy_id, pid=attach.pid)
            self._on_change()

    def _make_room(self, attach: Attach) -> str:
        """Why this process may not serve the proxy, or "": a manual one takes over, of launched ones the first stays."""
        other = self.attached.get(attach.proxy_id)
        if other is None or other.attach.instance == attach.instance:
            return ""
        if other.attach.manual and not attach.manual:
            return f"a proxy started by hand (pid {other.attach.pid}) serves {attach.proxy_id}"
        if not attach.manual:
            return f"pid {other.attach.pid} serves {attach.proxy_id} already"
        other.stop(f"pid {attach.pid}, started by hand, takes over")
        return ""

    async def _instructions(self, attachment: Attachment, source: SnapshotSource) -> AsyncIterator[Instruction]:
        version, serves = 0, attachment.attach.version > 0
        attachment.serve_taps(self.taps.taps(source.service_name))
        if (
            serves
        ):  # by a snapshot of an agent before this one: what has become of bypasses since must not wait for servers
            attachment.tell_bypasses(self._host_bypasses())
        while True:
            snapshot = await source.newer(version, attachment.interrupted, serves=serves)
            if snapshot is not None:
                version = snapshot.version
                yield Instruction(snapshot=snapshot)
            elif attachment.stop_reason:
                yield Instruction(stop=True, reason=attachment.stop_reason)
                return
            else:
                taps = attachment.taps if attachment.taps_changed else None
                bypasses = attachment.bypasses if attachment.bypasses_changed else None
                attachment.taps_changed = attachment.bypasses_changed = False
                yield Instruction(taps=taps, bypasses=bypasses)

    def _tell_taps(self) -> None:
        for proxy_id, attachment in self.attached.items():
            source = self._sources.source(proxy_id)
            if source is not None:
                attachment.serve_taps(self.taps.taps(source.service_name))

    def _tell_bypasses(self) -> None:
        for attachment in self.attached.values():
            attachment.tell_bypasses(self._host_bypasses())

    def _host_bypasses(self) -> HostBypasses:
        return HostBypasses(active=self._bypasses.active(), allowed=self._bypasses.allowed)

    async def _sign(self, request: SignLeaf, peer: Peer) -> SignedLeaf:
        _refuse_strangers(peer)
        attachment = self.attached.get(request.proxy_id)
        source = self._sources.source(request.proxy_id)
        if source is None or attachment is None or attachment.attach.instance != request.instance:
            raise errors.PermissionDenied(f"this process is not attached as {request.proxy_id}")
        sign = SignRequest(service=source.service_name, csr_pem=request.csr_pem, node=self._node)
        reply = await self._client.call(CA_SIGN, sign, timeout_s=SIGN_TIMEOUT_S)
        return SignedLeaf(leaf=reply.leaf)

    async def _report(self, report: Report, peer: Peer) -> Empty:
        _refuse_strangers(peer)
        attachment = self.attached.get(report.proxy_id)
        if attachment is not None and attachment.attach.instance == report.instance:
            _log_new_errors(attachment.report, report)
            before, attachment.report = attachment.report, report
            source = self._sources.source(report.proxy_id)
            if source is not None:
                self.traffic.note(source.service_name, report, self._clock.now())
                self.totals.note(source.service_name, report)
            if report.inbound_listening and not (before and before.inbound_listening):
                self._on_listening(report.proxy_id)
        return Empty()

    async def _tapped(self, batch: Tapped, peer: Peer) -> Empty:
        _refuse_strangers(peer)
        attachment = self.attached.get(batch.proxy_id)
        if attachment is not None and attachment.attach.instance == batch.instance:
            self.taps.receive(batch)
        return Empty()


def _refuse_strangers(peer: Peer) -> None:
    if peer.uid not in (0, os.getuid()):
        raise errors.PermissionDenied(f"{peer.name} runs as user {peer.uid}; proxies run as the agent's user or root")


def _log_new_errors(before: Report | None, after: Report) -> None:
    known = {upstream.name: upstream.error for upstream in before.upstreams} if before else {}
    if after.inbound_error not in ("", NOT_YET, before.inbound_error if before else ""):
        log.error("sidecar cannot listen", proxy=after.proxy_id, error=after.inbound_error)
    for upstream in after.upstreams:
        if upstream.error not in ("", NOT_YET, known.get(upstream.name)):
            log.error("upstream cannot listen", proxy=after.proxy_id, upstream=upstream.name, error=upstream.error)
