"""Which sidecars are frozen."""

from __future__ import annotations

from chowk.agent.proxies.silence import APART_LOOKS, HUNG_LOOKS, LOOK_S, SILENT_LOOKS, Found, Silence
from chowk.connect.control import Report

NOTHING = Found((), (), "")


def report(proxy: str) -> Report:
    return Report(proxy_id=proxy, instance="i", version=1)


class Looks:
    def __init__(self) -> None:
        self.silence, self.now = Silence(), 100.0

    def look(self, reports: dict[str, Report | None], times: int = 1) -> list[Found]:
        found = []
        for _ in range(times):
            self.now += LOOK_S
            found.append(self.silence.look(reports, self.now))
        return found


def test_who_says_nothing_is_told_once_and_ended_when_it_stays_so():
    looks, stuck = Looks(), report("a")
    for _ in range(SILENT_LOOKS):
        assert looks.look({"a": stuck, "b": report("b")}) == [NOTHING], "b speaks at each look"
        assert not looks.silence.silent("a")
    assert looks.look({"a": stuck, "b": report("b")}) == [Found(("a",), (), "")]
    assert looks.silence.silent("a")
    found = looks.look({"a": stuck, "b": None}, HUNG_LOOKS - SILENT_LOOKS)
    assert found[:-1] == [NOTHING] * (len(found) - 2) + [found[-2]]
    assert found[-1] == Found((), (), "a")


def test_who_speaks_again_is_told_and_lives():
    looks, stuck = Looks(), report("a")
    looks.look({"a": stuck}, HUNG_LOOKS)
    assert looks.look({"a": report("a")}) == [Found((), ("a",), "")]
    assert looks.look({"a": None}, SILENT_LOOKS) == [NOTHING] * SILENT_LOOKS
    assert not looks.silence.silent("gone")


def test_one_is_ended_after_the_other_with_time_between():
    looks, stuck = Looks(), {each: report(each) for each in "abc"}
    found = looks.look(stuck, HUNG_LOOKS + 2 + 2 * APART_LOOKS)
    ended = [(at, each.hung) for at, each in enumerate(found) if each.hung]
    assert [name for _at, name in ended] == ["a", "b", "c"]
    assert [at - ended[0][0] for at, _name in ended] == [0, APART_LOOKS, 2 * APART_LOOKS]


def test_a_machine_that_slept_blames_nobody_and_many_looks_at_once_are_one():
    looks, stuck = Looks(), report("a")
    looks.look({"a": stuck}, SILENT_LOOKS - 1)
    looks.now += 3600.0
    assert looks.look({"a": stuck}) == [NOTHING]
    for _ in range(HUNG_LOOKS * 2):
        looks.now += LOOK_S / 1000
        assert looks.silence.look({"a": stuck}, looks.now) == NOTHING
