"""Which instance to dial next: power of two choices by live connections (Mitzenmacher 2001). Pure; asked by upstreams.

Two random candidates and the less loaded of them: near the best balance without everyone running to the same instance.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence

from chowk.connect.snapshot import Endpoint


def choose(
    endpoints: Sequence[Endpoint], live: Mapping[str, int], avoid: Collection[str], rng: random.Random
) -> Endpoint | None:
    """One of `endpoints`, None when there is none. `live` is open connections by key.

    Endpoints whose key is in `avoid` are taken only when nothing else is left: a guess about health never denies service.
    Load is connections for each unit of weight, so an instance of weight 2 carries twice as many.
    """
    preferred = [endpoint for endpoint in endpoints if endpoint.key not in avoid] or list(endpoints)
    if len(preferred) < 2:
        return preferred[0] if preferred else None
    first, second = rng.sample(preferred, 2)
    return second if _load(second, live) < _load(first, live) else first


def _load(endpoint: Endpoint, live: Mapping[str, int]) -> float:
    """What the load would be with one more connection, so that weights count between idle instances as well."""
    return (live.get(endpoint.key, 0) + 1) / max(endpoint.weight, 1)
