"""A session: what holds locks on keys, for as long as its node, its checks and its holder live."""

from __future__ import annotations

from chowk.core.durations import parse_duration
from chowk.core.records.base import Indexed, Record
from chowk.core.records.check import SERF_HEALTH_ID

RELEASE = "release"
DELETE = "delete"
BEHAVIORS = (RELEASE, DELETE)
LOCK_DELAY_S = 15.0
LOCK_DELAY_S_MAX = 60.0
TTL_S_MIN = 10.0
TTL_S_MAX = 86_400.0


class ServiceCheck(Record, frozen=True, kw_only=True):
    """A check of a service that the session depends on."""

    id: str
    namespace: str = ""


class Session(Indexed, frozen=True, kw_only=True):
    """`behavior` says what becomes of the held keys at its end; `ttl`, a duration, "" for one
    that lives without being renewed.

    `lock_delay_s` is how long nobody may acquire a key that was held when the session ended.
    """

    id: str
    name: str = ""
    node: str
    lock_delay_s: float = LOCK_DELAY_S
    behavior: str = RELEASE
    ttl: str = ""
    node_checks: tuple[str, ...] = (SERF_HEALTH_ID,)
    service_checks: tuple[ServiceCheck, ...] = ()

    @property
    def ttl_s(self) -> float:
        """The TTL in seconds, 0 for none. ValueError when it is no duration."""
        return parse_duration(self.ttl) if self.ttl else 0.0

    @property
    def check_ids(self) -> tuple[str, ...]:
        """Every check that must not be critical, once each."""
        return tuple(dict.fromkeys((*self.node_checks, *(check.id for check in self.service_checks))))
