"""Does a value match an expression? Pure; called by `expression` for each record, as `core.codec.to_builtins` gives it.

A key that a map does not have, or a field that is not set, matches no positive question and every negative one.
Regular expressions are RE2's, as Consul's: their time is linear in the text, whatever the pattern.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final

import msgspec
import re2

from chowk.core.filter.selectors import default_of
from chowk.core.filter.syntax import (
    REGEX_CHARACTERS_MAX,
    And,
    Expression,
    FilterError,
    Match,
    Not,
    Operator,
    Or,
    Selector,
)

Predicate = Callable[[Any], bool]
REGEX_BYTES_MAX: Final = 256 * 1024
_MISSING: Final = object()
_NEGATIONS: Final = {
    Operator.NOT_EQUAL: Operator.EQUAL,
    Operator.NOT_CONTAINS: Operator.CONTAINS,
    Operator.NOT_MATCHES: Operator.MATCHES,
    Operator.NOT_EMPTY: Operator.EMPTY,
}


def predicate(expression: Expression, kind: Any) -> Predicate:
    """The function of a `kind`'s plain data that the expression is. FilterError for a bad regular expression."""
    match expression:
        case Or(operands):
            return _any(tuple(predicate(operand, kind) for operand in operands))
        case And(operands):
            return _all(tuple(predicate(operand, kind) for operand in operands))
        case Not(operand):
            return _not(predicate(operand, kind))
        case Match():
            return _match(expression, default_of(expression.selector, kind, _MISSING))


def _any(parts: tuple[Predicate, ...]) -> Predicate:
    return lambda value: any(part(value) for part in parts)


def _all(parts: tuple[Predicate, ...]) -> Predicate:
    return lambda value: all(part(value) for part in parts)


def _not(part: Predicate) -> Predicate:
    return lambda value: not part(value)


def _match(match: Match, absent: Any) -> Predicate:
    positive = _NEGATIONS.get(match.operator, match.operator)
    path = match.selector.path
    if positive is Operator.MATCHES:
        pattern = _compile(match.value, match.selector)
        ask: Predicate = lambda found: isinstance(found, str) and pattern.search(found) is not None  # noqa: E731
    elif positive is Operator.CONTAINS:
        ask = lambda found: isinstance(found, (list, tuple, dict, str)) and match.value in found  # noqa: E731
    elif positive is Operator.EMPTY:
        ask = lambda found: found is _MISSING or found is None or found in ("", [], (), {})  # noqa: E731
    else:
        ask = lambda found: _equal(found, match.value)  # noqa: E731
    if positive is match.operator:
        return lambda value: ask(_select(value, path, absent))
    return lambda value: not ask(_select(value, path, absent))


def _select(value: Any, path: tuple[str, ...], absent: Any) -> Any:
    for step in path:
        if not isinstance(value, dict) or step not in value:
            return absent
        value = value[step]
    return value


def _equal(found: Any, text: str) -> bool:
    if isinstance(found, str):
        return found == text
    if not isinstance(found, (bool, int, float)):
        return False
    try:
        return bool(msgspec.convert(text, type(found), strict=False) == found)
    except msgspec.ValidationError:
        return False


@cache
def _options() -> Any:
    options = re2.Options()
    options.max_mem = REGEX_BYTES_MAX
    options.log_errors = False
    return options


def compile_regex(pattern: str) -> Any:
    """RE2's expression of a pattern, within REGEX_BYTES_MAX. ValueError says what is wrong; RE2 itself logs nothing."""
    try:
        return re2.compile(pattern, _options())
    except (re2.error, UnicodeError) as error:
        text = error.args[0] if error.args else error
        raise ValueError(text.decode(errors="replace") if isinstance(text, bytes) else str(text)) from None


def _compile(pattern: str, selector: Selector) -> Any:
    if len(pattern) > REGEX_CHARACTERS_MAX:
        reason = f"the regular expression is longer than {REGEX_CHARACTERS_MAX} characters"
        raise FilterError(reason, selector.position)
    try:
        return compile_regex(pattern)
    except ValueError as error:
        raise FilterError(f"not a regular expression: {error}", selector.position) from None
