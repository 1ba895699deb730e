"""What the endpoints share that change this agent: the answer once a change is in, and `?enable`. Called by `agent_*`."""

from __future__ import annotations

from aiohttp import web

from chowk.agent.api.errors import bad_request
from chowk.agent.api.replies import empty_reply
from chowk.agent.api.request import ApiRequest

REASON_CHARACTERS_MAX = 4096


def applied(request: ApiRequest) -> web.Response:
    """A change is in, and kept: have the catalog told soon, and answer 200 with an empty body."""
    if request.context.syncer is not None:
        request.context.syncer.trigger()
    return empty_reply()


def asked_enable(request: ApiRequest) -> tuple[bool, str]:
    """`?enable=` (must be there) and `?reason=` of a maintenance request."""
    value = request.query.get("enable")
    if not value:
        raise bad_request("Missing value for enable")
    if value.lower() not in ("true", "t", "1", "false", "f", "0"):
        raise bad_request(f"Invalid value for enable: {value!r}")
    reason = request.query.get("reason")
    if len(reason) > REASON_CHARACTERS_MAX:
        raise bad_request(f"Invalid reason: longer than {REASON_CHARACTERS_MAX} characters")
    return value.lower() in ("true", "t", "1"), reason
