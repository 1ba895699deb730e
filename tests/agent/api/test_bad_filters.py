"""Filters that are wrong, deep or made to be slow: refused in words, and never a hold-up for everybody else."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from chowk.agent.api.turns import kept
from support.http_api import Api, with_registry

LOOP_S_MAX = 0.15
"""On a busy machine; seen are 10 ms, and half a second when a filter was evaluated at a stretch."""
WRONG = (
    "Service.Nope == 1",
    "Service.ID ==",
    "Service.ID == 'x",
    'Service.ID === "x"',
    "== 1",
    "(" * 40 + 'Service.ID == "x"' + ")" * 40,
    "not " * 500 + 'Service.ID == "x"',
    " or ".join(['Service.ID == "x"'] * 200),
    'Service.ID == "' + "x" * 5000 + '"',
    'Service.ID matches "(((("',
    'Service.ID matches "' + "(a{1,1000}){1,1000}" + '"',
    'Service.ID matches "' + "a" * 600 + '"',
    "\x00",
    "\ufffd",
    "Service.Meta",
    "Service.Port in 80",
)
SLOW = (
    " or ".join(['"zz" in Service.Tags'] * 120),
    " or ".join(f'Service.ID matches "(a|b|c|w)*{number}x$"' for number in range(16)),
    " and ".join(f'Service.Meta["k{number}"] != "v"' for number in range(100)),
)


@pytest.mark.parametrize("text", WRONG, ids=lambda text: repr(text[:30]))
def test_a_wrong_filter_is_refused_in_words(tmp_path: Path, text: str) -> None:
    async def body(api: Api) -> None:
        answer = await api.get(f"/v1/health/service/web?filter={quote(text)}")
        assert answer.status == 400
        assert answer.text.startswith(("Failed to parse the filter expression: ", "Query parameter"))

    with_registry(tmp_path, body)


async def longest_block_s(work: asyncio.Future[object]) -> float:
    """How long the loop was not free while `work` went on."""
    longest, last = 0.0, time.monotonic()
    while not work.done():
        await asyncio.sleep(0)
        now = time.monotonic()
        longest, last = max(longest, now - last), now
    return longest


@pytest.mark.parametrize("text", SLOW, ids=lambda text: text[:30])
def test_a_slow_filter_over_many_instances_does_not_hold_the_loop(tmp_path: Path, text: str) -> None:
    async def body(api: Api) -> None:
        tags, meta = [f"t{number}" for number in range(20)], {f"k{number}": "w" * 50 for number in range(20)}
        for start in range(0, 1500, 50):
            service = {"Service": "web", "Tags": tags, "Meta": meta}
            rows = [{"Node": f"n{number}", "Address": "127.0.0.1"} for number in range(start, start + 50)]
            await asyncio.gather(*(api.put("/v1/catalog/register", {**row, "Service": service}) for row in rows))
        asked = asyncio.ensure_future(api.get(f"/v1/health/service/web?filter={quote(text)}"))
        assert await longest_block_s(asked) < LOOP_S_MAX
        assert asked.result().status == 200

    with_registry(tmp_path, body)


def test_what_a_filter_keeps_stays_in_order_whoever_has_a_turn_between() -> None:
    async def run() -> tuple[list[int], int]:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        def slow(row: int) -> bool:
            time.sleep(0.004)  # what a filter costs
            return row % 2 == 0

        task = asyncio.ensure_future(other())
        found = await kept(range(12), slow)
        task.cancel()
        return found, turns

    found, turns = asyncio.run(run())
    assert found == [0, 2, 4, 6, 8, 10]
    assert turns >= 3
