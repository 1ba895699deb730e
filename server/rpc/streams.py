"""Stream: subscriptions to topics."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from typing import Final

from chowk.core.errors import InvalidRequest
from chowk.core.events import CONNECT, HEALTH, NODE_SERVICES, NODES, QUERIES, SERVICES, Payload, StreamFrame, Topic
from chowk.core.requests import DEFAULT, SUBSCRIBE, SubscribeRequest
from chowk.server.rpc.context import ServerContext
from chowk.server.state import topics
from chowk.server.state.machine import StoreMachine

TOPIC_CHARS_MAX: Final = 512
STALE_AFTER_S: Final = 0.5
"""Where there is a leader it takes milliseconds to know that nothing is stale."""
CATALOG_KINDS: Final = frozenset((HEALTH, CONNECT, SERVICES, NODES, NODE_SERVICES, QUERIES))


class StoreSource:
    """The store as `server.stream` sees it."""

    def __init__(self, machine: StoreMachine) -> None:
        self._machine = machine

    @property
    def index(self) -> int:
        """The last applied index."""
        return self._machine.store.index

    @property
    def history(self) -> str:
        """The cluster's id: a store that lost everything gets another."""
        return self._machine.store.cluster_id

    def canonical(self, topic: Topic) -> Topic:
        """The topic under which the events of `topic` are published."""
        return topics.canonical(topic)

    def items(self, topic: Topic) -> dict[str, Payload]:
        """The items of a canonical topic now."""
        return topics.items(self._machine.store, topic)


def serve(context: ServerContext) -> None:
    """Offer this noun's methods."""
    context.gate.serve_stream(SUBSCRIBE, partial(_subscribe, context))


async def _subscribe(context: ServerContext, request: SubscribeRequest) -> AsyncIterator[StreamFrame]:
    """Not before this server has caught up once: a snapshot from before a restart's replay would turn views back. Who knows
    nothing yet is told of the catalog as it is here when nobody leads (DNS answers then, as Consul's `allow_stale` has it);
    never of what decides who may call whom.
    """
    topic = request.topic
    if topic.kind not in topics.KINDS:
        raise InvalidRequest(f'unknown topic "{topic.kind}": use one of {", ".join(sorted(topics.KINDS))}')
    if len(topic.key) > TOPIC_CHARS_MAX:
        raise InvalidRequest(f"a topic's key is at most {TOPIC_CHARS_MAX} characters")
    if request.stale and topic.kind in CATALOG_KINDS and context.machine.store.cluster_id:
        await context.reads.settle_soon(STALE_AFTER_S)
    else:
        await context.reads.settle(DEFAULT)
    async with aclosing(context.publisher.subscribe(topic, request.index, request.history)) as frames:
        async for frame in frames:
            yield frame
