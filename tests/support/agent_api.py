"""The agent's own endpoints over real sockets: a LocalState behind the API, before a FakeServer with roots."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from chowk.agent.checks.scheduler import CheckScheduler
from chowk.agent.config.model import AgentConfig
from chowk.agent.local.registrations import Registrations
from chowk.agent.local.state import LocalState
from chowk.core.events import INTENTIONS, ROOTS, Event, IntentionItem, RootsItem, StreamFrame, Topic
from chowk.core.records.ca import CARoots
from chowk.core.records.intention import Intention, precedence
from chowk.core.records.node import Node
from chowk.core.runtime.clock import SystemClock
from support.http_api import Api, with_api

DOMAIN = "11111111-2222-3333-4444-555555555555.consul"
NODE = Node(id="0d4a9ad5-2d5b-4d3f-8e38-3a1a4c1b9f00", node="n1", address="127.0.0.1")


class Syncs:
    """Counts how often the sync was woken."""

    def __init__(self) -> None:
        self.count = 0

    def trigger(self) -> None:
        self.count += 1


def with_agent(
    path: Path,
    body: Callable[[Api], Awaitable[None]],
    config: AgentConfig | None = None,
    intentions: tuple[tuple[str, str, str], ...] = (),
) -> None:
    """Run `body` with `api.context.local` and its neighbours filled in. `intentions` are (source, destination, action)."""

    async def run(api: Api) -> None:
        registrations = Registrations(path / "data")
        api.context.local = LocalState(NODE, SystemClock(), registrations, range(21000, 21010))
        api.context.local.load((), ())
        checks = api.context.checks = CheckScheduler(api.context.local, api.config.checks_config, SystemClock())
        await checks.start()
        api.context.syncer = Syncs()
        roots = CARoots(active_root_id="r", trust_domain=DOMAIN)
        topic = Topic(kind=ROOTS)
        event = Event(topic=topic, key="", index=9, payload=RootsItem(roots=roots))
        api.server.snapshots[topic] = (StreamFrame(index=9, events=(event,), reset=True, snapshot_done=True),)
        for destination in {each[1] for each in intentions}:
            publish_intentions(api, destination, [each for each in intentions if each[1] in (destination, "*")])
        try:
            await body(api)
        finally:
            await checks.close()

    with_api(path, run, config or AgentConfig(node_name="n1", node_id=NODE.id))


def publish_intentions(api: Api, destination: str, rows: list[tuple[str, str, str]], **more: Any) -> None:
    topic = Topic(kind=INTENTIONS, key=destination)
    events = tuple(
        Event(
            topic=topic,
            key=f"{source}/{target}",
            index=5,
            payload=IntentionItem(
                intention=Intention(
                    source_name=source,
                    destination_name=target,
                    action=action,
                    precedence=precedence(source, target),
                    **more,
                )
            ),
        )
        for source, target, action in rows
    )
    api.server.snapshots[topic] = (StreamFrame(index=5, events=events, reset=True, snapshot_done=True),)
