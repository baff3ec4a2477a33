"""Statements of the SQLAlchemy dialect, where the server's SQL differs from what SQLAlchemy writes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import exc, schema, types
from sqlalchemy.sql import compiler, elements, functions, operators

from ._dialect_types import DURATION, is_duration

TABLE_OPTIONS = ("index_column", "bucket", "entity_columns", "time_zone")
# A statement that does nothing.
_NOTHING = "SELECT 1 WHERE FALSE"
# Words that SQLAlchemy leaves unquoted and the parser takes for its own.
_WORDS = {"exists", "fulltext", "index", "interval", "key", "spatial", "struct", "top", "trim"}
# Functions whose result has the type of their first argument, or of any of them.
_LIKE_FIRST = {"abs", "ceil", "first_value", "floor", "lag", "last_value", "lead", "max", "min", "nullif", "round", "sum", "trunc"}
_LIKE_ANY = {"coalesce", "greatest", "least"}
_ARITHMETIC = (operators.add, operators.sub, operators.mul, operators.mod)
# Something of each kind that is not null, in SQL.
_SOMETHING: list[tuple[type[types.TypeEngine[Any]], str]] = [
    (types.Boolean, "FALSE"),
    (types.Integer, "0"),
    (types.Numeric, "0"),
    (types.Float, "0"),
    (types.Date, "'1970-01-01'"),
    (types.DateTime, "'1970-01-01'"),
    (types.Time, "'00:00'"),
]


def _is_a(element: Any, *kinds: type[types.TypeEngine[Any]]) -> bool:
    # Text has no type.
    affinity = getattr(getattr(element, "type", None), "_type_affinity", None)
    return affinity is not None and issubclass(affinity, kinds)


def _is_fraction(element: Any) -> bool:
    """Whether the server has a double or a decimal for it, as certain as can be: a type that was only said may be wrong."""
    if isinstance(element, (elements.Grouping, elements.Label, elements.Over, elements.UnaryExpression)):
        return _is_fraction(element.element)
    if isinstance(element, elements.FunctionFilter):
        return _is_fraction(element.func)
    if isinstance(element, elements.BinaryExpression):
        sides = (element.left, element.right)
        return element.operator is operators.truediv or (element.operator in _ARITHMETIC and any(map(_is_fraction, sides)))
    if isinstance(element, functions.FunctionElement):
        name, arguments = getattr(element, "name", "").lower(), list(element.clauses)
        kept = arguments[:1] if name in _LIKE_FIRST else arguments if name in _LIKE_ANY else []
        return name == "avg" or any(map(_is_fraction, kept))
    known = isinstance(element, (elements.BindParameter, elements.Cast)) or (
        isinstance(element, elements.ColumnClause) and not element.is_literal
    )
    return known and _is_a(element, types.Numeric, types.Float)


class DDLCompiler(compiler.DDLCompiler):
    """Tables, and none of what the server does not have."""

    def visit_create_table(self, create: Any, **kw: Any) -> str:
        columns = [one.element for one in create.columns]
        if not any(is_duration(column.type, self.dialect) for column in columns):
            text: str = super().visit_create_table(create, **kw)  # type: ignore[no-untyped-call]
            return text
        # There is no name for the type of a duration, but a query of no rows may have one.
        table = create.element
        unless = ["IF NOT EXISTS"] if create.if_not_exists else []
        words = ["CREATE", *table._prefixes, "TABLE", *unless, self.preparer.format_table(table)]
        selected = ", \n\t".join(f"{self._empty(column)} AS {self.preparer.format_column(column)}" for column in columns)
        return f"\n{' '.join(words)}{self.post_create_table(table)} AS SELECT\n\t{selected}\nWHERE FALSE\n\n"

    def _empty(self, column: schema.Column[Any]) -> str:
        """A value of the column's type, which is nullable when the column is."""
        if is_duration(column.type, self.dialect):
            return f"arrow_cast({'NULL' if column.nullable else 0}, '{DURATION}')"
        kind = self.dialect.type_compiler_instance.process(column.type, type_expression=column)
        if column.nullable:
            return f"CAST(NULL AS {kind})"
        if _is_a(column, types.ARRAY):
            raise exc.CompileError(f"column {column.name!r} cannot be NOT NULL in a table with durations: it is a list")
        something = next((sql for of, sql in _SOMETHING if _is_a(column, of)), "''")
        return f"CAST({something} AS {kind})"

    def create_table_constraints(self, table: schema.Table, *_: Any, **kw: Any) -> str:
        # There are none but NOT NULL. SQLAlchemy's own idea of a key stays on its side.
        return ""

    def get_column_specification(self, column: schema.Column[Any], **kw: Any) -> str:
        kind = self.dialect.type_compiler_instance.process(column.type, type_expression=column)
        return f"{self.preparer.format_column(column)} {kind}{'' if column.nullable else ' NOT NULL'}"

    def visit_create_index(self, create: Any, *_: Any, **kw: Any) -> str:
        # As with keys: there are none, segments are found by entity and index column. Tools make tables and indexes in one go.
        return _NOTHING

    def visit_drop_index(self, drop: Any, **kw: Any) -> str:
        return _NOTHING

    def post_create_table(self, table: schema.Table) -> str:
        given = table.dialect_options["coverline"]
        pairs = [(name, given[name]) for name in TABLE_OPTIONS if given[name] is not None]
        quoted = (f"{name} = '{str(value).replace(chr(39), chr(39) * 2)}'" for name, value in pairs)
        return f" WITH ({', '.join(quoted)})" if pairs else ""


class SQLCompiler(compiler.SQLCompiler):
    """Queries."""

    def render_bind_cast(self, type_: Any, dbapi_type: Any, sqltext: str) -> str:
        # Of durations only.
        return f"arrow_cast({sqltext}, '{DURATION}')"

    def visit_truediv_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        left, right = binary.left, binary.right
        # Two integers would be divided without the rest.
        if not (_is_fraction(left) or _is_fraction(right)) and not _is_a(left, types.Interval):
            if not _is_a(left, types.Integer):
                # A double when it is an integer after all; a decimal stays exact, a double what it is.
                return f"CASE WHEN FALSE THEN 0.0 ELSE {self.process(left, **kw)} END / {self.process(right, **kw)}"
            left = elements.Cast(left, types.Double())
        return f"{self.process(left, **kw)} / {self.process(right, **kw)}"

    def visit_add_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return self._shifted(binary, "+", **kw)

    def visit_sub_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return self._shifted(binary, "-", **kw)

    def _shifted(self, binary: Any, sign: str, **kw: Any) -> str:
        """A sum. The server does not add a duration to a date, and to a time of day only an interval."""
        kw["_in_operator_expression"] = True
        sides = [binary.left, binary.right]
        for at, other in ((0, 1), (1, 0)):
            if _is_a(sides[at], types.Date) and _is_a(sides[other], types.Interval):
                sides[at] = elements.Cast(sides[at], types.DateTime())
            elif _is_a(sides[at], types.Interval) and _is_a(sides[other], types.Time):
                sides[at] = elements.Cast(sides[at], types.Interval())
        return f"{self.process(sides[0], **kw)} {sign} {self.process(sides[1], **kw)}"

    def _of_buckets(self, fn: Any, **kw: Any) -> str:
        """A function that wants to know the width of its buckets when it plans, as text or as an interval."""
        parts = []
        for argument in fn.clauses:
            given = isinstance(argument, elements.BindParameter)
            cast = _is_a(argument, types.Interval) and not given
            how = {**kw, "literal_execute": True} if given else kw
            parts.append(self.process(elements.Cast(argument, types.Interval()) if cast else argument, **how))
        return f"{fn.name}({', '.join(parts)})"

    visit_date_bin_func = visit_date_bin_gapfill_func = visit_time_bucket_func = visit_time_bucket_gapfill_func = _of_buckets

    def visit_concat_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return self._joined([binary.left, binary.right], **kw)

    def visit_concat_op_expression_clauselist(self, clauselist: Any, operator: Any, **kw: Any) -> str:
        return self._joined(list(clauselist.clauses), **kw)

    def _joined(self, parts: list[Any], **kw: Any) -> str:
        # Parameters alone could be of any type.
        if isinstance(parts[0], elements.BindParameter) and _is_a(parts[0], types.String):
            parts[0] = elements.Cast(parts[0], types.Text())
        kw["_in_operator_expression"] = True
        return " || ".join(self.process(part, **kw) for part in parts)

    def visit_bitwise_not_op_unary_operator(self, unary: Any, operator: Any, **kw: Any) -> str:
        return f"(-1 - {self.process(unary.element, **kw)})"

    def visit_getitem_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return f"{self.process(binary.left, **kw)}[{self.process(binary.right, **kw)}]"

    def visit_regexp_match_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return self._matched(binary, "~", **kw)

    def visit_not_regexp_match_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return self._matched(binary, "!~", **kw)

    def _matched(self, binary: Any, sign: str, **kw: Any) -> str:
        left, right = self.process(binary.left, **kw), self.process(binary.right, **kw)
        flags = binary.modifiers["flags"]
        if flags is None or flags == "i":
            return f"{left} {sign}{'*' if flags else ''} {right}"
        return f"{left} {sign} concat({self.render_literal_value(f'(?{flags})', types.STRINGTYPE)}, {right})"

    def visit_regexp_replace_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        parts = [self.process(binary.left, **kw), self.process(binary.right, **kw)]
        if (flags := binary.modifiers["flags"]) is not None:
            parts.append(self.render_literal_value(flags, types.STRINGTYPE))
        return f"regexp_replace({', '.join(parts)})"

    def visit_aggregate_strings_func(self, fn: Any, **kw: Any) -> str:
        return f"string_agg{self.function_argspec(fn, **kw)}"

    def get_select_precolumns(self, select: Any, **kw: Any) -> str:
        if not select._distinct_on:
            return "DISTINCT " if select._distinct else ""
        return f"DISTINCT ON ({', '.join(self.process(column, **kw) for column in select._distinct_on)}) "

    def visit_postgresql_distinct_on(self, element: Any, **kw: Any) -> str:
        # The extension that SQLAlchemy 2.1 has in place of `distinct(...)`. The word before it is there.
        return f"ON ({', '.join(self.process(column, **kw) for column in element._distinct_on)})"

    def limit_clause(self, select: Any, **kw: Any) -> str:
        parts = (("LIMIT", select._limit_clause), ("OFFSET", select._offset_clause))
        return "".join(f"\n {word} {self._bound(select, clause, **kw)}" for word, clause in parts if clause is not None)

    def _bound(self, select: Any, clause: Any, **kw: Any) -> str:
        # A plan with its numbers in it is better than one that waits for them.
        if select._simple_int_clause(clause):
            kw["literal_execute"] = True
        return self.process(clause, **kw)

    def visit_frame_clause(self, frameclause: Any, **kw: Any) -> str:
        # The engine wants to know the frame when it plans.
        kw["literal_execute"] = True
        text: str = super().visit_frame_clause(frameclause, **kw)  # type: ignore[no-untyped-call]
        return text

    def _format_frame_clause(self, range_: Any, **kw: Any) -> str:
        # The same in SQLAlchemy 2.0.
        kw["literal_execute"] = True
        of_2_0: Any = super()
        text: str = of_2_0._format_frame_clause(range_, **kw)
        return text

    def visit_like_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return f"{self.process(binary.left, **kw)} LIKE {self._pattern(binary, **kw)}"

    def visit_not_like_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return f"{self.process(binary.left, **kw)} NOT LIKE {self._pattern(binary, **kw)}"

    def _pattern(self, binary: Any, **kw: Any) -> str:
        """The pattern with the backslash for what escapes in it, the only one there is. SQLAlchemy's ``autoescape`` takes the slash."""
        pattern = self.process(binary.right, **kw)
        escape = binary.modifiers.get("escape")
        if escape is None or escape == "\\":
            return pattern
        if len(escape) != 1 or escape in "%_":
            raise exc.CompileError(f"LIKE cannot escape with {escape!r}; take one character other than % and _")
        # One that escapes itself stays one, out of the way meanwhile.
        aside = "chr(1)"
        one, two = (self.render_literal_value(text, types.STRINGTYPE) for text in (escape, escape * 2))
        doubled = f"replace({pattern}, '\\', '\\\\')"
        return f"replace(replace(replace({doubled}, {two}, {aside}), {one}, '\\'), {aside}, {one})"


class Preparer(compiler.IdentifierPreparer):
    """What is quoted."""

    reserved_words = compiler.RESERVED_WORDS | _WORDS
