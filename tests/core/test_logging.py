"""The log is for whoever reads it, and nobody's work depends on a reader."""

from __future__ import annotations

import io
import json
import os

import pytest
import structlog

from chowk.core.runtime import logging


def test_a_line_in_json_says_what_when_and_which_process() -> None:
    out = io.StringIO()
    logging.configure("info", json=True, process="agent", stream=out)
    structlog.get_logger("x").info("listening", port=8500)
    structlog.get_logger("x").debug("too fine")
    line = json.loads(out.getvalue())
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "listening", "port": 8500, "level": "info", "process": "agent"}


def test_a_log_whose_reader_has_gone_ends_nobodys_work() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    broken = os.fdopen(write_end, "w")
    logging.configure("info", json=False, process="agent", stream=broken)
    structlog.get_logger("x").info("nobody reads this")
    with pytest.raises(BrokenPipeError):
        broken.close()


@pytest.mark.parametrize("as_json", [False, True])
def test_a_traceback_shows_where_and_never_what_variables_held(as_json: bool) -> None:
    def fail() -> None:
        key = "".join(("s3", "cr3t"))
        raise ValueError(len(key))

    out = io.StringIO()
    logging.configure("info", json=as_json, process="agent", stream=out)
    try:
        fail()
    except ValueError as error:
        structlog.get_logger("x").error("failed", exc_info=error)
    assert "in fail" in out.getvalue()
    assert "s3cr3t" not in out.getvalue()


def test_a_closed_stream_ends_nobodys_work() -> None:
    closed = io.StringIO()
    logging.configure("info", json=False, process="agent", stream=closed)
    closed.close()
    structlog.get_logger("x").info("nobody reads this")


def test_lines_go_to_standard_error_as_it_is_when_they_are_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logging.configure("info", json=False, process="agent")
    later = io.StringIO()
    monkeypatch.setattr("sys.stderr", later)
    structlog.get_logger("x").info("hello")
    assert "hello" in later.getvalue()
    assert "hello" not in capsys.readouterr().err


def test_a_line_is_one_write_so_that_processes_on_one_pipe_do_not_mix_theirs() -> None:
    class Writes(io.StringIO):
        seen: list[str] = []

        def write(self, text: str) -> int:
            self.seen.append(text)
            return len(text)

    out = Writes()
    logging.configure("info", json=True, process="agent", stream=out)
    structlog.get_logger("x").info("hello")
    assert len(out.seen) == 1
    assert out.seen[0].endswith("}\n")


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="use one of"):
        logging.configure("loud", json=False, process="agent")
