"""Why a message is not forwarded. Raised by the readers of this room; the shell answers with it and closes."""

from __future__ import annotations


class Refusal(Exception):
    """A message that this proxy does not forward. Its connection is unusable: nobody can say where the next one begins.

    `status` is the answer (400, 414, 417, 431, 501, 505 for requests, 502 for responses), `reason` says what is wrong in
    plain words and repeats nothing of the message, `kind` is one of a closed set of words, fit for a metric's label.
    """

    def __init__(self, status: int, kind: str, reason: str) -> None:
        super().__init__(f"{status} {kind}: {reason}")
        self.status = status
        self.kind = kind
        self.reason = reason
