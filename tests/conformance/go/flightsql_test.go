package conformance

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"coverline.example/clients/overlap"
)

// The client of arrow-go, flight/flightsql.
func TestFlightSQL(t *testing.T) {
	t.Run("creates, fills, reads and drops a table by SQL", func(t *testing.T) {
		client := client(t)
		name := freshName()
		_, err := client.ExecuteUpdate(t.Context(), "CREATE TABLE "+name+" (id BIGINT, name TEXT)")
		must(t, err)
		rows, err := client.ExecuteUpdate(t.Context(), "INSERT INTO "+name+" VALUES (1, 'a'), (2, NULL)")
		must(t, err)
		equal(t, "rows", rows, 2)
		equal(t, "count", query(t, client, "SELECT count(*) FROM "+name)[0][0], "2")
		_, err = client.ExecuteUpdate(t.Context(), "DROP TABLE "+name)
		must(t, err)
		_, err = client.Execute(t.Context(), "SELECT * FROM "+name)
		equal(t, "code", status.Code(err), codes.NotFound)
	})

	t.Run("bulk ingestion appends once; again it is ALREADY_EXISTS with the facts in status.Details()", func(t *testing.T) {
		client := client(t)
		name := pricesTable(t, client)
		rows, err := ingest(t, client, name, 0, mustExist)
		must(t, err)
		equal(t, "rows", rows, 48)
		_, err = ingest(t, client, name, 0, mustExist)
		equal(t, "code", status.Code(err), codes.AlreadyExists)
		refused := overlap.Of(err)
		if refused == nil {
			t.Fatalf("no overlap in %v", err)
		}
		equal(t, "overlap", *refused, overlap.Overlap{
			Table: name, Count: 48, Entity: `symbol="AAPL"`,
			BucketStart: "2025-03-01T00:00:00Z", BucketEnd: "2025-03-01T01:00:00Z", OwnerVersion: 2, Identical: "true",
		})
		equal(t, "count", query(t, client, "SELECT count(*) FROM "+name)[0][0], "48")
	})

	t.Run("bulk ingestion in each mode", func(t *testing.T) {
		client := client(t)
		name := freshName()
		_, err := ingest(t, client, name, 0, mustExist)
		equal(t, "append to nothing", status.Code(err), codes.NotFound)
		_, err = ingest(t, client, name, 0, mustNotExist)
		must(t, err)
		_, err = ingest(t, client, name, 0, mustNotExist)
		equal(t, "create again", status.Code(err), codes.AlreadyExists)
		_, err = ingest(t, client, name, 1, mayExist)
		must(t, err)
		equal(t, "count", query(t, client, "SELECT count(*) FROM "+name)[0][0], "96")
		for range 2 {
			_, err = ingest(t, client, name, 1, isReplaced)
			must(t, err)
			equal(t, "count", query(t, client, "SELECT count(*) FROM "+name)[0][0], "48")
		}
	})

	t.Run("DoPut to the path of a table; headers choose skip and an append id", func(t *testing.T) {
		client := client(t)
		name := pricesTable(t, client)
		equal(t, "rows", put(t, t.Context(), client, name, 0), 48)
		skip := metadata.AppendToOutgoingContext(t.Context(), "x-coverline-on-overlap", "skip")
		equal(t, "rows not there yet", put(t, skip, client, name, 0), 0)
		named := metadata.AppendToOutgoingContext(t.Context(), "x-coverline-append-id", "day-1-of-"+name)
		equal(t, "rows", put(t, named, client, name, 1), 48)
		equal(t, "rows of the first try", put(t, named, client, name, 1), 48)
		equal(t, "count", query(t, client, "SELECT count(*) FROM "+name)[0][0], "96")
	})

	t.Run("reads every type that SQL can make", func(t *testing.T) {
		rows := query(t, client(t), `SELECT true, CAST(-5 AS SMALLINT), CAST(18446744073709551615 AS BIGINT UNSIGNED), 2.5, 'naïve',
			CAST(1.25 AS DECIMAL(10, 2)), DATE '2025-03-01', TIMESTAMP '2025-03-01T01:02:03', TIME '01:02:03', X'00ff', [1, 2], NULL,
			named_struct('x', 1), arrow_cast(5, 'Duration(Second)')`)
		got := strings.Join(rows[0], "|")
		for _, want := range []string{"true|-5|18446744073709551615|2.5|naïve|1.25|2025-03-01|2025-03-01", "|01:02:03.000000|", "|[1,2]|(null)|"} {
			if !strings.Contains(got, want) {
				t.Errorf("%q is not in %q", want, got)
			}
		}
	})

	t.Run("reads every type that tables store", func(t *testing.T) {
		client := client(t)
		reads := typesTable(t, func(sql string) {
			_, err := client.ExecuteUpdate(t.Context(), sql)
			must(t, err)
		})
		for i, sql := range reads {
			readAs(t, storedTypes[i].kind, query(t, client, sql), storedTypes[i].text)
		}
	})

	t.Run("a prepared statement takes parameters again and again, and is closed", func(t *testing.T) {
		client := client(t)
		name := pricesTable(t, client)
		_, err := ingest(t, client, name, 0, mustExist)
		must(t, err)
		statement, err := client.Prepare(t.Context(), "SELECT count(*) FROM "+name+" WHERE symbol = ? AND close >= ?")
		must(t, err)
		equal(t, "parameters", statement.ParameterSchema().NumFields(), 2)
		equal(t, "columns", statement.DatasetSchema().NumFields(), 1)
		for symbol, want := range map[string]string{"AAPL": "12", "none": "0"} {
			builder := array.NewRecordBuilder(client.Alloc, statement.ParameterSchema())
			builder.Field(0).(*array.StringBuilder).Append(symbol)
			builder.Field(1).(*array.Float64Builder).Append(112)
			values := builder.NewRecordBatch()
			statement.SetParameters(values)
			values.Release()
			builder.Release()
			info, err := statement.Execute(t.Context())
			must(t, err)
			equal(t, symbol, rowsOf(t, client, info)[0][0], want)
		}
		must(t, statement.Close(t.Context()))
		_, err = statement.Execute(t.Context())
		if err == nil {
			t.Error("a closed statement ran")
		}
	})

	t.Run("a prepared INSERT of several rows is one append", func(t *testing.T) {
		client := client(t)
		name := freshName()
		_, err := client.ExecuteUpdate(t.Context(), "CREATE TABLE "+name+" (id BIGINT, name TEXT)")
		must(t, err)
		statement, err := client.Prepare(t.Context(), "INSERT INTO "+name+" VALUES (?, ?)")
		must(t, err)
		defer func() { must(t, statement.Close(context.WithoutCancel(t.Context()))) }()
		builder := array.NewRecordBuilder(client.Alloc, statement.ParameterSchema())
		defer builder.Release()
		builder.Field(0).(*array.Int64Builder).AppendValues([]int64{1, 2, 3}, nil)
		builder.Field(1).(*array.StringBuilder).AppendValues([]string{"a", "", "c"}, []bool{true, false, true})
		values := builder.NewRecordBatch()
		defer values.Release()
		statement.SetParameters(values)
		rows, err := statement.ExecuteUpdate(t.Context())
		must(t, err)
		equal(t, "rows", rows, 3)
		equal(t, "null", query(t, client, "SELECT id FROM "+name+" WHERE name IS NULL")[0][0], "2")
	})

	t.Run("metadata commands answer, and each result has the announced schema", func(t *testing.T) {
		client := client(t)
		name := pricesTable(t, client)
		ref := flightsql.TableRef{Table: name}
		for what, ask := range map[string]func() (*flight.FlightInfo, error){
			"catalogs": func() (*flight.FlightInfo, error) { return client.GetCatalogs(t.Context()) },
			"schemas": func() (*flight.FlightInfo, error) {
				return client.GetDBSchemas(t.Context(), &flightsql.GetDBSchemasOpts{})
			},
			"table types":     func() (*flight.FlightInfo, error) { return client.GetTableTypes(t.Context()) },
			"type info":       func() (*flight.FlightInfo, error) { return client.GetXdbcTypeInfo(t.Context(), nil) },
			"SQL info":        func() (*flight.FlightInfo, error) { return client.GetSqlInfo(t.Context(), nil) },
			"primary keys":    func() (*flight.FlightInfo, error) { return client.GetPrimaryKeys(t.Context(), ref) },
			"exported keys":   func() (*flight.FlightInfo, error) { return client.GetExportedKeys(t.Context(), ref) },
			"imported keys":   func() (*flight.FlightInfo, error) { return client.GetImportedKeys(t.Context(), ref) },
			"cross reference": func() (*flight.FlightInfo, error) { return client.GetCrossReference(t.Context(), ref, ref) },
		} {
			t.Run(what, func(t *testing.T) {
				info, err := ask()
				must(t, err)
				rowsOf(t, client, info)
			})
		}
		for _, include := range []bool{false, true} {
			info, err := client.GetTables(t.Context(), &flightsql.GetTablesOpts{TableNameFilterPattern: &name, IncludeSchema: include})
			must(t, err)
			rows := rowsOf(t, client, info)
			equal(t, "tables", len(rows), 1)
			equal(t, "table", rows[0][2], name)
		}
	})

	t.Run("every GetSchema answers what the command's result has", func(t *testing.T) {
		client := client(t)
		result, err := client.GetExecuteSchema(t.Context(), "SELECT 1 AS n, 'a' AS s")
		must(t, err)
		schema, err := flight.DeserializeSchema(result.GetSchema(), client.Alloc)
		must(t, err)
		equal(t, "fields", schema.NumFields(), 2)
		_, err = client.GetTablesSchema(t.Context(), &flightsql.GetTablesOpts{IncludeSchema: true})
		must(t, err)
		_, err = client.GetSqlInfoSchema(t.Context())
		must(t, err)
	})

	t.Run("session options are set, read and closed", func(t *testing.T) {
		client := client(t)
		for option, errors := range map[string]int{"catalog": 0, "no_such_option": 1} {
			options, err := flight.NewSessionOptionValues(map[string]any{option: "coverline"})
			must(t, err)
			set, err := client.SetSessionOptions(t.Context(), &flight.SetSessionOptionsRequest{SessionOptions: options})
			must(t, err)
			equal(t, "errors", len(set.GetErrors()), errors)
		}
		_, err := client.GetSessionOptions(t.Context(), &flight.GetSessionOptionsRequest{})
		must(t, err)
		_, err = client.CloseSession(t.Context(), &flight.CloseSessionRequest{})
		must(t, err)
	})

	t.Run("cancelling a running query ends it, and the connection goes on", func(t *testing.T) {
		client := client(t)
		info, err := client.Execute(t.Context(), "SELECT a.value FROM generate_series(1, 100000) a, generate_series(1, 100000) b")
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		reader, err := client.DoGet(ctx, info.Endpoint[0].Ticket)
		must(t, err)
		if !reader.Next() {
			t.Fatal(reader.Err())
		}
		cancel()
		for reader.Next() {
		}
		if err := reader.Err(); !errors.Is(err, context.Canceled) && status.Code(err) != codes.Canceled {
			t.Errorf("the reader ended with %v", err)
		}
		reader.Release()
		equal(t, "next query", query(t, client, "SELECT 1")[0][0], "1")
	})

	t.Run("bad SQL and missing tables say what is wrong, with the right code", func(t *testing.T) {
		client := client(t)
		for sql, want := range map[string]codes.Code{
			"SELEC 1":                            codes.InvalidArgument,
			"SELECT * FROM nowhere":              codes.NotFound,
			"SELECT nope FROM (VALUES (1)) t(a)": codes.InvalidArgument,
		} {
			_, err := client.Execute(t.Context(), sql)
			equal(t, sql, status.Code(err), want)
			if len(status.Convert(err).Message()) < 10 {
				t.Errorf("%s: the message is %q", sql, status.Convert(err).Message())
			}
		}
	})
}

// put appends a day by a plain Flight DoPut; the rows that the receipt tells.
func put(t *testing.T, ctx context.Context, client *flightsql.Client, table string, number int) int64 {
	t.Helper()
	stream, err := client.Client.DoPut(ctx)
	must(t, err)
	writer := flight.NewRecordWriter(stream, ipc.WithAllocator(client.Alloc), ipc.WithSchema(prices))
	writer.SetFlightDescriptor(&flight.FlightDescriptor{Type: flight.DescriptorPATH, Path: []string{table}})
	batch := dayOf(number, client.Alloc)
	defer batch.Release()
	must(t, writer.Write(batch))
	must(t, writer.Close())
	must(t, stream.CloseSend())
	answer, err := stream.Recv()
	must(t, err)
	// The receipt begins like DoPutUpdateResult: field 1 is the count.
	var receipt pb.DoPutUpdateResult
	must(t, proto.Unmarshal(answer.GetAppMetadata(), &receipt))
	return receipt.GetRecordCount()
}
