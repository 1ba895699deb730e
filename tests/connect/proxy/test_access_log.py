from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path

import pytest
from msgspec.structs import replace

from chowk.connect.proxy.access_log import LINES_MAX, AccessLog
from chowk.connect.stats.observation import Observers, RequestRecord
from chowk.core.records.traffic import AccessLogs
from chowk.core.runtime.clock import ManualClock

SEEN = RequestRecord(
    at_s=1_700_000_000.25, direction="inbound", source="web", destination="db", method="GET", path="/a",
    status=200, duration_s=0.0015,
)  # fmt: skip


class Stage:
    def __init__(self, path: Path, **settings: object) -> None:
        self.path = path
        self.observers = Observers()
        self.log = AccessLog(self.observers, ManualClock(), random.Random(1))
        self.settings = AccessLogs(**({"enabled": True, "type": "file", "path": str(path)} | settings))  # type: ignore[arg-type]
        self.log.use(self.settings)

    def written(self) -> list[dict[str, object]]:
        asyncio.run(self.log.flush())
        return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []


def test_a_request_is_one_line_of_json(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "access.log")
    stage.observers.see(SEEN)
    (line,) = stage.written()
    assert line["start_time"] == "2023-11-14T22:13:20.250Z"
    assert (line["source"], line["destination"], line["path"]) == ("web", "db", "/a")
    assert (line["response_code"], line["duration"]) == (200, 1.5)


def test_good_requests_are_sampled_and_bad_ones_are_all_there(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "access.log", sample_percent=10.0)
    for _ in range(1000):
        stage.observers.see(SEEN)
    for bad in (replace(SEEN, status=503), replace(SEEN, status=0), replace(SEEN, reason="rate-limited", status=429)):
        stage.observers.see(bad)
    lines = stage.written()
    good = [line for line in lines if line["response_code"] == 200]
    assert 60 < len(good) < 140
    assert len(lines) - len(good) == 3


def test_what_does_not_fit_is_dropped_and_said(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "access.log")
    for _ in range(LINES_MAX + 7):
        stage.observers.see(SEEN)
    lines = stage.written()
    assert len(lines) == LINES_MAX + 1
    assert lines[-1] == {"dropped_lines": 7}


def test_turned_off_nothing_is_observed(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "access.log")
    stage.log.use(AccessLogs())
    assert not stage.observers.active
    assert stage.written() == []


def test_a_log_that_cannot_be_written_is_told_once_and_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = Stage(tmp_path / "missing" / "access.log")
    for _ in range(3):
        stage.observers.see(SEEN)
        assert stage.written() == []
    assert capsys.readouterr().out.count("access log not written") == 1
    stage.path.parent.mkdir()
    stage.observers.see(SEEN)
    assert len(stage.written()) == 1
