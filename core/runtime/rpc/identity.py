"""Who this process is to the others of its cluster: TLS contexts made from the gossip keys, and the check of a peer's name.

Made by the wiring of a server and of an agent; asked by `tcp` at every connection. The certificate's key is made here, lives
in memory alone (the file that Python's ssl wants is an anonymous one, memfd_create(2)), and is replaced at half its life.
"""

from __future__ import annotations

import base64
import os
import ssl
from typing import Any, Final

import msgspec

from chowk.core.errors import PermissionDenied
from chowk.core.runtime.clock import Clock
from chowk.core.runtime.rpc.endpoints import SERVER, Peer
from chowk.core.runtime.rpc.trust import LIFE_S, Authority, Holder, parse_holder

_GROUP: Final = "prime256v1"


class _Contexts(msgspec.Struct, frozen=True):
    server: ssl.SSLContext
    client: ssl.SSLContext
    renew_at_s: float


class ClusterIdentity:
    """`keys`: gossip keys in base64, the primary one first; none: the cluster is plain. `role` is SERVER or AGENT.

    New handshakes prove the primary key and trust every key of the ring; open connections are left alone by a change.
    ValueError for a key that is not base64, and for names that no certificate can hold.
    """

    def __init__(
        self, keys: tuple[str, ...], role: str, node_id: str, node: str, datacenter: str, clock: Clock
    ) -> None:
        self.holder = Holder(datacenter, role, node_id, node)
        parse_holder(self.holder.uri)
        self._clock = clock
        self._keys: tuple[str, ...] = ()
        self._authorities: dict[str, Authority] = {}
        self._contexts: _Contexts | None = None
        if keys:
            self.set_keys(keys)

    @property
    def encrypted(self) -> bool:
        """Whether connections are to be TLS."""
        return bool(self._keys)

    @property
    def ends_at_s(self) -> float | None:
        """When the certificate ends that the next handshake proves (Unix); None while none was needed. What is due for
        renewal is renewed first: who holds one connection for months has not let anything come to its end.
        """
        return self._current().renew_at_s + LIFE_S / 2 if self._contexts is not None else None

    def set_keys(self, keys: tuple[str, ...]) -> None:
        """Use these from now on. ValueError for a key that is not base64, and for none where there were some: encryption
        is never switched off in a running cluster.
        """
        if not keys and self._keys:
            raise ValueError("the last gossip key cannot be taken away while the cluster runs encrypted")
        self._authorities = {
            key: self._authorities.get(key) or Authority(base64.b64decode(key, validate=True)) for key in keys
        }
        self._keys = keys
        self._contexts = None

    def server_context(self) -> ssl.SSLContext:
        """For an accepted connection. Only when `encrypted`."""
        return self._current().server

    def client_context(self) -> ssl.SSLContext:
        """For a dialled connection. Only when `encrypted`."""
        return self._current().client

    def peer_of(self, tls: ssl.SSLObject, address: str, *, expect_server: bool) -> Peer:
        """Who the verified certificate of a finished handshake names. PermissionDenied when it may not be at that end."""
        holder = _holder_of(tls.getpeercert())
        if holder.datacenter != self.holder.datacenter:
            raise PermissionDenied(f"{address} is of datacenter {holder.datacenter!r}, not {self.holder.datacenter!r}")
        if expect_server and holder.role != SERVER:
            raise PermissionDenied(f"{address} is {holder.node!r}, which is no server")
        return Peer(f"{holder.node} ({address})", role=holder.role, node=holder.node, node_id=holder.node_id)

    def _current(self) -> _Contexts:
        wall_s = self._clock.wall()
        contexts = self._contexts
        # Half its life ahead: the wall clock was set back after minting; the other bound is the renewal's.
        if contexts is None or not contexts.renew_at_s - LIFE_S <= wall_s < contexts.renew_at_s:
            contexts = self._contexts = self._make(wall_s)
        return contexts

    def _make(self, wall_s: float) -> _Contexts:
        chain = self._authorities[self._keys[0]].mint(self.holder, wall_s)
        trusted = "\n".join(self._authorities[key].pem for key in self._keys)
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname = False
        """Servers are dialled by address; who answers is judged by the certificate's URI (`peer_of`)."""
        server.num_tickets = 0
        for context in (server, client):
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.verify_mode = ssl.CERT_REQUIRED
            context.set_ecdh_curve(_GROUP)
            context.load_verify_locations(cadata=trusted)
            _load_chain(context, chain)
        return _Contexts(server, client, wall_s + LIFE_S / 2)


def _holder_of(certificate: dict[str, Any] | None) -> Holder:
    names = (certificate or {}).get("subjectAltName", ())
    if len(names) != 1 or names[0][0] != "URI":
        raise PermissionDenied("the peer's certificate names no member of the cluster")
    try:
        return parse_holder(names[0][1])
    except ValueError as error:
        raise PermissionDenied(str(error)) from error


def _load_chain(context: ssl.SSLContext, chain_pem: bytes) -> None:
    descriptor = os.memfd_create("member", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(chain_pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
