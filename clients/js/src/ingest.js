#!/usr/bin/env node
/**
 * Appends CSV files of hourly prices to a table, each as one version. Run it twice: the second time every file is refused as
 * already loaded, and the table stays as it is.
 *
 *     node src/ingest.js HOST:PORT TABLE FILE.csv...
 */
import { createReadStream } from 'node:fs';
import { basename } from 'node:path';
import { createInterface } from 'node:readline';
import { Float64, Table, TimestampMicrosecond, Utf8, vectorFromArray } from 'apache-arrow';
import { FlightSqlClient } from './client.js';
import { OverlapError } from './overlap.js';

const BATCH_ROWS = 65_536;

const [address, table, ...files] = process.argv.slice(2);
if (files.length === 0) {
  console.error('usage: ingest.js HOST:PORT TABLE FILE.csv...');
  process.exit(2);
}

const client = new FlightSqlClient(address);
try {
  await client.execute(
    `CREATE TABLE IF NOT EXISTS "${table.replaceAll('"', '""')}"
       (ts TIMESTAMP(6) WITH TIME ZONE NOT NULL, symbol TEXT NOT NULL, close DOUBLE)
       WITH (index_column = 'ts', bucket = '1h', entity_columns = 'symbol')`,
  );
  for (const file of files) {
    try {
      const { version, rows } = await client.append(table, batches(file));
      console.log(`${basename(file)}: version ${version}, ${rows} rows`);
    } catch (error) {
      if (!(error instanceof OverlapError)) throw error;
      const { count, entity, bucketStart, bucketEnd, ownerVersion } = error;
      console.log(
        `${basename(file)}: already loaded, ${count} overlapping buckets ` +
          `(first ${entity} [${bucketStart}, ${bucketEnd}), since version ${ownerVersion})`,
      );
    }
  }
} finally {
  client.close();
}

/** The rows of a CSV file with the header ts,symbol,close, some at a time. */
async function* batches(file) {
  let rows = [];
  let header = true;
  for await (const line of createInterface({ input: createReadStream(file), crlfDelay: Infinity })) {
    if (header) header = false;
    else rows.push(line.split(','));
    if (rows.length === BATCH_ROWS) {
      yield toTable(rows);
      rows = [];
    }
  }
  if (rows.length > 0) yield toTable(rows);
}

function toTable(rows) {
  const column = (index, type, parse) => vectorFromArray(rows.map((row) => parse(row[index])), type);
  return new Table({
    ts: column(0, new TimestampMicrosecond('UTC'), (text) => Date.parse(text)),
    symbol: column(1, new Utf8(), (text) => text),
    close: column(2, new Float64(), (text) => (text === '' ? null : Number(text))),
  });
}
