// Sqlingest appends CSV files of hourly prices to a table by database/sql, each as one INSERT, which is one version. Run it twice: the
// second time every file is refused as already loaded, and the table stays as it is. A statement takes 1000 parameters, which are 333
// rows: for larger files take ingest.
//
//	sqlingest flightsql://HOST:PORT TABLE FILE.csv...
package main

import (
	"context"
	"database/sql"
	"encoding/csv"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	_ "github.com/apache/arrow-go/v18/arrow/flight/flightsql/driver"

	"coverline.example/clients/overlap"
)

// The driver binds neither timestamps nor NULL: texts are cast.
const row = "(CAST(? AS TIMESTAMP WITH TIME ZONE), ?, CAST(NULLIF(?, '') AS DOUBLE))"

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: sqlingest flightsql://HOST:PORT TABLE FILE.csv...")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, dsn, table string, files []string) error {
	db, err := sql.Open("flightsql", dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	table = `"` + strings.ReplaceAll(table, `"`, `""`) + `"`
	if _, err := db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS "+table+` (ts TIMESTAMP(6) WITH TIME ZONE NOT NULL, symbol TEXT NOT NULL,
		close DOUBLE) WITH (index_column = 'ts', bucket = '1h', entity_columns = 'symbol')`); err != nil {
		return err
	}
	for _, file := range files {
		rows, err := appendFile(ctx, db, table, file)
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

// appendFile inserts the rows of one file by one statement: all of them become one version, or none does.
func appendFile(ctx context.Context, db *sql.DB, table, name string) (int64, error) {
	file, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	lines, err := csv.NewReader(file).ReadAll()
	if err != nil || len(lines) < 2 {
		return 0, err
	}
	var cells []any
	for _, line := range lines[1:] {
		for _, cell := range line {
			cells = append(cells, cell)
		}
	}
	insert := "INSERT INTO " + table + " (ts, symbol, close) VALUES " + row + strings.Repeat(", "+row, len(lines)-2)
	result, err := db.ExecContext(ctx, insert, cells...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}
