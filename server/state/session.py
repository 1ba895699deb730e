"""Applies what begins and ends sessions. Total. Called by `machine`, and by `catalog` in the very commit that takes away
what a session depends on: its node, or a check of it, or that check's being well.
"""

from __future__ import annotations

import msgspec

from chowk.core.commands import CreateSession, DestroySession
from chowk.core.records.check import CRITICAL
from chowk.server.state import kv, prepared_query
from chowk.server.state.changes import Changes
from chowk.server.state.session_table import ANY_SESSION, node_sessions_topic, session_topic
from chowk.server.state.store import Key, Store


def create_session(store: Store, changes: Changes, command: CreateSession) -> bool | str:
    """Make the session; a text when what it depends on is not there or not well, False when its id is taken."""
    session = command.session
    if session.id in store.session_table.records:
        return False
    node_key = session.node.lower()
    node = store.nodes.get(node_key)
    if node is None:
        return "Missing node registration"
    for check_id in session.check_ids:
        check = store.checks.get((node_key, check_id))
        if check is None:
            return f"Missing check '{check_id}' registration"
        if check.status == CRITICAL:
            return f"Check '{check_id}' is in critical state"
    index = changes.index
    _touch(changes, session.id, session.node)
    store.session_table.put(msgspec.structs.replace(session, node=node.node, create_index=index, modify_index=index))
    return True


def destroy_session(store: Store, changes: Changes, command: DestroySession) -> None:
    """End the session; nothing when there is none."""
    _end(store, changes, command.id)


def end_of_check(store: Store, changes: Changes, key: Key) -> None:
    """The check is gone or critical now: so are the sessions that depend on it."""
    for id in tuple(store.session_table.of_check.get(key, ())):
        _end(store, changes, id)


def end_of_node(store: Store, changes: Changes, node_key: str) -> None:
    """The node is gone now, and its sessions with it."""
    for id in tuple(store.session_table.of_node.get(node_key, ())):
        _end(store, changes, id)


def _end(store: Store, changes: Changes, id: str) -> None:
    session = store.session_table.drop(id)
    if session is None:
        return
    _touch(changes, id, session.node)
    changes.touch_gone(session_topic(id))
    if session.node.lower() not in store.session_table.of_node:
        changes.touch_gone(node_sessions_topic(session.node))
    kv.let_go(store, changes, session)
    prepared_query.end_of_session(store, changes, id)


def _touch(changes: Changes, id: str, node: str) -> None:
    for topic in (ANY_SESSION, session_topic(id), node_sessions_topic(node)):
        changes.touch_topic(topic)
