"""The RPCs of prepared queries: names, requests, replies, permissions. See `core.requests`."""

from __future__ import annotations

from chowk.core.records.instance import ServiceInstance
from chowk.core.records.prepared_query import PreparedQuery, QueryDNS
from chowk.core.requests import Message, Method, QueryMeta, QueryOptions, Read, Write, WriteReply


class PreparedQueriesReply(Message, frozen=True, kw_only=True):
    """By creation."""

    meta: QueryMeta
    queries: tuple[PreparedQuery, ...]


class ExecuteQuery(Message, frozen=True, kw_only=True):
    """Run the query of an id or name. `agent` is the node that asks, `client` the address it asks for; `near` "" leaves it
    to the query; `limit` 0 shows all."""

    query: str
    near: str = ""
    agent: str = ""
    client: str = ""
    limit: int = 0
    connect: bool = False
    options: QueryOptions = QueryOptions()


class ExecuteReply(Message, frozen=True, kw_only=True):
    """`instances` in the order in which they are to be tried; `failovers` is how many other datacenters were asked."""

    meta: QueryMeta
    service: str
    instances: tuple[ServiceInstance, ...]
    dns: QueryDNS
    datacenter: str
    failovers: int = 0


QUERY_WRITE = Method("PreparedQuery.Write", Write, WriteReply, "query:write")
QUERY_READ = Method("PreparedQuery.Read", Read, PreparedQueriesReply, "query:read")
"""The query of the id `name`, else all. With ACLs, whoever may not write a query is not shown its token."""
QUERY_EXPLAIN = Method("PreparedQuery.Explain", ExecuteQuery, PreparedQueriesReply, "query:read")
"""The query as it would be run. NotFound when there is none."""
QUERY_EXECUTE = Method("PreparedQuery.Execute", ExecuteQuery, ExecuteReply, "service:read")
"""NotFound when there is no such query."""
