"""Rules of service-resolver entries."""

from __future__ import annotations

import re
from typing import Final

from chowk.connect.entries import parts
from chowk.connect.entries.complaint import Complaint, Complaints, MapKey, Place, shown
from chowk.core.filter.expression import compile_filter
from chowk.core.filter.syntax import FilterError
from chowk.core.records.instance import ServiceInstance
from chowk.core.records.resolver import (
    FailoverTarget,
    HashPolicy,
    LoadBalancer,
    ResolverFailover,
    ResolverRedirect,
    ServiceResolver,
)

SUBSETS_MAX: Final = 256
TARGETS_MAX: Final = 64
HASH_POLICIES_MAX: Final = 16
RING_MAX: Final = 8 * 1024 * 1024
CHOICES_MAX: Final = 64
POLICIES: Final = ("", "peak_ewma", "random", "round_robin", "least_request", "ring_hash", "maglev")
HASHING: Final = ("ring_hash", "maglev")
HASH_FIELDS: Final = ("header", "cookie", "query_parameter")
FAILOVER_MODES: Final = ("", "sequential", "order-by-locality")
LOCALITY_MODES: Final = ("", "none", "failover")
ANY: Final = "*"
_SUBSET: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def check(entry: ServiceResolver) -> Complaints:
    """All rules of the kind."""
    if len(entry.subsets) > SUBSETS_MAX or len(entry.failover) > SUBSETS_MAX + 1:
        yield Complaint(("subsets",), f"at most {SUBSETS_MAX} subsets")
        return
    for name, subset in entry.subsets.items():
        place: Place = ("subsets", MapKey(name))
        if _SUBSET.fullmatch(name) is None:
            text = f"{shown(name)} is no name of a subset: 1 to 63 lower-case letters, digits and inner dashes"
            yield Complaint(place, text)
        try:
            compile_filter(subset.filter, ServiceInstance)
        except FilterError as error:
            yield Complaint((*place, "filter"), f"is no filter of service instances: {error}")
    if entry.default_subset and entry.default_subset not in entry.subsets:
        yield Complaint(("default_subset",), _unknown(entry.default_subset, entry))
    for name, failover in entry.failover.items():
        yield from _failover(failover, name, entry)
    for field in ("connect_timeout", "request_timeout"):
        yield from parts.duration(getattr(entry, field), (field,))
    if entry.redirect is not None:
        yield from _redirect(entry.redirect, entry)
    if entry.load_balancer is not None:
        yield from _balancer(entry.load_balancer, ("load_balancer",))
    if entry.prioritize_by_locality is not None:
        place = ("prioritize_by_locality", "mode")
        yield from parts.one_of(entry.prioritize_by_locality.mode, LOCALITY_MODES, place)


def _unknown(subset: str, entry: ServiceResolver) -> str:
    known = ", ".join(sorted(entry.subsets)[:16]) or "none"
    return f"{shown(subset)} is not a valid subset of {shown(entry.name)} (it has: {known})"


def _redirect(redirect: ResolverRedirect, entry: ServiceResolver) -> Complaints:
    place: Place = ("redirect",)
    others = ("default_subset", "subsets", "failover", "load_balancer", "prioritize_by_locality")
    for name in others:
        if getattr(entry, name) not in ("", {}, None):
            yield Complaint(
                (name,), "and Redirect exclude each other: a redirected service has no instances of its own"
            )
    yield from parts.service(redirect.service, (*place, "service"))
    if not (redirect.service or redirect.service_subset or redirect.datacenter):
        yield Complaint(place, "Redirect is empty: name a Service, or a Datacenter")
    elif redirect.service_subset and not redirect.service:
        yield Complaint((*place, "service_subset"), "Redirect.ServiceSubset defined without Redirect.Service")
    elif redirect.service == entry.name and not redirect.datacenter:
        yield Complaint((*place, "service"), f"{shown(entry.name)} redirects to itself")


def _failover(failover: ResolverFailover, name: str, entry: ServiceResolver) -> Complaints:
    place: Place = ("failover", MapKey(name))
    if name != ANY and name not in entry.subsets:
        yield Complaint(place, f'{_unknown(name, entry)}; write "*" for every subset that is not named')
    yield from _to(failover.service, failover.service_subset, place, entry)
    older = failover.service or failover.service_subset or failover.datacenters
    if not older and not failover.targets:
        yield Complaint(place, "one of Service, ServiceSubset, Datacenters and Targets is required: where to go")
    if older and failover.targets:
        yield Complaint((*place, "targets"), "cannot be given with Service, ServiceSubset or Datacenters")
    if len(failover.targets) > TARGETS_MAX or len(failover.datacenters) > TARGETS_MAX:
        yield Complaint(place, f"at most {TARGETS_MAX} places to go")
        return
    for number, datacenter in enumerate(failover.datacenters):
        yield from parts.label(datacenter, (*place, "datacenters", number), "name of a datacenter")
    for number, target in enumerate(failover.targets):
        yield from _target(target, name, (*place, "targets", number), entry)
    yield from parts.one_of(failover.policy.mode, FAILOVER_MODES, (*place, "policy", "mode"))
    for number, region in enumerate(failover.policy.regions):
        yield from parts.label(region, (*place, "policy", "regions", number), "name of a region")


def _target(target: FailoverTarget, of: str, place: Place, entry: ServiceResolver) -> Complaints:
    yield from _to(target.service, target.service_subset, place, entry)
    own = target.service in ("", entry.name) and target.service_subset in ("", of) and not target.datacenter
    if own and not (target.service_subset == "" and of not in (ANY, entry.default_subset)):
        yield Complaint(place, "names nothing else than what failed: give Service, ServiceSubset or Datacenter")


def _to(service: str, subset: str, place: Place, entry: ServiceResolver) -> Complaints:
    yield from parts.service(service, (*place, "service"))
    if subset and service in ("", entry.name) and subset not in entry.subsets:
        yield Complaint((*place, "service_subset"), _unknown(subset, entry))


def _balancer(balancer: LoadBalancer, place: Place) -> Complaints:
    policy = balancer.policy
    yield from parts.one_of(policy, POLICIES, (*place, "policy"))
    ring, least = balancer.ring_hash_config, balancer.least_request_config
    if ring is not None:
        at: Place = (*place, "ring_hash_config")
        if policy != "ring_hash":
            yield Complaint(at, f"is of the policy ring_hash, not of {shown(policy)}")
        if not (0 <= ring.minimum_ring_size <= RING_MAX and 0 <= ring.maximum_ring_size <= RING_MAX):
            yield Complaint(at, f"sizes are between 0 and {RING_MAX}")
        elif 0 < ring.maximum_ring_size < ring.minimum_ring_size:
            yield Complaint(at, "MinimumRingSize is over MaximumRingSize")
    if least is not None:
        at = (*place, "least_request_config")
        if policy != "least_request":
            yield Complaint(at, f"is of the policy least_request, not of {shown(policy)}")
        if not 0 <= least.choice_count <= CHOICES_MAX or least.choice_count == 1:
            yield Complaint((*at, "choice_count"), f"{least.choice_count} is not between 2 and {CHOICES_MAX}")
    if balancer.hash_policies and policy not in HASHING:
        at = (*place, "hash_policies")
        yield Complaint(at, f"specified for the non-hash-based policy {shown(policy)}: use ring_hash or maglev")
    if len(balancer.hash_policies) > HASH_POLICIES_MAX:
        yield Complaint((*place, "hash_policies"), f"at most {HASH_POLICIES_MAX} of them")
        return
    for number, hashed in enumerate(balancer.hash_policies):
        yield from _hash(hashed, (*place, "hash_policies", number))


def _hash(hashed: HashPolicy, place: Place) -> Complaints:
    if hashed.source_ip and (hashed.field or hashed.field_value):
        yield Complaint(
            place, f"a single hash policy cannot hash both a source address and a {hashed.field or 'field'}"
        )
    elif not hashed.source_ip and not hashed.field:
        yield Complaint(place, "give Field and FieldValue, or SourceIP: what is hashed")
    if hashed.field:
        yield from parts.one_of(hashed.field, HASH_FIELDS, (*place, "field"))
        if not hashed.field_value:
            yield Complaint((*place, "field_value"), f"is missing: the name of the {hashed.field}")
        elif hashed.field != "query_parameter":
            yield from parts.header_name(hashed.field_value, (*place, "field_value"))
        else:
            yield from parts.label(hashed.field_value, (*place, "field_value"), "name of a parameter")
    cookie = hashed.cookie_config
    if cookie is None:
        return
    at = (*place, "cookie_config")
    if hashed.field != "cookie":
        yield Complaint(at, "is of the field cookie")
    if cookie.session and cookie.ttl:
        yield Complaint((*at, "ttl"), "a session cookie cannot have a TTL")
    yield from parts.duration(cookie.ttl, (*at, "ttl"), maximum_s=365 * 24 * 3600.0)
    if cookie.path and (not cookie.path.startswith("/") or not re.fullmatch(r"[!-:<-~]{1,256}", cookie.path)):
        yield Complaint((*at, "path"), f"{shown(cookie.path)} is no path of a cookie")
