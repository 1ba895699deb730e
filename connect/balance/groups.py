"""In which order endpoints are used: targets in the order of failing over, in each the near ones first. Pure.

A group takes the share of the traffic that its hosts still can carry: all while at least 1/OVERPROVISION of its weight is
not ejected, below that OVERPROVISION times what is left; the rest goes to the next group (Envoy's rule for priorities).
"Any host will do" would be simpler, but the last survivor of ten would get the traffic of ten and fall too.
An instance that the registry calls critical is in no snapshot and so counts neither way: by the registry a group fails over
whole, when it is empty, which is what Consul promises.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from chowk.connect.snapshot import Endpoint, Locality, Target

OVERPROVISION: Final = 1.4
"""A group is held to be built for so many times its traffic; Envoy's number."""
PANIC_SHARE: Final = 0.5
"""When all groups together could carry less than this, nearly everything is ejected: more likely the judge errs (or the
callers' own network does) than the hosts, so ejections are ignored. What the registry says is never ignored."""


def ordered(
    target_ids: Iterable[str], targets: Mapping[str, Target], locality: Locality
) -> list[list[tuple[Target, Endpoint]]]:
    """The groups, none empty. Ids that name no target are passed over."""
    found = []
    for target_id in target_ids:
        target = targets.get(target_id)
        if target is None:
            continue
        levels: list[list[tuple[Target, Endpoint]]] = [[], [], []]
        for endpoint in target.endpoints:
            if allowed(endpoint, locality):
                levels[distance(endpoint, locality) if locality.prefer_near else 0].append((target, endpoint))
        found += [level for level in levels if level]
    return found


def allowed(endpoint: Endpoint, locality: Locality) -> bool:
    """Whether its region is the proxy's own or one of the allowed. No region named: of the own one."""
    region = endpoint.region or locality.region
    return not locality.allowed_regions or region == locality.region or region in locality.allowed_regions


def distance(endpoint: Endpoint, locality: Locality) -> int:
    """0 the same zone (or the same region, where a zone is not named), 1 the same region, 2 elsewhere."""
    if (endpoint.region or locality.region) != locality.region:
        return 2
    return 0 if endpoint.zone == locality.zone or not locality.zone else 1


def shares(capacities: Sequence[tuple[int, int]]) -> tuple[list[float], bool]:
    """(usable weight, whole weight) of each group -> the part of the traffic of each (sum 1), and whether to panic.

    In a panic the first group takes everything, its ejected hosts too.
    """
    left, found = 1.0, []
    for usable, whole in capacities:
        share = min(left, OVERPROVISION * usable / whole)
        found.append(share)
        left -= share
    carried = 1.0 - left
    if carried < PANIC_SHARE:
        return [1.0] + [0.0] * (len(found) - 1), True
    return [share / carried for share in found], False
