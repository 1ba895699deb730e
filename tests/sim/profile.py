"""What a seed may do: how many servers, what network, disks and clocks are like, which faults come and how often.

A seed draws its profile; a mutant's test may name the kind that shows it soonest.
"""

from __future__ import annotations

import random
from typing import Final

import msgspec


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds of the simulation. `faults`: weights by name (see `sim.faults`)."""

    kind: str
    voters: int = 3
    learners: int = 0
    seconds: float = 40.0
    heartbeat_s: float = 0.3
    drop: float = 0.0
    duplicate: float = 0.0
    delay_s: float = 0.02
    late: float = 0.0
    """The share of messages that come seconds late."""
    fsync_s: float = 0.01
    fault_every_s: float = 1.6
    faults: tuple[tuple[str, float], ...] = ()
    members_every_s: float = 0.0
    """How often the operator changes the membership; 0 for never."""
    snapshot_every: int = 15
    """Entries between snapshots."""
    trailing: int = 5
    chunks: int = 3
    """What a snapshot is cut into on its way."""
    real_disk: bool = False
    wire: bool = False
    """Messages are encoded, with a field of a newer version in each, and read back."""
    drift: float = 0.01
    sure_clocks: bool = True
    """No clock jumps: a lease may be trusted."""
    clients: int = 4
    keys: int = 4
    think_s: float = 0.06
    reads: float = 0.45


PROCESS: Final = (("kill", 3.0), ("power", 2.0), ("pause", 2.0), ("restart", 6.0))
NETWORK: Final = (("split", 2.0), ("isolate", 2.0), ("one_way", 2.0), ("bridge", 1.0), ("heal", 6.0), ("rough", 2.0))
DISK: Final = (("slow_disk", 2.0), ("disk_full", 1.0), ("disk_error", 1.0))
ROT: Final = (("rot", 0.7),)
JUMPS: Final = (("jump", 2.0),)
ALL: Final = PROCESS + NETWORK + DISK + ROT

KINDS: Final = (
    ("mixed", 8.0), ("members", 4.0), ("elections", 3.0), ("snapshots", 3.0), ("jumps", 1.0), ("real", 2.0), ("single", 1.0),
    ("stable", 1.5), ("rivals", 2.0), ("deposed", 2.0),
)  # fmt: skip
"""The kinds, and how often each is drawn."""


def draw(seed: int, kind: str = "") -> Profile:
    """The profile of a seed."""
    rng = random.Random(f"profile {seed}")
    if not kind:
        names, weights = zip(*KINDS, strict=True)
        kind = rng.choices(names, weights)[0]
    drawn = _common(rng, kind)
    match kind:
        case "mixed":
            return drawn(voters=rng.choice((3, 3, 3, 5)), learners=rng.choice((0, 0, 1)), faults=ALL)
        case "members":
            return drawn(
                voters=rng.choice((2, 3, 4, 4)),
                faults=PROCESS + NETWORK + NETWORK,
                members_every_s=0.6,
                snapshot_every=10,
                trailing=rng.choice((0, 2)),
            )
        case "rivals":
            return drawn(
                voters=4,
                faults=(("depose", 5.0), ("heal", 2.0), ("kill", 1.0)),
                members_every_s=2.0,
                fault_every_s=2.5,
                drop=rng.choice((0.1, 0.3)),
                late=0.0,
                delay_s=rng.choice((0.02, 0.05)),
            )
        case "deposed":
            return drawn(
                voters=rng.choice((3, 5, 5)),
                faults=(("depose", 6.0), ("heal", 3.0), ("kill", 4.0), ("restart", 6.0), ("slow_disk", 2.0)),
                fault_every_s=rng.choice((0.5, 1.0)),
                drop=rng.choice((0.05, 0.2)),
                late=rng.choice((0.05, 0.2)),
                delay_s=rng.choice((0.02, 0.1)),
                fsync_s=rng.choice((0.02, 0.2)),
                seconds=60.0,
                reads=0.1,
                snapshot_every=200,
            )
        case "elections":
            faults = (*PROCESS, *NETWORK, ("transfer", 6.0), ("slow_disk", 6.0))
            return drawn(
                voters=rng.choice((3, 5, 5)),
                faults=faults,
                fault_every_s=0.9,
                late=rng.choice((0.02, 0.15)),
                delay_s=rng.choice((0.02, 0.1)),
            )
        case "snapshots":
            faults = (*PROCESS, *NETWORK, ("slow_disk", 3.0))
            return drawn(
                faults=faults,
                snapshot_every=rng.choice((3, 6)),
                trailing=rng.choice((0, 0, 2)),
                late=0.03,
                duplicate=rng.choice((0.0, 0.5)),
                chunks=rng.choice((3, 10)),
                clients=6,
                think_s=rng.choice((0.01, 0.04)),
            )
        case "jumps":
            return drawn(faults=ALL + JUMPS, sure_clocks=False)
        case "real":
            return drawn(faults=ALL, real_disk=True, seconds=30.0)
        case "single":
            return drawn(voters=1, faults=(*PROCESS, *DISK), real_disk=rng.random() < 0.3)
        case "stable":
            return drawn(
                voters=rng.choice((3, 5)), faults=(), drop=0.0, duplicate=0.0, late=0.0, seconds=24.0, clients=2
            )
    raise ValueError(f"there is no kind of profile {kind}")


def _common(rng: random.Random, kind: str) -> type[Profile]:
    rough = rng.random()
    defaults = {
        "kind": kind,
        "drop": rng.choice((0.0, 0.02, 0.1)) * rough,
        "duplicate": rng.choice((0.0, 0.1)),
        "late": rng.choice((0.0, 0.005, 0.02)),
        "delay_s": rng.choice((0.002, 0.02, 0.05)),
        "fsync_s": rng.choice((0.002, 0.02, 0.1)),
        "heartbeat_s": rng.choice((0.15, 0.3)),
        "snapshot_every": rng.choice((8, 20, 60)),
        "trailing": rng.choice((0, 3, 10)),
        "wire": rng.random() < 0.15,
        "clients": rng.choice((3, 5)),
        "keys": rng.choice((2, 4)),
        "drift": rng.choice((0.0, 0.01, 0.05)),
    }

    def make(**changed: object) -> Profile:
        return Profile(**{**defaults, **changed})  # type: ignore[arg-type]

    return make  # type: ignore[return-value]
