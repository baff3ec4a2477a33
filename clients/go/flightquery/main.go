// Flightquery asks by arrow-go's Flight SQL client what a table holds since some moment, and what is missing in it.
//
//	flightquery HOST:PORT TABLE SINCE
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

var parameters = arrow.NewSchema([]arrow.Field{{Name: "since", Type: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}}}, nil)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: flightquery HOST:PORT TABLE SINCE")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Args[1], os.Args[2], os.Args[3]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, address, table, since string) error {
	client, err := flightsql.NewClient(address, nil, nil, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer client.Close()
	if err := held(ctx, client, table, since); err != nil {
		return err
	}
	return missing(ctx, client, table)
}

func held(ctx context.Context, client *flightsql.Client, table, since string) error {
	moment, err := time.Parse(time.RFC3339, since)
	if err != nil {
		return err
	}
	statement, err := client.Prepare(ctx, fmt.Sprintf(`SELECT symbol, min(ts), max(ts), count(*) FROM "%s" WHERE ts >= ?
		GROUP BY symbol ORDER BY symbol`, strings.ReplaceAll(table, `"`, `""`)))
	if err != nil {
		return err
	}
	defer statement.Close(ctx)
	// Parameters are a batch: a column for each, and one row. The schema that the statement announces has milliseconds, for JDBC; any
	// unit will do.
	builder := array.NewRecordBuilder(memory.DefaultAllocator, parameters)
	defer builder.Release()
	builder.Field(0).(*array.TimestampBuilder).AppendTime(moment)
	values := builder.NewRecordBatch()
	defer values.Release()
	statement.SetParameters(values)
	info, err := statement.Execute(ctx)
	if err != nil {
		return err
	}
	return read(ctx, client, info, func(batch arrow.RecordBatch, row int) {
		fmt.Printf("%s: %s to %s, %d rows\n", batch.Column(0).(*array.String).Value(row), at(batch.Column(1), row), at(batch.Column(2), row),
			batch.Column(3).(*array.Int64).Value(row))
	})
}

func missing(ctx context.Context, client *flightsql.Client, table string) error {
	// The argument of a table function is part of the plan, so it is text of the statement and no parameter.
	info, err := client.Execute(ctx, fmt.Sprintf("SELECT symbol, gap_start, gap_end, missing_buckets FROM gaps('%s') ORDER BY symbol, gap_start",
		strings.ReplaceAll(table, "'", "''")))
	if err != nil {
		return err
	}
	return read(ctx, client, info, func(batch arrow.RecordBatch, row int) {
		fmt.Printf("%s: nothing from %s to %s, %d buckets\n", batch.Column(0).(*array.String).Value(row), at(batch.Column(1), row),
			at(batch.Column(2), row), batch.Column(3).(*array.Int64).Value(row))
	})
}

// read fetches what a query said it has, a batch at a time, and gives each row to use.
func read(ctx context.Context, client *flightsql.Client, info *flight.FlightInfo, use func(arrow.RecordBatch, int)) error {
	for _, endpoint := range info.GetEndpoint() {
		if err := readPart(ctx, client, endpoint.GetTicket(), use); err != nil {
			return err
		}
	}
	return nil
}

func readPart(ctx context.Context, client *flightsql.Client, ticket *flight.Ticket, use func(arrow.RecordBatch, int)) error {
	batches, err := client.DoGet(ctx, ticket)
	if err != nil {
		return err
	}
	defer batches.Release()
	for batches.Next() {
		for row := range int(batches.RecordBatch().NumRows()) {
			use(batches.RecordBatch(), row)
		}
	}
	return batches.Err()
}

// at gives a moment of a column as text.
func at(column arrow.Array, row int) string {
	unit := column.DataType().(*arrow.TimestampType).Unit
	return column.(*array.Timestamp).Value(row).ToTime(unit).Format(time.RFC3339)
}
