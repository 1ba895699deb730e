"""`/v1/session/…`: what holds locks on keys."""

from __future__ import annotations

from typing import Final
from uuid import uuid4

from aiohttp import web

from chowk.agent.api.body import convert, decode_json
from chowk.agent.api.errors import HttpError, bad_request, decode_failed
from chowk.agent.api.reads import read
from chowk.agent.api.replies import json_reply
from chowk.agent.api.request import ApiRequest
from chowk.agent.api.route import Route
from chowk.agent.api.writes import write
from chowk.core.commands import CreateSession, DestroySession
from chowk.core.durations import parse_duration
from chowk.core.kv_requests import SESSION_LIST, SESSION_RENEW, SESSION_WRITE, SessionsQuery
from chowk.core.records.base import Record
from chowk.core.records.check import SERF_HEALTH_ID
from chowk.core.records.session import LOCK_DELAY_S, LOCK_DELAY_S_MAX, RELEASE, ServiceCheck, Session
from chowk.core.requests import Read

NS_PER_S: Final = 1_000_000_000
SECONDS_BELOW: Final = 1000
"""A LockDelay that is a number smaller than this is in seconds, else in nanoseconds, as in Consul."""


class SessionBody(Record, frozen=True, kw_only=True):
    """The body of a create. `checks` is the older name of `node_checks`, `id` and `datacenter` are what clients echo."""

    id: str = ""
    datacenter: str = ""
    namespace: str = ""
    name: str = ""
    node: str = ""
    checks: tuple[str, ...] | None = None
    node_checks: tuple[str, ...] | None = None
    service_checks: tuple[ServiceCheck, ...] = ()
    lock_delay: str | int | float | None = None
    behavior: str = ""
    ttl: str = ""
    create_index: int = 0
    modify_index: int = 0


class SessionReply(Record, frozen=True, kw_only=True):
    """A session in Consul's shape."""

    id: str
    name: str
    node: str
    lock_delay: int
    behavior: str
    ttl: str
    node_checks: tuple[str, ...]
    service_checks: tuple[ServiceCheck, ...] | None
    create_index: int
    modify_index: int


async def create(request: ApiRequest) -> web.Response:
    """Make a session: `{"ID": …}`. Its body may be missing."""
    data = await request.body()
    given = convert(decode_json(data), SessionBody) if data.strip() else SessionBody()
    checks = given.node_checks if given.node_checks is not None else given.checks
    session = Session(
        id=str(uuid4()),
        name=given.name,
        node=given.node or request.context.config().node_name,
        lock_delay_s=_lock_delay_s(given.lock_delay),
        behavior=given.behavior or RELEASE,
        ttl=given.ttl,
        node_checks=checks if checks is not None else (SERF_HEALTH_ID,),
        service_checks=given.service_checks,
    )
    reply = await write(request, SESSION_WRITE, CreateSession(session=session))
    if not reply.ok:  # only what is said to a write that was sent again, for the reason is told but once
        raise HttpError(500, "The session was refused: its node or a check of it is missing or critical")
    return json_reply(request, {"ID": session.id})


async def destroy(request: ApiRequest) -> web.Response:
    """End a session: `true`, also when there is none."""
    await write(request, SESSION_WRITE, DestroySession(id=request.part("id", "Missing session")))
    return json_reply(request, True)


async def renew(request: ApiRequest) -> web.Response:
    """Give a session its whole TTL again; 404 when there is none."""
    reply = await read(request, SESSION_RENEW, Read(name=request.part("id", "Missing session")))
    return json_reply(request, [_shown(session) for session in reply.sessions])


async def info(request: ApiRequest) -> web.Response:
    """One session, in a list; an empty one when there is none."""
    return await _sessions(request, SessionsQuery(id=request.part("id", "Missing session")))


async def of_node(request: ApiRequest) -> web.Response:
    """The sessions of a node."""
    return await _sessions(request, SessionsQuery(node=request.part("node", "Missing node name")))


async def list_all(request: ApiRequest) -> web.Response:
    """All sessions."""
    return await _sessions(request, SessionsQuery())


async def _sessions(request: ApiRequest, query: SessionsQuery) -> web.Response:
    reply = await read(request, SESSION_LIST, query)
    return json_reply(request, [_shown(session) for session in reply.sessions], reply.meta)


def _shown(session: Session) -> SessionReply:
    return SessionReply(
        id=session.id,
        name=session.name,
        node=session.node,
        lock_delay=round(session.lock_delay_s * NS_PER_S),
        behavior=session.behavior,
        ttl=session.ttl,
        node_checks=session.node_checks,
        service_checks=session.service_checks or None,
        create_index=session.create_index,
        modify_index=session.modify_index,
    )


def _lock_delay_s(given: str | int | float | None) -> float:
    """Seconds. More than LOCK_DELAY_S_MAX counts as that, as in Consul."""
    if given is None:
        return LOCK_DELAY_S
    if isinstance(given, str):
        try:
            seconds = parse_duration(given)
        except ValueError as error:
            raise decode_failed(str(error)) from None
    else:
        seconds = given if given < SECONDS_BELOW else given / NS_PER_S
    if not seconds >= 0:
        raise bad_request("Invalid LockDelay: must not be negative")
    return min(seconds, LOCK_DELAY_S_MAX)


ROUTES: Final = (
    Route(("PUT",), "/v1/session/create", create, "session:write"),
    Route(("PUT",), "/v1/session/destroy/{id:.*}", destroy, "session:write"),
    Route(("PUT",), "/v1/session/renew/{id:.*}", renew, "session:write"),
    Route(("GET",), "/v1/session/info/{id:.*}", info, "session:read"),
    Route(("GET",), "/v1/session/node/{node:.*}", of_node, "session:read"),
    Route(("GET",), "/v1/session/list", list_all, "session:read"),
)
