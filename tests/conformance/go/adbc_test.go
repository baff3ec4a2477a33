package conformance

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/apache/arrow-adbc/go/adbc"
	"github.com/apache/arrow-adbc/go/adbc/driver/flightsql"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"coverline.example/clients/overlap"
)

// adbcConnection of the test's own, whose buffers are counted. Options are those of the database, beside its address.
func adbcConnection(t *testing.T, options map[string]string) adbc.Connection {
	t.Helper()
	buffers := memory.NewCheckedAllocator(memory.DefaultAllocator)
	all := map[string]string{adbc.OptionKeyURI: "grpc+tcp://" + address(t)}
	for key, value := range options {
		all[key] = value
	}
	database, err := flightsql.NewDriver(buffers).NewDatabase(all)
	must(t, err)
	connection, err := database.Open(t.Context())
	must(t, err)
	t.Cleanup(func() {
		must(t, connection.Close())
		must(t, database.Close())
		buffers.AssertSize(t, 0)
	})
	return connection
}

// adbcStatement lasts as long as the test.
func adbcStatement(t *testing.T, connection adbc.Connection) adbc.Statement {
	t.Helper()
	statement, err := connection.NewStatement()
	must(t, err)
	t.Cleanup(func() { must(t, statement.Close()) })
	return statement
}

func adbcUpdate(t *testing.T, connection adbc.Connection, sql string) (int64, error) {
	t.Helper()
	statement := adbcStatement(t, connection)
	must(t, statement.SetSqlQuery(sql))
	return statement.ExecuteUpdate(t.Context())
}

func adbcQuery(t *testing.T, connection adbc.Connection, sql string) [][]string {
	t.Helper()
	statement := adbcStatement(t, connection)
	must(t, statement.SetSqlQuery(sql))
	reader, _, err := statement.ExecuteQuery(t.Context())
	must(t, err)
	return adbcRows(t, reader)
}

// adbcRows reads a whole result and releases it; every value as text.
func adbcRows(t *testing.T, reader array.RecordReader) [][]string {
	t.Helper()
	defer reader.Release()
	rows := [][]string{}
	for reader.Next() {
		rows = append(rows, textOf(reader.RecordBatch())...)
	}
	must(t, reader.Err())
	return rows
}

// adbcIngest is bulk ingestion of one day, as a batch.
func adbcIngest(t *testing.T, connection adbc.Connection, table string, number int, mode string) (int64, error) {
	t.Helper()
	statement := adbcStatement(t, connection)
	must(t, statement.SetOption(adbc.OptionKeyIngestTargetTable, table))
	must(t, statement.SetOption(adbc.OptionKeyIngestMode, mode))
	batch := dayOf(number, memory.DefaultAllocator)
	defer batch.Release()
	must(t, statement.Bind(t.Context(), batch))
	return statement.ExecuteUpdate(t.Context())
}

func adbcError(t *testing.T, err error) adbc.Error {
	t.Helper()
	var refused adbc.Error
	if !errors.As(err, &refused) {
		t.Fatalf("%v is no adbc.Error", err)
	}
	return refused
}

// The Flight SQL driver of ADBC, written in Go: the packages for C, Python and R carry it compiled.
func TestADBC(t *testing.T) {
	t.Run("opens with and without a user and a password", func(t *testing.T) {
		for _, options := range []map[string]string{nil, {adbc.OptionKeyUsername: "somebody", adbc.OptionKeyPassword: "p:ass"}} {
			equal(t, "answer", adbcQuery(t, adbcConnection(t, options), "SELECT 41 + 1")[0][0], "42")
		}
	})

	t.Run("creates, fills, reads and drops a table by SQL", func(t *testing.T) {
		connection := adbcConnection(t, nil)
		name := freshName()
		_, err := adbcUpdate(t, connection, "CREATE TABLE "+name+" (id BIGINT, name TEXT)")
		must(t, err)
		rows, err := adbcUpdate(t, connection, "INSERT INTO "+name+" VALUES (1, 'a'), (2, NULL)")
		must(t, err)
		equal(t, "rows", rows, 2)
		equal(t, "null", adbcQuery(t, connection, "SELECT id FROM "+name+" WHERE name IS NULL")[0][0], "2")
		_, err = adbcUpdate(t, connection, "DROP TABLE "+name)
		must(t, err)
		_, err = adbcUpdate(t, connection, "INSERT INTO "+name+" VALUES (1, 'a')")
		equal(t, "status", adbcError(t, err).Code, adbc.StatusNotFound)
	})

	t.Run("reads every type that tables store", func(t *testing.T) {
		connection := adbcConnection(t, nil)
		reads := typesTable(t, func(sql string) {
			_, err := adbcUpdate(t, connection, sql)
			must(t, err)
		})
		for i, sql := range reads {
			readAs(t, storedTypes[i].kind, adbcQuery(t, connection, sql), storedTypes[i].text)
		}
	})

	t.Run("a prepared statement takes parameters again and again", func(t *testing.T) {
		connection := adbcConnection(t, nil)
		name := freshName()
		_, err := adbcIngest(t, connection, name, 0, adbc.OptionValueIngestModeCreate)
		must(t, err)
		statement := adbcStatement(t, connection)
		must(t, statement.SetSqlQuery("SELECT count(*) FROM "+name+" WHERE symbol = ? AND close >= ?"))
		must(t, statement.Prepare(t.Context()))
		parameters, err := statement.GetParameterSchema()
		must(t, err)
		equal(t, "parameters", parameters.NumFields(), 2)
		for symbol, want := range map[string]string{"AAPL": "12", "none": "0"} {
			builder := array.NewRecordBuilder(memory.DefaultAllocator, parameters)
			builder.Field(0).(*array.StringBuilder).Append(symbol)
			builder.Field(1).(*array.Float64Builder).Append(112)
			must(t, statement.Bind(t.Context(), builder.NewRecordBatch()))
			reader, _, err := statement.ExecuteQuery(t.Context())
			must(t, err)
			equal(t, symbol, adbcRows(t, reader)[0][0], want)
		}
	})

	t.Run("a prepared INSERT of several rows is one append", func(t *testing.T) {
		connection := adbcConnection(t, nil)
		name := freshName()
		_, err := adbcUpdate(t, connection, "CREATE TABLE "+name+" (id BIGINT, name TEXT)")
		must(t, err)
		statement := adbcStatement(t, connection)
		must(t, statement.SetSqlQuery("INSERT INTO "+name+" VALUES (?, ?)"))
		must(t, statement.Prepare(t.Context()))
		parameters, err := statement.GetParameterSchema()
		must(t, err)
		builder := array.NewRecordBuilder(memory.DefaultAllocator, parameters)
		builder.Field(0).(*array.Int64Builder).AppendValues([]int64{1, 2, 3}, nil)
		builder.Field(1).(*array.StringBuilder).AppendValues([]string{"a", "", "c"}, []bool{true, false, true})
		must(t, statement.Bind(t.Context(), builder.NewRecordBatch()))
		rows, err := statement.ExecuteUpdate(t.Context())
		must(t, err)
		equal(t, "rows", rows, 3)
		equal(t, "null", adbcQuery(t, connection, "SELECT id FROM "+name+" WHERE name IS NULL")[0][0], "2")
	})

	t.Run("bulk ingestion in each mode, of a batch and of a stream", func(t *testing.T) {
		connection := adbcConnection(t, nil)
		name := freshName()
		for _, step := range []struct {
			mode   string
			number int
			status adbc.Status
			count  string
		}{
			{adbc.OptionValueIngestModeAppend, 0, adbc.StatusNotFound, ""},
			{adbc.OptionValueIngestModeCreate, 0, adbc.StatusOK, "48"},
			{adbc.OptionValueIngestModeCreate, 0, adbc.StatusAlreadyExists, "48"},
			{adbc.OptionValueIngestModeAppend, 1, adbc.StatusOK, "96"},
			{adbc.OptionValueIngestModeCreateAppend, 2, adbc.StatusOK, "144"},
			{adbc.OptionValueIngestModeReplace, 0, adbc.StatusOK, "48"},
		} {
			rows, err := adbcIngest(t, connection, name, step.number, step.mode)
			if step.status == adbc.StatusOK {
				must(t, err)
				equal(t, step.mode, rows, 48)
			} else {
				equal(t, step.mode, adbcError(t, err).Code, step.status)
			}
			if step.count != "" {
				equal(t, step.mode, adbcQuery(t, connection, "SELECT count(*) FROM "+name)[0][0], step.count)
			}
		}
		for _, mode := range []string{adbc.OptionValueIngestModeReplace, adbc.OptionValueIngestModeCreateAppend} {
			batch := dayOf(0, memory.DefaultAllocator)
			stream, err := array.NewRecordReader(prices, []arrow.RecordBatch{batch, batch.NewSlice(0, 0)})
			must(t, err)
			fresh := freshName()
			rows, err := adbc.IngestStream(t.Context(), connection, stream, fresh, mode, adbc.IngestStreamOptions{Catalog: "coverline", DBSchema: "public"})
			must(t, err)
			equal(t, mode, rows, 48)
			batch.Release()
		}
	})

	t.Run("rows that are there already are ALREADY_EXISTS, and adbc.Error.Details has the facts", func(t *testing.T) {
		connection := adbcConnection(t, nil)
		name := freshName()
		_, err := adbcUpdate(t, connection, pricesTableSQL(name))
		must(t, err)
		_, err = adbcIngest(t, connection, name, 0, adbc.OptionValueIngestModeAppend)
		must(t, err)
		_, err = adbcIngest(t, connection, name, 0, adbc.OptionValueIngestModeAppend)
		refused := adbcError(t, err)
		equal(t, "status", refused.Code, adbc.StatusAlreadyExists)
		details := map[string][]byte{}
		for _, detail := range refused.Details {
			value, err := detail.Serialize()
			must(t, err)
			details[detail.Key()] = value
		}
		for key, want := range map[string]string{
			"x-coverline-error":             "COVERAGE_OVERLAP",
			"x-coverline-committed":         "no",
			"x-coverline-overlap-count":     "48",
			"x-coverline-overlap-identical": "true",
		} {
			equal(t, key, string(details[key]), want)
		}
		// The detail is one of those of the status, not the status itself as in Java.
		var packed anypb.Any
		must(t, proto.Unmarshal(details["grpc-status-details-bin"], &packed))
		var info errdetails.ErrorInfo
		must(t, packed.UnmarshalTo(&info))
		equal(t, "reason", info.GetReason(), "COVERAGE_OVERLAP")
		for field, want := range map[string]string{
			"table": name, "overlap_count": "48", "example_entity": `symbol="AAPL"`, "bucket_start": "2025-03-01T00:00:00Z",
			"bucket_end": "2025-03-01T01:00:00Z", "owner_version": "2", "identical": "true", "committed": "no",
		} {
			equal(t, field, info.GetMetadata()[field], want)
		}
		// The same by the package of the examples; and other rows for a bucket are no repeat.
		equal(t, "overlap", *overlap.Of(err), overlap.Overlap{
			Table: name, Count: 48, Entity: `symbol="AAPL"`,
			BucketStart: "2025-03-01T00:00:00Z", BucketEnd: "2025-03-01T01:00:00Z", OwnerVersion: 2, Identical: "true",
		})
		_, err = adbcUpdate(t, connection, "INSERT INTO "+name+" VALUES (TIMESTAMP '2025-03-01T05:30:00Z', 'NVDA', 1.0)")
		equal(t, "revision", overlap.Of(err).String(),
			`refused, 1 overlapping buckets (first symbol="NVDA" [2025-03-01T05:00:00Z, 2025-03-01T06:00:00Z), since version 2)`)
		equal(t, "count", adbcQuery(t, connection, "SELECT count(*) FROM "+name)[0][0], "48")
	})

	t.Run("headers choose skip and an append id", func(t *testing.T) {
		name := freshName()
		_, err := adbcUpdate(t, adbcConnection(t, nil), pricesTableSQL(name))
		must(t, err)
		named := adbcConnection(t, map[string]string{flightsql.OptionRPCCallHeaderPrefix + "x-coverline-append-id": "day-0-of-" + name})
		for range 2 {
			rows, err := adbcIngest(t, named, name, 0, adbc.OptionValueIngestModeAppend)
			must(t, err)
			equal(t, "rows of the first try", rows, 48)
		}
		skipping := adbcConnection(t, map[string]string{flightsql.OptionRPCCallHeaderPrefix + "x-coverline-on-overlap": "skip"})
		rows, err := adbcIngest(t, skipping, name, 0, adbc.OptionValueIngestModeAppend)
		must(t, err)
		equal(t, "rows not there yet", rows, 0)
	})

	t.Run("metadata: objects to every depth, the schema of a table, the types of tables, and who answers", func(t *testing.T) {
		connection := adbcConnection(t, nil)
		name := freshName()
		_, err := adbcUpdate(t, connection, pricesTableSQL(name))
		must(t, err)
		for depth, wanted := range map[adbc.ObjectDepth][]string{
			adbc.ObjectDepthCatalogs:  {"coverline"},
			adbc.ObjectDepthDBSchemas: {"coverline", "public"},
			adbc.ObjectDepthTables:    {"coverline", "public", name},
			adbc.ObjectDepthColumns:   {"coverline", "public", name, "symbol", "close"},
		} {
			objects, err := connection.GetObjects(t.Context(), depth, nil, nil, &name, nil, nil)
			must(t, err)
			rows := adbcRows(t, objects)
			equal(t, "catalogs", len(rows), 1)
			for _, word := range wanted {
				if all := strings.Join(rows[0], " "); !strings.Contains(all, `"`+word+`"`) && rows[0][0] != word {
					t.Errorf("depth %v: %s is not in %s", depth, word, all)
				}
			}
		}
		schema, err := connection.GetTableSchema(t.Context(), nil, nil, name)
		must(t, err)
		equal(t, "columns", schema.NumFields(), 3)
		for i, field := range schema.Fields() {
			if !arrow.TypeEqual(field.Type, prices.Field(i).Type) || field.Name != prices.Field(i).Name {
				t.Errorf("got %v, want %v", field, prices.Field(i))
			}
		}
		nowhere := "nowhere"
		_, err = connection.GetTableSchema(t.Context(), nil, &nowhere, name)
		equal(t, "status of a missing table", adbcError(t, err).Code, adbc.StatusNotFound)
		kinds, err := connection.GetTableTypes(t.Context())
		must(t, err)
		if len(adbcRows(t, kinds)) == 0 {
			t.Error("no types of tables")
		}
		info, err := connection.GetInfo(t.Context(), []adbc.InfoCode{adbc.InfoVendorName})
		must(t, err)
		if rows := adbcRows(t, info); len(rows) != 1 || !strings.Contains(rows[0][1], "Coverline") {
			t.Errorf("who answers: %v", rows)
		}
	})

	t.Run("a partition of a result is read by another connection", func(t *testing.T) {
		connection := adbcConnection(t, nil)
		name := freshName()
		_, err := adbcIngest(t, connection, name, 0, adbc.OptionValueIngestModeCreate)
		must(t, err)
		statement := adbcStatement(t, connection)
		must(t, statement.SetSqlQuery("SELECT * FROM "+name))
		schema, partitions, rows, err := statement.ExecutePartitions(t.Context())
		must(t, err)
		equal(t, "columns", schema.NumFields(), 3)
		equal(t, "partitions", int(partitions.NumPartitions), 1)
		if rows != 48 && rows != -1 {
			t.Errorf("%d rows are announced", rows)
		}
		reader, err := adbcConnection(t, nil).ReadPartition(t.Context(), partitions.PartitionIDs[0])
		must(t, err)
		equal(t, "rows", len(adbcRows(t, reader)), 48)
	})

	t.Run("a query that is given up ends, and the connection goes on", func(t *testing.T) {
		connection := adbcConnection(t, nil)
		statement := adbcStatement(t, connection)
		must(t, statement.SetSqlQuery("SELECT a.value FROM generate_series(1, 100000) a, generate_series(1, 100000) b"))
		ctx, cancel := context.WithCancel(t.Context())
		reader, _, err := statement.ExecuteQuery(ctx)
		must(t, err)
		if !reader.Next() {
			t.Fatal(reader.Err())
		}
		cancel()
		for reader.Next() {
		}
		if err := reader.Err(); !errors.Is(err, context.Canceled) && adbcError(t, err).Code != adbc.StatusCancelled {
			t.Errorf("the reader ended with %v", err)
		}
		reader.Release()
		equal(t, "next query", adbcQuery(t, connection, "SELECT 1")[0][0], "1")
	})

	t.Run("bad SQL and missing tables say what is wrong, with the right status", func(t *testing.T) {
		connection := adbcConnection(t, nil)
		for _, bad := range []struct {
			sql, word string
			status    adbc.Status
		}{
			{"SELEC 1", "SELEC", adbc.StatusInvalidArgument},
			{"SELECT * FROM nowhere", "nowhere", adbc.StatusNotFound},
		} {
			statement := adbcStatement(t, connection)
			must(t, statement.SetSqlQuery(bad.sql))
			_, _, err := statement.ExecuteQuery(t.Context())
			refused := adbcError(t, err)
			equal(t, bad.sql, refused.Code, bad.status)
			if !strings.Contains(refused.Msg, bad.word) {
				t.Error(refused.Msg)
			}
		}
	})
}
