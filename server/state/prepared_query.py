"""Applies what changes prepared queries. Total. Called by `machine`, and by `session` in the very commit that ends a
session, for the queries that are bound to it."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from chowk.core.commands import DeletePreparedQuery, SetPreparedQuery
from chowk.core.records.prepared_query import PreparedQuery
from chowk.server.state.changes import Changes
from chowk.server.state.store import Store, stamped

QUERIES_MAX: Final = 4096
"""Every agent that resolves their names holds all of them."""


def set_query(store: Store, changes: Changes, command: SetPreparedQuery) -> bool | str:
    """Make or replace the query; a text says why not."""
    query, table = command.query, store.prepared_queries
    old = table.records.get(query.id)
    if command.must_exist and old is None:
        return f"Cannot modify non-existent prepared query: '{query.id}'"
    problem = write_problem(store, query)
    if problem:
        return problem
    written = stamped(query, old, changes.index)
    if written is not None:
        changes.touch_query(query.id)
        table.put(written)
    return True


def write_problem(store: Store, query: PreparedQuery) -> str:
    """Why this query cannot be written, as things are; "" when it can."""
    records = store.prepared_queries.records
    if query.id not in records and len(records) >= QUERIES_MAX:
        return f"there are {QUERIES_MAX} prepared queries already: a template may stand for many"
    if query.session and query.session not in store.session_table.records:
        return f'invalid session "{query.session}"'
    return _name_problem(store, query)


def delete_query(store: Store, changes: Changes, command: DeletePreparedQuery) -> bool | str:
    """Remove the query; a text when there is none."""
    if command.id not in store.prepared_queries.records:
        return f"Cannot modify non-existent prepared query: '{command.id}'"
    _drop(store, changes, command.id)
    return True


def end_of_session(store: Store, changes: Changes, session_id: str) -> None:
    """The session has ended: so have the queries that are bound to it."""
    for id in tuple(store.prepared_queries.of_session.get(session_id, ())):
        _drop(store, changes, id)


def _drop(store: Store, changes: Changes, id: str) -> None:
    changes.touch_query(id)
    store.prepared_queries.drop(id)


def _name_problem(store: Store, query: PreparedQuery) -> str:
    """A query is asked by its id or by its name, so neither may stand for two, and no name may be another's id."""
    table = store.prepared_queries
    if not query.name and not query.is_template:
        return ""
    owner = table.ids_by_name.get(query.name.lower(), query.id)
    if owner != query.id:
        return (
            f"name '{query.name}' aliases an existing query name"
            if query.name
            else "a query template with an empty name already exists"
        )
    try:
        id = str(UUID(query.name)) if len(query.name) == 36 else ""
    except ValueError:
        id = ""
    return f"name '{query.name}' aliases an existing query ID" if id in table.records else ""
