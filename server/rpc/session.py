"""Session: what holds locks. Renewing is the leader's own duty: see `server.leader.session_ttl`."""

from __future__ import annotations

from functools import partial
from typing import Final
from uuid import UUID

from chowk.core.commands import CreateSession, DestroySession
from chowk.core.durations import format_duration
from chowk.core.errors import InvalidRequest
from chowk.core.kv_requests import SESSION_LIST, SESSION_WRITE, SessionsQuery, SessionsReply
from chowk.core.limits import check_name, check_node_name, check_text
from chowk.core.records.session import BEHAVIORS, LOCK_DELAY_S_MAX, TTL_S_MAX, Session
from chowk.core.requests import Write, WriteReply
from chowk.server.rpc.context import ServerContext
from chowk.server.state.session_table import ANY_SESSION, node_sessions_topic, session_topic
from chowk.server.state.store import Store

CHECKS_MAX: Final = 64


def serve(context: ServerContext) -> None:
    """Offer this noun's methods."""
    context.leader.serve(SESSION_WRITE, partial(_write, context))
    context.gate.serve(SESSION_LIST, partial(_list, context))


async def _write(context: ServerContext, write: Write) -> WriteReply:
    context.reads.check_datacenter(write.datacenter)
    context.writes.admit(write, (CreateSession, DestroySession), SESSION_WRITE.name)
    command = write.command
    if isinstance(command, CreateSession):
        _check(command.session, context.options.session_ttl_s_min)
    elif isinstance(command, DestroySession) and not command.id:
        raise InvalidRequest("Missing session")
    return await context.writes.propose(command, write.client, write.sequence)


async def _list(context: ServerContext, query: SessionsQuery) -> SessionsReply:
    topic = ANY_SESSION
    if query.id:
        topic = session_topic(query.id)
    elif query.node:
        topic = node_sessions_topic(query.node)
    meta, sessions = await context.reads.run(query.options, (topic,), lambda store: _find(store, query))
    return SessionsReply(meta=meta, sessions=sessions)


def _find(store: Store, query: SessionsQuery) -> tuple[Session, ...]:
    records = store.session_table.records
    if query.id:
        return (records[query.id],) if query.id in records else ()
    if query.node:
        return tuple(records[id] for id in store.session_table.of_node.get(query.node.lower(), ()))
    return tuple(records.values())


def _check(session: Session, ttl_s_min: float) -> None:
    try:
        id_is_own = str(UUID(session.id)) == session.id
    except ValueError:
        id_is_own = False
    if not id_is_own:
        raise InvalidRequest("a session's id is a UUID in its usual form")
    if not session.node:
        raise InvalidRequest("Missing node name")
    check_node_name(session.node)
    check_text(session.name, "Session name")
    if len(session.check_ids) > CHECKS_MAX:
        raise InvalidRequest(f"a session depends on at most {CHECKS_MAX} checks")
    for check_id in session.check_ids:
        check_name(check_id, "Check id")
    if session.behavior not in BEHAVIORS:
        raise InvalidRequest(f"Invalid Behavior setting '{session.behavior[:64]}'")
    if not 0 <= session.lock_delay_s <= LOCK_DELAY_S_MAX:
        raise InvalidRequest(f"Invalid LockDelay: must be between 0s and {LOCK_DELAY_S_MAX:g}s")
    _check_ttl(session, ttl_s_min)


def _check_ttl(session: Session, ttl_s_min: float) -> None:
    check_text(session.ttl, "Session TTL")
    try:
        ttl_s = session.ttl_s
    except ValueError as error:
        raise InvalidRequest(f"Session TTL '{session.ttl}' invalid: {error}") from None
    if session.ttl and not ttl_s_min <= ttl_s <= TTL_S_MAX:
        bounds = f"[{format_duration(ttl_s_min)}={format_duration(TTL_S_MAX)}]"
        raise InvalidRequest(f"Invalid Session TTL '{session.ttl}', must be between {bounds}")
