"""connect.proxy.renewal."""

import random

import msgspec

from chowk.connect.proxy.renewal import RETRY_S_MAX, ROTATION_S_MAX, HeldLeaf, due_at, renew_at, retry_in
from chowk.core.records.ca import CARoot, CARoots

LEAF = HeldLeaf(
    service="web", trust_domain="a.consul", root_id="r1", valid_from_s=0.0, valid_until_s=1000.0, renew_at_s=500.0
)


def roots(*ids: str, active: str, domain: str = "a.consul") -> CARoots:
    made = tuple(
        CARoot(
            id=one, name="", serial_number=1, signing_key_id="", external_trust_domain="", not_before="", not_after="",
            root_cert_pem="",
        )
        for one in ids
    )  # fmt: skip
    return CARoots(active_root_id=active, trust_domain=domain, roots=made)


def due(leaf, service="web", known=None):
    return due_at(leaf, service, known or roots("r1", active="r1"), 100.0, random.Random(1))


def test_leaves_are_renewed_at_half_of_their_life_give_or_take_a_tenth():
    moments = [renew_at(1000.0, 2000.0, random.Random(seed)) for seed in range(200)]
    assert 1400.0 <= min(moments) < 1420.0
    assert 1580.0 < max(moments) <= 1600.0


def test_a_leaf_that_serves_waits_for_its_time():
    assert due(LEAF) == 500.0


def test_no_leaf_or_one_of_another_service_or_domain_is_replaced_now():
    assert due(None) == 100.0
    assert due(LEAF, service="api") == 100.0
    assert due(LEAF, known=roots("r1", active="r1", domain="b.consul")) == 100.0


def test_a_rotated_root_brings_a_new_leaf_soon_and_one_that_is_trusted_no_more_now():
    soon = due(LEAF, known=roots("r1", "r2", active="r2"))
    assert 100.0 < soon <= 100.0 + ROTATION_S_MAX
    assert due(LEAF, known=roots("r2", active="r2")) == 100.0
    assert due(msgspec.structs.replace(LEAF, renew_at_s=100.5), known=roots("r1", "r2", active="r2")) <= 100.5


def test_retries_grow_and_stay_bounded():
    rng = random.Random(2)
    assert retry_in(1, rng) <= 0.2
    assert all(RETRY_S_MAX / 2 <= retry_in(failures, rng) <= RETRY_S_MAX for failures in (20, 1000))
