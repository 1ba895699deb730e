"""KV's endpoints: pages, names cut at separators, and what of a write is refused before it is a log entry."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chowk.core.commands import AnyCommand, DeleteKey, DeleteKeys, DestroySession, PutKey
from chowk.core.errors import ChowkError, InternalError, InvalidRequest, TooLarge
from chowk.core.kv_requests import KV_LIST, KV_READ, KV_WRITE, KeyQuery, PrefixPage, PrefixQuery
from chowk.core.records.kv import KEY_BYTES_MAX, VALUE_BYTES_MAX, KVEntry
from chowk.server.rpc.kv import PAGE_BYTES, PAGE_ROWS_MAX, _names, _pages
from support.server_rig import Rig, running_server

keys = st.lists(st.text(alphabet="ab/", max_size=6).map(str.encode), unique=True, max_size=60).map(sorted)


@given(keys, st.sampled_from((b"", b"a", b"a/", b"/")), st.sampled_from((b"", b"/", b"//", b"b/")))
def test_names_are_cut_at_the_first_separator_after_the_prefix_and_told_once(
    listed: list[bytes], prefix: bytes, separator: bytes
) -> None:
    under = [KVEntry(key=key) for key in listed if key.startswith(prefix)]
    expected: dict[bytes, None] = {}
    for entry in under:
        end = entry.key.find(separator, len(prefix)) if separator else -1
        expected[entry.key if end < 0 else entry.key[: end + len(separator)]] = None
    assert list(_names(under, len(prefix), separator)) == list(expected)


def test_what_stands_for_many_keys_is_found_without_looking_at_each() -> None:
    looked = 0

    class Counted(list[KVEntry]):
        def __getitem__(self, at: Any) -> Any:
            nonlocal looked
            looked += 1
            return super().__getitem__(at)

    entries = Counted(KVEntry(key=b"%d/%05d" % (tree, number)) for tree in range(3) for number in range(10_000))
    assert list(_names(entries, 0, b"/")) == [b"0/", b"1/", b"2/"]
    assert looked < 200


@given(st.lists(st.sampled_from((0, 1, PAGE_BYTES // 3, PAGE_BYTES)), max_size=3000))
def test_pages_hold_every_row_in_order_and_are_bounded(rows: list[int]) -> None:
    pages = list(_pages(rows, lambda row: row))
    assert [row for page in pages for row in page] == rows
    assert len(pages) >= 1
    assert all(len(page) <= PAGE_ROWS_MAX and sum(page[:-1]) < PAGE_BYTES for page in pages)
    assert all(pages) or not rows


def with_server(path: Path, body: Any) -> None:
    async def run() -> None:
        async with running_server(path) as rig:
            await asyncio.wait_for(body(rig), 20)

    asyncio.run(run())


async def pages_of(rig: Rig, query: PrefixQuery) -> list[PrefixPage]:
    return [page async for page in rig.client.stream(KV_LIST, query)]


def test_a_list_is_of_one_moment_however_many_pages_it_has(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        for number in range(PAGE_ROWS_MAX + 1):
            await rig.write(KV_WRITE, PutKey(key=b"k%05d" % number))
        pages: list[PrefixPage] = []
        async for page in rig.client.stream(KV_LIST, PrefixQuery(prefix=b"k")):
            pages.append(page)
            await rig.write(KV_WRITE, DeleteKeys(prefix=b"k"))
        assert [len(page.entries) for page in pages] == [PAGE_ROWS_MAX, 1]
        assert len({page.meta.index for page in pages}) == 1
        assert [page.entries for page in await pages_of(rig, PrefixQuery(prefix=b"k"))] == [()]

    with_server(tmp_path, body)


@pytest.mark.parametrize(
    ("command", "error", "text"),
    [
        (PutKey(key=b""), InvalidRequest, "Missing key name"),
        (PutKey(key=b"k" * (KEY_BYTES_MAX + 1)), InvalidRequest, "Key is too long"),
        (PutKey(key=b"k", value=b"v" * (VALUE_BYTES_MAX + 1)), TooLarge, "Value for key is too large"),
        (PutKey(key=b"k", flags=-1), InvalidRequest, "Invalid flags"),
        (PutKey(key=b"k", cas=0, release="s"), InvalidRequest, "Conflicting flags"),
        (PutKey(key=b"k", acquire="s"), InternalError, 'invalid session "s"'),
        (DeleteKey(key=b""), InvalidRequest, "Missing key name"),
        (DestroySession(id="s"), InvalidRequest, "KV.Write does not take a command of type DestroySession"),
    ],
)
def test_what_is_wrong_with_a_write_is_told_and_nothing_is_written(
    tmp_path: Path, command: AnyCommand, error: type[ChowkError], text: str
) -> None:
    async def body(rig: Rig) -> None:
        with pytest.raises(error, match=text):
            await rig.write(KV_WRITE, command)
        assert (await pages_of(rig, PrefixQuery(prefix=b"")))[0].entries == ()

    with_server(tmp_path, body)


def test_a_read_of_no_key_or_too_long_a_key_is_refused(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        for key in (b"", b"k" * (KEY_BYTES_MAX + 1)):
            with pytest.raises(InvalidRequest):
                await rig.call(KV_READ, KeyQuery(key=key))
        with pytest.raises(InvalidRequest):
            await pages_of(rig, PrefixQuery(prefix=b"k" * (KEY_BYTES_MAX + 1)))

    with_server(tmp_path, body)


def test_a_server_frees_what_a_large_removal_left(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        store = rig.machine.store
        for number in range(20_000):
            store.kv.put(KVEntry(key=b"%05d" % number, modify_index=1))
        await rig.write(KV_WRITE, DeleteKeys(prefix=b""))
        while store.left:
            await asyncio.sleep(0)
        assert not store.kv.entries

    with_server(tmp_path, body)
