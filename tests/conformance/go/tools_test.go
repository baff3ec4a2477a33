package conformance

import (
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql/driver"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// What gRPC takes at once unless told otherwise, and Grafana does not tell it.
const grafanaMessageBytesMax = 4 << 20

// The calls of Grafana's data source for Flight SQL, in its order and with its client: the first endpoint of every answer, the name of
// a database as a header with every call, and a login before the first where there is one.
func TestGrafana(t *testing.T) {
	const from, to = "2025-03-01T00:00:00Z", "2025-03-01T12:00:00Z"
	client, err := flightsql.NewClient(address(t), nil, nil,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(grafanaMessageBytesMax)))
	must(t, err)
	t.Cleanup(func() { must(t, client.Close()) })
	ctx, err := client.Client.AuthenticateBasicToken(t.Context(), "grafana", "secret")
	must(t, err)
	ctx = metadata.AppendToOutgoingContext(ctx, "database", "coverline", "bucket-name", "coverline")
	name := pricesTable(t, client)
	_, err = ingest(t, client, name, 0, mustExist)
	must(t, err)

	read := func(t *testing.T, info *flight.FlightInfo) [][]string {
		t.Helper()
		equal(t, "endpoints", len(info.Endpoint), 1)
		return rowsOf(t, client, info)
	}
	run := func(t *testing.T, text string) [][]string {
		t.Helper()
		info, err := client.Execute(ctx, text)
		must(t, err)
		return read(t, info)
	}

	t.Run("the health check", func(t *testing.T) {
		equal(t, "answer", run(t, "select 1")[0][0], "1")
	})

	t.Run("the names of what SqlInfo says", func(t *testing.T) {
		info, err := client.GetSqlInfo(ctx, []flightsql.SqlInfo{})
		must(t, err)
		reader, err := client.DoGet(ctx, info.Endpoint[0].Ticket)
		must(t, err)
		defer reader.Release()
		codes := 0
		for reader.Next() {
			codes += int(reader.RecordBatch().NumRows())
		}
		must(t, reader.Err())
		if codes < 80 {
			t.Errorf("SqlInfo says %d things", codes)
		}
	})

	t.Run("the list of tables, by either name of their type", func(t *testing.T) {
		for _, kinds := range [][]string{{"BASE TABLE"}, {"BASE TABLE", "table"}} {
			info, err := client.GetTables(ctx, &flightsql.GetTablesOpts{TableTypes: kinds})
			must(t, err)
			if !slices.ContainsFunc(read(t, info), func(row []string) bool { return row[2] == name }) {
				t.Errorf("%s is not among the tables of type %v", name, kinds)
			}
		}
	})

	t.Run("the columns of a table", func(t *testing.T) {
		info, err := client.GetTables(ctx, &flightsql.GetTablesOpts{TableNameFilterPattern: &name, IncludeSchema: true})
		must(t, err)
		reader, err := client.DoGet(ctx, info.Endpoint[0].Ticket)
		must(t, err)
		defer reader.Release()
		if !reader.Next() {
			t.Fatalf("no table: %v", reader.Err())
		}
		batch := reader.RecordBatch()
		at := batch.Schema().FieldIndices("table_schema")[0]
		schema, err := flight.DeserializeSchema(batch.Column(at).(*array.Binary).Value(0), client.Alloc)
		must(t, err)
		names := []string{}
		for _, field := range schema.Fields() {
			names = append(names, field.Name)
		}
		equal(t, "columns", strings.Join(names, ","), "ts,symbol,close")
		equal(t, "type of ts", schema.Field(0).Type.ID(), arrow.TIMESTAMP)
	})

	// What the macros become.
	bin := "date_bin(interval '7200 second', ts, timestamp '1970-01-01T00:00:00Z')"
	for _, panel := range []struct {
		what, sql string
		rows      int
		first     string
	}{
		{"$__timeFilter", "select ts as time, symbol, close from " + name + " where ts >= '" + from + "' AND ts <= '" + to + "' order by ts, symbol", 26, "2025-03-01T00:00:00Z"},
		{"$__timeFrom", "select count(*) from " + name + " where ts >= '" + to + "'", 1, "24"},
		{"$__timeTo", "select count(*) from " + name + " where ts <= '" + to + "'", 1, "26"},
		{"$__dateBin", "select " + bin + " as time, avg(close) from " + name + " group by " + bin + " order by 1", 12, "2025-03-01T00:00:00Z"},
		{"$__dateBinAlias", "select " + bin + " as ts_binned, avg(close) from " + name + " group by ts_binned order by ts_binned", 12, "2025-03-01T00:00:00Z"},
		{"$__timeGroup", "select avg(close) from " + name + " group by datepart('day', ts),datepart('month', ts),datepart('year', ts)", 1, "111.5"},
		{"times as casts", "select max(close) from " + name + " where ts < cast('" + to + "' as timestamp)", 1, "111"},
	} {
		t.Run("a panel with "+panel.what, func(t *testing.T) {
			rows := run(t, panel.sql)
			equal(t, "rows", len(rows), panel.rows)
			equal(t, "first", rows[0][0], panel.first)
		})
	}

	t.Run("a result of 20 MB in messages that it takes", func(t *testing.T) {
		rows := run(t, "select repeat('0123456789', 10) as text, value from generate_series(1, 200000)")
		equal(t, "rows", len(rows), 200_000)
		equal(t, "last", rows[199_999][1], strconv.Itoa(200_000))
	})

	t.Run("a query that is wrong says so", func(t *testing.T) {
		_, err := client.Execute(ctx, "select * from "+name+" where $__timeFilter(ts)")
		equal(t, "code", status.Code(err), codes.InvalidArgument)
	})
}

// arrow-go over TLS, with an authority that only this program trusts.
func TestTLS(t *testing.T) {
	address := os.Getenv("COVERLINE_TLS_ADDRESS")
	if address == "" {
		t.Fatal("COVERLINE_TLS_ADDRESS is not set; tests/run go sets it")
	}
	authority, err := os.ReadFile(os.Getenv("COVERLINE_TLS_AUTHORITY"))
	must(t, err)
	trusted := x509.NewCertPool()
	if !trusted.AppendCertsFromPEM(authority) {
		t.Fatal("the authority is no certificate")
	}
	config := &tls.Config{RootCAs: trusted}

	t.Run("flightsql over TLS", func(t *testing.T) {
		client, err := flightsql.NewClient(address, nil, nil, grpc.WithTransportCredentials(credentials.NewTLS(config)))
		must(t, err)
		defer func() { must(t, client.Close()) }()
		name := pricesTable(t, client)
		rows, err := ingest(t, client, name, 0, mustExist)
		must(t, err)
		equal(t, "rows", rows, 48)
		equal(t, "count", query(t, client, "SELECT count(*) FROM "+name)[0][0], "48")
	})

	t.Run("who does not trust the authority is not served", func(t *testing.T) {
		client, err := flightsql.NewClient(address, nil, nil, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: x509.NewCertPool()})))
		must(t, err)
		defer func() { must(t, client.Close()) }()
		_, err = client.Execute(t.Context(), "SELECT 1")
		equal(t, "code", status.Code(err), codes.Unavailable)
		if !strings.Contains(err.Error(), "unknown authority") {
			t.Error(err)
		}
	})

	t.Run("database/sql over TLS", func(t *testing.T) {
		must(t, driver.RegisterTLSConfig("tests", config))
		db, err := sql.Open("flightsql", "flightsql://"+address+"?timeout=60s&tls=tests")
		must(t, err)
		defer func() { must(t, db.Close()) }()
		equal(t, "answer", scanOne[int64](t, db, "SELECT 41 + 1"), 42)
	})
	t.Run("a server that wants a certificate serves who shows one", func(t *testing.T) {
		address := os.Getenv("COVERLINE_MTLS_ADDRESS")
		if address == "" {
			t.Fatal("COVERLINE_MTLS_ADDRESS is not set; tests/run go sets it")
		}
		shown, err := tls.LoadX509KeyPair(os.Getenv("COVERLINE_MTLS_CERTIFICATE"), os.Getenv("COVERLINE_MTLS_KEY"))
		must(t, err)
		for _, certificates := range [][]tls.Certificate{nil, {shown}} {
			config := &tls.Config{RootCAs: trusted, Certificates: certificates}
			client, err := flightsql.NewClient(address, nil, nil, grpc.WithTransportCredentials(credentials.NewTLS(config)))
			must(t, err)
			defer func() { must(t, client.Close()) }()
			if certificates == nil {
				_, err = client.Execute(t.Context(), "SELECT 1")
				equal(t, "code", status.Code(err), codes.Unavailable)
			} else {
				equal(t, "answer", query(t, client, "SELECT 41 + 1")[0][0], "42")
			}
		}
	})
}
