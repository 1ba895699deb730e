"""What the certificate authority has to do next, so that no certificate of the mesh ends in use. Pure; asked by the leader.

A root's way: made → published (everybody trusts it, it signs nothing) → active (it signs, and is itself signed by the root
before it, for whoever has not heard) → rotated out (trusted for twice the life of a leaf) → gone.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

import msgspec

from chowk.core.records.ca import CARoot, unix_s

RENEW_PART: Final = 0.5
"""Roots and intermediates are renewed when this part of their life is left."""
PROVIDED_RENEW_PART: Final = 0.1
"""A root that the operator brought is theirs to replace: the mesh does it only so that it does not end in use."""
PUBLISH_S: Final = 30.0
"""How long a new root is trusted before it signs. Who has not heard of it by then is helped by the cross-signature."""
KEPT_LEAF_LIVES: Final = 2.0


class Step(Enum):
    """In the order of their urgency."""

    NOTHING = "nothing"
    NEW_INTERMEDIATE = "new intermediate"
    PUBLISH_ROOT = "publish a new root"
    ACTIVATE_ROOT = "let the new root sign"
    DROP_ROOTS = "drop roots that are rotated out"


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the leader knows. Parts of life go from 1 to 0, and below when it has ended; `published_s` is for how long the
    next root has been trusted as far as this leader knows, None when there is none. `provided`: the operator brought the
    root that signs; `rotation_period_s` is for how long one that the mesh made does, 0: for half of its life.
    """

    root_left: float
    root_age_s: float = 0.0
    rotation_period_s: float = 0.0
    provided: bool = False
    intermediate_left: float
    published_s: float | None
    now_s: float
    leaf_ttl_s: float


def next_step(roots: tuple[CARoot, ...], facts: Facts) -> Step:
    """The next step."""
    if facts.published_s is not None:
        if facts.published_s >= PUBLISH_S or facts.root_left <= 0:
            return Step.ACTIVATE_ROOT
    elif is_root_due(facts):
        return Step.PUBLISH_ROOT
    if facts.intermediate_left <= RENEW_PART:
        return Step.NEW_INTERMEDIATE
    if len(kept(roots, facts.now_s, facts.leaf_ttl_s)) < len(roots):
        return Step.DROP_ROOTS
    return Step.NOTHING


def is_root_due(facts: Facts) -> bool:
    """Whether the root that signs is to be replaced."""
    if facts.provided:
        return facts.root_left <= PROVIDED_RENEW_PART
    return facts.root_left <= RENEW_PART or 0 < facts.rotation_period_s <= facts.root_age_s


def next_root(roots: tuple[CARoot, ...]) -> CARoot | None:
    """The root that is published and does not sign yet."""
    return next((root for root in roots if not root.active and not root.rotated_out_at), None)


def kept(roots: tuple[CARoot, ...], now_s: float, leaf_ttl_s: float) -> tuple[CARoot, ...]:
    """Those that are still to be trusted: leaves under the others have ended long ago."""
    return tuple(
        root
        for root in roots
        if not root.rotated_out_at or now_s < unix_s(root.rotated_out_at) + KEPT_LEAF_LIVES * leaf_ttl_s
    )
