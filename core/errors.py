"""The errors that cross rooms and wires. Each knows its HTTP status and whether state may have changed.

The peer's or user's fault: `InvalidRequest`, `NotFound`, `Conflict`, `PermissionDenied`, `TooLarge`, `TooManyRequests`.
A condition: `NoLeader`, `Unavailable`, `DeadlineExceeded`. Anything else is our bug and becomes `InternalError` at a wire.
"""

from __future__ import annotations

from typing import ClassVar


class ChowkError(Exception):
    """The base: `str(error)` is the text a person reads."""

    code: ClassVar[str] = "internal"
    http_status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False


class InternalError(ChowkError):
    """A bug of ours, seen from the other side of a wire."""


class InvalidRequest(ChowkError):
    """The request cannot be right, however often it is sent."""

    code = "invalid"
    http_status = 400


class NotFound(ChowkError):
    """The thing named does not exist."""

    code = "not-found"
    http_status = 404


class Conflict(ChowkError):
    """A compare-and-set lost."""

    code = "conflict"
    http_status = 409


class PermissionDenied(ChowkError):
    """The caller may not."""

    code = "permission-denied"
    http_status = 403


class TooLarge(ChowkError):
    """A body, frame or value over its limit."""

    code = "too-large"
    http_status = 413


class TooManyRequests(ChowkError):
    """A limit on work was reached; nothing was done; try later."""

    code = "too-many"
    http_status = 429
    retryable = True


class NoLeader(ChowkError):
    """No server leads; nothing was written."""

    code = "no-leader"
    retryable = True

    def __init__(self, text: str = "No cluster leader") -> None:
        super().__init__(text)


class Unavailable(ChowkError):
    """No server could be reached; nothing was written."""

    code = "unavailable"
    retryable = True


class NotYet(ChowkError):
    """Some server of the cluster runs a release that does not know this: nothing was written; finish the upgrade."""

    code = "not-yet"
    http_status = 503


class OutcomeUnknown(ChowkError):
    """The connection or the deadline ended before the answer: the write may or may not have happened."""

    code = "outcome-unknown"


class DeadlineExceeded(ChowkError):
    """The deadline passed."""

    code = "deadline"
    http_status = 504


class NoPathToDatacenter(ChowkError):
    """The request names a datacenter that is not known."""

    code = "no-datacenter"

    def __init__(self, text: str = "No path to datacenter") -> None:
        super().__init__(text)


BY_CODE: dict[str, type[ChowkError]] = {
    kind.code: kind
    for kind in (
        InternalError, InvalidRequest, NotFound, Conflict, PermissionDenied, TooLarge, TooManyRequests, NoLeader,
        Unavailable, OutcomeUnknown, DeadlineExceeded, NoPathToDatacenter, NotYet,
    )
}  # fmt: skip
