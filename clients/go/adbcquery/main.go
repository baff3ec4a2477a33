// Adbcquery asks by ADBC what a table holds since some moment, and what is missing in it.
//
//	adbcquery grpc://HOST:PORT TABLE SINCE
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/apache/arrow-adbc/go/adbc"
	"github.com/apache/arrow-adbc/go/adbc/driver/flightsql"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

var parameters = arrow.NewSchema([]arrow.Field{{Name: "since", Type: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}}}, nil)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: adbcquery grpc://HOST:PORT TABLE SINCE")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Args[1], os.Args[2], os.Args[3]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, uri, table, since string) error {
	database, err := flightsql.NewDriver(memory.DefaultAllocator).NewDatabase(map[string]string{adbc.OptionKeyURI: uri})
	if err != nil {
		return err
	}
	defer database.Close()
	connection, err := database.Open(ctx)
	if err != nil {
		return err
	}
	defer connection.Close()
	if err := held(ctx, connection, table, since); err != nil {
		return err
	}
	return missing(ctx, connection, table)
}

func held(ctx context.Context, connection adbc.Connection, table, since string) error {
	moment, err := time.Parse(time.RFC3339, since)
	if err != nil {
		return err
	}
	statement, err := connection.NewStatement()
	if err != nil {
		return err
	}
	defer statement.Close()
	if err := statement.SetSqlQuery(fmt.Sprintf(`SELECT symbol, min(ts), max(ts), count(*) FROM "%s" WHERE ts >= ?
		GROUP BY symbol ORDER BY symbol`, strings.ReplaceAll(table, `"`, `""`))); err != nil {
		return err
	}
	if err := statement.Prepare(ctx); err != nil {
		return err
	}
	// Parameters are a batch: a column for each, and one row. The schema that the statement announces has milliseconds, for JDBC; any
	// unit will do.
	builder := array.NewRecordBuilder(memory.DefaultAllocator, parameters)
	defer builder.Release()
	builder.Field(0).(*array.TimestampBuilder).AppendTime(moment)
	values := builder.NewRecordBatch()
	defer values.Release()
	if err := statement.Bind(ctx, values); err != nil {
		return err
	}
	rows, _, err := statement.ExecuteQuery(ctx)
	if err != nil {
		return err
	}
	defer rows.Release()
	for rows.Next() {
		batch := rows.RecordBatch()
		symbol, first, last := batch.Column(0).(*array.String), batch.Column(1), batch.Column(2)
		count := batch.Column(3).(*array.Int64)
		for row := range int(batch.NumRows()) {
			fmt.Printf("%s: %s to %s, %d rows\n", symbol.Value(row), at(first, row), at(last, row), count.Value(row))
		}
	}
	return rows.Err()
}

func missing(ctx context.Context, connection adbc.Connection, table string) error {
	statement, err := connection.NewStatement()
	if err != nil {
		return err
	}
	defer statement.Close()
	// The argument of a table function is part of the plan, so it is text of the statement and no parameter.
	if err := statement.SetSqlQuery(fmt.Sprintf("SELECT symbol, gap_start, gap_end, missing_buckets FROM gaps('%s') ORDER BY symbol, gap_start",
		strings.ReplaceAll(table, "'", "''"))); err != nil {
		return err
	}
	rows, _, err := statement.ExecuteQuery(ctx)
	if err != nil {
		return err
	}
	defer rows.Release()
	for rows.Next() {
		batch := rows.RecordBatch()
		symbol, start, end := batch.Column(0).(*array.String), batch.Column(1), batch.Column(2)
		buckets := batch.Column(3).(*array.Int64)
		for row := range int(batch.NumRows()) {
			fmt.Printf("%s: nothing from %s to %s, %d buckets\n", symbol.Value(row), at(start, row), at(end, row), buckets.Value(row))
		}
	}
	return rows.Err()
}

// at gives a moment of a column as text.
func at(column arrow.Array, row int) string {
	unit := column.DataType().(*arrow.TimestampType).Unit
	return column.(*array.Timestamp).Value(row).ToTime(unit).Format(time.RFC3339)
}
