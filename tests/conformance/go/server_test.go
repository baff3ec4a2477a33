// Package conformance drives the server that COVERLINE_ADDRESS names with Go's stock clients. The script run starts one.
package conformance

import (
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

var (
	day    = time.Date(2025, 3, 1, 0, 0, 0, 0, time.UTC)
	tables atomic.Int64
	prices = arrow.NewSchema([]arrow.Field{
		{Name: "ts", Type: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}},
		{Name: "symbol", Type: arrow.BinaryTypes.String},
		{Name: "close", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
	}, nil)
)

// address is HOST:PORT. A missing one is a failure: a suite that skips itself proves nothing.
func address(t *testing.T) string {
	t.Helper()
	address := os.Getenv("COVERLINE_ADDRESS")
	if address == "" {
		t.Fatal("COVERLINE_ADDRESS is not set; tests/run go sets it")
	}
	return address
}

func freshName() string {
	return fmt.Sprintf("go_%d_%d", os.Getpid(), tables.Add(1))
}

func pricesTableSQL(name string) string {
	return "CREATE TABLE " + name + ` (ts TIMESTAMP(6) WITH TIME ZONE NOT NULL, symbol TEXT NOT NULL, close DOUBLE)
		WITH (index_column = 'ts', bucket = '1h', entity_columns = 'symbol')`
}

// client of the test's own, whose buffers are counted.
func client(t *testing.T) *flightsql.Client {
	t.Helper()
	client, err := flightsql.NewClient(address(t), nil, nil, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	buffers := memory.NewCheckedAllocator(memory.DefaultAllocator)
	client.Alloc = buffers
	t.Cleanup(func() {
		must(t, client.Close())
		buffers.AssertSize(t, 0)
	})
	return client
}

// pricesTable makes a new empty table.
func pricesTable(t *testing.T, client *flightsql.Client) string {
	t.Helper()
	name := freshName()
	_, err := client.ExecuteUpdate(t.Context(), pricesTableSQL(name))
	must(t, err)
	return name
}

// dayOf makes hourly rows of two symbols, 48.
func dayOf(number int, alloc memory.Allocator) arrow.RecordBatch {
	builder := array.NewRecordBuilder(alloc, prices)
	defer builder.Release()
	for _, symbol := range []string{"AAPL", "NVDA"} {
		for hour := range 24 {
			at := day.Add(time.Duration(24*number+hour) * time.Hour)
			builder.Field(0).(*array.TimestampBuilder).Append(arrow.Timestamp(at.UnixMicro()))
			builder.Field(1).(*array.StringBuilder).Append(symbol)
			builder.Field(2).(*array.Float64Builder).Append(100 + float64(hour))
		}
	}
	return builder.NewRecordBatch()
}

// Modes of bulk ingestion.
var (
	mustExist    = &flightsql.TableDefinitionOptions{IfNotExist: flightsql.TableDefinitionOptionsTableNotExistOptionFail, IfExists: flightsql.TableDefinitionOptionsTableExistsOptionAppend}
	mustNotExist = &flightsql.TableDefinitionOptions{IfNotExist: flightsql.TableDefinitionOptionsTableNotExistOptionCreate, IfExists: flightsql.TableDefinitionOptionsTableExistsOptionFail}
	isReplaced   = &flightsql.TableDefinitionOptions{IfNotExist: flightsql.TableDefinitionOptionsTableNotExistOptionCreate, IfExists: flightsql.TableDefinitionOptionsTableExistsOptionReplace}
	mayExist     = &flightsql.TableDefinitionOptions{IfNotExist: flightsql.TableDefinitionOptionsTableNotExistOptionCreate, IfExists: flightsql.TableDefinitionOptionsTableExistsOptionAppend}
)

// ingest is Flight SQL's bulk ingestion of one day.
func ingest(t *testing.T, client *flightsql.Client, table string, number int, mode *flightsql.TableDefinitionOptions) (int64, error) {
	t.Helper()
	batch := dayOf(number, client.Alloc)
	defer batch.Release()
	reader, err := array.NewRecordReader(prices, []arrow.RecordBatch{batch})
	must(t, err)
	defer reader.Release()
	return client.ExecuteIngest(t.Context(), reader, &flightsql.ExecuteIngestOpts{Table: table, TableDefinitionOptions: mode})
}

// rowsOf reads a whole result; every value as text.
func rowsOf(t *testing.T, client *flightsql.Client, info *flight.FlightInfo) [][]string {
	t.Helper()
	announced, err := flight.DeserializeSchema(info.GetSchema(), client.Alloc)
	must(t, err)
	rows := [][]string{}
	for _, endpoint := range info.Endpoint {
		reader, err := client.DoGet(t.Context(), endpoint.Ticket)
		must(t, err)
		defer reader.Release()
		if !reader.Schema().Equal(announced) {
			t.Errorf("announced schema %v, got %v", announced, reader.Schema())
		}
		for reader.Next() {
			rows = append(rows, textOf(reader.RecordBatch())...)
		}
		must(t, reader.Err())
	}
	return rows
}

// textOf gives the rows of a batch.
func textOf(batch arrow.RecordBatch) [][]string {
	rows := [][]string{}
	for row := range int(batch.NumRows()) {
		values := []string{}
		for _, column := range batch.Columns() {
			values = append(values, column.ValueStr(row))
		}
		rows = append(rows, values)
	}
	return rows
}

func query(t *testing.T, client *flightsql.Client, sql string) [][]string {
	t.Helper()
	info, err := client.Execute(t.Context(), sql)
	must(t, err)
	return rowsOf(t, client, info)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}
