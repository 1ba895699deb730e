"""The table of prepared queries: by id, by name, by the session they go with. Part of `Store`; written by `prepared_query`
and the snapshot."""

from __future__ import annotations

import msgspec

from chowk.core.events import QUERIES, QueryItem, Topic
from chowk.core.query_index import QueryIndex
from chowk.core.records.prepared_query import PreparedQuery

ALL_QUERIES = Topic(kind=QUERIES)


def item_of(query: PreparedQuery) -> QueryItem:
    """What followers of the topic are told."""
    return QueryItem(query=msgspec.structs.replace(query, token=""))


class PreparedQueryTable:
    """Records by id, in the order of their creation. Names compare without case; "" is the name of one template at most."""

    def __init__(self) -> None:
        self.records: dict[str, PreparedQuery] = {}
        self.ids_by_name: dict[str, str] = {}
        self.of_session: dict[str, dict[str, None]] = {}
        self._index: QueryIndex | None = None

    def index(self) -> QueryIndex:
        """What names mean; made anew after a change, when it is asked for."""
        if self._index is None:
            self._index = QueryIndex(self.records.values())
        return self._index

    def put(self, query: PreparedQuery) -> None:
        """Add a query, or replace the one of its id."""
        self._index = None
        old = self.records.get(query.id)
        if old is not None:
            self._unlink(old)
        self.records[query.id] = query
        if query.name or query.is_template:
            self.ids_by_name[query.name.lower()] = query.id
        if query.session:
            self.of_session.setdefault(query.session, {})[query.id] = None

    def drop(self, id: str) -> PreparedQuery | None:
        """Remove a query; None when there is none."""
        self._index = None
        query = self.records.pop(id, None)
        if query is not None:
            self._unlink(query)
        return query

    def _unlink(self, query: PreparedQuery) -> None:
        if self.ids_by_name.get(query.name.lower()) == query.id:
            del self.ids_by_name[query.name.lower()]
        ids = self.of_session.get(query.session)
        if ids is not None:
            ids.pop(query.id, None)
            if not ids:
                del self.of_session[query.session]
