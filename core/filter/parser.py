"""Text to expression, by recursive descent. Bounded: CHARACTERS_MAX of text, DEPTH_MAX of nesting, TERMS_MAX of comparisons.

or     := and ("or" and)*
and    := unary ("and" unary)*
unary  := "not" unary | "(" or ")" | match
match  := selector ("==" | "!=" | ["not"] "contains" | ["not"] "matches") value
        | selector "is" ["not"] "empty"  |  value ["not"] "in" selector
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from chowk.core.filter.syntax import (
    CHARACTERS_MAX,
    DEPTH_MAX,
    REGEXES_MAX,
    TERMS_MAX,
    And,
    Expression,
    FilterError,
    Match,
    Not,
    Operator,
    Or,
    Selector,
)

_TOKEN: Final = re.compile(
    r"""\s*(?:
      (?P<quoted>"(?:[^"\\\n]|\\.)*"|`[^`]*`)
    | (?P<number>-?\d+(?:\.\d+)?)(?![\w./-])
    | (?P<word>[A-Za-z_][\w/-]*)
    | (?P<bare>[\w][\w./:-]*)
    | (?P<symbol>==|!=|[()\[\].])
    )""",
    re.VERBOSE | re.ASCII,
)
_KEYWORDS: Final = frozenset({"and", "or", "not", "in", "is", "contains", "matches", "empty"})
_END: Final = "end"


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    position: int
    """Of its first character, from 1."""

    def __str__(self) -> str:
        return "the end of the expression" if self.kind == _END else f'"{self.text}"'


def parse(text: str) -> Expression:
    """The expression that `text` is. FilterError says what is wrong and where."""
    if len(text) > CHARACTERS_MAX:
        raise FilterError(f"the expression is longer than {CHARACTERS_MAX} characters")
    parser = _Parser(_tokens(text))
    expression = parser.disjunction(0)
    parser.end()
    return expression


def _tokens(text: str) -> list[_Token]:
    tokens, position = [], 0
    while text[position:].strip():
        found = _TOKEN.match(text, position)
        if found is None:
            start = position + len(text[position:]) - len(text[position:].lstrip())
            raise FilterError(f'unexpected "{text[start]}"', start + 1)
        kind = found.lastgroup or ""
        tokens.append(_Token(kind, found[kind], found.start(kind) + 1))
        position = found.end()
    return [*tokens, _Token(_END, "", len(text) + 1)]


class _Parser:
    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._next = 0
        self._terms = 0
        self._regexes = 0

    def disjunction(self, depth: int) -> Expression:
        """or := and ("or" and)*"""
        return self._chain("or", Or, self._conjunction, depth)

    def end(self) -> None:
        """Nothing may follow."""
        if self._peek().kind != _END:
            raise self._unexpected("expected and, or or the end")

    def _conjunction(self, depth: int) -> Expression:
        return self._chain("and", And, self._unary, depth)

    def _chain(
        self,
        word: str,
        join: Callable[[tuple[Expression, ...]], Expression],
        operand: Callable[[int], Expression],
        depth: int,
    ) -> Expression:
        operands = [operand(depth)]
        while self._take_word(word):
            operands.append(operand(depth))
        return operands[0] if len(operands) == 1 else join(tuple(operands))

    def _unary(self, depth: int) -> Expression:
        if depth >= DEPTH_MAX:
            raise FilterError(f"nested deeper than {DEPTH_MAX}", self._peek().position)
        if self._take_word("not"):
            return Not(self._unary(depth + 1))
        if self._take_symbol("("):
            inner = self.disjunction(depth + 1)
            if not self._take_symbol(")"):
                raise self._unexpected("expected )")
            return inner
        return self._match()

    def _match(self) -> Expression:
        self._terms += 1
        if self._terms > TERMS_MAX:
            raise FilterError(f"more than {TERMS_MAX} comparisons", self._peek().position)
        first = self._peek()
        if first.kind in ("quoted", "number", "bare"):
            return self._membership(self._value())
        if first.kind != "word" or first.text in _KEYWORDS:
            raise self._unexpected("expected a selector or a value")
        selector = self._selector()
        if self._at_membership():
            return self._membership(str(selector))
        return self._comparison(selector)

    def _at_membership(self) -> bool:
        first, second = self._peek(), self._peek(1)
        return _is_word(first, "in") or (_is_word(first, "not") and _is_word(second, "in"))

    def _membership(self, value: str) -> Expression:
        negated = self._take_word("not")
        if not self._take_word("in"):
            raise self._unexpected("expected in or not in")
        operator = Operator.NOT_CONTAINS if negated else Operator.CONTAINS
        return Match(self._selector(), operator, value)

    def _comparison(self, selector: Selector) -> Expression:
        if self._take_word("is"):
            operator = Operator.NOT_EMPTY if self._take_word("not") else Operator.EMPTY
            if not self._take_word("empty"):
                raise self._unexpected("expected empty")
            return Match(selector, operator)
        negated = self._take_word("not")
        for word, plain, opposite in (
            ("contains", Operator.CONTAINS, Operator.NOT_CONTAINS),
            ("matches", Operator.MATCHES, Operator.NOT_MATCHES),
        ):
            if self._take_word(word):
                self._regexes += plain is Operator.MATCHES
                if self._regexes > REGEXES_MAX:
                    raise FilterError(f"more than {REGEXES_MAX} regular expressions", self._peek().position)
                return Match(selector, opposite if negated else plain, self._value())
        for symbol, operator in (("==", Operator.EQUAL), ("!=", Operator.NOT_EQUAL)):
            if not negated and self._take_symbol(symbol):
                return Match(selector, operator, self._value())
        raise self._unexpected("expected an operator such as ==, contains, matches or is empty")

    def _selector(self) -> Selector:
        first = self._peek()
        if first.kind != "word" or first.text in _KEYWORDS:
            raise self._unexpected("expected a selector")
        self._next += 1
        path = [first.text]
        while True:
            if self._take_symbol("."):
                token = self._peek()
                if token.kind not in ("word", "number", "bare"):
                    raise self._unexpected("expected a name after the dot")
                self._next += 1
                path += token.text.split(".")
            elif self._take_symbol("["):
                if self._peek().kind != "quoted":
                    raise self._unexpected("expected a quoted key")
                path.append(self._value())
                if not self._take_symbol("]"):
                    raise self._unexpected("expected ]")
            else:
                return Selector(tuple(path), first.position)

    def _value(self) -> str:
        token = self._peek()
        if token.kind not in ("quoted", "number", "word", "bare"):
            raise self._unexpected("expected a value")
        self._next += 1
        if token.kind == "word" and token.text not in _KEYWORDS:
            self._next -= 1
            return str(self._selector())
        if token.kind != "quoted":
            return token.text
        if token.text.startswith("`"):
            return token.text[1:-1]
        try:
            return str(json.loads(token.text, strict=False))
        except ValueError:
            raise FilterError(f"not a quoted value: {token.text}", token.position) from None

    def _peek(self, ahead: int = 0) -> _Token:
        return self._tokens[min(self._next + ahead, len(self._tokens) - 1)]

    def _take_word(self, word: str) -> bool:
        return self._take(_is_word(self._peek(), word))

    def _take_symbol(self, symbol: str) -> bool:
        token = self._peek()
        return self._take(token.kind == "symbol" and token.text == symbol)

    def _take(self, is_next: bool) -> bool:
        self._next += is_next
        return is_next

    def _unexpected(self, wanted: str) -> FilterError:
        token = self._peek()
        return FilterError(f"unexpected {token}: {wanted}", token.position)


def _is_word(token: _Token, word: str) -> bool:
    return token.kind == "word" and token.text.lower() == word
