"""A watch as a pure core: what to ask next, and whether an answer is news. Driven by `changes`, for the agent's own watches
and for `chowk watch` alike.

As Consul's watches: the first answer is always news; later ones are when the index moved and the result is another. An
index that went back begins again at 0. After failures it waits longer each time, up to BACKOFF_S_MAX.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final
from urllib.parse import quote

import msgspec

from chowk.agent.config.model import WatchDefinition

WAIT: Final = "45s"
"""How long one question may block: short enough for a dead connection to be noticed in a minute."""
BACKOFF_S: Final = 1.0
BACKOFF_S_MAX: Final = 180.0
NOT_FOUND: Final = 404


class WatchFailed(Exception):
    """A question that was not answered as it should: the text says how. `status` is HTTP's, 0 without an answer."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


class Ask(msgspec.Struct, frozen=True):
    """One GET."""

    path: str
    query: dict[str, str | list[str]]
    token: str = ""


class Answer(msgspec.Struct, frozen=True):
    """What came back. `index` is X-Consul-Index, `content_hash` X-Consul-ContentHash; 0 and "" where there is none."""

    status: int
    index: int
    content_hash: str
    body: bytes


class Change(msgspec.Struct, frozen=True):
    """News: the JSON value to hand on, and the index it is of (0 for an agent_service, which has none)."""

    index: int
    data: Any


class WatchPlan:
    """The state of one watch."""

    def __init__(self, definition: WatchDefinition) -> None:
        self._definition = definition
        self._ask = _base(definition)
        self._by_hash = definition.type == "agent_service"
        self._index = 0
        self._hash = ""
        self._seen: bytes | None = None
        self._last_event = ""
        self._failures = 0

    def ask(self) -> Ask:
        """What to ask now; it blocks once an answer is known."""
        blocking: dict[str, str | list[str]] = {}
        if self._by_hash and self._hash:
            blocking = {"hash": self._hash, "wait": WAIT}
        elif self._index:
            blocking = {"index": str(self._index), "wait": WAIT}
        return msgspec.structs.replace(self._ask, query={**self._ask.query, **blocking})

    def receive(self, answer: Answer) -> Change | None:
        """Take an answer: the news in it, None when there are none. WatchFailed when it is no answer to the question."""
        data = self._read(answer)
        self._failures = 0
        if self._seen is not None and not self._moved(answer):
            return None
        self._advance(answer)
        if self._definition.type == "event":
            data = self._new_events(data)
            if self._seen is not None and not data:
                return None  # after an outage: what is there was handed on before it
        seen = hashlib.sha256(json.dumps(data).encode()).digest()
        if seen == self._seen:
            return None
        self._seen = seen
        return Change(0 if self._by_hash else answer.index, data)

    def fail(self) -> float:
        """Note that a question failed; how many seconds to wait before the next, which does not block."""
        self._failures += 1
        self._index, self._hash = 0, ""
        return min(BACKOFF_S_MAX, BACKOFF_S * self._failures**2)

    def _read(self, answer: Answer) -> Any:
        is_missing_key = (
            answer.status == NOT_FOUND and not answer.body and self._definition.type in ("key", "keyprefix")
        )
        if answer.status != 200 and not is_missing_key:
            text = answer.body[:2000].decode(errors="replace").strip()
            raise WatchFailed(f"Unexpected response code: {answer.status} ({text})", answer.status)
        if not (answer.content_hash if self._by_hash else answer.index):
            raise WatchFailed("the answer has no index to go on from: is that an agent's API?")
        if is_missing_key:
            return None
        try:
            data = json.loads(answer.body)
        except ValueError:
            raise WatchFailed("the answer is not JSON") from None
        return data[0] if self._definition.type == "key" and isinstance(data, list) and data else data

    def _moved(self, answer: Answer) -> bool:
        return answer.content_hash != self._hash if self._by_hash else answer.index != self._index

    def _advance(self, answer: Answer) -> None:
        self._hash = answer.content_hash
        # The index of events is made of the last one's id: it goes up and down.
        went_back = answer.index < self._index and self._definition.type != "event"
        self._index = 0 if went_back else answer.index

    def _new_events(self, data: Any) -> Any:
        """The events after the last one that was handed on; all of them when that is gone from the list."""
        if not isinstance(data, list):
            return data
        ids = [event.get("ID", "") for event in data if isinstance(event, dict)]
        start = ids.index(self._last_event) + 1 if self._last_event in ids else 0
        self._last_event = ids[-1] if ids else self._last_event
        return data[start:]


def _base(definition: WatchDefinition) -> Ask:
    """The question without its index."""
    query: dict[str, str | list[str]] = {}
    if definition.datacenter:
        query["dc"] = definition.datacenter
    if definition.stale:
        query["stale"] = "1"
    if definition.filter:
        query["filter"] = definition.filter
    match definition.type:
        case "key":
            path = "kv/" + quote(definition.key.removeprefix("/"))
        case "keyprefix":
            path, query["recurse"] = "kv/" + quote(definition.prefix.removeprefix("/")), "1"
        case "services" | "nodes" as noun:
            path = f"catalog/{noun}"
        case "service":
            path = "health/service/" + quote(definition.service, safe="")
            if definition.tags:
                query["tag"] = list(definition.tags)
            if definition.passing_only:
                query["passing"] = "1"
        case "checks" if definition.service:
            path = "health/checks/" + quote(definition.service, safe="")
        case "checks":
            path = f"health/state/{definition.state or 'any'}"
        case "event":
            path = "event/list"
            if definition.name:
                query["name"] = definition.name
        case "connect_roots":
            path = "agent/connect/ca/roots"
        case "connect_leaf":
            path = "agent/connect/ca/leaf/" + quote(definition.service, safe="")
        case _:
            path = "agent/service/" + quote(definition.service_id, safe="")
    return Ask(f"/v1/{path}", query, definition.token)
