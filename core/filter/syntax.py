"""What a filter expression is. Built by `parser`, walked by `selectors` and `evaluate`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

CHARACTERS_MAX: Final = 4096
DEPTH_MAX: Final = 32
TERMS_MAX: Final = 256
REGEX_CHARACTERS_MAX: Final = 512
REGEXES_MAX: Final = 16
"""Of one expression: each is tried on the text of each record, which costs as much as a hundred other comparisons."""


class FilterError(ValueError):
    """The expression is wrong: `position` is the character (from 1) where, 0 when it fits as a whole but not the records."""

    def __init__(self, text: str, position: int = 0) -> None:
        super().__init__(f"{text} (at character {position})" if position else text)
        self.position = position


class Operator(Enum):
    """What is asked of a selected value. `in` is `contains` the other way round."""

    EQUAL = "=="
    NOT_EQUAL = "!="
    CONTAINS = "contains"
    NOT_CONTAINS = "not contains"
    MATCHES = "matches"
    NOT_MATCHES = "not matches"
    EMPTY = "is empty"
    NOT_EMPTY = "is not empty"


@dataclass(frozen=True)
class Selector:
    """The way to a value: `Service.Meta["k"]` is ("Service", "Meta", "k")."""

    path: tuple[str, ...]
    position: int

    def __str__(self) -> str:
        return ".".join(self.path)


@dataclass(frozen=True)
class Match:
    """`selector operator value`; `value` is "" for the operators that take none."""

    selector: Selector
    operator: Operator
    value: str = ""


@dataclass(frozen=True)
class Not:
    operand: Expression


@dataclass(frozen=True)
class And:
    operands: tuple[Expression, ...]


@dataclass(frozen=True)
class Or:
    operands: tuple[Expression, ...]


Expression = Match | Not | And | Or
