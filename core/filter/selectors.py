"""Does an expression fit a kind of record? A misspelt field is an error, not an empty answer.

Pure; called by `expression`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

from chowk.core.filter.syntax import And, Expression, FilterError, Match, Not, Operator, Or, Selector


def check(expression: Expression, kind: Any) -> None:
    """FilterError for the first selector or operator that records of type `kind` cannot answer."""
    match expression:
        case Match():
            _check_operator(expression, _resolve(expression.selector, _info(kind)))
        case Not(operand):
            check(operand, kind)
        case And(operands) | Or(operands):
            for operand in operands:
                check(operand, kind)


def _resolve(selector: Selector, found: inspect.Type) -> inspect.Type:
    for step in selector.path:
        found = _without_none(found)
        match found:
            case inspect.StructType():
                fields = {field.encode_name: field.type for field in found.fields}
                if step not in fields:
                    raise FilterError(f'Selector "{selector}" is not valid', selector.position)
                found = fields[step]
            case inspect.DictType():
                found = found.value_type
            case inspect.AnyType():
                return found
            case _:
                raise FilterError(f'Selector "{selector}" is not valid', selector.position)
    return _without_none(found)


def default_of(selector: Selector, kind: Any, absent: Any) -> Any:
    """What the selected field is in a record that leaves it out; `absent` where that is a map's key."""
    found, default = _info(kind), absent
    for step in selector.path:
        found = _without_none(found)
        if not isinstance(found, inspect.StructType):
            return absent
        field = next((field for field in found.fields if field.encode_name == step), None)
        if field is None:
            return absent
        found, default = field.type, field.default
    return absent if isinstance(default, msgspec.UnsetType) or default is msgspec.NODEFAULT else default


@cache
def _info(kind: Any) -> inspect.Type:
    """Kept for each kind of record that is filtered, of which there are a few: to look into a large one takes 2 ms."""
    return inspect.type_info(kind)


def _without_none(found: inspect.Type) -> inspect.Type:
    if isinstance(found, inspect.UnionType):
        parts = [part for part in found.types if not isinstance(part, inspect.NoneType)]
        return parts[0] if len(parts) == 1 else inspect.AnyType()
    return found


def _check_operator(match: Match, found: inspect.Type) -> None:
    if isinstance(found, inspect.AnyType):
        return
    collection = isinstance(found, (inspect.VarTupleType, inspect.ListType, inspect.DictType))
    text = isinstance(found, inspect.StrType)
    fits = {
        Operator.EQUAL: not collection and not isinstance(found, inspect.StructType),
        Operator.CONTAINS: collection or text,
        Operator.MATCHES: text,
        Operator.EMPTY: collection or text,
    }[_POSITIVE.get(match.operator, match.operator)]
    if not fits:
        reason = f'"{match.operator.value}" cannot be asked of the selector "{match.selector}"'
        raise FilterError(reason, match.selector.position)
    if match.operator in (Operator.EQUAL, Operator.NOT_EQUAL):
        _check_value(match, found)


def _check_value(match: Match, found: inspect.Type) -> None:
    wanted: type = {inspect.IntType: int, inspect.FloatType: float, inspect.BoolType: bool}.get(type(found), str)
    try:
        msgspec.convert(match.value, wanted, strict=False)
    except msgspec.ValidationError:
        reason = f'"{match.value}" is not a value of the selector "{match.selector}"'
        raise FilterError(reason, match.selector.position) from None


_POSITIVE = {
    Operator.NOT_EQUAL: Operator.EQUAL,
    Operator.NOT_CONTAINS: Operator.CONTAINS,
    Operator.NOT_MATCHES: Operator.MATCHES,
    Operator.NOT_EMPTY: Operator.EMPTY,
}
