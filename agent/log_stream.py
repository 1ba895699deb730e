"""The agent's log as a stream, for `GET /v1/agent/monitor`. Called by `agent.api.agent_monitor`.

Costs nothing while nobody follows: the first follower puts a processor before the renderer of structlog's chain, the last
one takes it out. A follower that reads too slowly loses lines and is told how many; it never holds the agent up.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from typing import Any, Final

import structlog

from chowk.core.runtime.logging import LEVELS

LINES_MAX: Final = 512
"""Lines kept for one follower; beyond that the oldest are dropped."""
LINE_CHARACTERS_MAX: Final = 16_384
FOLLOWERS_MAX: Final = 32
_NAMES: Final = {"warning": "WARN", "err": "ERROR", "exception": "ERROR", "critical": "ERROR", "fatal": "ERROR"}

Event = structlog.typing.EventDict


class LogFollower:
    """One reader of the log. Made by `LogStream.follow`; lines are rendered when they are logged."""

    def __init__(self, level: int, json: bool) -> None:
        self.level = level
        self._json = json
        self._lines: deque[str] = deque(maxlen=LINES_MAX)
        self._dropped = 0
        self._more = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def take(self, event: Event) -> None:
        """Called by the stream for each line of this level, on any thread."""
        if len(self._lines) == LINES_MAX:
            self._dropped += 1
        self._lines.append(_as_json(event) if self._json else _as_text(event))
        self._loop.call_soon_threadsafe(self._more.set)

    async def read(self) -> str:
        """The lines since the last call, at least one, each ending in a newline."""
        while not self._lines:
            self._more.clear()
            await self._more.wait()
        found: list[str] = []
        if self._dropped:
            lost = {"event": f"[{self._dropped} log lines dropped: this reader is too slow]", "level": "warning"}
            found.append(_as_json(lost) if self._json else _as_text(lost))
            self._dropped = 0
        while self._lines:
            found.append(self._lines.popleft())
        return "".join(line + "\n" for line in found)


class LogStream:
    """The processor. `level` is the least level that the agent itself logs; finer lines reach followers only."""

    def __init__(self) -> None:
        self._followers: set[LogFollower] = set()
        self._own_level = 0

    def __call__(self, _logger: Any, method: str, event: Event) -> Event:
        """Called by structlog for each line."""
        level = LEVELS.get(method, LEVELS["error"])
        for follower in tuple(self._followers):
            if level >= follower.level:
                follower.take(event)
        if level < self._own_level:
            raise structlog.DropEvent
        return event

    def follow(self, level: str, *, json: bool, own_level: str) -> LogFollower | None:
        """Begin to follow at `level` (one of LEVELS; KeyError else). None when FOLLOWERS_MAX follow already."""
        if len(self._followers) >= FOLLOWERS_MAX:
            return None
        follower = LogFollower(LEVELS[level.lower()], json)
        self._own_level = LEVELS[own_level.lower()]
        self._followers.add(follower)
        self._configure()
        return follower

    def leave(self, follower: LogFollower) -> None:
        """Stop following."""
        self._followers.discard(follower)
        self._configure()

    def _configure(self) -> None:
        chain = [processor for processor in structlog.get_config()["processors"] if processor is not self]
        least = min((follower.level for follower in self._followers), default=self._own_level)
        if self._followers:
            chain.insert(len(chain) - 1, self)
        structlog.configure(
            processors=chain,
            wrapper_class=structlog.make_filtering_bound_logger(min(least, self._own_level)),
        )


LOG_STREAM: Final = LogStream()
"""The one of this process, since structlog's configuration is one a process too."""


def _as_text(event: Event) -> str:
    """`2026-11-22T21:00:00Z [INFO]  name: event key=value`, on one line."""
    rest = {
        key: value for key, value in event.items() if key not in ("event", "level", "timestamp", "process", "exc_info")
    }
    name = str(event.get("level", "info")).lower()
    level = f"[{_NAMES.get(name, name.upper())}]"
    pairs = "".join(f" {key}={_printable(value)}" for key, value in rest.items())
    process = f"{event['process']}: " if event.get("process") else ""
    line = f"{event.get('timestamp', '')} {level:<7} {process}{_plain(event.get('event', ''))}{pairs}{_failure(event)}"
    return line.strip()[:LINE_CHARACTERS_MAX]


def _as_json(event: Event) -> str:
    fields = {f"@{key}" if key in ("level", "timestamp") else key: _jsonable(value) for key, value in event.items()}
    fields["@message"] = fields.pop("event", "")
    if fields.pop("exc_info", None):
        fields["error"] = fields.get("error") or _failure(event).strip()
    text = str(structlog.processors.JSONRenderer()(None, "", fields))
    return text if len(text) <= LINE_CHARACTERS_MAX else '{"@message": "a log line too long to show"}'


def _failure(event: Event) -> str:
    error = event.get("exc_info")
    return f" ({type(error).__name__})" if isinstance(error, BaseException) else ""


def _jsonable(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def _printable(value: Any) -> str:
    text = _plain(value)
    return json.dumps(text, ensure_ascii=False) if not text or set(' "') & set(text) else text


def _plain(value: Any) -> str:
    return "".join(c if c.isprintable() else " " for c in str(value))
