// Ingest appends CSV files of hourly prices to a table by Flight SQL, each as one version. Run it twice: the second time every file is
// refused as already loaded, and the table stays as it is.
//
//	ingest HOST:PORT TABLE FILE.csv...
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/csv"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

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
		fmt.Fprintln(os.Stderr, "usage: ingest HOST:PORT TABLE FILE.csv...")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, address, table string, files []string) error {
	client, err := flightsql.NewClient(address, nil, nil, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer client.Close()

	create := fmt.Sprintf(`CREATE TABLE IF NOT EXISTS "%s" (ts TIMESTAMP(6) WITH TIME ZONE NOT NULL, symbol TEXT NOT NULL, close DOUBLE)
		WITH (index_column = 'ts', bucket = '1h', entity_columns = 'symbol')`, strings.ReplaceAll(table, `"`, `""`))
	if _, err := client.ExecuteUpdate(ctx, create); err != nil {
		return err
	}
	for _, file := range files {
		rows, err := appendFile(ctx, client, table, file)
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

// appendFile sends one file as one append: all of it becomes one version, or nothing does.
func appendFile(ctx context.Context, client *flightsql.Client, table, name string) (int64, error) {
	file, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	batches := csv.NewReader(file, schema, csv.WithHeader(true), csv.WithChunk(batchRows), csv.WithNullReader(false, ""))
	defer batches.Release()
	return client.ExecuteIngest(ctx, batches, &flightsql.ExecuteIngestOpts{
		Table: table,
		TableDefinitionOptions: &flightsql.TableDefinitionOptions{
			IfNotExist: flightsql.TableDefinitionOptionsTableNotExistOptionFail,
			IfExists:   flightsql.TableDefinitionOptionsTableExistsOptionAppend,
		},
	})
}
