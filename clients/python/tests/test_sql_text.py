"""Rewriting of SQL text."""

import datetime

import pytest

from coverline import _sql


def test_tokens_leave_out_comments_and_keep_quoted_text_whole() -> None:
    sql = "SELECT 'it''s -- no comment', \"a\"\"b\" /* x /* nested */ y */ FROM t -- end\n, $$raw ' text$$, $1 `x`"
    kinds = [(token.kind, token.text) for token in _sql.tokens(sql)]
    assert ("string", "'it''s -- no comment'") in kinds
    assert ("quoted", '"a""b"') in kinds
    assert ("dollar", "$$raw ' text$$") in kinds
    assert ("placeholder", "$1") in kinds
    assert not any("nested" in text or text == "end" for _, text in kinds)


@pytest.mark.parametrize("sql", ["'open", '"open', "/* open", "$tag$ open", "$$", "\x00 é ’", "e'\\'"])
def test_odd_text_never_fails(sql: str) -> None:
    assert "".join(token.text for token in _sql.tokens(sql)).replace(" ", "") in ("", sql.replace(" ", ""))


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1", False),
        (" -- INSERT\n /* x */ ((select 'INSERT')) ", False),
        ("values (1)", False),
        ("EXPLAIN SELECT 1", False),
        ("SHOW TABLES", False),
        ("DESCRIBE t", False),
        ("TABLE t", False),
        ("WITH a AS (SELECT 1) SELECT * FROM a", False),
        ("WITH a AS (SELECT 'insert' -- insert\n) SELECT * FROM a", False),
        ("FROM t SELECT a", False),
        ("FROM t INSERT INTO u SELECT a", True),
        ("WITH a AS (SELECT 1) Insert INTO t SELECT * FROM a", True),
        ("/* SELECT */ INSERT INTO t VALUES (1)", True),
        ("CREATE TABLE t AS SELECT 1", True),
        ("DROP TABLE t", True),
        ("MERGE INTO t USING u ON true WHEN MATCHED THEN DELETE", True),
        ("", True),
        ("'SELECT'", True),
        ('"select" 1', True),
    ],
)
def test_only_what_surely_reads_does_not_change_anything(sql: str, expected: bool) -> None:
    assert _sql.may_change(sql) is expected


def test_names_fold_as_sql_says() -> None:
    assert _sql.names_in("SELECT Close FROM PRICES p, \"Prices\" WHERE x = 'symbols'") >= {"close", "prices", "p", "Prices"}
    assert "symbols" not in _sql.names_in("SELECT 'symbols' -- symbols\n /* symbols */")


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT * FROM p", 'WITH "p" AS (SELECT * FROM "coverline"."public"."data") (\nSELECT * FROM p\n)'),
        ("select 1 from p ; -- end", 'WITH "p" AS (SELECT * FROM "coverline"."public"."data") (\nselect 1 from p\n)'),
        (
            "WITH a AS (SELECT * FROM p) SELECT * FROM a ORDER BY 1",
            'WITH "p" AS (SELECT * FROM "coverline"."public"."data") (\nWITH a AS (SELECT * FROM p) SELECT * FROM a ORDER BY 1\n)',
        ),
        (
            "-- c\nEXPLAIN ANALYZE SELECT * FROM p",
            '-- c\nEXPLAIN ANALYZE WITH "p" AS (SELECT * FROM "coverline"."public"."data") (\nSELECT * FROM p\n)',
        ),
        ("(SELECT 1 FROM p)", 'WITH "p" AS (SELECT * FROM "coverline"."public"."data") (\n(SELECT 1 FROM p)\n)'),
    ],
)
def test_a_query_reads_tables_under_other_names(sql: str, expected: str) -> None:
    assert _sql.with_tables(sql, {"p": "data"}) == expected


def test_names_are_quoted_in_the_clause() -> None:
    assert _sql.with_tables("SELECT 1", {'a"b': 'c"d'}).startswith('WITH "a""b" AS (SELECT * FROM "coverline"."public"."c""d")')


@pytest.mark.parametrize("sql", ["", ";", "DROP TABLE p", "SELECT 1; SELECT 2", "INSERT INTO p VALUES (1)"])
def test_what_is_no_single_query_is_refused(sql: str) -> None:
    with pytest.raises(ValueError):
        _sql.with_tables(sql, {"p": "data"})


def test_named_placeholders_become_numbers() -> None:
    sql, values = _sql.bind_names("SELECT $b, '$a', $a, $b -- $c", {"a": 1, "$b": 2})
    assert sql == "SELECT $1, '$a', $2, $1 -- $c"
    assert values == [2, 1]


@pytest.mark.parametrize("params", [{}, {"a": 1, "b": 2}])
def test_placeholders_and_values_must_match(params: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        _sql.bind_names("SELECT $a", params)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "5"),
        ("2025-01-01", "'2025-01-01'"),
        (datetime.datetime(2025, 1, 1, 2), "'2025-01-01T02:00:00Z'"),
        (datetime.datetime(2025, 1, 1, 2, tzinfo=datetime.timezone(datetime.timedelta(hours=2))), "'2025-01-01T00:00:00Z'"),
        (datetime.date(2025, 1, 1), "'2025-01-01T00:00:00Z'"),
    ],
)
def test_index_values_as_sql(value: object, text: str) -> None:
    assert _sql.literal(value) == text


def test_other_values_are_no_index_values() -> None:
    for value in (True, 1.5, None):
        with pytest.raises(TypeError):
            _sql.literal(value)
