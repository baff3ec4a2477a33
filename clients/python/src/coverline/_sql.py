"""Reading and rewriting SQL text without parsing it: tokens are told apart, the grammar is left to the server. Pure."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

# Qualified with catalog and schema, a table can never be mistaken for a WITH clause of the same name.
_SCHEMA = '"coverline"."public"'

_TOKEN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<comment>--[^\n]*)
    | (?P<block>/\*)
    | (?P<string>[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*')
    | (?P<quoted>"(?:[^"]|"")*" | `(?:[^`]|``)*`)
    | (?P<dollar>\$(?P<tag>[A-Za-z_]\w*)?\$.*?\$(?P=tag)\$ | \$\$.*?\$\$)
    | (?P<placeholder>\$\w+)
    | (?P<word>[^\W\d]\w*)
    | (?P<number>\d[\w.]*)
    | (?P<symbol>.)
    """,
    re.VERBOSE | re.DOTALL,
)

# First words of statements that only read. What WITH and FROM begin may insert what they read.
_READING_WORDS = frozenset({"select", "values", "explain", "show", "describe", "table"})
_LEADING_WORDS = frozenset({"with", "from"})

_QUERY_WORDS = frozenset({"select", "with", "values", "table", "from"})


@dataclass(frozen=True)
class Token:
    """A piece of SQL text. `kind` is the name of the group in `_TOKEN`; `start` and `end` are offsets."""

    kind: str
    text: str
    start: int
    end: int

    @property
    def name(self) -> str | None:
        """The identifier as SQL means it: folded when unquoted, kept when quoted; None for other tokens."""
        if self.kind == "word":
            return self.text.lower()
        if self.kind == "quoted":
            mark = self.text[0]
            return self.text[1:-1].replace(mark * 2, mark)
        return None


def tokens(sql: str) -> Iterator[Token]:
    """The tokens that mean something: blanks and comments are left out. Never fails; odd text comes as symbols."""
    position = 0
    while position < len(sql):
        match = _TOKEN.match(sql, position)
        if match is None:  # pragma: no cover - the last alternative matches anything
            return
        kind = match.lastgroup or "symbol"
        if kind == "tag":
            kind = "dollar"
        end = match.end()
        if kind == "block":
            end = _block_end(sql, end)
        elif kind not in ("space", "comment"):
            yield Token(kind, match.group(), position, end)
        position = end


def _block_end(sql: str, position: int) -> int:
    """End of a block comment whose opening ends at `position`; comments nest."""
    depth = 1
    while depth:
        opening, closing = sql.find("/*", position), sql.find("*/", position)
        if closing < 0:
            return len(sql)
        if 0 <= opening < closing:
            depth, position = depth + 1, opening + 2
        else:
            depth, position = depth - 1, closing + 2
    return position


def quote_identifier(name: str) -> str:
    """`name` as a quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


def quote_string(text: str) -> str:
    """`text` as a string literal."""
    return "'" + text.replace("'", "''") + "'"


def literal(value: object) -> str:
    """An index value as SQL.

    Args:
        value: int, text, date or datetime; a datetime without zone is taken as UTC.
    """
    if isinstance(value, bool):
        raise TypeError("an index value is a number, a text, a date or a datetime, not a bool")
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return quote_string(value)
    if isinstance(value, datetime.datetime):
        if value.tzinfo is not None:
            value = value.astimezone(datetime.timezone.utc)
        return quote_string(value.replace(tzinfo=None).isoformat() + "Z")
    if isinstance(value, datetime.date):
        return quote_string(value.isoformat() + "T00:00:00Z")
    raise TypeError(
        f"an index value is a number, a text, a date or a datetime, not {type(value).__name__}"
    )


def may_change(sql: str) -> bool:
    """Whether a statement may change something. Only what surely reads does not: the grammar is the server's."""
    found = (token for token in tokens(sql) if token.text != "(")
    first = next(found, None)
    if first is None or first.kind != "word":
        return True
    if first.name in _LEADING_WORDS:
        return any(token.name == "insert" for token in found)
    return first.name not in _READING_WORDS


def names_in(sql: str) -> set[str]:
    """Every identifier in the text; tables that it reads are among them."""
    return {token.name for token in tokens(sql) if token.name is not None}


def with_tables(sql: str, tables: Mapping[str, str]) -> str:
    """The query with other names for tables: each key of `tables` reads the table that is its value.

    The query becomes the body of a WITH clause that defines the names, so it keeps its own WITH, its ORDER BY and its LIMIT,
    and no text inside it is touched. EXPLAIN stays in front.

    Raises:
        ValueError: when the text is no query, or more than one statement.
    """
    found = list(tokens(sql))
    while found and found[-1].text == ";":
        found.pop()
    first = 0
    if found and found[0].name == "explain":
        first = 1
        while first < len(found) and found[first].name in ("analyze", "verbose"):
            first += 1
    body = found[first:]
    if not body or not (body[0].text == "(" or body[0].name in _QUERY_WORDS):
        raise ValueError("only a query can read tables under other names")
    if any(token.text == ";" and token.kind == "symbol" for token in body):
        raise ValueError("one statement at a time: there is a \";\" inside the text")
    clauses = ", ".join(
        f"{quote_identifier(name)} AS (SELECT * FROM {_SCHEMA}.{quote_identifier(table)})"
        for name, table in sorted(tables.items())
    )
    head, query = sql[: body[0].start], sql[body[0].start : body[-1].end]
    # A query of several lines may end in the middle of none: the bracket stands on a line of its own.
    return f"{head}WITH {clauses} (\n{query}\n)"


def bind_names(sql: str, params: Mapping[str, object]) -> tuple[str, list[object]]:
    """Named placeholders (`$name`) as numbered ones, and the values in that order.

    Raises:
        ValueError: when a placeholder has no value or a value no placeholder.
    """
    given = {name.lstrip("$"): value for name, value in params.items()}
    order: list[str] = []
    pieces: list[str] = []
    position = 0
    for token in tokens(sql):
        if token.kind != "placeholder":
            continue
        name = token.text[1:]
        if name not in given:
            raise ValueError(f'the placeholder "${name}" has no value in params')
        if name not in order:
            order.append(name)
        pieces += [sql[position : token.start], f"${order.index(name) + 1}"]
        position = token.end
    unused = sorted(set(given) - set(order))
    if unused:
        raise ValueError(f'params has "{unused[0]}", but the query has no placeholder "${unused[0]}"')
    return "".join(pieces) + sql[position:], [given[name] for name in order]
