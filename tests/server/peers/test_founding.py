"""Founding a cluster: whoever crashes, retries or proposes at once, never are two configurations chosen."""

from __future__ import annotations

import random

import pytest

from chowk.server.peers.founding import (
    ACCEPT,
    PREPARE,
    Commit,
    Forget,
    Promise,
    Propose,
    Seen,
    View,
    Wait,
    answer,
    decide,
    value,
)
from chowk.server.peers.messages import Ballot, FoundRequest, Origin, StatusReply
from chowk.server.raft.records import Configuration, Member


def member(name: str) -> Member:
    return Member(name, f"{name}:8300", f"node-{name}")


def origin(name: str, cluster: str = "") -> Origin:
    return Origin(id=name, node=f"node-{name}", address=f"{name}:8300", cluster=cluster)


def seen(name: str, *, expect: int = 3, silent: bool = False, cluster: str = "", blank: bool = True) -> Seen:
    status = StatusReply(origin=origin(name, cluster), blank=blank, expect=expect, term=0, last_index=0)
    return Seen(id=name, node=f"node-{name}", address=f"{name}:8300", expect=expect, status=None if silent else status)


def view(*others: Seen, me: str = "a", expect: int = 3, promise: Promise | None = None) -> View:
    return View(me=member(me), expect=expect, promise=promise or Promise(), others=others)


def configuration(names: str, cluster: str = "nonce") -> Configuration:
    return Configuration(tuple(member(name) for name in names), cluster)


def accepted(names: str) -> Promise:
    ballot = Ballot(number=1, proposer="z")
    return Promise(promised=ballot, accepted=ballot, configuration=configuration(names))


def test_the_lowest_id_proposes_the_lowest_n_once_enough_are_here() -> None:
    assert isinstance(decide(view(seen("b"))), Wait)
    decision = decide(view(seen("d"), seen("b"), seen("c")))
    assert isinstance(decision, Propose)
    assert [chosen.id for chosen in decision.members] == ["a", "b", "c"]
    assert isinstance(decide(view(seen("a"), seen("c"), me="b")), Wait)


@pytest.mark.parametrize(
    ("given", "words", "wrong"),
    [
        (view(seen("b", expect=5), seen("c")), "bootstrap_expect is 3 on node-a and 5 on node-b", True),
        (view(seen("b", silent=True), seen("c")), "no answer from node-b", False),
        (view(seen("b"), expect=3), "2 of 3 servers", False),
        (view(seen("b"), seen("c"), expect=0), "bootstrap_expect is not set", False),
        (view(seen("b", blank=False, cluster="x"), seen("c")), "waits for its leader to add it", False),
    ],
)
def test_it_waits_and_says_for_what(given: View, words: str, wrong: bool) -> None:
    decision = decide(given)
    assert isinstance(decision, Wait)
    assert words in decision.reason
    assert decision.wrong is wrong


def test_what_was_accepted_is_committed_when_a_member_has_begun_with_it() -> None:
    given = view(seen("b", blank=False, cluster="nonce"), promise=accepted("abc"))
    assert decide(given) == Commit(configuration("abc"))


def test_what_was_accepted_is_forgotten_only_when_one_of_its_members_is_in_another_cluster() -> None:
    assert decide(view(seen("b", blank=False, cluster="other"), promise=accepted("abc"))) == Forget()
    assert isinstance(decide(view(seen("x", blank=False, cluster="other"), promise=accepted("abc"))), Wait)


def test_a_server_with_another_expect_or_address_refuses_and_promises_nothing() -> None:
    ballot = Ballot(number=1, proposer="b")
    prepare = FoundRequest(origin=origin("b"), step=PREPARE, ballot=ballot, expect=5)
    reply, promise = answer(Promise(), prepare, member("a"), 3)
    assert not reply.ok
    assert "bootstrap_expect is 3 on node-a and 5 on node-b" in reply.refusal
    assert promise == Promise()
    accept = FoundRequest(origin=origin("b"), step=ACCEPT, ballot=ballot, expect=3, configuration=configuration("bcd"))
    reply, promise = answer(Promise(), accept, member("a"), 3)
    assert not reply.ok
    assert promise == Promise()


def test_never_are_two_configurations_chosen_whatever_is_lost_and_whoever_dies() -> None:
    chosen = [len(chosen_in(seed)) for seed in range(300)]
    assert max(chosen) == 1
    assert sum(chosen) > 100


def chosen_in(seed: int) -> set[str]:
    """Five servers expect three; any of them proposes at any time any three, and every message may be lost."""
    rng = random.Random(seed)
    names = "abcde"
    promises = {name: Promise() for name in names}
    chosen: set[str] = set()
    acceptances: dict[tuple[Ballot, str], set[str]] = {}
    proposals: list[list] = []
    for step in range(400):
        if len(proposals) < 3 and rng.random() < 0.2:
            proposer = rng.choice(names)
            number = 1 + max(promises[name].promised.number for name in rng.sample(names, 3))
            members = proposer + "".join(rng.sample(names.replace(proposer, ""), 2))
            proposals.append([Ballot(number=number, proposer=proposer), members, PREPARE, {}, None])
        if not proposals:
            continue
        proposal = rng.choice(proposals)
        ballot, members, phase, replies, proposed = proposal
        asked = members if phase == PREPARE else "".join(one.id for one in proposed.members)
        name = members[0] if not replies and phase == PREPARE else rng.choice(asked)
        if phase == PREPARE and name in replies:
            continue
        request = FoundRequest(
            origin=origin(ballot.proposer),
            step=phase,
            ballot=ballot,
            expect=3,
            configuration=proposed or Configuration(),
        )
        reply, promises[name] = answer(promises[name], request, member(name), 3)
        if phase == ACCEPT and reply.ok:
            acceptances.setdefault((ballot, proposed.cluster), set()).add(name)
            if acceptances[ballot, proposed.cluster] >= {one.id for one in proposed.members}:
                chosen.add(proposed.cluster)
        if rng.random() < 0.15:
            continue
        if not reply.ok or rng.random() < 0.03:
            proposals.remove(proposal)
            continue
        replies[name] = reply
        if set(replies) >= set(asked):
            if phase == ACCEPT:
                proposals.remove(proposal)
                continue
            mine = configuration(members, f"nonce-{seed}-{step}")
            proposal[2:5] = [ACCEPT, {}, value(list(replies.values()), mine)]
    return chosen
