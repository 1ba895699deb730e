"""How N blank servers found one cluster, as decisions without IO. Called by `formation`.

It is Paxos (Lamport, "Paxos Made Simple", 2001) with one difference: the value is the first configuration, and it is chosen
only when every one of its N members has accepted it, durably. Two sets of N out of fewer than 2 N servers share a server,
so no two configurations are chosen; a proposer that dies leaves nothing that another cannot bring to an end. Only a
server that knows that the configuration was chosen writes it as the first entry of its log.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from chowk.server.peers.inspection import configuration_fault
from chowk.server.peers.messages import Ballot, FoundReply, FoundRequest, StatusReply
from chowk.server.raft.records import Configuration, Member

PREPARE = "prepare"
ACCEPT = "accept"
COMMIT = "commit"


class Promise(msgspec.Struct, frozen=True, kw_only=True):
    """What a blank server has promised, durably: no ballot below `promised`; and what it accepted last."""

    promised: Ballot = Ballot()
    accepted: Ballot = Ballot()
    configuration: Configuration = Configuration()


def answer(promise: Promise, request: FoundRequest, me: Member, expect: int) -> tuple[FoundReply, Promise]:
    """What a blank server says to a `prepare` or an `accept`, and its promise from then on: durable before it is said.

    A ballot is prepared once: its proposer prepares it itself before it asks anyone, so it never proposes two values in one.
    """
    wrong = _fault(request, me, expect)
    taken = request.ballot <= promise.promised if request.step == PREPARE else request.ballot < promise.promised
    if not wrong and taken:
        wrong = f"{promise.promised.proposer} proposes too, and was here first"
    if wrong:
        return FoundReply(ok=False, refusal=wrong, promised=promise.promised), promise
    if request.step == ACCEPT:
        promise = Promise(promised=request.ballot, accepted=request.ballot, configuration=request.configuration)
    else:
        promise = msgspec.structs.replace(promise, promised=request.ballot)
    reply = FoundReply(
        ok=True, promised=promise.promised, accepted=promise.accepted, configuration=promise.configuration
    )
    return reply, promise


def _fault(request: FoundRequest, me: Member, expect: int) -> str:
    if request.expect != expect:
        return (
            f"bootstrap_expect is {expect} on {me.node} and {request.expect} on {request.origin.node}: "
            "give all servers the same"
        )
    if request.ballot.number < 1 or request.ballot.proposer != request.origin.id:
        return "the ballot is not its proposer's"
    if request.step == PREPARE:
        return ""
    configuration = request.configuration
    wrong = configuration_fault(configuration)
    mine = configuration.member(me.id)
    if not wrong and (mine is None or mine.address != me.address or len(configuration.members) != expect):
        wrong = f"the configuration does not have {me.node} at {me.address} among {expect} members"
    if not wrong and not configuration.cluster:
        wrong = "the cluster has no nonce"
    return wrong


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """Another server that gossip says is alive; `expect` is 0 when its tags do not say. `status` None: no answer."""

    id: str
    node: str
    address: str
    expect: int
    status: StatusReply | None


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What a blank server knows when it decides."""

    me: Member
    expect: int
    promise: Promise
    others: tuple[Seen, ...]


class Wait(msgspec.Struct, frozen=True):
    """Do nothing; `reason` tells a person for what, `wrong` that it will not come by itself."""

    reason: str
    wrong: bool = False


class Propose(msgspec.Struct, frozen=True):
    """Propose these members in this ballot."""

    ballot: Ballot
    members: tuple[Member, ...]


class Commit(msgspec.Struct, frozen=True):
    """What this server accepted was chosen: begin with it."""

    configuration: Configuration


class Forget(msgspec.Struct, frozen=True):
    """What this server accepted can never be chosen: one of its members is in another cluster."""


Decision = Wait | Propose | Commit | Forget


def decide(view: View) -> Decision:
    """What a blank server does now."""
    founded = [seen for seen in view.others if seen.status is not None and not seen.status.blank]
    if founded:
        return _join(view, founded)
    if not view.expect:
        return Wait("bootstrap_expect is not set, so this server waits to be added to a cluster, and there is none yet")
    differing = [seen for seen in view.others if seen.expect not in (0, view.expect)]
    if differing:
        named = ", ".join(f"{seen.expect} on {seen.node}" for seen in differing)
        return Wait(
            f"bootstrap_expect is {view.expect} on {view.me.node} and {named}: give all servers the same", wrong=True
        )
    silent = [seen.node for seen in view.others if seen.status is None]
    if silent:
        return Wait(f"no answer from {', '.join(silent)}, which may know a cluster")
    candidates = [view.me, *(Member(seen.id, seen.address, seen.node) for seen in view.others if seen.expect)]
    candidates.sort(key=lambda member: member.id)
    if len(candidates) < view.expect:
        names = ", ".join(sorted(member.node for member in candidates))
        return Wait(f"{len(candidates)} of {view.expect} servers (bootstrap_expect) are here: {names}")
    if candidates[0].id != view.me.id:
        return Wait(f"{candidates[0].node} is to found the cluster")
    number = max([view.promise.promised.number, *(seen.status.promised.number for seen in view.others if seen.status)])
    return Propose(Ballot(number=number + 1, proposer=view.me.id), tuple(candidates[: view.expect]))


def _join(view: View, founded: Sequence[Seen]) -> Decision:
    mine = view.promise.configuration
    for seen in founded:
        cluster = seen.status.origin.cluster if seen.status is not None else ""
        if mine.members and cluster == mine.cluster:
            return Commit(mine)
        if mine.member(seen.id) is not None:
            return Forget()
    names = ", ".join(seen.node for seen in founded)
    return Wait(f"there is a cluster already ({names}): this server waits for its leader to add it")


def value(replies: Sequence[FoundReply], mine: Configuration) -> Configuration:
    """What a proposer must propose once all have prepared: what was accepted in the highest ballot, else its own."""
    accepted = [reply for reply in replies if reply.configuration.members]
    return max(accepted, key=lambda reply: reply.accepted).configuration if accepted else mine
