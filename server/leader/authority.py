"""The leader as the mesh's certificate authority: makes roots, signs leaves, follows the CA's configuration, rotates.

Order that survives a crash anywhere: the new key is durable, then its root is replicated, then leaves are signed. A root
whose key is missing (the disks were lost) is kept as trusted, and a new one becomes active. Leaves are signed by an
intermediate whose key is in this process's memory alone: each term of leadership has its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime

import structlog
from cryptography import x509
from msgspec.structs import replace

from chowk.connect.ca.certificates import Authority
from chowk.connect.ca.rate import TokenBucket
from chowk.connect.ca.rotation import Facts, Step, kept, next_root, next_step
from chowk.connect.ca.settings import CASettings, checked_configuration, read_settings
from chowk.connect.snapshot import SpiffeService
from chowk.core.commands import SetCAConfiguration, SetCARoots
from chowk.core.errors import InvalidRequest, TooManyRequests, Unavailable
from chowk.core.records.ca import CAConfiguration, CARoot, LeafCertificate
from chowk.core.runtime.clock import Clock
from chowk.core.server_options import ServerOptions
from chowk.server.leader.key_sharing import KeySharing
from chowk.server.leader.keystore import KeyStore
from chowk.server.leader.root_keys import RootKeys
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
        self._keys = RootKeys(keys, sharing)
        self._clock = clock
        self._root: Authority | None = None
        self._issuer: Authority | None = None
        self._published: dict[str, float] = {}
        self._changing = asyncio.Lock()
        self._bucket = TokenBucket(CASettings().csr_per_second, clock.now())
        self._signing = 0

    async def establish(self) -> None:
        """Make this leader the CA. ChowkError or OSError when it cannot now: call again."""
        await self._configure_once()
        async with self._changing:
            active = self._active
            root = await self._keys.find(active) if active is not None else None
            if root is None or root.life_left(self._clock.wall()) <= 0:
                if active is not None:
                    why = "no server has its key" if root is None else "it has ended"
                    log.error("the active root cannot sign: a new root, and every leaf anew", root=active.id, why=why)
                record, root = await self._make()
                await self._activate(record, root, previous=None)
            elif active is not None:
                crossed = active.intermediate_certs[1:]
                await self._issue(active, root, crossed)

    def resign(self) -> None:
        """This server leads no more: let go of the keys."""
        self._root = self._issuer = None
        self._published.clear()
        self._keys.forget()

    async def step(self) -> None:
        """Do what the certificates need next, if anything. ChowkError or OSError: call again."""
        async with self._changing:
            root, issuer, active = self._root, self._issuer, self._active
            if root is None or issuer is None or active is None:
                return
            now_s, settings = self._clock.wall(), self._settings()
            following = next_root(self._roots)
            facts = Facts(
                root_left=root.life_left(now_s),
                intermediate_left=issuer.life_left(now_s),
                published_s=self._known_for(following) if following is not None else None,
                now_s=now_s,
                leaf_ttl_s=settings.leaf_ttl_s,
            )
            step = next_step(self._roots, facts)
            if step is Step.PUBLISH_ROOT:
                await self._publish()
            elif step is Step.ACTIVATE_ROOT and following is not None:
                await self._switch(following)
            elif step is Step.NEW_INTERMEDIATE:
                await self._issue(active, root, active.intermediate_certs[1:])
            elif step is Step.DROP_ROOTS:
                left = kept(self._roots, now_s, settings.leaf_ttl_s)
                await self._write(left)
                log.info("roots that were rotated out are trusted no more", roots=len(left))

    async def rotate(self, *, emergency: bool, distrust: bool) -> str:
        """Begin to rotate the root; the id of the new one. ChowkError, OSError.

        In an `emergency` it signs at once; with `distrust` the roots before it are trusted no more, from this moment.
        """
        async with self._changing:
            if self._root is None:
                raise Unavailable("this server has no certificate authority yet: try again")
            following = next_root(self._roots)
            if following is None:
                following = await self._publish()
            if emergency:
                await self._switch(following, distrust=distrust)
            return following.id

    async def keys(self) -> tuple[tuple[str, bytes], ...]:
        """The roots that sign, now or next, and their keys (PEM), for the other servers; none where this one signs not."""
        found = []
        for root in (self._active, next_root(self._roots)):
            if root is not None and self._issuer is not None:
                pem = await self._keys.pem(root.id)
                found += [(root.id, pem)] if pem is not None else []
        return tuple(found) if self._issuer is not None else ()

    def life_left(self) -> float:
        """The part of the active root's life that is left: 1 down to 0, and below when it has ended; 1 without a root."""
        return self._root.life_left(self._clock.wall()) if self._root is not None else 1.0

    async def sign(self, service: str, csr_pem: str) -> LeafCertificate:
        """A leaf for the CSR's public key, proving `service` of this datacenter."""
        issuer = self._issuer
        store = self._machine.store
        if issuer is None or not store.cluster_id:
            raise Unavailable("this server has no certificate authority yet: try again")
        if issuer.life_left(self._clock.wall()) <= 0:
            raise Unavailable(
                "the CA's certificate has ended: a new one is due in seconds; see chowk connect ca status"
            )
        settings = self._settings()
        self._bucket.set_rate(settings.csr_per_second)
        if self._signing >= SIGNING_MAX or not self._bucket.take(self._clock.now()):
            raise TooManyRequests("Rate limit reached, try again later")
        identity = SpiffeService(
            trust_domain=store.trusted().trust_domain, datacenter=self._options.datacenter, service=service
        )
        self._signing += 1
        try:
            return await asyncio.to_thread(issuer.sign_leaf, identity, csr_pem, self._clock.wall(), settings.leaf_ttl_s)
        finally:
            self._signing -= 1

    @property
    def _roots(self) -> tuple[CARoot, ...]:
        return self._machine.store.roots

    @property
    def _active(self) -> CARoot | None:
        return next((root for root in self._roots if root.active), None)

    def _settings(self) -> CASettings:
        configuration = self._machine.store.ca_configuration
        return read_settings(configuration.config) if configuration is not None else CASettings()

    def _known_for(self, root: CARoot) -> float:
        """For how long this leader knows that the root is published: at least so long it is."""
        return self._clock.now() - self._published.setdefault(root.id, self._clock.now())

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

    async def _make(self) -> tuple[CARoot, Authority]:
        return await self._keys.make(self._machine.store.cluster_id, self._clock.wall(), self._settings().root_ttl_s)

    async def _publish(self) -> CARoot:
        """A new root that everybody is told to trust; it signs nothing yet."""
        record, _authority = await self._make()
        await self._write((*self._roots[-(ROOTS_MAX - 1) :], record))
        self._keys.made()
        self._known_for(record)
        log.info("a new root is published", root=record.id, valid_until=record.not_after)
        return record

    async def _switch(self, following: CARoot, *, distrust: bool = False) -> None:
        """The published root signs from now on."""
        authority = await self._keys.find(following)
        if authority is None:
            log.error("no server has the key of the next root: it is given up", root=following.id)
            await self._write(root for root in self._roots if root.id != following.id)
            raise Unavailable("no server has the key of the next root: rotate again")
        await self._activate(following, authority, previous=None if distrust else self._root, distrust=distrust)

    async def _activate(
        self, record: CARoot, authority: Authority, *, previous: Authority | None, distrust: bool = False
    ) -> None:
        now_s = self._clock.wall()
        crossed: tuple[str, ...] = ()
        if previous is not None and previous.life_left(now_s) > 0:
            crossed = (previous.cross_sign(x509.load_pem_x509_certificate(record.root_cert_pem.encode()), now_s),)
        others = [] if distrust else [_rotated_out(root, now_s) for root in self._roots if root.id != record.id]
        await self._issue(record, authority, crossed, others=tuple(others[-(ROOTS_MAX - 1) :]))
        self._keys.made()
        log.info("a root signs", root=record.id, valid_until=record.not_after, roots=len(others) + 1)

    async def _issue(
        self,
        record: CARoot,
        root: Authority,
        crossed: tuple[str, ...],
        others: tuple[CARoot, ...] | None = None,
    ) -> None:
        """A new intermediate under `root`, told with the roots, then used. `others`: the roots besides it (None: as is)."""
        settings = self._settings()
        issuer = await asyncio.to_thread(root.intermediate, self._clock.wall(), settings.intermediate_ttl_s, *crossed)
        told = replace(record, active=True, signing_key_id=issuer.key_id, intermediate_certs=issuer.chain)
        if others is None:
            await self._write(told if each.id == record.id else each for each in self._roots)
        else:
            await self._write((*others, told))
        self._root, self._issuer = root, issuer

    async def _write(self, roots: Iterable[CARoot]) -> None:
        reply = await self._writes.propose(SetCARoots(roots=tuple(roots), cas=self._machine.store.roots_index))
        if not reply.ok:
            raise Unavailable("the roots changed while they were written")


def _rotated_out(root: CARoot, now_s: float) -> CARoot:
    moment = datetime.fromtimestamp(int(now_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return replace(root, active=False, rotated_out_at=root.rotated_out_at or moment)
