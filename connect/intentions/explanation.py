"""Why one service may call another, or may not: the rule that decides, those behind it, and what would change it. Pure.

Called by `agent.api.intention_why`. It asks the same functions that proxies ask, so that it cannot tell another story.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from chowk.connect.http1.heads import RequestHead, RequestReader
from chowk.connect.http1.refusal import Refusal
from chowk.connect.intentions.decision import decide, matches
from chowk.connect.intentions.flat import in_order
from chowk.connect.intentions.requests import RequestPolicy
from chowk.core.records.base import Record
from chowk.core.records.intention import ANY, Intention

PERMISSIVE: Final = "permissive"


class Explanation(Record, frozen=True, kw_only=True):
    """`allowed` is what the intentions say; `let_through` what happens, which differs where the destination only watches.

    `by_request`: permissions decide each request, and none was asked about. `decided_by` is None where the default policy
    decides. `behind` are the other intentions that match, in the order in which they would decide if those before them were
    gone. `changes` are sentences.
    """

    source: str
    destination: str
    allowed: bool
    let_through: bool
    reason: str
    decided_by: Intention | None
    default: str
    behind: tuple[Intention, ...]
    changes: tuple[str, ...]
    by_request: bool = False


def explain(
    intentions: Iterable[Intention],
    source: str,
    destination: str,
    *,
    default_allow: bool,
    permissive: bool,
    request: RequestHead | None = None,
    http: bool = False,
) -> Explanation:
    """The explanation for a connection, or for one `request` on it; `http`: the destination speaks it."""
    known = tuple(intentions)
    if request is None:
        decision = decide(known, source, destination, default_allow)
    else:
        decision = RequestPolicy(known, source, destination, default_allow).decide(request)
    first = decision.intention
    by_request = http and request is None and first is not None and bool(first.permissions)
    behind = [each for each in in_order(known) if matches(each, source, destination) and each is not first]
    return Explanation(
        source=source,
        destination=destination,
        allowed=decision.allowed,
        let_through=decision.allowed or permissive,
        reason="Its permissions decide each request: ask with a method and a path" if by_request else decision.reason,
        decided_by=first,
        default="allow" if default_allow else "deny",
        behind=tuple(behind),
        changes=tuple(_changes(source, destination, first, behind, decision.allowed, permissive, default_allow)),
        by_request=by_request,
    )


def read_request(method: str, path: str, headers: Sequence[tuple[str, str]]) -> RequestHead:
    """The request that a proxy would see. Refusal when it would not let it in at all."""
    given = (method, path, *(text for header in headers for text in header))
    if any("\r" in text or "\n" in text for text in given):
        raise Refusal(400, "head", "a part of a request holds no line break")
    lines = [f"{method or 'GET'} {path or '/'} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    if not any(name.lower() == "host" for name, _value in headers):
        lines.append("Host: service")
    try:
        raw = "\r\n".join([*lines, "", ""]).encode("latin-1")
    except UnicodeEncodeError as error:
        raise Refusal(400, "header", "a request holds only Latin-1 characters") from error
    found = RequestReader().feed(raw)
    if found is None or found[1]:
        raise Refusal(400, "head", "that is not the head of one request")
    return found[0]


def _changes(
    source: str,
    destination: str,
    first: Intention | None,
    behind: Sequence[Intention],
    allowed: bool,
    permissive: bool,
    default_allow: bool,
) -> Iterable[str]:
    wanted = "deny" if allowed else "allow"
    exact = first is not None and ANY not in (first.source_name, first.destination_name)
    if exact and first is not None and first.permissions:
        yield (
            f"its permissions decide by request: change them in the service-intentions entry of {destination} "
            "(chowk config read -kind service-intentions)"
        )
    replace = "-replace " if exact else ""
    lost = (
        f" altogether: its {len(first.permissions)} permissions would be gone" if first and first.permissions else " it"
    )
    yield f"chowk intention create {replace}-{wanted} {source} {destination} would {wanted}{lost if exact else ' it'}"
    if exact:
        following = behind[0] if behind else None
        if following is None:
            then = f"the default policy decide, which is {'allow' if default_allow else 'deny'}"
        else:
            action = following.action or "by its permissions"
            then = f"{following.source_name} => {following.destination_name} decide ({action})"
        yield f"chowk intention delete {source} {destination} would let {then}"
    if not allowed and permissive:
        yield f"{destination} is permissive now: the call is let through and counted; intention_mode enforce ends that"
    if not allowed and not permissive:
        yield f'intention_mode = "{PERMISSIVE}" in the service-defaults of {destination} would let it through, and count it'
