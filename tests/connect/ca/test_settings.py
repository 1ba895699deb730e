"""The CA's configuration, and the bucket that limits signing."""

from __future__ import annotations

from typing import Any

import pytest

from chowk.connect.ca.rate import TokenBucket
from chowk.connect.ca.settings import OfferedRoot, checked_configuration, offered_root, read_settings
from chowk.core.errors import InvalidRequest
from chowk.core.records.ca import CAConfiguration


def test_defaults_are_filled_in_and_snake_case_is_read() -> None:
    found = checked_configuration(CAConfiguration(config={"leaf_cert_ttl": "24h"}))
    assert found.config == {
        "LeafCertTTL": "24h0m0s",
        "IntermediateCertTTL": "8760h0m0s",
        "RootCertTTL": "87600h0m0s",
        "CSRMaxPerSecond": 50.0,
    }
    assert read_settings(found.config).leaf_ttl_s == 86_400
    assert checked_configuration(found) == found


@pytest.mark.parametrize(
    ("provider", "config", "words"),
    [
        ("vault", {}, 'unknown CA provider "vault"'),
        ("consul", {"LeafCertTTL": "59m"}, "between 1h and 8760h"),
        ("consul", {"LeafCertTTL": "8761h"}, "between 1h and 8760h"),
        ("consul", {"LeafCertTTL": "soon"}, "LeafCertTTL: invalid duration"),
        ("consul", {"LeafCertTTL": []}, "LeafCertTTL"),
        ("consul", {"RootCertTTL": "2h"}, "must not fall"),
        ("consul", {"RootCertTTL": "999999h"}, "end at 30 years"),
        ("consul", {"CSRMaxPerSecond": -1}, "CSRMaxPerSecond must be a number"),
        ("consul", {"CSRMaxPerSecond": True}, "CSRMaxPerSecond must be a number"),
        ("consul", {"CSRMaxConcurrent": 1.5}, "CSRMaxConcurrent must be a whole number"),
        ("consul", {"CSRMaxConcurrent": True}, "CSRMaxConcurrent must be a whole number"),
        ("consul", {"CSRMaxConcurrent": 257}, "CSRMaxConcurrent must be a whole number"),
        ("consul", {"RotationPeriod": "1h"}, "RotationPeriod must be between LeafCertTTL and RootCertTTL"),
        ("consul", {"RotationPeriod": "-1h"}, "RotationPeriod"),
        (
            "consul",
            {"DisableCrossSigning": True},
            'unknown key "DisableCrossSigning" in the CA configuration: use PrivateKey',
        ),
        ("consul", {"PrivateKeyType": "rsa"}, "EC P-256"),
    ],
)
def test_what_cannot_be_is_refused(provider: str, config: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        checked_configuration(CAConfiguration(provider=provider, config=config))


def test_what_is_kept_holds_no_key_and_no_root() -> None:
    wanted = CAConfiguration(
        config={"private_key": "KEY", "RootCert": "CERT", "rotation_period": "2160h", "CSRMaxConcurrent": 2.0},
        force_without_cross_signing=True,
    )
    found = checked_configuration(wanted)
    assert {"PrivateKey", "RootCert"}.isdisjoint(found.config)
    assert (found.config["RotationPeriod"], found.config["CSRMaxConcurrent"]) == ("2160h0m0s", 2)
    assert not found.force_without_cross_signing, "it is said for one change, not for all that follow"
    assert offered_root(wanted) == OfferedRoot(private_key="KEY", root_cert="CERT")
    assert "KEY" not in repr(offered_root(wanted))
    with pytest.raises(InvalidRequest, match="RootCert must be text in PEM"):
        offered_root(CAConfiguration(config={"RootCert": ["CERT"]}))


def test_the_bucket_gives_its_rate_and_no_more() -> None:
    bucket = TokenBucket(50, now=0.0)
    assert sum(bucket.take(0.0) for _ in range(100)) == 50
    assert sum(bucket.take(0.5) for _ in range(100)) == 25
    assert sum(bucket.take(0.2) for _ in range(10)) == 0
    bucket.set_rate(0)
    assert all(bucket.take(0.0) for _ in range(1000))
