from __future__ import annotations

import pytest

from chowk.connect.control import HostBypasses
from chowk.connect.proxy.verdict import BYPASS, PERMISSIVE, judge_connection, with_host_bypasses
from chowk.connect.snapshot import Bypass, InboundSnapshot, ProxySnapshot
from chowk.core.records.ca import CARoots
from chowk.core.records.intention import Intention

NOW_S = 1000.0


def snapshot(*bypasses: Bypass, permissive: bool = False, denied: bool = True) -> ProxySnapshot:
    rule = Intention(source_name="web", destination_name="db", action="deny" if denied else "allow", precedence=9)
    return ProxySnapshot(
        proxy_id="p", service="db", node="n", datacenter="dc1", version=1, roots=CARoots(), intentions=(rule,),
        inbound=InboundSnapshot(bind_address="127.0.0.1", bind_port=1, permissive=permissive), bypasses=bypasses,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("judged", "allowed", "waived"),
    [
        (snapshot(), False, ""),
        (snapshot(denied=False), True, ""),
        (snapshot(permissive=True), True, PERMISSIVE),
        (snapshot(permissive=True, denied=False), True, ""),
        (snapshot(Bypass(service="db", expires_s=NOW_S + 1)), True, BYPASS),
        (snapshot(Bypass(service="db", expires_s=NOW_S)), False, ""),
        (snapshot(Bypass(service="cache", expires_s=NOW_S + 1)), False, ""),
        (None, False, ""),
    ],
)
def test_a_denial_stands_unless_the_service_only_watches_or_is_in_a_bypass(
    judged: ProxySnapshot | None, allowed: bool, waived: str
) -> None:
    verdict = judge_connection(judged, "web", NOW_S)
    assert (verdict.allowed, verdict.waived) == (allowed, waived)


def test_what_the_host_tells_of_its_bypasses_replaces_those_of_the_host_alone() -> None:
    mesh, gone = Bypass(service="db", expires_s=2.0), Bypass(service="db", expires_s=3.0, host=True)
    here, elsewhere = Bypass(service="db", expires_s=4.0, host=True), Bypass(service="x", expires_s=4.0, host=True)
    known = snapshot(mesh, gone)
    assert with_host_bypasses(known, HostBypasses(active=(here, elsewhere))).bypasses == (mesh, here)
    assert with_host_bypasses(known, HostBypasses()).bypasses == (mesh,)
    assert with_host_bypasses(known, HostBypasses(allowed=False)).bypasses == ()
