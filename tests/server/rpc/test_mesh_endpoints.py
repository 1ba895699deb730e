"""What a server answers about intentions, config entries and certificates, over its socket."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chowk.connect.ca.keys import make_csr, make_key
from chowk.core.commands import (
    DeleteConfigEntry,
    DeleteIntention,
    UpsertConfigEntry,
    UpsertIntention,
)
from chowk.core.errors import InvalidRequest, TooLarge, TooManyRequests
from chowk.core.records.ca import CAConfiguration
from chowk.core.records.config_entry import HttpPermission, Permission, ProxyDefaults, ServiceDefaults, SourceIntention
from chowk.core.requests import (
    CA_CONFIGURATION,
    CA_CONFIGURE,
    CA_ROOTS,
    CA_SIGN,
    CONFIG_READ,
    CONFIG_WRITE,
    INTENTION_CHECK,
    INTENTION_EXACT,
    INTENTION_LIST,
    INTENTION_MATCH,
    INTENTION_WRITE,
    CAConfigurationWrite,
    ConfigEntryQuery,
    IntentionExactQuery,
    IntentionMatchQuery,
    Read,
    SignRequest,
)
from support.server_rig import Rig, running_server


def run(tmp_path: Path, scene: Any, **options: Any) -> None:
    async def whole() -> None:
        async with running_server(tmp_path, **options) as rig:
            await scene(rig)

    asyncio.run(whole())


def test_intentions_are_written_listed_matched_and_checked(tmp_path: Path) -> None:
    async def scene(rig: Rig) -> None:
        for source, destination, action in (("web", "db", "deny"), ("*", "db", "allow"), ("web", "*", "allow")):
            command = UpsertIntention(destination=destination, source=SourceIntention(name=source, action=action))
            await rig.write(INTENTION_WRITE, command)
        listed = (await rig.call(INTENTION_LIST, Read())).intentions
        assert [each.precedence for each in listed] == [9, 8, 6]
        by = await rig.call(INTENTION_MATCH, IntentionMatchQuery(by="destination", names=("db", "cache")))
        assert [[each.precedence for each in match] for match in by.matches] == [[9, 8, 6], [6]]
        by = await rig.call(INTENTION_MATCH, IntentionMatchQuery(by="source", names=("web", "api")))
        assert [[each.precedence for each in match] for match in by.matches] == [[9, 8, 6], [8]]
        checked = await rig.call(INTENTION_CHECK, IntentionExactQuery(source="web", destination="db"))
        assert (checked.allowed, checked.intention) == (False, listed[0])
        exact = await rig.call(INTENTION_EXACT, IntentionExactQuery(source="web", destination="db"))
        assert exact.intentions == (listed[0],)
        by_id = await rig.call(INTENTION_EXACT, IntentionExactQuery(id=listed[0].id))
        assert by_id.intentions == (listed[0],)
        await rig.write(INTENTION_WRITE, DeleteIntention(destination="db", source="web"))
        checked = await rig.call(INTENTION_CHECK, IntentionExactQuery(source="web", destination="db"))
        assert checked.allowed
        with pytest.raises(InvalidRequest, match="must be set to 'allow' or 'deny'"):
            await rig.write(INTENTION_WRITE, UpsertIntention(destination="db", source=SourceIntention(name="web")))
        with pytest.raises(InvalidRequest, match="match intentions by"):
            await rig.call(INTENTION_MATCH, IntentionMatchQuery(by="both", names=("db",)))

    run(tmp_path, scene)


def test_intentions_added_one_by_one_are_held_to_the_bounds_of_an_entry(tmp_path: Path) -> None:
    def rules(prefix: str) -> tuple[Permission, ...]:
        paths = (HttpPermission(path_exact=f"/{prefix}{number:03}{'x' * 1000}") for number in range(200))
        return tuple(Permission(action="deny", http=http) for http in paths)

    async def scene(rig: Rig) -> None:
        sources = [SourceIntention(name=f"s{number}", permissions=rules(str(number))) for number in range(3)]
        for source in sources[:2]:
            await rig.write(INTENTION_WRITE, UpsertIntention(destination="db", source=source))
        with pytest.raises(TooLarge, match="intentions towards"):
            await rig.write(INTENTION_WRITE, UpsertIntention(destination="db", source=sources[2]))
        assert len((await rig.call(INTENTION_LIST, Read())).intentions) == 2

    run(tmp_path, scene)


@pytest.mark.parametrize(("policy", "allowed"), [("allow", True), ("deny", False)])
def test_without_an_intention_the_policy_of_the_server_decides(tmp_path: Path, policy: str, allowed: bool) -> None:
    async def scene(rig: Rig) -> None:
        checked = await rig.call(INTENTION_CHECK, IntentionExactQuery(source="a", destination="b"))
        assert (checked.allowed, checked.intention) == (allowed, None)

    run(tmp_path, scene, default_intention_policy=policy)


def test_config_entries_are_written_by_compare_and_set_and_read(tmp_path: Path) -> None:
    async def scene(rig: Rig) -> None:
        made = await rig.write(CONFIG_WRITE, UpsertConfigEntry(entry=ServiceDefaults(name="web", protocol="http")))
        lost = await rig.write(CONFIG_WRITE, UpsertConfigEntry(entry=ServiceDefaults(name="web"), cas=made.index - 1))
        assert not lost.ok
        found = await rig.call(CONFIG_READ, ConfigEntryQuery(kind="service-defaults", name="web"))
        assert [each.protocol for each in found.entries] == ["http"]
        assert (await rig.call(CONFIG_READ, ConfigEntryQuery(kind=""))).entries == found.entries
        assert not (await rig.write(CONFIG_WRITE, DeleteConfigEntry(kind="service-defaults", name="web", cas=1))).ok
        delete = DeleteConfigEntry(kind="service-defaults", name="web", cas=made.index)
        assert (await rig.write(CONFIG_WRITE, delete)).ok
        assert (await rig.call(CONFIG_READ, ConfigEntryQuery(kind="service-defaults"))).entries == ()
        with pytest.raises(InvalidRequest, match="invalid config entry kind"):
            await rig.call(CONFIG_READ, ConfigEntryQuery(kind="service-default"))
        with pytest.raises(InvalidRequest, match='only "global" is supported'):
            await rig.write(CONFIG_WRITE, UpsertConfigEntry(entry=ProxyDefaults(name="all")))

    run(tmp_path, scene)


def test_leaves_are_signed_within_the_rate_and_for_names_that_can_be_identities(tmp_path: Path) -> None:
    async def scene(rig: Rig) -> None:
        csr = make_csr(make_key(), "web")
        configuration = (await rig.call(CA_CONFIGURATION, Read())).configuration
        assert configuration.config["LeafCertTTL"] == "72h0m0s"
        slow = msgspec.structs.replace(configuration, config={"CSRMaxPerSecond": 1, "LeafCertTTL": "1h"})
        assert (
            await rig.call(CA_CONFIGURE, CAConfigurationWrite(configuration=slow, cas=configuration.modify_index))
        ).ok
        assert not (await rig.call(CA_CONFIGURE, CAConfigurationWrite(configuration=slow, cas=1))).ok
        leaf = (await rig.call(CA_SIGN, SignRequest(service="web", csr_pem=csr))).leaf
        domain = (await rig.call(CA_ROOTS, Read())).roots.trust_domain
        assert leaf.service_uri == f"spiffe://{domain}/ns/default/dc/dc1/svc/web"
        assert leaf.private_key_pem == ""
        many = [rig.call(CA_SIGN, SignRequest(service="web", csr_pem=csr)) for _ in range(60)]
        answers = await asyncio.gather(*many, return_exceptions=True)
        assert {type(each) for each in answers if isinstance(each, Exception)} == {TooManyRequests}
        for service in ("", "a/b", "*"):
            with pytest.raises(InvalidRequest, match="needs a name"):
                await rig.call(CA_SIGN, SignRequest(service=service, csr_pem=csr))
        for pem in ("", "x" * 20_000):
            with pytest.raises(InvalidRequest, match="certificate signing request"):
                await rig.call(CA_SIGN, SignRequest(service="web", csr_pem=pem))
        with pytest.raises(InvalidRequest, match='unknown CA provider "vault"'):
            await rig.call(CA_CONFIGURE, CAConfigurationWrite(configuration=CAConfiguration(provider="vault")))

    run(tmp_path, scene)
