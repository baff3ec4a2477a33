package conformance

import (
	"database/sql"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/flight/flightsql/driver"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"coverline.example/clients/overlap"
)

func database(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open("flightsql", "flightsql://"+address(t)+"?timeout=60s")
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	return db
}

func exec(t *testing.T, db *sql.DB, statement string, arguments ...any) int64 {
	t.Helper()
	result, err := db.ExecContext(t.Context(), statement, arguments...)
	must(t, err)
	rows, err := result.RowsAffected()
	must(t, err)
	return rows
}

func scanOne[T any](t *testing.T, db *sql.DB, query string, arguments ...any) T {
	t.Helper()
	var value T
	must(t, db.QueryRowContext(t.Context(), query, arguments...).Scan(&value))
	return value
}

// arrow-go's driver for database/sql.
func TestDatabaseSQL(t *testing.T) {
	t.Run("connects, with and without user, password and token", func(t *testing.T) {
		must(t, database(t).PingContext(t.Context()))
		for _, dsn := range []string{"flightsql://somebody:secret@" + address(t), "flightsql://" + address(t) + "?token=abc"} {
			db, err := sql.Open("flightsql", dsn)
			must(t, err)
			equal(t, dsn, scanOne[int64](t, db, "SELECT 1"), 1)
			must(t, db.Close())
		}
	})

	t.Run("creates, fills, reads and drops a table", func(t *testing.T) {
		db := database(t)
		name := freshName()
		_, err := db.ExecContext(t.Context(), "CREATE TABLE "+name+" (id BIGINT, name TEXT)")
		must(t, err)
		equal(t, "rows", exec(t, db, "INSERT INTO "+name+" VALUES (1, 'a'), (2, NULL)"), 2)
		equal(t, "count", scanOne[int64](t, db, "SELECT count(*) FROM "+name), 2)
		equal(t, "null", scanOne[sql.NullString](t, db, "SELECT name FROM "+name+" WHERE id = 2").Valid, false)
		_, err = db.ExecContext(t.Context(), "DROP TABLE "+name)
		must(t, err)
	})

	t.Run("binds parameters of the kinds the driver has", func(t *testing.T) {
		db := database(t)
		name := freshName()
		_, err := db.ExecContext(t.Context(), "CREATE TABLE "+name+" (b BOOLEAN, i BIGINT, f DOUBLE, s TEXT)")
		must(t, err)
		equal(t, "rows", exec(t, db, "INSERT INTO "+name+" VALUES (?, ?, ?, ?)", true, int64(-7), 2.5, "naïve"), 1)
		var b bool
		var i int64
		var f float64
		var s string
		must(t, db.QueryRowContext(t.Context(), "SELECT * FROM "+name+" WHERE s = ? AND i < ?", "naïve", int64(0)).Scan(&b, &i, &f, &s))
		if !b || i != -7 || f != 2.5 || s != "naïve" {
			t.Error(b, i, f, s)
		}
	})

	t.Run("one statement runs with other values", func(t *testing.T) {
		db := database(t)
		statement, err := db.PrepareContext(t.Context(), "SELECT count(*) FROM generate_series(1, 100) WHERE value <= ?")
		must(t, err)
		defer statement.Close()
		for _, n := range []int64{0, 10, 100} {
			var count int64
			must(t, statement.QueryRowContext(t.Context(), n).Scan(&count))
			equal(t, "count", count, n)
		}
	})

	t.Run("reads the types the driver has", func(t *testing.T) {
		var b bool
		var i16, i64 int64
		var f, d float64
		var s string
		var bin []byte
		var day, ts, tz time.Time
		var null sql.NullInt64
		must(t, database(t).QueryRowContext(t.Context(), `SELECT true, CAST(-5 AS SMALLINT), 9, 2.5, CAST(1.25 AS DECIMAL(10, 2)), 'naïve',
			X'00ff', DATE '2025-03-01', TIMESTAMP '2025-03-01T01:02:03.456', CAST('2025-03-01T01:02:03Z' AS TIMESTAMP WITH TIME ZONE),
			CAST(NULL AS BIGINT)`).Scan(&b, &i16, &i64, &f, &d, &s, &bin, &day, &ts, &tz, &null))
		if !b || i16 != -5 || i64 != 9 || f != 2.5 || d != 1.25 || s != "naïve" || string(bin) != "\x00\xff" || null.Valid {
			t.Error(b, i16, i64, f, d, s, bin, null)
		}
		equal(t, "day", day, time.Date(2025, 3, 1, 0, 0, 0, 0, time.UTC))
		equal(t, "ts", ts, time.Date(2025, 3, 1, 1, 2, 3, 456_000_000, time.UTC))
		equal(t, "tz", tz, time.Date(2025, 3, 1, 1, 2, 3, 0, time.UTC))
	})

	t.Run("reads every stored type that it has", func(t *testing.T) {
		db := database(t)
		for i, sql := range typesTable(t, func(sql string) { exec(t, db, sql) }) {
			want := storedTypes[i]
			if want.scanned == nil {
				continue
			}
			rows, err := db.QueryContext(t.Context(), sql)
			must(t, err)
			var values []any
			for rows.Next() {
				var value any
				must(t, rows.Scan(&value))
				if bytes, ok := value.([]byte); ok {
					value = string(bytes)
				}
				values = append(values, value)
			}
			must(t, rows.Err())
			if !slices.Equal(values, []any{want.scanned, nil}) {
				t.Errorf("%s: got %v, want %v, then nil", want.kind, values, want.scanned)
			}
		}
	})

	t.Run("limit: unsigned integers, lists, structs, maps and bytes of a fixed size are \"not supported\"; CAST them", func(t *testing.T) {
		db := database(t)
		for i, sql := range typesTable(t, func(sql string) { exec(t, db, sql) }) {
			if storedTypes[i].scanned != nil {
				continue
			}
			var value any
			if err := db.QueryRowContext(t.Context(), sql).Scan(&value); !errors.Is(err, driver.ErrNotSupported) {
				t.Errorf("%s: %v", sql, err)
			}
		}
		equal(t, "cast", scanOne[int64](t, db, "SELECT CAST(CAST(1 AS BIGINT UNSIGNED) AS BIGINT)"), 1)
	})

	t.Run("limit: decimals come as float64, which keeps some 15 digits of them; CAST them to TEXT", func(t *testing.T) {
		db := database(t)
		const digits = "12345678901234567890.5"
		value := "CAST('" + digits + "' AS DECIMAL(30, 1))"
		equal(t, "decimal", scanOne[float64](t, db, "SELECT "+value), 1.234567890123457e19)
		equal(t, "text", scanOne[string](t, db, "SELECT CAST("+value+" AS TEXT)"), digits)
	})

	t.Run("limit: timestamps, dates, NULL and bytes cannot be bound; cast a text", func(t *testing.T) {
		db := database(t)
		for query, value := range map[string]any{
			"SELECT ? = TIMESTAMP '2025-03-01T00:00:00'": day,
			"SELECT ? = DATE '2025-03-01'":               day,
			"SELECT ? = 'a'":                             nil,
			"SELECT ? = X'00'":                           []byte{0},
		} {
			var equal sql.NullBool
			if err := db.QueryRowContext(t.Context(), query, value).Scan(&equal); err == nil {
				t.Errorf("%s works now with %v; the limit is gone", query, value)
			}
		}
		equal(t, "cast", scanOne[bool](t, db, "SELECT CAST(? AS TIMESTAMP) = TIMESTAMP '2025-03-01T00:00:00'", "2025-03-01T00:00:00"), true)
	})

	t.Run("an INSERT over rows that are there is refused, and the error carries the facts", func(t *testing.T) {
		db := database(t)
		name := freshName()
		_, err := db.ExecContext(t.Context(), pricesTableSQL(name))
		must(t, err)
		insert := "INSERT INTO " + name + " VALUES (TIMESTAMP '2025-03-01T05:30:00Z', 'AAPL', 1.0)"
		equal(t, "rows", exec(t, db, insert), 1)
		_, err = db.ExecContext(t.Context(), insert)
		refused := overlap.Of(err)
		if refused == nil {
			t.Fatalf("no overlap in %v", err)
		}
		equal(t, "overlap", *refused, overlap.Overlap{
			Table: name, Count: 1, Entity: `symbol="AAPL"`,
			BucketStart: "2025-03-01T05:00:00Z", BucketEnd: "2025-03-01T06:00:00Z", OwnerVersion: 2, Identical: "true",
		})
		equal(t, "count", scanOne[int64](t, db, "SELECT count(*) FROM "+name), 1)
	})

	t.Run("gaps() answers as a table", func(t *testing.T) {
		db := database(t)
		name := freshName()
		_, err := db.ExecContext(t.Context(), pricesTableSQL(name))
		must(t, err)
		exec(t, db, "INSERT INTO "+name+" VALUES (TIMESTAMP '2025-03-01T05:30:00Z', 'AAPL', 1.0), (TIMESTAMP '2025-03-01T08:00:00Z', 'AAPL', 2.0)")
		equal(t, "buckets", scanOne[int64](t, db, "SELECT CAST(missing_buckets AS BIGINT) FROM gaps('"+name+"')"), 2)
	})

	t.Run("a large result arrives whole, and one that is left half read does no harm", func(t *testing.T) {
		db := database(t)
		for range 3 {
			rows, err := db.QueryContext(t.Context(), "SELECT value FROM generate_series(1, 10000000)")
			must(t, err)
			rows.Next()
			must(t, rows.Close())
		}
		rows, err := db.QueryContext(t.Context(), "SELECT value FROM generate_series(1, 300000) ORDER BY value")
		must(t, err)
		defer rows.Close()
		var expected, value int64
		for rows.Next() {
			expected++
			must(t, rows.Scan(&value))
			if value != expected {
				t.Fatalf("got %d, want %d", value, expected)
			}
		}
		must(t, rows.Err())
		equal(t, "rows", expected, 300_000)
	})

	t.Run("bad SQL says what is wrong, and the pool goes on", func(t *testing.T) {
		db := database(t)
		if _, err := db.QueryContext(t.Context(), "SELEC 1"); err == nil || !strings.Contains(err.Error(), "SELEC") {
			t.Error(err)
		}
		if _, err := db.ExecContext(t.Context(), "INSERT INTO nowhere VALUES (1)"); err == nil || !strings.Contains(err.Error(), "nowhere") {
			t.Error(err)
		}
		equal(t, "next", scanOne[int64](t, db, "SELECT 1"), 1)
	})

	t.Run("a transaction commits, or the server says that it has none", func(t *testing.T) {
		transaction, err := database(t).BeginTx(t.Context(), nil)
		if err != nil {
			equal(t, "code", status.Code(err), codes.Unimplemented)
			return
		}
		must(t, transaction.Commit())
	})
}
