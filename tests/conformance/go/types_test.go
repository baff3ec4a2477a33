package conformance

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Every type that tables store, a value of it in SQL, the text of that value, and what database/sql scans it as; nil where its driver
// has no value for the type. What has a name of arrow_cast is cast to it.
var storedTypes = []struct {
	kind, value, text string
	scanned           any
}{
	{"Int8", "'-128'", "-128", int8(-128)},
	{"Int16", "'-32768'", "-32768", int16(-32768)},
	{"Int32", "'-2147483648'", "-2147483648", int32(-2147483648)},
	{"Int64", "'-9223372036854775808'", "-9223372036854775808", int64(-9223372036854775808)},
	{"UInt8", "'255'", "255", nil},
	{"UInt16", "'65535'", "65535", nil},
	{"UInt32", "'4294967295'", "4294967295", nil},
	{"UInt64", "'18446744073709551615'", "18446744073709551615", nil},
	{"Float32", "1.5", "1.5", float32(1.5)},
	{"Float64", "-2.25", "-2.25", -2.25},
	{"Decimal128(20, 4)", "'-12345678901234.5678'", "-12345678901234.5678", -12345678901234.5678},
	{"Decimal256(50, 2)", "'-1234567890123456789012345678901234567890123.45'", "-1234567890123456789012345678901234567890123.45", -1234567890123456789012345678901234567890123.45},
	{"Utf8", "'naïve'", "naïve", "naïve"},
	{"Binary", "X'00ff'", "AP8=", "\x00\xff"},
	{"FixedSizeBinary(3)", "X'00ff10'", "AP8Q", nil},
	{"Boolean", "true", "true", true},
	{"Date32", "'2025-03-01'", "2025-03-01", day},
	{"Date64", "'2025-03-01'", "2025-03-01", day},
	{"Time32(Second)", "'01:02:03'", "01:02:03", time.Unix(3723, 0).UTC()},
	{"Time32(Millisecond)", "'01:02:03.004'", "01:02:03.004", time.Unix(3723, 4_000_000).UTC()},
	{"Time64(Microsecond)", "'01:02:03.000005'", "01:02:03.000005", time.Unix(3723, 5_000).UTC()},
	{"Time64(Nanosecond)", "'01:02:03.000000006'", "01:02:03.000000006", time.Unix(3723, 6).UTC()},
	{"Timestamp(Second, None)", "'2025-03-01T01:02:03'", "2025-03-01T01:02:03", moment(0)},
	{"Timestamp(Millisecond, None)", "'2025-03-01T01:02:03.004'", "2025-03-01T01:02:03.004", moment(4_000_000)},
	{"Timestamp(Microsecond, None)", "'2025-03-01T01:02:03.000005'", "2025-03-01T01:02:03.000005", moment(5_000)},
	{"Timestamp(Nanosecond, None)", "'2025-03-01T01:02:03.000000006'", "2025-03-01T01:02:03.000000006", moment(6)},
	{`Timestamp(Second, Some("UTC"))`, "'2025-03-01T01:02:03Z'", "2025-03-01T01:02:03Z", moment(0)},
	{`Timestamp(Millisecond, Some("UTC"))`, "'2025-03-01T01:02:03.004Z'", "2025-03-01T01:02:03.004Z", moment(4_000_000)},
	{`Timestamp(Microsecond, Some("Europe/Berlin"))`, "'2025-03-01T01:02:03.000005Z'", "2025-03-01T02:02:03.000005+01:00", moment(5_000)},
	{`Timestamp(Nanosecond, Some("+05:30"))`, "'2025-03-01T01:02:03.000000006Z'", "2025-03-01T06:32:03.000000006+05:30", moment(6)},
	{"Duration(Second)", "90061", "90061s", 90061 * time.Second},
	{"Duration(Millisecond)", "90061", "90061ms", 90061 * time.Millisecond},
	{"Duration(Microsecond)", "90061", "90061us", 90061 * time.Microsecond},
	{"Duration(Nanosecond)", "90061", "90061ns", 90061 * time.Nanosecond},
	{"List(Int64)", "[1, NULL]", "[1,null]", nil},
	{"FixedSizeList(2, Int64)", "[1, 2]", "[1,2]", nil},
	{"", "named_struct('x', 1, 'y', 'a')", `{"x":1,"y":"a"}`, nil},
	{"", "MAP {'a': 1, 'b': NULL}", `[{"key":"a","value":1},{"key":"b","value":null}]`, nil},
}

// moment is three seconds, two minutes and an hour into the day, and some nanoseconds.
func moment(nanoseconds int) time.Time {
	return time.Date(2025, 3, 1, 1, 2, 3, nanoseconds, time.UTC)
}

// typesTable makes a table with a column of every type, of which row 1 has the values and row 2 has none. The SQL that reads each
// column comes back.
func typesTable(t *testing.T, update func(sql string)) []string {
	t.Helper()
	name := freshName()
	columns, reads := []string{"id"}, []string{}
	for i, of := range storedTypes {
		value := of.value
		if of.kind != "" {
			value = fmt.Sprintf("arrow_cast(%s, '%s')", value, of.kind)
		}
		columns = append(columns, fmt.Sprintf("%s AS v%d", value, i))
		reads = append(reads, fmt.Sprintf("SELECT v%d FROM %s ORDER BY id", i, name))
	}
	one := strings.Join(columns, ", ") + " FROM (SELECT 1 AS id)"
	none := strings.Repeat(", NULL", len(storedTypes))
	update("CREATE TABLE " + name + " AS SELECT " + one + " UNION ALL SELECT 2" + none)
	return reads
}

// readAs compares what one client makes of a column of the table: its value, then NULL.
func readAs(t *testing.T, sql string, rows [][]string, want string) {
	t.Helper()
	if len(rows) != 2 {
		t.Errorf("%s: %d rows", sql, len(rows))
		return
	}
	equal(t, sql, rows[0][0], want)
	equal(t, sql, rows[1][0], "(null)")
}
