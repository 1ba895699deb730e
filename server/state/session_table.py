"""The table of sessions, and which depend on a node or a check. Part of `Store`; written by `session` and the snapshot."""

from __future__ import annotations

from chowk.core.events import Topic
from chowk.core.records.session import Session

SESSION = "session"
NODE_SESSIONS = "node-sessions"
ANY_SESSION = Topic(kind="sessions")


def session_topic(id: str) -> Topic:
    """The topic of one session."""
    return Topic(kind=SESSION, key=id)


def node_sessions_topic(node: str) -> Topic:
    """The topic of a node's sessions."""
    return Topic(kind=NODE_SESSIONS, key=node.lower())


class SessionTable:
    """Sessions by id, in the order of their creation."""

    def __init__(self) -> None:
        self.records: dict[str, Session] = {}
        self.of_node: dict[str, dict[str, None]] = {}
        self.of_check: dict[tuple[str, str], dict[str, None]] = {}
        """(node key, check id) -> ids of the sessions that end when the check does."""

    def put(self, session: Session) -> None:
        """Add a session."""
        node_key = session.node.lower()
        self.records[session.id] = session
        self.of_node.setdefault(node_key, {})[session.id] = None
        for check_id in session.check_ids:
            self.of_check.setdefault((node_key, check_id), {})[session.id] = None

    def drop(self, id: str) -> Session | None:
        """Remove a session; None when there is none."""
        session = self.records.pop(id, None)
        if session is None:
            return None
        node_key = session.node.lower()
        ids = self.of_node[node_key]
        del ids[id]
        if not ids:
            del self.of_node[node_key]
        for check_id in session.check_ids:
            ids = self.of_check[(node_key, check_id)]
            del ids[id]
            if not ids:
                del self.of_check[(node_key, check_id)]
        return session
