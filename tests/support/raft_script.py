"""A small language for what happens to a cluster of Raft cores, in files of `tests/scripts/raft`.

A line that begins with `> ` is a command; the lines below it, up to an empty one, are what it must print. Everything else is
for people. The network delivers in order and at once, disks write at once, and a server waits for an election as long as its
patience says (0 is the least, 1 s, and 1 the most, 1.5 s; s1: 0, s2: 0.2, s3: 0.4 …). At every step the runner checks what
Raft promises. With RAFT_SCRIPTS_WRITE=1 the files are rewritten with what came out: read the difference.
"""

from __future__ import annotations

from collections.abc import Callable

from chowk.server.raft.core import Raft
from chowk.server.raft.errors import ChangeRefused, NotLeading, TooMuchUncommitted
from chowk.server.raft.messages import AppendRequest, InstallSnapshot
from chowk.server.raft.records import (
    Configuration,
    Entry,
    HardState,
    Member,
    Restored,
    SnapshotMeta,
    bootstrap_entry,
)
from chowk.server.raft.settings import Settings
from support.raft_stage import STEPS_MAX, Node, Stage
from support.raft_words import entry_words, message_of, said

SETTINGS = Settings(election_timeout_s=1.0, heartbeat_s=0.1)


class Script(Stage):
    """Runs commands; `out` is what they print."""

    # The files.

    def run_text(self, text: str) -> str:
        """The same text, with what the commands print below them."""
        lines: list[str] = []
        is_output = False
        for line in text.splitlines():
            if line.startswith("> "):
                lines += [line, *self.command(line[2:])]
                is_output = True
            elif not line.strip():
                lines.append("")
                is_output = False
            elif not is_output:
                lines.append(line)
        return "\n".join(lines) + "\n"

    def command(self, line: str) -> list[str]:
        """Do one command; what it prints."""
        name, _space, rest = line.partition(" ")
        words = rest.split()
        self.out = []
        action: Callable[[list[str]], None] = getattr(self, "do_" + name.replace("-", "_"))
        try:
            if name == "send":
                self.do_send(rest.split(maxsplit=3))
            else:
                action(words)
        except (NotLeading, ChangeRefused, TooMuchUncommitted) as error:
            self.out.append(f"refused: {error}")
        self.settle()
        news = [f"{node.id} {node.commit}" for node in self.nodes.values() if self._has_committed(node)]
        return [*self.out, f"committed: {', '.join(news)}"] if news else self.out

    def _has_committed(self, node: Node) -> bool:
        if node.raft is None or node.raft.commit_index == node.commit:
            return False
        node.commit = node.raft.commit_index
        return True

    # Commands: who there is.

    def do_cluster(self, words: list[str]) -> None:
        """`cluster 3`: s1, s2 and s3, blank but for the first entry."""
        self._make(int(words[0]), {})
        for node in self.nodes.values():
            self._boot(node)

    def do_logs(self, words: list[str]) -> None:
        """`logs 2 s1:1,1,2 s2:1,1`: a cluster in term 2 whose logs have entries of these terms, the first their members."""
        logs = {name: [int(term) for term in terms.split(",")] for name, _colon, terms in map(_cut, words[1:])}
        self._make(len(logs), logs)
        for node in self.nodes.values():
            node.hard_state = HardState(int(words[0]))
            self._boot(node)

    def do_server(self, words: list[str]) -> None:
        """`server s1 of 3 log 1,1,2 term 5`: one server; the script plays the others and sees what it says to them."""
        options = dict(zip(words[1::2], words[2::2], strict=True))
        logs = {words[0]: [int(term) for term in options.get("log", "1").split(",")]}
        self._make(int(options["of"]), logs)
        self.is_lone = True
        self.nodes = {words[0]: self.nodes[words[0]]}
        node = self.nodes[words[0]]
        node.hard_state = HardState(int(options.get("term", node.hard_state.term)), options.get("vote", ""))
        self._boot(node)

    def _make(self, size: int, logs: dict[str, list[int]]) -> None:
        ids = [f"s{number}" for number in range(1, size + 1)]
        self.members = Configuration(tuple(Member(id, f"{id}:8300") for id in ids))
        for position, id in enumerate(ids):
            terms = logs.get(id, [1])
            later = tuple(
                Entry(index, term, data=b"%d.%d" % (term, index)) for index, term in enumerate(terms[1:], start=2)
            )
            restored = Restored(HardState(max(terms)), None, (bootstrap_entry(self.members), *later))
            self.nodes[id] = Node(id, restored, min(1.0, position / 5))

    def _boot(self, node: Node) -> None:
        restored = Restored(node.hard_state, node.snapshot, tuple(node.entries))
        node.raft = Raft(node.id, restored, SETTINGS, node.patience, self.now)
        node.applied = list(self.states[node.snapshot.index]) if node.snapshot is not None else []
        node.writes, node.commit = [], node.raft.commit_index
        node.known = (str(node.raft.role), node.raft.term, "")

    def do_join(self, words: list[str]) -> None:
        """`join s4`: a blank server starts. It is in no configuration yet."""
        self.nodes[words[0]] = Node(words[0], Restored(), 1.0)
        self._boot(self.nodes[words[0]])

    def do_crash(self, words: list[str]) -> None:
        """`crash s1 s2`: their memory, and what their disks had not written, are gone."""
        for id in words:
            self.nodes[id].raft = None
            self.nodes[id].is_slow = False

    def do_restart(self, words: list[str]) -> None:
        """`restart s1`."""
        for id in words:
            self._boot(self.nodes[id])

    def do_pause(self, words: list[str]) -> None:
        """`pause s1`: it does nothing, and what is sent to it waits."""
        self.nodes[words[0]].is_paused = True

    def do_resume(self, words: list[str]) -> None:
        """`resume s1`: its timers come first, then what waited."""
        node = self.nodes[words[0]]
        node.is_paused = False
        if (deadline := node.core.next_deadline()) is not None and deadline <= self.now:
            node.core.handle_timer(self.now)
            self.pump(node)

    def do_patience(self, words: list[str]) -> None:
        """`patience s1 0.9`: from its next draw on it waits so much of the range from the least to the most."""
        self.nodes[words[0]].patience.factor = float(words[1])

    # Commands: time, network, disks.

    def do_run(self, words: list[str]) -> None:
        """`run 1.5`: seconds go by."""
        end = self.now + float(words[0])
        self.settle()
        for _ in range(STEPS_MAX):
            due = [
                (deadline, node.id)
                for node in self.nodes.values()
                if node.raft is not None and not node.is_paused and (deadline := node.raft.next_deadline()) is not None
            ]
            deadline, id = min(due, default=(end, ""))
            if deadline > end or not id:
                self.now = end
                return
            self.now = max(self.now, deadline)
            self.nodes[id].core.handle_timer(self.now)
            self.pump(self.nodes[id])
            self.settle()
        raise AssertionError("a storm of timers")

    def do_cut(self, words: list[str]) -> None:
        """`cut s1 -> s2`, `cut s1 -- s2`, `cut s1`: what is sent this way, or both ways, or from and to it, is lost."""
        self.cut |= self._links(words)

    def do_heal(self, _words: list[str]) -> None:
        """`heal`: nothing is lost any more."""
        self.cut.clear()

    def do_hold(self, words: list[str]) -> None:
        """`hold s1 -> s2`: what is sent stays on its way; `hold s1 -> s2 appends` or `snapshots`: only those."""
        kinds = {"appends": AppendRequest, "snapshots": InstallSnapshot}
        if words[-1] in kinds:
            self.held_kinds |= {(*link, kinds[words[-1]]) for link in self._links(words[:-1])}
        else:
            self.held |= self._links(words)

    def do_release(self, words: list[str]) -> None:
        """`release s1 -> s2`: what was held arrives, in order; what comes later too."""
        self.held -= self._links(words)
        self.held_kinds = {held for held in self.held_kinds if held[:2] not in self._links(words)}

    def do_lose(self, words: list[str]) -> None:
        """`lose s1 -> s2`: what is on its way now never arrives."""
        links = self._links(words)
        self.flying = [message for message in self.flying if (message.sender, message.target) not in links]

    def do_reverse(self, words: list[str]) -> None:
        """`reverse s1 -> s2`: what is on its way will arrive last first."""
        links = self._links(words)
        positions = [at for at, message in enumerate(self.flying) if (message.sender, message.target) in links]
        turned = [self.flying[at] for at in reversed(positions)]
        for at, message in zip(positions, turned, strict=True):
            self.flying[at] = message

    def do_repeat(self, words: list[str]) -> None:
        """`repeat s1 -> s2`: what is on its way will arrive twice."""
        links = self._links(words)
        self.flying += [message for message in self.flying if (message.sender, message.target) in links]

    def do_flying(self, _words: list[str]) -> None:
        """`flying`: what is on its way."""
        self.out += [said(message) for message in self.flying]

    def _links(self, words: list[str]) -> set[tuple[str, str]]:
        if len(words) == 1:
            return {link for id in self.nodes for link in ((words[0], id), (id, words[0])) if id != words[0]}
        there, back = (words[0], words[2]), (words[2], words[0])
        return {there} if words[1] == "->" else {there, back}

    def do_slow(self, words: list[str]) -> None:
        """`slow s1`: its disk ends no write until `write`."""
        self.nodes[words[0]].is_slow = True

    def do_write(self, words: list[str]) -> None:
        """`write s1 1`: its disk ends the oldest write; `write s1`: all, and it is fast again."""
        node = self.nodes[words[0]]
        node.is_slow = len(words) > 1
        self.finish_writes(node, int(words[1]) if len(words) > 1 else len(node.writes))
        self.pump(node)

    # Commands: what a server is asked.

    def do_send(self, words: list[str]) -> None:
        """`send s2 -> s1 vote? term 3 last 2/1`: a message arrives, in the words of `support.raft_words`."""
        self.nodes[words[2]].core.receive(message_of(words[0], words[2], words[3], self.members), self.now)

    def do_propose(self, words: list[str]) -> None:
        """`propose s1 x y`: commands."""
        for word in words[1:]:
            self.nodes[words[0]].core.propose(word.encode())

    def do_read(self, words: list[str]) -> None:
        """`read s1`: a read index. What is committed anywhere now is what it must see."""
        self.floors.append(max(self.chosen, default=0))
        self.nodes[words[0]].core.read(len(self.floors) - 1, self.now)

    def do_lease(self, words: list[str]) -> None:
        """`lease s1`: whether it may serve a read by its clock alone."""
        node = self.nodes[words[0]]
        holds = node.core.has_lease(self.now)
        if holds and max(self.chosen, default=0) > node.core.commit_index:
            raise AssertionError(f"{node.id} would serve a stale read by its lease")
        self.out.append(f"{node.id} {'holds the lease' if holds else 'has no lease'}")

    def do_members(self, words: list[str]) -> None:
        """`members s1 s1 s2 (s4)`: ask s1 for this membership; learners in brackets."""
        ids = [word.strip("()") for word in words[1:]]
        members = [Member(id, f"{id}:8300", voter=id in words[1:]) for id in sorted(ids)]
        self.nodes[words[0]].core.change_configuration(Configuration(tuple(members)), self.now)

    def do_transfer(self, words: list[str]) -> None:
        """`transfer s1 -> s2`: s1 hands over."""
        self.nodes[words[0]].core.transfer_leadership(words[2], self.now)

    def do_snapshot(self, words: list[str]) -> None:
        """`snapshot s1 0`: of all it has applied, keeping so many entries behind it."""
        node = self.nodes[words[0]]
        meta: SnapshotMeta = node.core.meta_at(max(self.chosen, default=0) if len(words) < 3 else int(words[2]))
        compacted = node.core.snapshot_taken(meta, int(words[1]))
        node.snapshot = meta
        node.entries = [entry for entry in node.entries if entry.index > compacted]

    def do_show(self, words: list[str]) -> None:
        """`show s1 s2`: what `describe` says; of all when none is named."""
        for id in words or list(self.nodes):
            raft = self.nodes[id].raft
            self.out.append(raft.describe() if raft is not None else f"{id} is down")

    def do_log(self, words: list[str]) -> None:
        """`log s1 s2`: the entries on their disks."""
        for id in words:
            entries = ", ".join(entry_words(entry) for entry in self.nodes[id].entries)
            self.out.append(f"{id}: {entries or 'none'}")

    def do_state(self, words: list[str]) -> None:
        """`state s1 s2`: what their state machines have."""
        for id in words or list(self.nodes):
            self.out.append(f"{id}: {' '.join(self.nodes[id].applied)}")


def _cut(word: str) -> tuple[str, str, str]:
    return word.partition(":")
