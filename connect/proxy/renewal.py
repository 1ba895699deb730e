"""When a leaf is renewed, and how long to wait after a failure. Pure; asked by `leaf`."""

from __future__ import annotations

import random
from typing import Final

import msgspec

from chowk.core.errors import InvalidRequest
from chowk.core.records.ca import CARoots

JITTER: Final = 0.1
ROTATION_S_MAX: Final = 30.0
"""After a root rotation every proxy needs a new leaf; they come for it spread over this time."""
RETRY_S_MIN: Final = 0.1
RETRY_S_MAX: Final = 30.0
"""So late, at most, a leaf is there after whoever signs is back."""


class HeldLeaf(msgspec.Struct, frozen=True, kw_only=True):
    """What matters of the leaf in use. Times are Unix seconds; `root_id` was the active root when it was signed."""

    service: str
    trust_domain: str
    root_id: str
    valid_from_s: float
    valid_until_s: float
    renew_at_s: float


def renew_at(valid_from_s: float, valid_until_s: float, rng: random.Random) -> float:
    """Half of the life, give or take JITTER of it, so that proxies started together do not ask together."""
    life = valid_until_s - valid_from_s
    return valid_from_s + life * (0.5 + JITTER * rng.uniform(-1.0, 1.0))


def due_at(leaf: HeldLeaf | None, service: str, roots: CARoots, now_s: float, rng: random.Random) -> float:
    """When to ask for a leaf (Unix seconds): `now_s` when the one held is of no use any more, or there is none."""
    if leaf is None or leaf.service != service or leaf.trust_domain != roots.trust_domain:
        return now_s
    if now_s < leaf.valid_from_s:  # this host's clock was set back
        return now_s
    if leaf.root_id != roots.active_root_id:
        if leaf.root_id not in [root.id for root in roots.roots]:
            return now_s
        return min(leaf.renew_at_s, now_s + rng.uniform(0.0, ROTATION_S_MAX))
    return leaf.renew_at_s


def refuse_untimely(valid_from_s: float, valid_until_s: float, now_s: float) -> None:
    """InvalidRequest for a leaf that has just been signed and is not valid at `now_s`: to ask at once for another is of no
    use while this host's clock and that of the servers differ.
    """
    if now_s < valid_from_s:
        raise InvalidRequest(
            f"it begins {valid_from_s - now_s:.0f} s from now: this host's clock is behind that of the servers"
        )
    if now_s >= valid_until_s:
        raise InvalidRequest(
            f"it ended {now_s - valid_until_s:.0f} s ago: this host's clock is ahead of that of the servers"
        )


def retry_in(failures: int, rng: random.Random) -> float:
    """Seconds to wait after that many failures in a row: doubling, with jitter."""
    longest: float = min(RETRY_S_MIN * 2.0 ** min(failures, 12), RETRY_S_MAX)
    return longest * rng.uniform(0.5, 1.0)
