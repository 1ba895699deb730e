from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from chowk.agent.proxies.bypasses import BYPASSES_MAX, FILE, HostBypasses
from chowk.core.errors import InvalidRequest, NotFound, TooManyRequests
from chowk.core.runtime.clock import ManualClock


def opened(folder: Path | None, clock: ManualClock | None = None, *, allowed: bool = True) -> HostBypasses:
    return HostBypasses(folder, clock or ManualClock(), allowed=allowed)


def test_a_bypass_survives_a_restart_and_lapses_by_itself(tmp_path: Path) -> None:
    async def scene() -> None:
        clock = ManualClock()
        opened(tmp_path, clock).begin("db", 3600.0, "INC-42", "ops")
        again = opened(tmp_path, clock)
        (found,) = again.active()
        assert (found.service, found.reason, found.by) == ("db", "INC-42", "ops")
        await clock.advance(3601.0)
        assert again.active() == ()
        assert opened(tmp_path, clock).active() == ()

    asyncio.run(scene())


def test_ending_one_is_told_and_kept(tmp_path: Path) -> None:
    bypasses, told = opened(tmp_path), []
    bypasses.on_change(lambda: told.append(1))
    bypasses.begin("db", 60.0, "why", "ops")
    bypasses.end("db", "ops")
    assert (bypasses.active(), opened(tmp_path).active(), len(told)) == ((), (), 2)
    with pytest.raises(NotFound, match="no bypass"):
        bypasses.end("db", "ops")


@pytest.mark.parametrize(
    ("lasts_s", "reason"), [(0.0, "why"), (-1.0, "why"), (86_401.0, "why"), (60.0, ""), (60.0, "  "), (60.0, "x" * 513)]
)
def test_one_without_an_end_or_a_reason_is_refused(lasts_s: float, reason: str) -> None:
    with pytest.raises(InvalidRequest):
        opened(None).begin("db", lasts_s, reason, "ops")


def test_they_can_be_turned_off_those_of_before_too(tmp_path: Path) -> None:
    opened(tmp_path).begin("db", 60.0, "why", "ops")
    off = opened(tmp_path, allowed=False)
    assert off.active() == ()
    with pytest.raises(InvalidRequest, match="allow_bypass"):
        off.begin("db", 60.0, "why", "ops")


def test_a_file_that_was_cut_changed_or_written_by_others_is_not_used(tmp_path: Path) -> None:
    opened(tmp_path).begin("db", 60.0, "why", "ops")
    path = tmp_path / FILE
    whole = path.read_bytes()
    for wrong in (whole[:-3], whole.replace(b"db", b"dx"), b"", b'[{"service":"db","expires_s":9e99}]'):
        path.write_bytes(wrong)
        assert opened(tmp_path).active() == ()
    path.write_bytes(whole)
    path.chmod(0o666)
    assert opened(tmp_path).active() == ()


def test_there_is_a_most(tmp_path: Path) -> None:
    bypasses = opened(None)
    for number in range(BYPASSES_MAX):
        bypasses.begin(f"s{number}", 60.0, "why", "ops")
    with pytest.raises(TooManyRequests):
        bypasses.begin("one-more", 60.0, "why", "ops")
    bypasses.begin("s0", 90.0, "longer", "ops")
