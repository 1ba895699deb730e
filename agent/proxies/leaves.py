"""Leaves for clients of `/v1/agent/connect/ca/leaf/:service`: keys made here, in memory only, renewed at half-life.

Sidecars do not use these: each makes its own key. Called by the HTTP API; made by boot.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from chowk.agent.client.pool import ServerClient
from chowk.connect.ca.keys import key_pem, make_csr, make_key
from chowk.connect.proxy.renewal import ROTATION_S_MAX, refuse_untimely, renew_at, retry_in
from chowk.core.errors import ChowkError, TooManyRequests
from chowk.core.records.ca import CARoots, LeafCertificate, unix_s
from chowk.core.requests import CA_SIGN, SignRequest
from chowk.core.runtime.clock import Clock
from chowk.core.runtime.tasks import TaskOwner

log = structlog.get_logger("chowk.leaves")
LEAVES_MAX: Final = 512
"""Services whose leaves one agent holds for its clients; a further one is refused until an idle one lapses."""
IDLE_S: Final = 72 * 3600.0
SIGN_TIMEOUT_S: Final = 10.0
LOOK_S: Final = 30.0
"""How long the wall clock may have been wrong before a renewal that is due is noticed."""


class _Held:
    """A service's leaf, and when somebody last asked for it. `root_id`: the root that signed then, "" when unknown."""

    def __init__(self, leaf: LeafCertificate, used_at: float, renew_at: float, root_id: str) -> None:
        self.leaf = leaf
        self.root_id = root_id
        self.used_at = used_at
        self.renew_at = renew_at
        self.signing = asyncio.Lock()
        self.changed = asyncio.Event()


class LeafCache:
    """`leaf(service)` answers from memory once it has been signed; `wait_newer` serves blocking queries. `roots` tells those
    that the mesh trusts now: when another signs, leaves are renewed.
    """

    def __init__(
        self,
        client: ServerClient,
        clock: Clock,
        node: str = "",
        rng: random.Random | None = None,
        roots: Callable[[], CARoots] = CARoots,
    ) -> None:
        self._client = client
        self._clock = clock
        self._node = node
        self._rng = rng or random.Random()
        self._roots = roots
        self._held: dict[str, _Held] = {}
        self._signing: dict[str, asyncio.Lock] = {}
        self._tasks = TaskOwner("leaves")

    async def start(self) -> None:
        """Nothing is signed before it is asked for."""

    async def close(self) -> None:
        """Forget every key."""
        await self._tasks.close()
        self._held.clear()

    async def leaf(self, service: str) -> LeafCertificate:
        """The current leaf of `service`, its key included. ChowkError when the servers do not sign it now."""
        held = self._held.get(service)
        if held is None:
            held = await self._first(service)
        elif self._ended(held):  # the clock was set, this host slept, or nobody signed for long
            await self._replace(service, held)
        held.used_at = self._clock.now()
        return held.leaf

    def held(self) -> tuple[LeafCertificate, ...]:
        """The leaves that are held now, by service, without their keys."""
        leaves = (self._held[service].leaf for service in sorted(self._held))
        return tuple(msgspec.structs.replace(leaf, private_key_pem="") for leaf in leaves)

    async def wait_newer(self, service: str, index: int, timeout_s: float) -> LeafCertificate:
        """The leaf as soon as its modify_index is over `index`, or after `timeout_s` as it is."""
        await self.leaf(service)
        held = self._held[service]
        try:
            async with asyncio.timeout(timeout_s):
                while held.leaf.modify_index <= index:
                    await held.changed.wait()
        except TimeoutError:
            pass
        return held.leaf

    async def _first(self, service: str) -> _Held:
        async with self._signing.setdefault(service, asyncio.Lock()):
            held = self._held.get(service)
            if held is None:
                if len(self._held) >= LEAVES_MAX:
                    raise TooManyRequests(f"this agent holds leaves for {LEAVES_MAX} services already")
                leaf = await self._sign(service)
                root_id = self._roots().active_root_id
                held = self._held[service] = _Held(leaf, self._clock.now(), self._renewal_at(leaf), root_id)
                self._tasks.spawn(self._renew(service, held), f"renew:{service}")
        self._signing.pop(service, None)
        return held

    async def _replace(self, service: str, held: _Held) -> None:
        """However many ask, one of them has it signed."""
        async with held.signing:
            if self._ended(held):
                self._put(held, await self._sign(service))

    def _ended(self, held: _Held) -> bool:
        return self._clock.wall() >= unix_s(held.leaf.valid_before)

    async def _sign(self, service: str) -> LeafCertificate:
        """A new key and its leaf. Its index is this agent's own, growing with each renewal, so that readers can block."""
        key = make_key()
        request = SignRequest(service=service, csr_pem=make_csr(key, service), node=self._node)
        reply = await self._client.call(CA_SIGN, request, timeout_s=SIGN_TIMEOUT_S)
        refuse_untimely(unix_s(reply.leaf.valid_after), unix_s(reply.leaf.valid_before), self._clock.wall())
        held = self._held.get(service)
        index = max(held.leaf.modify_index + 1 if held else 1, int(self._clock.wall()))
        return msgspec.structs.replace(
            reply.leaf, private_key_pem=key_pem(key).decode(), create_index=index, modify_index=index
        )

    async def _renew(self, service: str, held: _Held) -> None:
        failures = 0
        while True:
            if self._clock.now() - held.used_at > IDLE_S:
                del self._held[service]
                return
            self._follow_roots(held)
            left_s = held.renew_at - self._clock.wall()
            if left_s > 0:
                await self._clock.sleep(min(left_s, LOOK_S))
                continue
            try:
                self._put(held, await self._sign(service))
            except ChowkError as error:
                failures += 1
                log.error("cannot renew a leaf", service=service, valid_before=held.leaf.valid_before, error=str(error))
                await self._clock.sleep(retry_in(failures, self._rng))
                continue
            failures = 0

    def _follow_roots(self, held: _Held) -> None:
        """Another root signs: a new leaf soon, and now if what signed this one is trusted no more."""
        roots = self._roots()
        if roots.active_root_id in ("", held.root_id):
            return
        trusted = not held.root_id or any(root.id == held.root_id for root in roots.roots)
        delay_s = self._rng.uniform(0.0, ROTATION_S_MAX) if trusted else 0.0
        held.root_id = roots.active_root_id
        held.renew_at = min(held.renew_at, self._clock.wall() + delay_s)

    def _put(self, held: _Held, leaf: LeafCertificate) -> None:
        held.leaf = leaf
        held.renew_at = self._renewal_at(leaf)
        held.changed.set()
        held.changed = asyncio.Event()

    def _renewal_at(self, leaf: LeafCertificate) -> float:
        return renew_at(unix_s(leaf.valid_after), unix_s(leaf.valid_before), self._rng)
