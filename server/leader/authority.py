"""The leader as the mesh's certificate authority: makes roots, signs leaves, follows the CA's configuration, rotates.

Order that survives a crash anywhere: the new key is durable, then its root is replicated, then leaves are signed. A root
whose key is missing (the disks were lost) is kept as trusted, and a new one becomes active. Leaves are signed by an
intermediate whose key is in this process's memory alone: each term of leadership has its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import structlog
from cryptography import x509
from msgspec.structs import replace

from chowk.connect.ca.certificates import Authority, root_record
from chowk.connect.ca.provided import Offer, read_offer
from chowk.connect.ca.rate import TokenBucket
from chowk.connect.ca.rotation import Facts, Step, kept, next_root, next_step
from chowk.connect.ca.settings import (
    ROOT_CERT,
    CASettings,
    OfferedRoot,
    checked_configuration,
    is_provided,
    offered_root,
    read_settings,
)
from chowk.connect.snapshot import SpiffeService
from chowk.core.commands import SetCAConfiguration, SetCARoots
from chowk.core.errors import InvalidRequest, TooManyRequests, Unavailable
from chowk.core.records.ca import CAConfiguration, CARoot, LeafCertificate
from chowk.core.requests import WriteReply
from chowk.core.runtime.clock import Clock
from chowk.core.server_options import ServerOptions
from chowk.server.leader.key_sharing import KeySharing
from chowk.server.leader.keystore import KeyStore
from chowk.server.leader.root_keys import RootKeys
from chowk.server.rpc.writes import Writes
from chowk.server.state.machine import StoreMachine

log = structlog.get_logger("chowk.ca")
ROOTS_MAX = 8
NOT_YET = "this server has no certificate authority yet: try again"
TOO_MANY = "Rate limit reached, try again later"
NOT_CROSSED = (
    "the root that signs now cannot vouch for another ({why}): hosts that have not heard of the new root when it begins"
    " to sign refuse its leaves until they have. To go on all the same, set ForceWithoutCrossSigning"
)
SIGNING_MAX = 256
"""Signatures under way; more are refused."""
TURN_S = 0.5
"""How long a signature waits where few may be made at the same time."""


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
        self._turns = (SIGNING_MAX, asyncio.Semaphore(SIGNING_MAX))

    async def establish(self) -> None:
        """Make this leader the CA. ChowkError or OSError when it cannot now: call again."""
        await self._configure_once()
        async with self._changing:
            active = self._active
            root = await self._keys.find(active) if active is not None else None
            if root is None or root.life_left(self._clock.wall()) <= 0:
                if active is not None:
                    why = "no server has its key" if root is None else "it is not valid now"
                    log.error("the active root cannot sign: a new root, and every leaf anew", root=active.id, why=why)
                record, root = await self._make()
                await self._activate(record, root, previous=None)
            elif active is not None:
                await self._issue(active, root, self._crossed(active))

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
                root_age_s=root.age_s(now_s),
                rotation_period_s=settings.rotation_period_s,
                provided=self._is_provided(active),
                intermediate_left=issuer.life_left(now_s),
                published_s=self._known_for(following) if following is not None else None,
                now_s=now_s,
                leaf_ttl_s=settings.leaf_ttl_s,
            )
            step = next_step(self._roots, facts)
            if step is Step.PUBLISH_ROOT:
                if facts.provided:
                    log.error(
                        "the root that was provided comes to its end: another is made, provide one", root=active.id
                    )
                await self._publish()
            elif step is Step.ACTIVATE_ROOT and following is not None:
                await self._switch(following)
            elif step is Step.NEW_INTERMEDIATE:
                await self._issue(active, root, self._crossed(active))
            elif step is Step.DROP_ROOTS:
                left = kept(self._roots, now_s, settings.leaf_ttl_s)
                await self._write(left)
                log.info("roots that were rotated out are trusted no more", roots=len(left))

    async def rotate(self, *, emergency: bool, distrust: bool) -> str:
        """Begin to rotate the root; the id of the new one. ChowkError, OSError.

        In an `emergency` it signs at once; with `distrust` the roots before it are trusted no more, from this moment, and
        one that was to sign next neither: its key lay beside theirs.
        """
        async with self._changing:
            if self._root is None:
                raise Unavailable(NOT_YET)
            following = next_root(self._roots)
            if following is None or distrust:
                if distrust:
                    self._keys.forget()
                following = await self._publish()
            if emergency:
                await self._switch(following, distrust=distrust)
            return following.id

    async def configure(self, wanted: CAConfiguration, cas: int | None) -> WriteReply:
        """Take another configuration; a root in it is published, and signs once everybody trusts it. InvalidRequest,
        ChowkError, OSError: the root may be published, the configuration is not taken; call again.
        """
        async with self._changing:
            root, current = self._root, next_root(self._roots) or self._active
            if root is None or current is None:
                raise Unavailable(NOT_YET)
            configuration, offered = checked_configuration(wanted), offered_root(wanted)
            old = self._machine.store.ca_configuration
            if cas is not None and cas != (old.modify_index if old is not None else 0):
                return WriteReply(index=self._machine.store.index, ok=False)
            offer = self._read_offer(offered, read_settings(configuration.config).root_ttl_s)
            is_new = offer.key is not None if offer is not None else self._is_provided(current)
            if is_new:
                why = root.why_silent(self._clock.wall())
                if why and not wanted.force_without_cross_signing:
                    raise InvalidRequest(NOT_CROSSED.format(why=why))
                await self._publish(offer)
            if offer is not None:
                chosen = root_record(offer.root, active=False).root_cert_pem
                configuration = replace(configuration, config={**configuration.config, ROOT_CERT: chosen})
            return await self._writes.propose(SetCAConfiguration(configuration=configuration, cas=cas))

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
            raise Unavailable(NOT_YET)
        if issuer.life_left(self._clock.wall()) <= 0:
            raise Unavailable(
                "the CA's certificate is not valid now: a new one is due in seconds; see chowk connect ca status"
            )
        settings = self._settings()
        self._bucket.set_rate(settings.csr_per_second)
        if self._signing >= SIGNING_MAX or not self._bucket.take(self._clock.now()):
            raise TooManyRequests(TOO_MANY)
        identity = SpiffeService(
            trust_domain=store.trusted().trust_domain, datacenter=self._options.datacenter, service=service
        )
        self._signing += 1
        try:
            async with self._turn(settings):
                now_s = self._clock.wall()
                return await asyncio.to_thread(issuer.sign_leaf, identity, csr_pem, now_s, settings.leaf_ttl_s)
        finally:
            self._signing -= 1

    @asynccontextmanager
    async def _turn(self, settings: CASettings) -> AsyncIterator[None]:
        """One of those that may sign at the same time. TooManyRequests after TURN_S."""
        counts = settings.csr_concurrent and not settings.csr_per_second
        most = settings.csr_concurrent if counts else SIGNING_MAX
        if most != self._turns[0]:
            self._turns = (most, asyncio.Semaphore(most))
        turns = self._turns[1]
        try:
            async with asyncio.timeout(TURN_S):
                await turns.acquire()
        except TimeoutError:
            raise TooManyRequests(TOO_MANY) from None
        try:
            yield
        finally:
            turns.release()

    @property
    def _roots(self) -> tuple[CARoot, ...]:
        return self._machine.store.roots

    @property
    def _active(self) -> CARoot | None:
        return next((root for root in self._roots if root.active), None)

    def _crossed(self, active: CARoot) -> tuple[str, ...]:
        """The root that signs, as signed by those before it: leaves bring that while one of them is trusted."""
        return active.intermediate_certs[1:] if any(root.rotated_out_at for root in self._roots) else ()

    def _is_provided(self, root: CARoot) -> bool:
        return is_provided(self._machine.store.ca_configuration, root)

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
            if offered_root(wanted) != OfferedRoot():
                log.error("ca_config: a root is not taken from there: run chowk connect ca set-config once servers run")
        except InvalidRequest as error:
            log.error("ca_config is not usable; defaults are used", error=str(error))
            configuration = checked_configuration(CAConfiguration())
        await self._writes.propose(SetCAConfiguration(configuration=configuration, cas=0))

    async def _make(self) -> tuple[CARoot, Authority]:
        return await self._keys.make(self._machine.store.cluster_id, self._clock.wall(), self._settings().root_ttl_s)

    def _read_offer(self, offered: OfferedRoot, root_ttl_s: float) -> Offer | None:
        known = [root.root_cert_pem for root in (next_root(self._roots), self._active) if root is not None]
        return read_offer(offered, known, self._machine.store.cluster_id, self._clock.wall(), root_ttl_s)

    async def _publish(self, offer: Offer | None = None) -> CARoot:
        """A new root that everybody is told to trust; it signs nothing yet. One that was to be next goes."""
        if offer is not None and offer.key is not None:
            record = root_record(offer.root, active=False)
            await self._keys.hold(record, offer.key)
        else:
            record, _authority = await self._make()
        given_up = next_root(self._roots)
        gone = {record.id, given_up.id if given_up is not None else ""}
        others = [root for root in self._roots if root.id not in gone]
        await self._write((*others[-(ROOTS_MAX - 1) :], record))
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
        why = previous.why_silent(now_s) if previous is not None else ""
        if why:
            log.warning("the root before does not vouch for the one that signs now", root=record.id, why=why)
        elif previous is not None:
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
