from __future__ import annotations

import asyncio
import os
from pathlib import Path

from chowk.agent.config_watch import ConfigWatch, look
from chowk.core.runtime.clock import SystemClock


class Steps(SystemClock):
    """Sleeps until the test lets it go on."""

    def __init__(self) -> None:
        self.asleep = asyncio.Event()
        self._go = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self._go.clear()
        self.asleep.set()
        await self._go.wait()

    async def step(self) -> None:
        """Let one sleep end, and wait until the next begins."""
        await self.asleep.wait()
        self.asleep.clear()
        self._go.set()
        await self.asleep.wait()


def test_a_change_is_told_once_and_only_when_it_has_lasted(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock, told = Steps(), []
        (tmp_path / "a.hcl").write_text("")
        watch = ConfigWatch(lambda: [str(tmp_path)], lambda: told.append(1), clock)
        await watch.start()
        await clock.step()
        assert told == []
        (tmp_path / "a.hcl").write_text("x = 1")
        await clock.step()
        assert told == []
        await clock.step()
        assert told == [1]
        await clock.step()
        (tmp_path / "b.hcl").write_text("")
        for _ in range(4):
            await clock.step()
        assert told == [1, 1]
        await watch.close()

    asyncio.run(asyncio.wait_for(scenario(), 30))


def test_a_turned_symlink_a_rename_and_a_removal_are_changes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.hcl").write_text(name)
    link = tmp_path / "now"
    link.symlink_to("one")
    seen = [look([str(link)])]
    (tmp_path / "next").symlink_to("two")
    os.replace(tmp_path / "next", link)
    seen.append(look([str(link)]))
    (tmp_path / "two" / "notes").write_text("of no meaning")
    assert look([str(link)]) == seen[-1]
    (tmp_path / "two" / "new").write_text("two")
    (tmp_path / "two" / "new").rename(tmp_path / "two" / "a.hcl")
    seen.append(look([str(link)]))
    (tmp_path / "two" / "a.hcl").unlink()
    seen.append(look([str(link)]))
    assert len(set(seen)) == 4
    assert look([str(tmp_path / "missing")]) == ()
