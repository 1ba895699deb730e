"""The leader as the mesh's certificate authority: makes the root once, signs leaves, follows the CA's configuration.

Order that survives a crash anywhere: the new key is durable, then its root is replicated, then leaves are signed. A root
whose key is missing (the disk was lost) is kept as trusted, and a new one becomes active.
"""

from __future__ import annotations

import asyncio

import msgspec
import structlog
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from chowk.connect.ca.certificates import Authority, make_root, root_record
from chowk.connect.ca.keys import key_pem, load_key, make_key
from chowk.connect.ca.rate import TokenBucket
from chowk.connect.ca.settings import CASettings, checked_configuration, read_settings
from chowk.connect.snapshot import SpiffeService
from chowk.core.commands import SetCAConfiguration, SetCARoots
from chowk.core.errors import InvalidRequest, TooManyRequests, Unavailable
from chowk.core.records.ca import CAConfiguration, CARoot, LeafCertificate
from chowk.core.runtime.clock import Clock
from chowk.core.server_options import ServerOptions
from chowk.server.leader.key_sharing import KeySharing
from chowk.server.leader.keystore import KeyStore
from chowk.server.rpc.writes import Writes
from chowk.server.state.machine import StoreMachine

log = structlog.get_logger("chowk.ca")
ROOTS_MAX = 8
SIGNING_MAX = 256
"""Signatures under way; more are refused."""


class CertificateAuthority:
    """Signs while this server leads and has the active root's key: between `establish` and `resign`."""

    def __init__(
        self,
        options: ServerOptions,
        machine: StoreMachine,
        writes: Writes,
        keys: KeyStore,
        sharing: KeySharing,
        clock: Clock,
    ) -> None:
        self._options = options
        self._machine = machine
        self._writes = writes
        self._keys = keys
        self._sharing = sharing
        self._clock = clock
        self._authority: Authority | None = None
        self._candidate: tuple[ec.EllipticCurvePrivateKey, x509.Certificate] | None = None
        self._root_id = ""
        self._bucket = TokenBucket(CASettings().csr_per_second, clock.now())
        self._signing = 0

    async def establish(self) -> None:
        """Make this leader the CA. ChowkError or OSError when it cannot now: call again."""
        await self._configure_once()
        active = next((root for root in self._machine.store.roots if root.active), None)
        self._authority = await self._load(active) if active is not None else None
        if self._authority is None:
            self._authority = await self._create()

    def resign(self) -> None:
        """This server leads no more: let go of the key."""
        self._authority = None
        self._candidate = None

    async def active_key(self) -> tuple[str, bytes] | None:
        """The root this server signs under, and its key (PEM), for the other servers; None while it does not sign."""
        root_id = self._root_id
        if self._authority is None:
            return None
        pem = await asyncio.to_thread(self._keys.load, root_id)
        return (root_id, pem) if pem is not None and self._authority is not None else None

    def life_left(self) -> float:
        """The part of the active root's life that is left: 1 down to 0, and below when it has ended; 1 without a root."""
        return self._authority.life_left(self._clock.wall()) if self._authority is not None else 1.0

    async def sign(self, service: str, csr_pem: str) -> LeafCertificate:
        """A leaf for the CSR's public key, proving `service` of this datacenter."""
        authority = self._authority
        store = self._machine.store
        if authority is None or not store.cluster_id:
            raise Unavailable("this server has no certificate authority yet: try again")
        settings = self._settings()
        self._bucket.set_rate(settings.csr_per_second)
        if self._signing >= SIGNING_MAX or not self._bucket.take(self._clock.now()):
            raise TooManyRequests("Rate limit reached, try again later")
        identity = SpiffeService(
            trust_domain=store.trusted().trust_domain, datacenter=self._options.datacenter, service=service
        )
        self._signing += 1
        try:
            return await asyncio.to_thread(
                authority.sign_leaf, identity, csr_pem, self._clock.wall(), settings.leaf_ttl_s
            )
        finally:
            self._signing -= 1

    def _settings(self) -> CASettings:
        configuration = self._machine.store.ca_configuration
        return read_settings(configuration.config) if configuration is not None else CASettings()

    async def _configure_once(self) -> None:
        if self._machine.store.ca_configuration is not None:
            return
        wanted = CAConfiguration(provider=self._options.ca_provider, config=self._options.ca_config)
        try:
            configuration = checked_configuration(wanted)
        except InvalidRequest as error:
            log.error("ca_config is not usable; defaults are used", error=str(error))
            configuration = checked_configuration(CAConfiguration())
        await self._writes.propose(SetCAConfiguration(configuration=configuration, cas=0))

    async def _load(self, root: CARoot) -> Authority | None:
        """The authority of a root, None when nobody has its key. Unavailable when it cannot be known yet."""
        authority = self._authority_of(root, await asyncio.to_thread(self._keys.load, root.id))
        if authority is None:
            pem = await self._sharing.find(root.id, lambda copy: self._authority_of(root, copy) is not None)
            authority = self._authority_of(root, pem)
            if authority is not None and pem is not None:
                await asyncio.to_thread(self._keys.save, root.id, pem)
                log.info("got the key of the active root from another server", root=root.id)
        if authority is None:
            log.error("no server has the key of the active root: a new root is made, and every leaf anew", root=root.id)
            return None
        self._root_id = root.id
        return authority

    def _authority_of(self, root: CARoot, pem: bytes | None) -> Authority | None:
        """None when the key is gone or is another's."""
        if pem is None:
            return None
        try:
            return Authority(x509.load_pem_x509_certificate(root.root_cert_pem.encode()), load_key(pem))
        except ValueError as error:
            log.error("a key of the active root is not usable", root=root.id, error=str(error))
            return None

    async def _create(self) -> Authority:
        """A new root. It becomes active when its key is durable here and on a majority: whoever leads next has it."""
        store = self._machine.store
        if self._candidate is None:
            self._candidate = await asyncio.to_thread(
                _make, store.cluster_id, self._clock.wall(), self._settings().root_ttl_s
            )
        key, certificate = self._candidate
        record, pem = root_record(certificate, active=True), key_pem(key)
        await asyncio.to_thread(self._keys.save, record.id, pem)
        await self._sharing.publish(record.id, pem)
        others = [msgspec.structs.replace(root, active=False) for root in self._machine.store.roots]
        roots = (*others[-(ROOTS_MAX - 1) :], record)
        reply = await self._writes.propose(SetCARoots(roots=roots, cas=self._machine.store.roots_index))
        if not reply.ok:
            raise Unavailable("the roots changed while a new one was made")
        self._candidate, self._root_id = None, record.id
        log.info("certificate authority ready", root=record.id, valid_until=record.not_after, roots=len(roots))
        return Authority(certificate, key)


def _make(cluster_id: str, now_s: float, ttl_s: float) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = make_key()
    return key, make_root(key, cluster_id, now_s, ttl_s)
