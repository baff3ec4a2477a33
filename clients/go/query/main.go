// Query asks by database/sql what a table holds since some moment, and what is missing in it.
//
//	query flightsql://HOST:PORT TABLE SINCE
package main

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	_ "github.com/apache/arrow-go/v18/arrow/flight/flightsql/driver"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: query flightsql://HOST:PORT TABLE SINCE")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Args[1], os.Args[2], os.Args[3]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, dsn, table, since string) error {
	db, err := sql.Open("flightsql", dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := held(ctx, db, table, since); err != nil {
		return err
	}
	return missing(ctx, db, table)
}

func held(ctx context.Context, db *sql.DB, table, since string) error {
	// The driver binds no timestamps: a text is cast.
	query := fmt.Sprintf(`SELECT symbol, min(ts), max(ts), count(*) FROM "%s"
		WHERE ts >= CAST(? AS TIMESTAMP WITH TIME ZONE) GROUP BY symbol ORDER BY symbol`, strings.ReplaceAll(table, `"`, `""`))
	rows, err := db.QueryContext(ctx, query, since)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var symbol string
		var first, last time.Time
		var count int64
		if err := rows.Scan(&symbol, &first, &last, &count); err != nil {
			return err
		}
		fmt.Printf("%s: %s to %s, %d rows\n", symbol, first.Format(time.RFC3339), last.Format(time.RFC3339), count)
	}
	return rows.Err()
}

func missing(ctx context.Context, db *sql.DB, table string) error {
	// The argument of a table function is part of the plan, so it is text of the statement and no parameter.
	query := fmt.Sprintf("SELECT symbol, gap_start, gap_end, missing_buckets FROM gaps('%s') ORDER BY symbol, gap_start",
		strings.ReplaceAll(table, "'", "''"))
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var symbol string
		var start, end time.Time
		var buckets int64
		if err := rows.Scan(&symbol, &start, &end, &buckets); err != nil {
			return err
		}
		fmt.Printf("%s: nothing from %s to %s, %d buckets\n", symbol, start.Format(time.RFC3339), end.Format(time.RFC3339), buckets)
	}
	return rows.Err()
}
