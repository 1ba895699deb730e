from __future__ import annotations

import msgspec

from chowk.agent.proxies.chain_parts import KEPT_MAX, ChainParts, Terms
from chowk.connect.chain.compile import compile_chain
from chowk.connect.chain.entries import ChainEntries
from chowk.connect.snapshot import Limits, Locality, Outlier

TERMS = Terms(here=Locality(), allowed_regions=(), limits=Limits(), outlier=Outlier(), connect_timeout_s=0.0)
CHAIN = compile_chain("api", "dc1", "t.consul", ChainEntries(()))
OTHER = compile_chain("db", "dc1", "t.consul", ChainEntries(()))


def test_sidecars_that_ask_for_the_same_share_it() -> None:
    parts = ChainParts()
    assert parts.routes(CHAIN) is parts.routes(CHAIN)
    assert parts.clusters(CHAIN, TERMS) is parts.clusters(CHAIN, msgspec.structs.replace(TERMS))


def test_other_terms_and_other_chains_have_parts_of_their_own() -> None:
    parts = ChainParts()
    plain = parts.clusters(CHAIN, TERMS)
    patient = parts.clusters(CHAIN, msgspec.structs.replace(TERMS, connect_timeout_s=9.0))
    bounded = parts.clusters(CHAIN, msgspec.structs.replace(TERMS, limits=Limits(connections_max=3)))
    (name,) = plain
    assert (plain[name].connect_timeout_s, patient[name].connect_timeout_s) == (5.0, 9.0)
    assert (plain[name].limits.connections_max, bounded[name].limits.connections_max) == (0, 3)
    assert list(parts.clusters(OTHER, TERMS)) != [name]
    assert parts.routes(OTHER) != parts.routes(CHAIN)


def test_what_is_kept_is_bounded() -> None:
    parts = ChainParts()
    terms = [msgspec.structs.replace(TERMS, connect_timeout_s=1.0 + number) for number in range(KEPT_MAX + 1)]
    made = [parts.clusters(CHAIN, each) for each in terms]
    again = parts.clusters(CHAIN, terms[0])
    assert again == made[0]
    assert again is not made[0]
    assert parts.clusters(CHAIN, terms[-1]) is made[-1]
