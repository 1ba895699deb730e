"""`ca set-config` with a root: real TLS between those who hold leaves of before and after, whatever each trusts by then."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from chowk.connect.ca.certificates import certificate_id
from chowk.connect.ca.keys import key_pem, make_csr, make_key
from chowk.connect.ca.rotation import PUBLISH_S
from chowk.connect.ca.settings import shown_configuration
from chowk.connect.proxy.credentials import Credentials, make_credentials
from chowk.connect.proxy.renewal import HeldLeaf
from chowk.core.errors import InvalidRequest, TooManyRequests, Unavailable
from chowk.core.records.ca import CAConfiguration, CARoots
from chowk.core.runtime.clock import SystemClock
from support.authority_rig import Life, MovedClock
from support.provided_root import Wanted, as_pem, made

KEY = make_key()
YEAR_S = 365 * 86_400.0


class Brought:
    """A root for the cluster of `life`, as an operator makes it."""

    def __init__(self, life: Life, key: ec.EllipticCurvePrivateKey = KEY, **wanted: object) -> None:
        cluster, now_s = life.machine.store.cluster_id, SystemClock().wall()
        self.pem = as_pem(made(key, now_s, Wanted(**wanted), cluster))  # type: ignore[arg-type]
        self.id = certificate_id(self.pem)
        self.config = {"PrivateKey": key_pem(key).decode(), "RootCert": self.pem}


async def configure(life: Life, config: dict[str, object], *, force: bool = False) -> None:
    wanted = CAConfiguration(config=config, force_without_cross_signing=force)
    assert (await life.duties.authority.configure(wanted, None)).ok


async def finish(life: Life, clock: MovedClock) -> None:
    """The root that is published signs."""
    await life.duties.authority.step()
    clock.ahead_s += PUBLISH_S
    await life.duties.authority.step()


async def sidecar(life: Life, roots: CARoots | None = None) -> Credentials:
    """What a sidecar has that renews now and trusts `roots`, or those of now."""
    key = make_key()
    leaf = await life.duties.authority.sign("web", make_csr(key, "web"))
    held = HeldLeaf(service="web", trust_domain="", root_id="", valid_from_s=0, valid_until_s=0, renew_at_s=0)
    return make_credentials(held, leaf.cert_pem, key_pem(key), roots or life.machine.store.trusted())


def trusting(credentials: Credentials, other: Credentials) -> bool:
    """Whether each end of a TLS connection takes the other."""
    client_in, client_out = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = credentials.client.wrap_bio(client_in, client_out)
    server = other.server.wrap_bio(client_out, client_in, server_side=True)
    waiting = [client, server]
    for _ in range(10):
        for end in list(waiting):
            try:
                end.do_handshake()
                waiting.remove(end)
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError:
                return False
    return not waiting


def shown(life: Life) -> dict[str, object]:
    store = life.machine.store
    return shown_configuration(store.ca_configuration, store.roots).config


@pytest.mark.parametrize("how", [{}, {"path_length": 1}, {"key_id": False}, {"subject": "chowk"}])
def test_a_root_that_is_brought_takes_over_and_nobody_refuses_anybody_on_the_way(
    tmp_path: Path, how: dict[str, object]
) -> None:
    async def scene() -> None:
        clock = MovedClock()
        async with Life(tmp_path, clock=clock) as life:
            store, first = life.machine.store, life.active()
            before = await sidecar(life)
            roots_before = store.trusted()
            brought = Brought(life, **how)
            await configure(life, {**brought.config, "LeafCertTTL": "24h"})
            assert (life.active(), len(store.roots)) == (first, 2)
            told = await sidecar(life)
            await finish(life, clock)
            assert life.active() == brought.id
            late = await sidecar(life, roots_before)
            after = await sidecar(life)
            ends = (before, told, late, after)
            assert all(trusting(one, two) for one in ends for two in ends)
            assert shown(life)["RootCert"] == brought.pem
            assert shown(life)["LeafCertTTL"] == "24h0m0s"

    asyncio.run(scene())


def test_the_key_is_on_the_disk_alone_and_there_before_its_root_is_told(tmp_path: Path) -> None:
    async def scene() -> None:
        async with Life(tmp_path) as life:
            brought = Brought(life)
            await configure(life, brought.config)
            assert brought.id.replace(":", "") in life.consensus.keys_seen[-1]
            body = key_pem(KEY).decode().split("\n")[1]
            log = (tmp_path / "solo.log").read_bytes()
            assert body.encode() not in log
            assert "PrivateKey" not in str(life.machine.store.ca_configuration)
            path = tmp_path / "server" / "ca" / f"{brought.id.replace(':', '')}.pem"
            assert body in path.read_text()
            assert path.stat().st_mode & 0o777 == 0o600

    asyncio.run(scene())


def test_asked_twice_or_by_what_was_read_it_changes_nothing(tmp_path: Path) -> None:
    async def scene() -> None:
        clock = MovedClock()
        async with Life(tmp_path, clock=clock) as life:
            brought = Brought(life)
            await configure(life, brought.config)
            roots = life.machine.store.roots
            await configure(life, brought.config)
            assert life.machine.store.roots == roots
            await finish(life, clock)
            roots = life.machine.store.roots
            for config in (
                brought.config,
                shown(life),
                {"RootCert": brought.pem},
                {"PrivateKey": brought.config["PrivateKey"]},
            ):
                await configure(life, {**config, "LeafCertTTL": "36h"})
                assert life.machine.store.roots == roots
                assert shown(life)["RootCert"] == brought.pem
                assert shown(life)["LeafCertTTL"] == "36h0m0s"

    asyncio.run(scene())


def test_a_key_alone_gets_a_root_and_no_root_at_all_goes_back_to_the_clusters_own(tmp_path: Path) -> None:
    async def scene() -> None:
        clock = MovedClock()
        async with Life(tmp_path, clock=clock) as life:
            await configure(life, {"LeafCertTTL": "48h"})
            assert len(life.machine.store.roots) == 1, "settings alone rotate nothing"
            await configure(life, {"PrivateKey": key_pem(KEY).decode()})
            await finish(life, clock)
            chosen = life.active()
            assert certificate_id(str(shown(life)["RootCert"])) == chosen
            await configure(life, {})
            await finish(life, clock)
            assert life.active() != chosen
            assert "RootCert" not in shown(life)
            assert len(life.machine.store.roots) == 3

    asyncio.run(scene())


def test_another_root_takes_the_place_of_one_that_waits_to_sign(tmp_path: Path) -> None:
    async def scene() -> None:
        clock = MovedClock()
        async with Life(tmp_path, clock=clock) as life:
            first = life.active()
            given_up = await life.duties.authority.rotate(emergency=False, distrust=False)
            brought = Brought(life)
            await configure(life, brought.config)
            ids = [root.id for root in life.machine.store.roots]
            assert ids == [first, brought.id]
            assert given_up not in ids
            await finish(life, clock)
            assert life.active() == brought.id
            back = Brought(life, make_key())
            await configure(life, back.config)
            await finish(life, clock)
            await configure(life, brought.config)
            await finish(life, clock)
            assert life.active() == brought.id, "a root of before may be brought again"
            assert len({root.id for root in life.machine.store.roots}) == len(life.machine.store.roots) == 3

    asyncio.run(scene())


def test_a_root_that_cannot_vouch_for_the_next_needs_force_and_then_nobody_vouches(tmp_path: Path) -> None:
    async def scene() -> None:
        clock = MovedClock()
        async with Life(tmp_path, clock=clock) as life:
            await configure(life, Brought(life, path_length=1).config)
            await finish(life, clock)
            short = life.machine.store.roots
            other = Brought(life, make_key())
            for config in (other.config, {}):
                with pytest.raises(InvalidRequest, match=r"path length is 1.*ForceWithoutCrossSigning"):
                    await configure(life, config)
            assert life.machine.store.roots == short
            roots_before = life.machine.store.trusted()
            before = await sidecar(life)
            await configure(life, other.config, force=True)
            told = await sidecar(life)
            await finish(life, clock)
            assert life.active() == other.id
            after, late = await sidecar(life), await sidecar(life, roots_before)
            assert trusting(after, told)
            assert trusting(told, after)
            assert not trusting(before, after), "who has not heard refuses: that is what the flag is for"
            assert not trusting(late, after)
            await configure(life, {})
            await finish(life, clock)
            assert len(life.machine.store.roots[-1].intermediate_certs) == 2, "this one vouches again"

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ({"PrivateKey": "x"}, "PrivateKey: not a private key"),
        ({"RootCert": "x"}, "RootCert: not a certificate"),
        ({"PrivateKey": 7}, "PrivateKey must be text"),
        ({"Token": "x"}, 'unknown key "Token"'),
    ],
)
def test_what_is_refused_changes_neither_roots_nor_settings(
    tmp_path: Path, what: dict[str, object], words: str
) -> None:
    async def scene() -> None:
        async with Life(tmp_path) as life:
            store = life.machine.store
            before = (store.roots, store.ca_configuration)
            with pytest.raises(InvalidRequest, match=words):
                await configure(life, {**what, "LeafCertTTL": "24h"})
            with pytest.raises(InvalidRequest, match="must be spiffe://"):
                await configure(life, Brought(life, uris=("spiffe://another.consul",)).config)
            assert (store.roots, store.ca_configuration) == before

    asyncio.run(scene())


def test_the_operators_root_is_theirs_to_replace_until_it_would_end_in_use(tmp_path: Path) -> None:
    async def scene() -> None:
        clock = MovedClock()
        async with Life(tmp_path, clock=clock) as life:
            brought = Brought(life, lives_days=1000)
            await configure(life, {**brought.config, "RotationPeriod": "720h"})
            await finish(life, clock)
            clock.ahead_s += 850 * 86_400
            await finish(life, clock)
            assert life.active() == brought.id
            clock.ahead_s += 60 * 86_400
            await finish(life, clock)
            assert life.active() != brought.id
            assert "RootCert" not in shown(life), "what signs no more is not shown as chosen"

    asyncio.run(scene())


def test_a_rotation_period_replaces_roots_that_the_cluster_makes(tmp_path: Path) -> None:
    async def scene() -> None:
        clock = MovedClock()
        async with Life(tmp_path, clock=clock) as life:
            first = life.active()
            await configure(life, {"RotationPeriod": "2160h"})
            clock.ahead_s += 89 * 86_400
            await finish(life, clock)
            assert life.active() == first
            clock.ahead_s += 2 * 86_400
            await finish(life, clock)
            assert life.active() != first

    asyncio.run(scene())


def test_few_may_sign_at_the_same_time_where_that_is_asked_for(tmp_path: Path) -> None:
    async def scene() -> None:
        async with Life(tmp_path) as life:
            await configure(life, {"CSRMaxPerSecond": 0, "CSRMaxConcurrent": 1})
            csr = make_csr(make_key(), "web")
            leaves = await asyncio.gather(*(life.duties.authority.sign("web", csr) for _ in range(20)))
            assert len({leaf.serial_number for leaf in leaves}) == 20
            async with life.duties.authority._turn(life.duties.authority._settings()):
                with pytest.raises(TooManyRequests):
                    await life.duties.authority.sign("web", csr)

    asyncio.run(scene())


def test_a_crash_after_the_root_is_told_is_mended_by_asking_again(tmp_path: Path) -> None:
    async def scene() -> None:
        clock = MovedClock()
        async with Life(tmp_path, clock=clock) as life:
            brought = Brought(life)
            life.consensus.refuse_configuration = 1
            with pytest.raises(Unavailable):
                await configure(life, brought.config)
            assert life.machine.store.roots[-1].id == brought.id
            assert "RootCert" not in shown(life)
            roots = life.machine.store.roots
            await configure(life, brought.config)
            assert life.machine.store.roots == roots
            assert shown(life)["RootCert"] == brought.pem
            await finish(life, clock)
            assert life.active() == brought.id

    asyncio.run(scene())


def test_it_survives_a_new_leader_and_a_restart(tmp_path: Path) -> None:
    async def scene() -> None:
        clock = MovedClock()
        async with Life(tmp_path, clock=clock) as first:
            brought = Brought(first)
            await configure(first, brought.config)
        async with Life(tmp_path, clock=clock) as second:
            await finish(second, clock)
            assert second.active() == brought.id
            second.consensus.lead(False)
            with pytest.raises(Unavailable):
                await configure(second, {})
            second.consensus.lead(True)
            await second.duties.done.wait()
            assert second.active() == brought.id
            await sidecar(second)

    asyncio.run(scene())


@pytest.mark.parametrize("same_key", [False, True])
def test_a_root_of_the_same_name_follows_another_whether_its_key_is_new_or_not(tmp_path: Path, same_key: bool) -> None:
    async def scene() -> None:
        clock = MovedClock()
        async with Life(tmp_path, clock=clock) as life:
            await configure(life, Brought(life, lives_days=400).config)
            await finish(life, clock)
            before, roots_before = await sidecar(life), life.machine.store.trusted()
            following = Brought(life, KEY if same_key else make_key(), lives_days=3650)
            await configure(life, following.config)
            told = await sidecar(life)
            await finish(life, clock)
            assert life.active() == following.id
            ends = (before, told, await sidecar(life, roots_before), await sidecar(life))
            assert all(trusting(one, two) for one in ends for two in ends)

    asyncio.run(scene())
