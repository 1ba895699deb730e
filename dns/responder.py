"""From a packet to its reply: cache, parse, answer, order, encode. Called by the UDP and TCP listeners; knows no socket.

What memory can tell is answered at once, on the caller's stack. What must be fetched or asked of a recursor becomes a
task; those are bounded, and over the bound the client is told SERVFAIL at once rather than kept waiting.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from functools import partial

import msgspec
import structlog

from chowk.core.errors import ChowkError
from chowk.core.runtime.clock import Clock
from chowk.core.runtime.tasks import TaskOwner
from chowk.dns import cache, codec, limits, order
from chowk.dns.answer import Answer, Asker, Entry, Unknown
from chowk.dns.limits import Via
from chowk.dns.lookup import Lookup
from chowk.dns.names import Question, ReverseQuestion, parse_name
from chowk.dns.records import (
    AAAA,
    ANY,
    BADVERS,
    CLASS_ANY,
    CLASS_IN,
    NOTIMP,
    PTR,
    REFUSED,
    SERVFAIL,
    A,
    AliasRecord,
    Name,
    ResourceRecord,
)
from chowk.dns.recursor import Recursor
from chowk.dns.roster import Rosters
from chowk.dns.settings import Zone

log = structlog.get_logger("chowk.dns")

FETCH_TIMEOUT_S = 2.0
PENDING_MAX = 1024
ALIASES_MAX = 3

Send = Callable[[bytes], None]
Work = Callable[[], Coroutine[None, None, None]]


class Stats(msgspec.Struct):
    """Counters since start. `queries` counts every packet that was read as a query, cached ones too.

    Dropped over UDP, without a reply: `dropped_late` queries waited past their deadline, `dropped_rate` replies were over
    the rate limit, `dropped_full` the kernel did not take. `slipped` replies were over the rate limit and sent truncated.
    """

    queries: int = 0
    cached: int = 0
    malformed: int = 0
    ignored: int = 0
    fetches: int = 0
    recursions: int = 0
    overloads: int = 0
    failures: int = 0
    dropped_late: int = 0
    dropped_rate: int = 0
    dropped_full: int = 0
    slipped: int = 0


class Responder:
    """One for all listeners. `zone` and `recursor` may be replaced at any time (reload)."""

    def __init__(self, zone: Zone, recursor: Recursor | None, lookup: Lookup, clock: Clock, rng: random.Random) -> None:
        self.stats = Stats()
        self._zone = zone
        self._recursor = recursor
        self._lookup = lookup
        self._clock = clock
        self._rng = rng
        self._caches = {via: cache.WireCache(lookup) for via in Via}
        self._rosters = Rosters()
        self._fetches: dict[tuple[str, str], asyncio.Task[bool]] = {}
        self._tasks = TaskOwner("dns")

    def reload(self, zone: Zone, recursor: Recursor | None) -> None:
        """Answer by new settings from now on."""
        self._zone = zone
        self._recursor = recursor
        self._rosters.clear()
        for ready in self._caches.values():
            ready.clear()

    async def close(self) -> None:
        """Give up what is pending; those clients get no reply."""
        await self._tasks.close()

    def ready(self, packet: bytes, via: Via) -> bytes | None:
        """A reply from the wire cache."""
        reply = self._caches[via].get(packet, self._clock.now())
        if reply is not None:
            self.count_ready(1)
        return reply

    def cache(self, via: Via) -> cache.WireCache:
        """The ready replies of a transport; who takes one says so by `count_ready`."""
        return self._caches[via]

    def count_ready(self, replies: int) -> None:
        """Count queries that were answered from `cache`."""
        self.stats.queries += replies
        self.stats.cached += replies

    def handle(self, packet: bytes, via: Via, send: Send) -> bool:
        """Answer a packet that `ready` had nothing for. `send` is called at most once, now or later; False when never."""
        try:
            query = codec.decode_query(packet)
        except codec.BadPacket as error:
            self.stats.malformed += bool(error.reply)
            self.stats.ignored += not error.reply
            if error.reply:
                send(error.reply)
            return bool(error.reply)
        self.stats.queries += 1
        try:
            self._dispatch(packet, query, via, send, fetched=False)
        except Exception as error:  # noqa: BLE001 - the edge: a bug in one answer costs one reply, not the server
            self._report(query, error)
            send(self._error(query, SERVFAIL))
        return True

    def _dispatch(self, packet: bytes, query: codec.Query, via: Via, send: Send, *, fetched: bool) -> None:
        rcode = _refusal(query)
        if rcode:
            send(self._error(query, rcode))
            return
        asker = self._asker(fetched=fetched, room=self._budget(query, via).room(query.kind))
        question = parse_name(query.name, self._zone.domains)
        found: Answer | Unknown | None = None
        if isinstance(question, Question):
            found = asker.answer(question, query.kind)
        elif isinstance(question, ReverseQuestion) and query.kind in (PTR, ANY):
            found = asker.reverse(question)
        if isinstance(found, Answer) and self._leads_away(found, query.kind):
            self._later(query, send, partial(self._follow, query, via, send, found), "follow")
        elif isinstance(found, Answer) and found.rcode in (SERVFAIL, NOTIMP):
            send(self._error(query, found.rcode))
        elif isinstance(found, Answer):
            send(self._reply(packet, query, via, found))
        elif isinstance(found, Unknown):
            self._later(query, send, partial(self._after_fetch, packet, query, via, send, found), "fetch")
        elif self._recursor is None:
            send(self._error(query, REFUSED))
        else:
            self.stats.recursions += 1
            self._later(query, send, partial(self._recurse, self._recursor, query, via, send), "recurse")

    def _reply(self, packet: bytes, query: codec.Query, via: Via, answer: Answer) -> bytes:
        """The reply, kept in the wire cache where the same packet may come again."""
        zone, rng, recursion = self._zone, self._rng, self._recursor is not None
        budget = self._budget(query, via)
        shuffled = order.first_order(answer, rng)

        def build(turn: int) -> bytes:
            if answer.left_out and turn > 0:
                turned = self._drawn_anew(query, budget, answer)
            else:
                turned = shuffled if answer.in_order else order.turn(shuffled, turn, rng)
            entries = order.cut(turned, answer.limit)
            return codec.encode_answer(query, answer, entries, budget, recursion=recursion)

        # Options such as cookies differ each time: such a packet never comes again.
        cacheable = zone.settings.wire_cache and not (query.edns is not None and query.edns.options)
        if not cacheable:
            return build(0)
        marks = tuple((kind, key, self._lookup.generation(kind, key)) for kind, key in answer.sources)
        reply = build(0)
        turns = max(1, min(order.turns_of(answer), cache.ENTRY_BYTES_MAX // len(reply)))
        entry = cache.Entry(reply, build, turns, marks, self._clock.now() + _life_s(answer))
        self._caches[via].put(packet, entry, len(answer.entries))
        return reply

    def _drawn_anew(self, query: codec.Query, budget: limits.Budget, before: Answer) -> list[Entry]:
        """Other entries of a service that is too large for one reply. Called before anything that it rests on changes."""
        question = parse_name(query.name, self._zone.domains)
        asker = self._asker(fetched=True, room=budget.room(query.kind))
        found = asker.answer(question, query.kind) if isinstance(question, Question) else before
        return list(found.entries if isinstance(found, Answer) else before.entries)

    def _later(self, query: codec.Query, send: Send, work: Work, name: str) -> None:
        if len(self._tasks) >= PENDING_MAX:
            self.stats.overloads += 1
            send(self._error(query, SERVFAIL))
            return
        self._tasks.spawn(self._guard(query, send, work), name)

    async def _guard(self, query: codec.Query, send: Send, work: Work) -> None:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - the task's outer edge: one query's failure is its own
            self._report(query, error)
            send(self._error(query, SERVFAIL))

    async def _after_fetch(self, packet: bytes, query: codec.Query, via: Via, send: Send, unknown: Unknown) -> None:
        if await self._wait_for(unknown):
            self._dispatch(packet, query, via, send, fetched=True)
        else:
            send(self._error(query, SERVFAIL))

    async def _wait_for(self, unknown: Unknown) -> bool:
        """Share one fetch among all that need it."""
        source = (unknown.kind, unknown.key)
        task = self._fetches.get(source)
        if task is None:
            task = self._fetches[source] = self._tasks.spawn(self._fetch(source), "fetch-view")
        return await asyncio.shield(task)

    async def _fetch(self, source: tuple[str, str]) -> bool:
        """Ask the lookup once for all that wait for `source`; False when it could not, or not in time."""
        self.stats.fetches += 1
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                await self._lookup.fetch(*source)
        except (ChowkError, TimeoutError) as error:
            log.warning("dns cannot learn an answer", kind=source[0], key=source[1], error=str(error) or "timeout")
            return False
        finally:
            self._fetches.pop(source, None)
        return True

    async def _recurse(self, recursor: Recursor, query: codec.Query, via: Via, send: Send) -> None:
        budget = self._budget(query, via)
        reply = await recursor.resolve(query, tcp=via is Via.TCP, size=min(budget.bytes_max, codec.OWN_UDP_BYTES))
        if reply is None:
            send(self._error(query, SERVFAIL))
        elif len(reply) > budget.bytes_max:
            send(codec.encode_truncated(query))
        else:
            send(reply)

    def _leads_away(self, answer: Answer, kind: int) -> bool:
        """Is the answer an alias whose addresses can be added: a name of ours, or any when there are recursors?"""
        target = _alias(answer.entries)
        if target is None or kind not in (A, AAAA):
            return False
        return self._recursor is not None or isinstance(parse_name(target, self._zone.domains), Question)

    async def _follow(self, query: codec.Query, via: Via, send: Send, answer: Answer) -> None:
        """Reply with an alias and what it leads to, at most ALIASES_MAX steps far (RFC 1034 section 3.6.2)."""
        entries = order.cut(order.first_order(answer, self._rng), answer.limit)
        for _ in range(ALIASES_MAX):
            target = _alias(entries[-1:])
            if target is None:
                break
            question = parse_name(target, self._zone.domains)
            if not isinstance(question, Question):
                if self._recursor is not None:
                    found = await self._recursor.addresses(target, query.kind)
                    entries += [Entry((record,)) for record in found]
                break
            step = await self._ask(question, query.kind)
            entries += order.cut(order.first_order(step, self._rng), step.limit)
        whole = msgspec.structs.replace(answer, entries=tuple(entries))
        send(codec.encode_answer(query, whole, entries, self._budget(query, via), recursion=self._recursor is not None))

    async def _ask(self, question: Question, kind: int) -> Answer:
        """The answer to a question of ours, fetching what it needs."""
        found = self._asker(fetched=False).answer(question, kind)
        if isinstance(found, Unknown):
            await self._wait_for(found)
            found = self._asker(fetched=True).answer(question, kind)
        return found if isinstance(found, Answer) else Answer(rcode=SERVFAIL)

    def _asker(self, *, fetched: bool, room: int = limits.ENTRIES_MAX) -> Asker:
        serial = int(self._clock.wall())
        return Asker(self._zone, self._lookup, serial, self._rosters, self._rng, room=room, fetched=fetched)

    def _budget(self, query: codec.Query, via: Via) -> limits.Budget:
        return limits.budget(via, query.edns.size if query.edns is not None else None, self._zone.settings)

    def _error(self, query: codec.Query, rcode: int) -> bytes:
        self.stats.failures += rcode == SERVFAIL
        return codec.encode_error(query, rcode, recursion=self._recursor is not None)

    def _report(self, query: codec.Query, error: Exception) -> None:
        name = b".".join(query.name).decode("ascii", "backslashreplace")
        log.error("dns query failed", name=name, type=query.kind, error=str(error), exc_info=error)


def _alias(entries: Sequence[Entry]) -> Name | None:
    """Where the entries lead when they are an alias."""
    for entry in entries:
        if isinstance(entry.answers[0], AliasRecord):
            return entry.answers[0].target
    return None


def _refusal(query: codec.Query) -> int:
    """The rcode of a query that no question of ours can be in, 0 for others."""
    if query.opcode != 0:
        return NOTIMP
    if query.edns is not None and query.edns.version != 0:
        return BADVERS
    return 0 if query.klass in (CLASS_IN, CLASS_ANY) else REFUSED


def _life_s(answer: Answer) -> float:
    """How long ready replies may live: as long as the records, where those have a TTL."""
    records: list[ResourceRecord] = [record for entry in answer.entries for record in entry.answers]
    shortest = min((record.ttl_s for record in records if record.ttl_s > 0), default=0)
    return min(cache.LIFE_S_MAX, float(shortest)) if shortest else cache.LIFE_S_MAX
