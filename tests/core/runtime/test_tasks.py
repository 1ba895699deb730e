"""Owned tasks end with their owner, and their crashes are told."""

from __future__ import annotations

import asyncio

from chowk.core.runtime.tasks import TaskOwner


def test_closing_cancels_and_awaits_every_task() -> None:
    async def main() -> None:
        owner = TaskOwner("test")
        ended: list[str] = []

        async def forever(name: str) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(name)

        for name in ("a", "b"):
            owner.spawn(forever(name), name)
        await asyncio.sleep(0)
        await owner.close()
        assert sorted(ended) == ["a", "b"]

    asyncio.run(main())


def test_a_crash_is_handed_to_the_owner() -> None:
    async def main() -> None:
        crashes: list[str] = []
        owner = TaskOwner("test", lambda name, error: crashes.append(f"{name}: {error}"))

        async def broken() -> None:
            raise ValueError("boom")

        owner.spawn(broken(), "broken")
        while not crashes:
            await asyncio.sleep(0)
        assert crashes == ["test:broken: boom"]
        await owner.close()

    asyncio.run(main())
