// Adbcingest appends CSV files of hourly prices to a table by ADBC, each as one version. Run it twice: the second time every file is
// refused as already loaded, and the table stays as it is.
//
//	adbcingest grpc://HOST:PORT TABLE FILE.csv...
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/apache/arrow-adbc/go/adbc"
	"github.com/apache/arrow-adbc/go/adbc/driver/flightsql"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/csv"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"coverline.example/clients/overlap"
)

const batchRows = 65_536

var schema = arrow.NewSchema([]arrow.Field{
	{Name: "ts", Type: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}},
	{Name: "symbol", Type: arrow.BinaryTypes.String},
	{Name: "close", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
}, nil)

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: adbcingest grpc://HOST:PORT TABLE FILE.csv...")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, uri, table string, files []string) error {
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

	if err := create(ctx, connection, table); err != nil {
		return err
	}
	for _, file := range files {
		rows, err := appendFile(ctx, connection, table, file)
		if refused := overlap.Of(err); refused != nil {
			fmt.Printf("%s: %s\n", filepath.Base(file), refused)
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		fmt.Printf("%s: %d rows\n", filepath.Base(file), rows)
	}
	return nil
}

func create(ctx context.Context, connection adbc.Connection, table string) error {
	statement, err := connection.NewStatement()
	if err != nil {
		return err
	}
	defer statement.Close()
	sql := fmt.Sprintf(`CREATE TABLE IF NOT EXISTS "%s" (ts TIMESTAMP(6) WITH TIME ZONE NOT NULL, symbol TEXT NOT NULL, close DOUBLE)
		WITH (index_column = 'ts', bucket = '1h', entity_columns = 'symbol')`, strings.ReplaceAll(table, `"`, `""`))
	if err := statement.SetSqlQuery(sql); err != nil {
		return err
	}
	_, err = statement.ExecuteUpdate(ctx)
	return err
}

// appendFile sends one file as one append: all of it becomes one version, or nothing does.
func appendFile(ctx context.Context, connection adbc.Connection, table, name string) (int64, error) {
	file, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	batches := csv.NewReader(file, schema, csv.WithHeader(true), csv.WithChunk(batchRows), csv.WithNullReader(false, ""))
	defer batches.Release()
	return adbc.IngestStream(ctx, connection, batches, table, adbc.OptionValueIngestModeAppend, adbc.IngestStreamOptions{})
}
