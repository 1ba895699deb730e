"""How long certificates live: the endpoint, the gauges, and what counts as late."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from chowk.agent.api.agent_certificates import DAY_S, CertificateLife
from support.http_api import Api, with_registry

PATH = "/v1/agent/metrics/certificates"


@pytest.mark.parametrize(
    ("life_days", "left_days", "severity"),
    [
        (3650, 31, "ok"), (3650, 29, "warning"), (3650, 6, "critical"), (3650, -1, "critical"),
        (3, 1, "ok"), (3, 0.7, "warning"), (3, 0.2, "critical"),
    ],
)  # fmt: skip
def test_long_lives_are_judged_by_days_and_short_ones_by_the_part_that_is_left(
    life_days: float, left_days: float, severity: str
) -> None:
    life = CertificateLife("leaf", "web", 0.0, life_days * DAY_S)
    assert life.severity((life_days - left_days) * DAY_S) == severity


def test_roots_and_leaves_are_told_with_their_end_and_without_a_key(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        async with asyncio.timeout(20):
            while (await api.get("/v1/agent/connect/ca/leaf/web")).status != 200:
                await asyncio.sleep(0.05)
        api.context.certificate_ends = lambda: api.context.clock.wall() + 6.5 * DAY_S
        answer = await api.get(PATH)
        assert b"PRIVATE" not in answer.body
        found = answer.json()
        assert set(found) == {"Certificates", "Summary", "Thresholds"}
        assert [(each["Type"], each["Name"]) for each in found["Certificates"][:2]] == [
            ("leaf", "web"),
            ("agent", "n1"),
        ]
        root = found["Certificates"][-1]
        assert (root["Type"], root["Active"], root["Phase"], root["Severity"]) == ("root", True, "signs", "ok")
        assert 3000 < root["DaysRemaining"] < 4000
        assert set(root) == {
            "Type", "Name", "Active", "Phase", "NotBefore", "NotAfter", "SecondsRemaining", "DaysRemaining", "Severity",
        }  # fmt: skip
        assert found["Summary"]["Total"] == len(found["Certificates"])
        assert found["Summary"]["ByType"]["leaf"] == 1
        assert found["Summary"]["BySeverity"]["critical"] == 0
        text = (await api.get("/v1/agent/metrics?format=prometheus")).text
        for name in ("mesh_active_root_ca", "mesh_active_signing_ca", "leaf_certs_cert", "agent_tls_cert"):
            [line] = [each for each in text.splitlines() if each.startswith(f"chowk_{name}_expiry ")]
            assert float(line.split()[1]) > 0

    with_registry(tmp_path, body)


def test_what_signs_no_more_may_end() -> None:
    assert CertificateLife("root", "old", 0.0, 1.0).severity(2.0) == "critical"
    assert CertificateLife("root", "old", 0.0, 1.0, active=False).severity(2.0) == "ok"
