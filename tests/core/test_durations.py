"""Go durations, as people write them in HCL and URLs."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chowk.core.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 10),
        ("1h30m", 5400),
        ("250ms", 0.25),
        ("0", 0),
        ("1.5h", 5400),
        ("-2s", -2),
        ("1m0.5s", 60.5),
        ("3us", 3e-6),
    ],
)
def test_durations_are_read_as_go_reads_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


def test_a_long_text_that_is_none_takes_no_longer_than_to_read_it() -> None:
    began = time.perf_counter()
    with pytest.raises(ValueError, match="invalid duration"):
        parse_duration("9" * 100_000)
    assert time.perf_counter() - began < 1.0  # with a search from each digit: minutes


@pytest.mark.parametrize("text", ["", "10", "s", "٣s", "1x", "1s 2s", "ten", "1h-2m", "--1s", "1" * 400 + "h"])
def test_what_is_no_duration_is_refused_and_named(text: str) -> None:
    with pytest.raises(ValueError, match="invalid duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(90, "1m30s"), (0.25, "250ms"), (0, "0s"), (3600, "1h0m0s"), (10, "10s")]
)
def test_durations_are_printed_as_go_prints_them(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(min_value=-(10**7), max_value=10**7))
def test_printing_and_reading_milliseconds_agree(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds / 1000)) == pytest.approx(milliseconds / 1000)
