"""A state that was replaced is freed bit by bit: all at once it would hold up the loop."""

from __future__ import annotations

import weakref

from chowk.core import codec
from chowk.core.commands import AnyCommand, Envelope, PutKey, Register
from chowk.core.records.node import Node
from chowk.core.records.service import NodeService
from chowk.server.state.machine import StoreMachine
from chowk.server.state.store import LET_GO_MAX


def filled(*commands: AnyCommand) -> StoreMachine:
    machine = StoreMachine()
    for index, command in enumerate(commands, 1):
        machine.apply(index, codec.pack(Envelope(client="", sequence=0, time_s=1.0, command=command)))
    return machine


def service(node: str) -> Register:
    return Register(node=Node(node=node, address="127.0.0.1"), service=NodeService(id="web", service="web"))


def test_the_replaced_state_is_freed_in_steps_and_the_new_one_is_untouched() -> None:
    keys = 3 * LET_GO_MAX
    machine = filled(*(PutKey(key=b"%d" % number) for number in range(keys)), service("old"))
    replacement = filled(service("new"), PutKey(key=b"kept"))
    old = weakref.ref(machine.store)
    snapshot = b"".join(replacement.snapshot()())
    machine.restore([snapshot])
    assert old() is None
    steps = 0
    while machine.store.let_go():
        steps += 1
    assert keys / LET_GO_MAX <= steps < 3 * keys / LET_GO_MAX
    assert not machine.store.left
    assert b"".join(machine.snapshot()()) == snapshot


def test_what_was_not_freed_yet_is_not_forgotten_by_the_next_restore() -> None:
    machine = filled(*(PutKey(key=b"%d" % number) for number in range(2 * LET_GO_MAX)))
    snapshot = b"".join(filled(service("new")).snapshot()())
    machine.restore([snapshot])
    first = len(machine.store.left)
    machine.restore([snapshot])
    assert len(machine.store.left) > first
    while machine.store.let_go():
        pass
    assert b"".join(machine.snapshot()()) == snapshot
