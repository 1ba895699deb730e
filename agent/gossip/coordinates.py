"""Where this agent is in the network, learned from the round-trip times of its probes. Pure. Called by `probing`.

Vivaldi (Dabek, Cox, Kaashoek, Morris 2004: "a decentralized network coordinate system") with heights; the latency filter,
the adjustment window and gravity are from "Network Coordinates in the Wild" (Ledlie, Gardner, Seltzer 2007). The
constants are those of Serf, so that the estimates of an existing cluster mean the same here.
"""

from __future__ import annotations

import math
import random
import struct
from collections import deque
from typing import Final

import msgspec

from chowk.core.records.coordinate import DIMENSIONS, ERROR_MAX, HEIGHT_S_MIN, Coordinate

ERROR_GAIN: Final = 0.25
"""Vivaldi's c_e: how much one observation changes the error."""

FORCE_GAIN: Final = 0.25
"""Vivaldi's c_c: the largest part of the way to the observed time that one observation moves us."""

ADJUSTMENT_WINDOW: Final = 20
LATENCY_FILTER: Final = 3
"""Round-trip times of a node of which the median counts: one slow answer says nothing."""

GRAVITY_RHO_S: Final = 150.0
"""Pulls towards the origin, so that all together do not drift away; weak, as the whole network is far smaller."""

RTT_S_MAX: Final = 10.0
NODES_MAX: Final = 4096
"""Nodes whose latest times are kept; the one that was measured longest ago gives way."""

_ZERO: Final = 1.0e-6
_ORIGIN: Final = Coordinate()
_WIRE: Final = struct.Struct(f">{DIMENSIONS + 3}f")
WIRE_BYTES: Final = _WIRE.size


class Coordinates:
    """`own` is this agent's; `wire` the same in the bytes that answers to probes carry."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._times: dict[str, deque[float]] = {}
        self._window: deque[float] = deque((0.0,) * ADJUSTMENT_WINDOW, ADJUSTMENT_WINDOW)
        self.own = _ORIGIN
        self.wire = to_wire(_ORIGIN)

    def observe(self, name: str, data: bytes, rtt_s: float) -> bool:
        """The node `name`, which says that it is at the coordinate `data`, answered after `rtt_s` seconds. False, and no
        effect, where that cannot be."""
        other = from_wire(data)
        if other is None or not 0.0 <= rtt_s <= RTT_S_MAX:
            return False
        rtt_s = max(_ZERO, self._filtered(name, rtt_s))
        moved = self._adjusted(_moved(self.own, other, rtt_s, self._rng), other, rtt_s)
        moved = _pushed(moved, -((_ORIGIN.rtt_s(moved) / GRAVITY_RHO_S) ** 2), _ORIGIN, self._rng)
        # What others say can be any valid coordinate: where that carries us out of bounds, we begin anew.
        self.own = _ORIGIN if moved.problem else moved
        self.wire = to_wire(self.own)
        return True

    def _filtered(self, name: str, rtt_s: float) -> float:
        """The median of the latest times of a node."""
        times = self._times.pop(name, None) or deque(maxlen=LATENCY_FILTER)
        times.append(rtt_s)
        self._times[name] = times
        if len(self._times) > NODES_MAX:
            del self._times[next(iter(self._times))]
        return sorted(times)[len(times) // 2]

    def _adjusted(self, moved: Coordinate, other: Coordinate, rtt_s: float) -> Coordinate:
        self._window.append(rtt_s - moved.raw_rtt_s(other))
        return msgspec.structs.replace(moved, adjustment=sum(self._window) / (2 * ADJUSTMENT_WINDOW))


def to_wire(coordinate: Coordinate) -> bytes:
    """44 bytes: single precision is far finer than any measurement."""
    return _WIRE.pack(*coordinate.vec, coordinate.error, coordinate.adjustment, coordinate.height)


def from_wire(data: bytes) -> Coordinate | None:
    """None for what is no valid coordinate of our form."""
    if len(data) != WIRE_BYTES:
        return None
    *vec, error, adjustment, height = _WIRE.unpack(data)
    found = Coordinate(vec=tuple(vec), error=error, adjustment=adjustment, height=height)
    return None if found.problem else found


def _moved(own: Coordinate, other: Coordinate, rtt_s: float, rng: random.Random) -> Coordinate:
    """One step of Vivaldi: the surer the other is than we, the further we go."""
    estimate_s = own.rtt_s(other)
    wrongness = abs(estimate_s - rtt_s) / rtt_s
    weight = own.error / max(own.error + other.error, _ZERO)
    error = min(ERROR_MAX, ERROR_GAIN * weight * wrongness + own.error * (1.0 - ERROR_GAIN * weight))
    pushed = _pushed(own, FORCE_GAIN * weight * (rtt_s - estimate_s), other, rng)
    return msgspec.structs.replace(pushed, error=error)


def _pushed(own: Coordinate, force_s: float, away_from: Coordinate, rng: random.Random) -> Coordinate:
    """`own` moved by `force_s` seconds away from another; its height grows and shrinks in proportion."""
    away = [mine - theirs for mine, theirs in zip(own.vec, away_from.vec, strict=True)]
    distance_s = math.hypot(*away)
    if distance_s > _ZERO:
        height = (own.height + away_from.height) * force_s / distance_s + own.height
    else:
        # Two at one place: any direction parts them.
        away, height = [rng.uniform(-0.5, 0.5) for _ in range(DIMENSIONS)], own.height
    length = math.hypot(*away) or 1.0
    vec = tuple(at + force_s * part / length for at, part in zip(own.vec, away, strict=True))
    return msgspec.structs.replace(own, vec=vec, height=max(HEIGHT_S_MIN, height))
