"""A log that is cut off or flipped at every byte: recovered without losing what was before the damage, or refused."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from chowk.server.raft.effects import Persist
from chowk.server.raft.records import Configuration, Entry, HardState, Member, Restored, SnapshotMeta
from chowk.server.storage import segment
from chowk.server.storage.durable import DurableStorage
from chowk.server.storage.errors import Corrupt, FolderInUse, StorageError

WRITES = (
    (Entry(1, 1, data=b"first"),),
    (Entry(2, 1, data=b"second"), Entry(3, 1)),
    (Entry(4, 2, data=b"x" * 40),),
)
ENTRIES = tuple(entry for write in WRITES for entry in write)


def fill(folder: Path, writes=WRITES, **options) -> Path:
    storage = DurableStorage(folder, **options)
    storage.open()
    for sequence, entries in enumerate(writes, 1):
        storage.persist([Persist(sequence, HardState(entries[0].term, "me"), None, tuple(entries))])
    storage.close()
    return max((folder / "log").iterdir())


def reopen(folder: Path, **options) -> Restored:
    storage = DurableStorage(folder, **options)
    try:
        return storage.open()
    finally:
        storage.close()


def frame_ends(data: bytes) -> list[int]:
    _number, _first, salt = segment.read_header(data)
    ends = [segment.HEADER.size]
    while ends[-1] < len(data):
        ends.append(segment.read_frame(data, ends[-1], salt)[1])
    return ends


def test_a_log_cut_off_at_every_byte_recovers_exactly_the_whole_writes_before_the_cut(tmp_path: Path) -> None:
    path = fill(tmp_path)
    data = path.read_bytes()
    ends = frame_ends(data)
    for size in range(len(data)):
        path.write_bytes(data[:size])
        whole = sum(end <= size for end in ends[1:])
        expected = tuple(entry for write in WRITES[:whole] for entry in write)
        assert reopen(tmp_path).entries == expected, size
        assert reopen(tmp_path).entries == expected, "a second recovery differs"


def test_a_byte_flipped_anywhere_loses_nothing_before_it_and_is_refused_when_good_writes_follow(tmp_path: Path) -> None:
    path = fill(tmp_path)
    data = path.read_bytes()
    last = frame_ends(data)[-2]
    for position in range(len(data)):
        for flip in (0x01, 0xFF):
            path.write_bytes(data[:position] + bytes([data[position] ^ flip]) + data[position + 1 :])
            if position < last:
                with pytest.raises(Corrupt) as refused:
                    reopen(tmp_path)
                assert str(path) in str(refused.value)
                assert refused.value.offset <= position
                assert "backup" in str(refused.value)
            else:
                assert reopen(tmp_path).entries == ENTRIES[:3]


def test_damage_in_an_older_segment_is_refused_even_at_its_end(tmp_path: Path) -> None:
    fill(tmp_path, segment_bytes_max=40)
    first, *_others = sorted((tmp_path / "log").iterdir())
    first.write_bytes(first.read_bytes()[:-1])
    with pytest.raises(Corrupt, match="other segments follow"):
        reopen(tmp_path)


def test_a_missing_segment_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, segment_bytes_max=40)
    sorted((tmp_path / "log").iterdir())[1].unlink()
    with pytest.raises(Corrupt, match="missing"):
        reopen(tmp_path)


def test_data_that_looks_like_a_frame_does_not_make_a_torn_end_look_like_damage_in_the_middle(tmp_path: Path) -> None:
    fake = segment.frame((Entry(2, 1, data=b"evil"),), 0)
    path = fill(tmp_path, (*WRITES[:1], (Entry(2, 1, data=fake * 3),)))
    path.write_bytes(path.read_bytes()[:-1])
    assert reopen(tmp_path).entries == ENTRIES[:1]


def test_data_full_of_marks_does_not_make_a_start_read_the_rest_of_the_log_at_each_of_them(tmp_path: Path) -> None:
    marks = (segment.MARK + (4_000_000).to_bytes(4, "big")) * 500_000
    path = fill(tmp_path, (*WRITES[:1], (Entry(2, 1, data=marks),)))
    path.write_bytes(path.read_bytes()[:-1])
    started = time.process_time()
    assert reopen(tmp_path).entries == ENTRIES[:1]
    assert time.process_time() - started < 10


def test_a_write_too_long_for_a_frame_is_cut_into_several(tmp_path: Path) -> None:
    entries = tuple(Entry(index, 1, data=bytes(8 * 1024 * 1024)) for index in range(1, 10))
    fill(tmp_path, (entries,))
    assert reopen(tmp_path).entries == entries
    assert all(size < 40 * 1024 * 1024 for size in (path.stat().st_size for path in (tmp_path / "log").iterdir()))


def test_entries_that_another_leader_replaces_are_replaced_and_those_before_them_stay(tmp_path: Path) -> None:
    new = (Entry(3, 5, data=b"new"), Entry(4, 5))
    fill(tmp_path, (*WRITES, new))
    assert reopen(tmp_path).entries == (*ENTRIES[:2], *new)


def test_writing_goes_on_after_a_torn_end(tmp_path: Path) -> None:
    path = fill(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    fill(tmp_path, ((Entry(4, 3, data=b"again"),),))
    assert reopen(tmp_path).entries == (*ENTRIES[:3], Entry(4, 3, data=b"again"))


@pytest.mark.parametrize("what", ["missing", "empty", "flipped"])
def test_a_hard_state_that_is_not_what_was_written_is_refused(tmp_path: Path, what: str) -> None:
    fill(tmp_path)
    path = tmp_path / "hard-state"
    data = path.read_bytes()
    if what == "missing":
        path.unlink()
        with pytest.raises(Corrupt, match="missing"):
            reopen(tmp_path)
        return
    damaged = [data[:size] for size in range(len(data))]
    if what == "flipped":
        damaged = [data[:n] + bytes([data[n] ^ 1]) + data[n + 1 :] for n in range(len(data))]
    for bad in damaged:
        path.write_bytes(bad)
        with pytest.raises(Corrupt):
            reopen(tmp_path)


def snapshot_folder(folder: Path, chunks: tuple[bytes, ...] = (b"one", b"two" * 50)) -> Path:
    fill(folder, segment_bytes_max=40)
    storage = DurableStorage(folder)
    storage.open()
    meta = SnapshotMeta(3, 1, Configuration((Member("me", "a"),)), 1)
    storage.save_snapshot(meta, iter(chunks))
    storage.compact(3)
    assert [*storage.read_snapshot()[1]] == [*chunks]
    storage.close()
    return next((folder / "snapshots").iterdir())


def test_a_snapshot_and_the_entries_after_it_recover(tmp_path: Path) -> None:
    snapshot_folder(tmp_path)
    restored = reopen(tmp_path)
    assert restored.snapshot is not None
    assert (restored.snapshot.index, restored.entries) == (3, ENTRIES[3:])


def test_a_snapshot_damaged_at_any_byte_is_refused(tmp_path: Path) -> None:
    path = snapshot_folder(tmp_path)
    data = path.read_bytes()
    for position in range(len(data)):
        path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        with pytest.raises(Corrupt):
            reopen(tmp_path)
        path.write_bytes(data[:position])
        with pytest.raises(Corrupt):
            reopen(tmp_path)


def test_a_snapshot_that_was_not_finished_is_removed(tmp_path: Path) -> None:
    path = snapshot_folder(tmp_path)
    aside = path.with_name("00000000000000000009-00000000000000000002.snapshot.tmp")
    aside.write_bytes(b"half")
    restored = reopen(tmp_path)
    assert restored.snapshot is not None
    assert restored.snapshot.index == 3
    assert not aside.exists()


def test_a_log_whose_snapshot_is_gone_is_refused(tmp_path: Path) -> None:
    snapshot_folder(tmp_path).unlink()
    with pytest.raises(Corrupt, match="no snapshot"):
        reopen(tmp_path)


def test_a_folder_in_use_is_refused_with_the_process_and_is_free_after_close(tmp_path: Path) -> None:
    storage = DurableStorage(tmp_path)
    storage.open()
    with pytest.raises(FolderInUse, match=r"process \d+.*data_dir"):
        DurableStorage(tmp_path).open()
    storage.close()
    reopen(tmp_path)


def test_a_path_that_is_no_folder_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="another data_dir"):
        DurableStorage(tmp_path / "file" / "raft").open()
