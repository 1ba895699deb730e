"""The prepared queries in a `prepared-queries` view, as they are asked for. Called by `agent.lookup` and the API."""

from __future__ import annotations

from chowk.agent.views.views import View
from chowk.core.events import QueryItem
from chowk.core.query_index import QueryIndex


def queries_of(view: View) -> QueryIndex:
    """What names mean; made once a change."""
    return view.memo("queries", _index)


def _index(view: View) -> QueryIndex:
    return QueryIndex(item.query for item in view.items.values() if isinstance(item, QueryItem))
