"""Why the core refuses. Conditions change nothing; `BrokenInvariant` is a bug, or a log somebody changed by hand."""

from __future__ import annotations


class RaftError(Exception):
    """The base."""


class NotLeading(RaftError):
    """Only a leader (that is not handing over) can do this. Nothing was written."""


class TooMuchUncommitted(RaftError):
    """The limit on uncommitted bytes is reached. Nothing was written."""


class ChangeRefused(RaftError):
    """This change of membership cannot be made now, or at all; the text says why. Nothing was written."""


class BrokenInvariant(RaftError):
    """Something that Raft proves cannot happen did. The server must stop."""
