"""What the CA does next, whatever it finds."""

from __future__ import annotations

import pytest

from chowk.connect.ca.rotation import PUBLISH_S, Facts, Step, kept, next_root, next_step
from chowk.core.records.ca import CARoot

HOUR_S = 3600.0


def root(name: str, *, active: bool = False, out: str = "") -> CARoot:
    return CARoot(
        id=name, name=name, serial_number=1, signing_key_id="", external_trust_domain="", not_before="", not_after="",
        root_cert_pem="", active=active, rotated_out_at=out,
    )  # fmt: skip


ACTIVE, NEXT = root("a", active=True), root("n")
OUT_AT_0 = root("o", out="1970-01-01T00:00:00Z")


def step(
    *roots: CARoot, root_left: float = 1.0, left: float = 1.0, published_s: float | None = None, now_s: float = 0
) -> Step:
    facts = Facts(
        root_left=root_left, intermediate_left=left, published_s=published_s, now_s=now_s, leaf_ttl_s=HOUR_S
    )  # fmt: skip
    return next_step(roots, facts)


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (step(ACTIVE), Step.NOTHING),
        (step(ACTIVE, left=0.5), Step.NEW_INTERMEDIATE),
        (step(ACTIVE, root_left=0.5), Step.PUBLISH_ROOT),
        (step(ACTIVE, root_left=-1.0), Step.PUBLISH_ROOT),
        (step(ACTIVE, NEXT, root_left=0.5, published_s=0.0), Step.NOTHING),
        (step(ACTIVE, NEXT, published_s=PUBLISH_S), Step.ACTIVATE_ROOT),
        (step(ACTIVE, NEXT, root_left=0.0, published_s=0.0), Step.ACTIVATE_ROOT),
        (step(ACTIVE, NEXT, published_s=1.0, left=0.1), Step.NEW_INTERMEDIATE),
        (step(ACTIVE, OUT_AT_0, now_s=2 * HOUR_S - 1), Step.NOTHING),
        (step(ACTIVE, OUT_AT_0, now_s=2 * HOUR_S), Step.DROP_ROOTS),
    ],
)
def test_the_next_step(found: Step, wanted: Step) -> None:
    assert found is wanted


def test_only_a_root_that_never_signed_is_next() -> None:
    assert next_root((OUT_AT_0, ACTIVE, NEXT)) is NEXT
    assert next_root((OUT_AT_0, ACTIVE)) is None


def test_an_old_root_is_kept_for_two_lives_of_a_leaf_and_the_active_one_for_ever() -> None:
    assert kept((OUT_AT_0, ACTIVE), 7199.0, HOUR_S) == (OUT_AT_0, ACTIVE)
    assert kept((OUT_AT_0, ACTIVE), 1e9, HOUR_S) == (ACTIVE,)
