#!/usr/bin/env node
/**
 * Asks what a table holds since some moment, and what is missing in it.
 *
 *     node src/query.js HOST:PORT TABLE SINCE
 */
import { FlightSqlClient } from './client.js';

const [address, table, since] = process.argv.slice(2);
if (since === undefined) {
  console.error('usage: query.js HOST:PORT TABLE SINCE');
  process.exit(2);
}

// Arrow gives moments as milliseconds since 1970.
const moment = (milliseconds) => new Date(Number(milliseconds)).toISOString().replace('.000Z', 'Z');

const client = new FlightSqlClient(address);
try {
  const held = await client.query(
    `SELECT symbol, min(ts) AS first, max(ts) AS last, count(*) AS n FROM "${table.replaceAll('"', '""')}"
     WHERE ts >= ? GROUP BY symbol ORDER BY symbol`,
    [Date.parse(since)],
  );
  for (const { symbol, first, last, n } of held) {
    console.log(`${symbol}: ${moment(first)} to ${moment(last)}, ${n} rows`);
  }
  // The argument of a table function is part of the plan, so it is text of the statement and no parameter.
  const missing = await client.query(
    `SELECT symbol, gap_start, gap_end, missing_buckets FROM gaps('${table.replaceAll("'", "''")}') ORDER BY symbol, gap_start`,
  );
  for (const { symbol, gap_start, gap_end, missing_buckets } of missing) {
    console.log(`${symbol}: nothing from ${moment(gap_start)} to ${moment(gap_end)}, ${missing_buckets} buckets`);
  }
} finally {
  client.close();
}
