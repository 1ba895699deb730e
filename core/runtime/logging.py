"""Logs a person can read and a machine can parse. Called once by each process's main."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import TextIO, cast

import structlog

LEVELS = {"trace": 5, "debug": 10, "info": 20, "warn": 30, "warning": 30, "err": 40, "error": 40}


class _Output:
    """Where lines go: `stream`, else standard error as it is at that moment.

    Nobody's work ends because nobody reads its log: a pipe whose reader has gone, or a full disk, loses lines and no more.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        target = self._target()
        if target is not None:
            with suppress(OSError, ValueError):  # ValueError: the stream is closed
                target.write(text)
        return len(text)

    def flush(self) -> None:
        target = self._target()
        if target is not None:
            with suppress(OSError, ValueError):
                target.flush()

    def isatty(self) -> bool:
        target = self._target()
        return target is not None and not target.closed and target.isatty()

    def _target(self) -> TextIO | None:
        return self._stream or cast(TextIO | None, sys.stderr)  # None when the process began without one


def configure(level: str, *, json: bool, process: str, stream: TextIO | None = None) -> None:
    """Set up structlog for this process. `level` is one of LEVELS (ValueError else); `process` is in every line."""
    if level.lower() not in LEVELS:
        raise ValueError(f'unknown log level "{level}": use one of trace, debug, info, warn, error')
    out = _Output(stream)
    renderer: structlog.typing.Processor
    # Plain tracebacks: where rich is installed, structlog's own would write every local variable, keys and tokens too.
    plain = structlog.dev.plain_traceback
    renderer = (
        structlog.processors.JSONRenderer()
        if json
        else structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=plain)
    )

    def name_process(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event.setdefault("process", process)
        return event

    processors: list[structlog.typing.Processor] = [
        name_process,
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if json:
        processors.append(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*processors, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level.lower()]),
        # One write a line: the agent and its children share standard error, and their lines must not mix.
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, out)),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(stream=cast(TextIO, out), level=max(LEVELS[level.lower()], logging.WARNING), force=True)
