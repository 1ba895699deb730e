"""The RPCs of keys and sessions: names, requests, replies, permissions. See `core.requests`."""

from __future__ import annotations

from chowk.core.records.kv import KVEntry
from chowk.core.records.session import Session
from chowk.core.requests import Message, Method, QueryMeta, QueryOptions, Read, Write, WriteReply


class KeyQuery(Message, frozen=True, kw_only=True):
    """One key."""

    key: bytes
    options: QueryOptions = QueryOptions()


class KeyReply(Message, frozen=True, kw_only=True):
    """`entry` None: there is no such key."""

    meta: QueryMeta
    entry: KVEntry | None = None


class PrefixQuery(Message, frozen=True, kw_only=True):
    """The keys that begin with `prefix`, with their entries; only their names with `keys_only`, and each of these cut
    behind the first `separator` after the prefix when that is given."""

    prefix: bytes
    keys_only: bool = False
    separator: bytes = b""
    options: QueryOptions = QueryOptions()


class PrefixPage(Message, frozen=True, kw_only=True):
    """A part of the answer, in order; all parts show the store at one moment, and carry the same `meta`."""

    meta: QueryMeta
    entries: tuple[KVEntry, ...] = ()
    keys: tuple[bytes, ...] = ()


class SessionsQuery(Message, frozen=True, kw_only=True):
    """The session of an id, else the sessions of a node, else all."""

    id: str = ""
    node: str = ""
    options: QueryOptions = QueryOptions()


class SessionsReply(Message, frozen=True, kw_only=True):
    """By creation."""

    meta: QueryMeta
    sessions: tuple[Session, ...]


KV_WRITE = Method("KV.Write", Write, WriteReply, "key:write")
KV_READ = Method("KV.Read", KeyQuery, KeyReply, "key:read")
KV_LIST = Method("KV.List", PrefixQuery, PrefixPage, "key:read")
SESSION_WRITE = Method("Session.Write", Write, WriteReply, "session:write")
SESSION_LIST = Method("Session.List", SessionsQuery, SessionsReply, "session:read")
SESSION_RENEW = Method("Session.Renew", Read, SessionsReply, "session:write")
"""Give the session `name` its whole TTL again. Only the leader counts TTLs; NotFound when there is none."""
