"""Writes of the registry for HTTP: a command in, replicated, its result out. Called by the endpoints that change things."""

from __future__ import annotations

from chowk.agent.api.request import ApiRequest
from chowk.core.commands import AnyCommand
from chowk.core.requests import Method, Write, WriteReply


async def write(request: ApiRequest, method: Method[Write, WriteReply], command: AnyCommand) -> WriteReply:
    """Replicate `command`. ChowkErrors as the servers sent them; a lost compare-and-set is `ok` False, not an error."""
    client = request.context.client
    message = client.next_write(command, datacenter=request.query.get("dc"), token=request.token)
    return await client.call(method, message)
