"""Rules of the parts that several kinds share: durations, regular expressions, header edits, conditions, fallbacks.

Called by the modules of the kinds. What the data plane makes of a part is asked of the data plane's own code, so that
nothing is stored that it would pass over.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from chowk.connect.entries.complaint import Complaint, Complaints, MapKey, Place, shown
from chowk.connect.http1.edits import fault_of
from chowk.connect.http1.path import joined, rule_key
from chowk.connect.http1.refusal import Refusal
from chowk.connect.intentions.validation import METHODS, check_name, regex_fault
from chowk.core.durations import format_duration, parse_duration
from chowk.core.errors import InvalidRequest
from chowk.core.records.intention import ANY
from chowk.core.records.traffic import Fallback, HeaderEdits, HeaderMatch, QueryMatch

DURATION_S_MAX: Final = 24 * 3600.0
CONDITIONS_MAX: Final = 64
SHORTEST_S: Final = 0.001
EDITS_MAX: Final = 64
TEXT_CHARS_MAX: Final = 1024
BODY_CHARS_MAX: Final = 16_384
_PSEUDO_HEADERS: Final = (":authority", ":method", ":path")


def duration(
    text: str, place: Place, minimum_s: float = 0.0, maximum_s: float = DURATION_S_MAX, *, required: bool = False
) -> Complaints:
    """ "" is none; else Go's form, with a unit. Below a millisecond it was meant as seconds, and read as nanoseconds."""
    if not text:
        if required:
            yield Complaint(place, 'is missing: a duration like "1.5s" or "250ms"')
        return
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        yield Complaint(place, str(error))
        return
    if 0 < seconds < SHORTEST_S:
        yield Complaint(
            place, f'{shown(text)} is under a millisecond: a bare number is nanoseconds, so write a unit ("30s")'
        )
    elif not minimum_s <= seconds <= maximum_s:
        yield Complaint(
            place, f"{shown(text)} is not between {format_duration(minimum_s)} and {format_duration(maximum_s)}"
        )


def seconds_of(text: str) -> float:
    """Of a duration that may be none or wrong (which another rule tells): 0 then."""
    try:
        return parse_duration(text) if text else 0.0
    except ValueError:
        return 0.0


def service(name: str, place: Place, *, any_too: bool = False) -> Complaints:
    """The name of one service; "" is none."""
    if not name:
        return
    try:
        check_name(name, "name")
    except InvalidRequest as error:
        yield Complaint(place, str(error).removeprefix("name: "))
        return
    if name == ANY and not any_too:
        yield Complaint(place, '"*" is no service: name one')


def label(text: str, place: Place, what: str) -> Complaints:
    """A word of the user's own that others will refer to."""
    if not text or len(text) > 128 or not text.isprintable() or text != text.strip():
        yield Complaint(place, f"{shown(text)} is no {what} (1 to 128 characters, without control characters)")


def one_of(text: str, known: tuple[str, ...], place: Place) -> Complaints:
    """One of the words of a setting; "" where it is among them."""
    if text not in known:
        yield Complaint(place, f"invalid value {shown(text)}: use {', '.join(word for word in known if word)}")


def percent(value: float, place: Place, *, positive: bool = False) -> Complaints:
    """0 to 100: a share of a hundred, not of one."""
    if not (math.isfinite(value) and 0 <= value <= 100 and (value > 0 or not positive)):
        least = "over 0" if positive else "0"
        yield Complaint(place, f"{value:g} is no percentage (from {least} to 100; 0.1 is one in a thousand)")


def regex(pattern: str, place: Place) -> Complaints:
    """RE2, bounded; "" is none."""
    if pattern and (fault := regex_fault(pattern)):
        yield Complaint(place, fault)


def paths(rule: object, place: Place, *, required: bool = False) -> Complaints:
    """At most one of `path_exact`, `path_prefix` and `path_regex`, each such as a request's path can be."""
    given = [name for name in ("path_exact", "path_prefix", "path_regex") if getattr(rule, name)]
    if len(given) > 1:
        yield Complaint((*place, given[1]), "only one of PathExact, PathPrefix and PathRegex may be given")
    if required and not given:
        yield Complaint(place, "one of PathExact, PathPrefix and PathRegex must be given")
    for name in ("path_exact", "path_prefix"):
        text = getattr(rule, name)
        if text:
            yield from _path(text, (*place, name), is_prefix=name == "path_prefix")
    yield from regex(getattr(rule, "path_regex"), (*place, "path_regex"))  # noqa: B009 - as the two above


def _path(text: str, place: Place, *, is_prefix: bool) -> Complaints:
    if not text.startswith("/"):
        yield Complaint(place, f"doesn't start with '/': {shown(text)}")
    elif len(text) > TEXT_CHARS_MAX:
        yield Complaint(place, f"is too long (limit: {TEXT_CHARS_MAX} characters)")
    elif "?" in text or "#" in text:
        yield Complaint(place, f"{shown(text)} has a query or fragment: paths are compared without; use QueryParam")
    elif rule_key(text, is_prefix=is_prefix) is None:
        yield Complaint(place, f"no request has such a path: {shown(text)}")


def path_to(text: str, place: Place) -> Complaints:
    """A path that requests are sent on with (a rewrite) or sent to (a redirect)."""
    path = text.partition("?")[0]
    if not path.startswith("/"):
        yield Complaint(place, f"doesn't start with '/': {shown(text)}")
        return
    try:
        if len(text) > TEXT_CHARS_MAX:
            yield Complaint(place, f"is too long (limit: {TEXT_CHARS_MAX} characters)")
        else:
            joined(path)
    except Refusal as refusal:
        yield Complaint(place, f"{shown(text)} is no path to send requests to: {refusal}")


def header_name(name: str, place: Place) -> Complaints:
    """A header to look at: any there can be, and the pseudo headers of HTTP/2 as in Envoy."""
    if not name:
        yield Complaint(place, "is missing: the header it is about")
    elif name not in _PSEUDO_HEADERS and "no header name" in fault_of(name):
        yield Complaint(place, f"{shown(name)} is no header name")


def header_edits(edits: HeaderEdits | None, place: Place) -> Complaints:
    """Names and values as they can stand in a message; nothing of the connection."""
    if edits is None:
        return
    if len(edits.add) + len(edits.set) + len(edits.remove) > EDITS_MAX:
        yield Complaint(place, f"changes over {EDITS_MAX} headers")
        return
    for field in ("add", "set"):
        yield from _values(getattr(edits, field), (*place, field))
    for number, name in enumerate(edits.remove):
        yield from _edit(name, "", (*place, "remove", number))


def _values(pairs: dict[str, str], place: Place) -> Complaints:
    for name, value in pairs.items():
        yield from _edit(name, value, (*place, MapKey(name)))


def _edit(name: str, value: str, place: Place) -> Complaints:
    if len(value) > TEXT_CHARS_MAX:
        yield Complaint(place, f"{shown(name)} has a value of over {TEXT_CHARS_MAX} characters")
    elif fault := fault_of(name, value):
        yield Complaint(place, f"{shown(name)} {fault}")


def headers(conditions: tuple[HeaderMatch, ...], place: Place) -> Complaints:
    """Conditions on headers: a name, and exactly one of the ways to match."""
    if len(conditions) > CONDITIONS_MAX:
        yield Complaint(place, f"at most {CONDITIONS_MAX} conditions on headers")
        return
    ways = ("present", "exact", "prefix", "suffix", "contains", "regex")
    for number, condition in enumerate(conditions):
        yield from header_name(condition.name, (*place, number, "name"))
        yield from _exactly_one(condition, ways, (*place, number))


def query_params(conditions: tuple[QueryMatch, ...], place: Place) -> Complaints:
    """Conditions on parameters of the query string: as `headers`."""
    if len(conditions) > CONDITIONS_MAX:
        yield Complaint(place, f"at most {CONDITIONS_MAX} conditions on the query")
        return
    for number, condition in enumerate(conditions):
        if not condition.name:
            yield Complaint((*place, number, "name"), "is missing: the parameter it is about")
        yield from _exactly_one(condition, ("present", "exact", "regex"), (*place, number))


def _exactly_one(condition: HeaderMatch | QueryMatch, ways: tuple[str, ...], place: Place) -> Complaints:
    given = [way for way in ways if getattr(condition, way)]
    if len(given) != 1:
        words = ", ".join(way.capitalize() for way in ways)
        found = "none is" if not given else " and ".join(way.capitalize() for way in given) + " are"
        yield Complaint(place, f"exactly one of {words} must be given; {found}")
    if any(isinstance(getattr(condition, way), str) and len(getattr(condition, way)) > TEXT_CHARS_MAX for way in given):
        yield Complaint(place, f"a value is too long (limit: {TEXT_CHARS_MAX} characters)")
    yield from regex(condition.regex, (*place, "regex"))


def methods(names: Iterable[str], place: Place) -> Complaints:
    """HTTP methods in capitals, each once."""
    seen: set[str] = set()
    for number, name in enumerate(names):
        if name not in METHODS:
            hint = f" (write {name.upper()})" if name.upper() in METHODS else f": use {', '.join(METHODS)}"
            yield Complaint((*place, number), f"{shown(name)} is no method{hint}")
        elif name in seen:
            yield Complaint((*place, number), f"{name} is given more than once")
        seen.add(name)


def fallback(answer: Fallback | None, place: Place) -> Complaints:
    """The answer in place of the service's."""
    if answer is None:
        return
    if not 200 <= answer.status <= 599:
        yield Complaint((*place, "status"), f"{answer.status} is no status of a final answer (200 to 599)")
    if len(answer.body) > BODY_CHARS_MAX:
        yield Complaint((*place, "body"), f"is too long (limit: {BODY_CHARS_MAX} characters)")
    elif answer.body and answer.status in (204, 205, 304):
        yield Complaint((*place, "body"), f"an answer of status {answer.status} has no body")
    if len(answer.headers) > EDITS_MAX:
        yield Complaint((*place, "headers"), f"at most {EDITS_MAX} headers")
        return
    yield from _values(answer.headers, (*place, "headers"))
