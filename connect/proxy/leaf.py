"""Keeps a valid leaf: makes the key here, has it signed through the agent, renews in time. Called by `proxy`.

The private key is made anew for each leaf; only the CSR is sent. It is known to this process and, unless that is turned off,
to a file of this host that only this process's user may read: see `leaf_file`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from chowk.connect.ca.keys import key_pem, make_csr, make_key
from chowk.connect.ca.spiffe import parse_spiffe
from chowk.connect.ca.verification import verify_chain
from chowk.connect.proxy.credentials import Credentials, make_credentials
from chowk.connect.proxy.leaf_file import LeafFile, StoredLeaf
from chowk.connect.proxy.renewal import HeldLeaf, due_at, refuse_untimely, renew_at, retry_in
from chowk.connect.proxy.state import ProxyState
from chowk.connect.snapshot import ProxySnapshot
from chowk.core.errors import ChowkError, InvalidRequest
from chowk.core.records.ca import CARoots, LeafCertificate, unix_s

log = structlog.get_logger("chowk.proxy")
LOOK_S_MAX = 30.0
"""The wall clock may jump: the time until the renewal is looked at again at least this often."""


def _verify(leaf: LeafCertificate, roots: CARoots, now_s: float) -> None:
    """IdentityError for a leaf of a root that we do not trust: of a server that has not heard of its end, for one."""
    chain = x509.load_pem_x509_certificates(leaf.cert_pem.encode())
    verify_chain([each.public_bytes(Encoding.DER) for each in chain], roots, now_s)


class LeafKeeper:
    """`sign` asks the agent to sign a CSR; `on_credentials` is called when there are new ones."""

    def __init__(
        self,
        state: ProxyState,
        sign: Callable[[str], Awaitable[LeafCertificate]],
        on_credentials: Callable[[], None],
        file: LeafFile | None = None,
    ) -> None:
        self._state = state
        self._file = file or LeafFile(None)
        self._looked_in_file = False
        self._sign = sign
        self._on_credentials = on_credentials
        self._changed = asyncio.Event()
        self._failures = 0
        self._retry_at = 0.0
        self._pem: tuple[str, bytes] = ("", b"")
        self._roots: CARoots | None = None
        self._due: tuple[object, float] = (None, 0.0)

    def look(self) -> None:
        """The snapshot changed."""
        self._changed.set()

    async def run(self) -> None:
        """For ever."""
        while True:
            self._changed.clear()
            await self._wait(await self._step())

    async def _step(self) -> float | None:
        """Do what is due; seconds until the next look, None until something changes."""
        snapshot = self._state.snapshot
        if snapshot is None:
            return None
        if self._state.credentials is None and not self._looked_in_file:
            self._looked_in_file = True
            self._use_stored(snapshot)
        held = self._state.credentials.leaf if self._state.credentials else None
        due = self._due_at(held, snapshot)
        now = self._state.clock.wall()
        if due > now:
            self._adopt_roots(snapshot.roots)
            return min(due - now, LOOK_S_MAX)
        left_s = self._retry_at - self._state.clock.now()
        if left_s > 0:  # snapshots change on all hosts together: that must not bring everybody to the signer together
            self._adopt_roots(snapshot.roots)
            return left_s
        try:
            await self._renew(snapshot)
        except (ChowkError, OSError, ValueError, ssl.SSLError) as error:
            self._failures += 1
            self._adopt_roots(snapshot.roots)
            self._state.warn("leaf certificate not signed; trying on", error=str(error))
            pause_s = retry_in(self._failures, self._state.rng)
            self._retry_at = self._state.clock.now() + pause_s
            return pause_s
        self._failures = 0
        return 0.0

    def _due_at(self, held: HeldLeaf | None, snapshot: ProxySnapshot) -> float:
        """Drawn once for each leaf and state of the roots: looking again must not draw again."""
        now = self._state.clock.wall()
        about = (held, snapshot.service, snapshot.roots, held is not None and now < held.valid_from_s)
        if self._due[0] != about:
            self._due = (about, due_at(held, snapshot.service, snapshot.roots, now, self._state.rng))
        return self._due[1]

    async def _renew(self, snapshot: ProxySnapshot) -> None:
        key = make_key()
        leaf = await self._sign(make_csr(key, snapshot.service))
        identity = parse_spiffe(leaf.service_uri)
        if identity.service != snapshot.service:
            raise InvalidRequest(f"asked for a leaf of {snapshot.service}, got one of {identity.service}")
        start, end = unix_s(leaf.valid_after), unix_s(leaf.valid_before)
        refuse_untimely(start, end, self._state.clock.wall())
        _verify(leaf, snapshot.roots, self._state.clock.wall())
        held = HeldLeaf(
            service=identity.service,
            trust_domain=identity.trust_domain,
            root_id=snapshot.roots.active_root_id,
            valid_from_s=start,
            valid_until_s=end,
            renew_at_s=renew_at(max(start, self._state.clock.wall()), end, self._state.rng),
        )
        self._pem = (leaf.cert_pem, key_pem(key))
        self._use(held, snapshot.roots)
        log.info("leaf certificate signed", service=identity.service, valid_before=leaf.valid_before)
        if self._file.keeps:
            stored = StoredLeaf(held=held, cert_pem=leaf.cert_pem, key_pem=self._pem[1])
            await asyncio.to_thread(self._file.save, stored)

    def _use_stored(self, snapshot: ProxySnapshot) -> None:
        """A process started anew goes on with the leaf of the one before, so that it needs nobody who signs."""
        stored = self._file.load()
        if stored is None:
            return
        held, now = stored.held, self._state.clock.wall()
        if held.service != snapshot.service or held.trust_domain != snapshot.roots.trust_domain:
            log.info("the leaf that was kept is of another service or mesh", service=held.service)
        elif now >= held.valid_until_s:
            log.warning("the leaf that was kept has ended", service=held.service)
        else:
            self._pem = (stored.cert_pem, stored.key_pem)
            try:
                self._use(held, snapshot.roots)
            except (ValueError, ssl.SSLError) as error:
                log.error("the leaf that was kept cannot be used", error=str(error))
                return
            log.info(
                "leaf certificate of before is used", service=held.service, valid_s=round(held.valid_until_s - now)
            )

    def _adopt_roots(self, roots: CARoots) -> None:
        """New roots, same leaf."""
        credentials = self._state.credentials
        if credentials is not None and roots != self._roots:
            try:
                self._use(credentials.leaf, roots)
            except (ValueError, ssl.SSLError) as error:
                self._state.warn("roots cannot be used", error=str(error))

    def _use(self, held: HeldLeaf, roots: CARoots) -> None:
        credentials: Credentials = make_credentials(held, *self._pem, roots)
        self._roots = roots
        self._state.credentials = credentials
        self._on_credentials()

    async def _wait(self, seconds: float | None) -> None:
        alarm = self._state.tasks.spawn(self._ring(seconds), "leaf is looked at") if seconds is not None else None
        try:
            await self._changed.wait()
        finally:
            if alarm is not None:
                alarm.cancel()

    async def _ring(self, seconds: float) -> None:
        await self._state.clock.sleep(seconds)
        self._changed.set()
