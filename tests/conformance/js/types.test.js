/** A column of every type that tables store, read by each client. All of them hand out what apache-arrow makes of it. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { FlightSQLClient } from '@gizmodata/gizmosql-client';
import { Client } from '@lancedb/arrow-flight-sql-client';
import { FlightSqlClient } from '../../../clients/js/src/client.js';

const address = process.env.COVERLINE_ADDRESS;
assert.ok(address, 'COVERLINE_ADDRESS is not set; tests/run js sets it');
const [host, port] = address.split(':');
const DAY = Date.UTC(2025, 2, 1);
const TIME = 3_723_000;
const MOMENT = DAY + TIME;

/** A type as arrow_cast calls it, '' for a value that is of its type already; a value in SQL; and what `plain` makes of the column. */
const STORED = [
  ['Int8', "'-128'", -128],
  ['Int16', "'-32768'", -32768],
  ['Int32', "'-2147483648'", -2147483648],
  ['Int64', "'-9223372036854775808'", -9223372036854775808n],
  ['UInt8', "'255'", 255],
  ['UInt16', "'65535'", 65535],
  ['UInt32', "'4294967295'", 4294967295],
  ['UInt64', "'18446744073709551615'", 18446744073709551615n],
  ['Float32', '1.5', 1.5],
  ['Float64', '-2.25', -2.25],
  // Without the point, which is a limit of its own.
  ['Decimal128(20, 4)', "'-12345678901234.5678'", '-123456789012345678'],
  ['Utf8', "'naïve'", 'naïve'],
  ['Binary', "X'00ff'", [0, 255]],
  ['FixedSizeBinary(3)', "X'00ff10'", [0, 255, 16]],
  ['Boolean', 'true', true],
  ['Date32', "'2025-03-01'", DAY],
  ['Date64', "'2025-03-01'", DAY],
  // Times of day and durations are in their unit, timestamps in milliseconds whatever their unit.
  ['Time32(Second)', "'01:02:03'", TIME / 1000],
  ['Time32(Millisecond)', "'01:02:03.004'", TIME + 4],
  ['Time64(Microsecond)', "'01:02:03.000005'", BigInt(TIME) * 1000n + 5n],
  ['Time64(Nanosecond)', "'01:02:03.000000006'", BigInt(TIME) * 1_000_000n + 6n],
  ['Timestamp(Second, None)', "'2025-03-01T01:02:03'", MOMENT],
  ['Timestamp(Millisecond, None)', "'2025-03-01T01:02:03.004'", MOMENT + 4],
  ['Timestamp(Microsecond, None)', "'2025-03-01T01:02:03.000005'", MOMENT + 0.005],
  ['Timestamp(Nanosecond, None)', "'2025-03-01T01:02:03.004'", MOMENT + 4],
  ['Timestamp(Second, Some("UTC"))', "'2025-03-01T01:02:03Z'", MOMENT],
  ['Timestamp(Millisecond, Some("UTC"))', "'2025-03-01T01:02:03.004Z'", MOMENT + 4],
  ['Timestamp(Microsecond, Some("Europe/Berlin"))', "'2025-03-01T01:02:03.000005Z'", MOMENT + 0.005],
  ['Timestamp(Nanosecond, Some("+05:30"))', "'2025-03-01T01:02:03.004Z'", MOMENT + 4],
  ['Duration(Second)', '90061', 90061n],
  ['Duration(Millisecond)', '90061', 90061n],
  ['Duration(Microsecond)', '90061', 90061n],
  ['Duration(Nanosecond)', '90061', 90061n],
  ['List(Int64)', '[1, NULL]', [1n, null]],
  ['FixedSizeList(2, Int64)', '[1, 2]', [1n, 2n]],
  ['', "named_struct('x', 1, 'y', 'a')", { x: 1n, y: 'a' }],
  ['', "MAP {'a': 1, 'b': NULL}", { a: 1n, b: null }],
];

/**
 * A value of apache-arrow as one of JavaScript: lists and bytes as arrays, structs and maps as objects, decimals as text. Told apart by
 * name, because clients bring apache-arrow of their own.
 */
function plain(value) {
  switch (value?.constructor.name) {
    case 'Uint8Array':
    case 'Vector':
      return [...value].map(plain);
    case 'StructRow':
    case 'MapRow':
      return Object.fromEntries([...value].map(([key, part]) => [key, plain(part)]));
    case 'DecimalBigNum':
      return String(value);
    default:
      return value;
  }
}

let tables = 0;

/** SQL for a new table with a column v0, v1, … for each case, of which row 1 has the values and row 2 has none. */
function tableOf(cases) {
  const name = `types_${process.pid}_${++tables}`;
  const values = cases.map(([kind, value], i) => `${kind ? `arrow_cast(${value}, '${kind}')` : value} AS v${i}`);
  const nothing = cases.map(() => 'NULL');
  return [name, `CREATE TABLE ${name} AS SELECT 1 AS id, ${values.join(', ')} UNION ALL SELECT 2, ${nothing.join(', ')}`];
}

/** `rows` runs any statement and gives the rows of its result. */
function checks(connect) {
  let client;
  before(async () => {
    client = await connect();
  });
  after(() => client.close());

  test('reads every type that tables store, and NULL of each', async () => {
    const [name, create] = tableOf(STORED);
    await client.rows(create);
    for (const [i, [kind, value, expected]] of STORED.entries()) {
      const found = await client.rows(`SELECT v${i} AS v FROM ${name} ORDER BY id`);
      assert.deepEqual(found.map(({ v }) => plain(v)), [expected, null], `${kind} ${value}`);
    }
  });

  test('limit: apache-arrow gives timestamps as milliseconds in a number, which has no room for nanoseconds; CAST them to TEXT', async () => {
    const [name, create] = tableOf([['Timestamp(Nanosecond, None)', "'2025-03-01T01:02:03.000000006'"]]);
    await client.rows(create);
    const [row] = await client.rows(`SELECT v0 AS v, CAST(v0 AS TEXT) AS text FROM ${name} ORDER BY id`);
    assert.deepEqual([row.v, row.text], [MOMENT, '2025-03-01T01:02:03.000000006']);
  });

  test('limit: apache-arrow writes decimals of more than 38 digits wrong; CAST them to TEXT', async () => {
    const [name, create] = tableOf([['Decimal256(50, 2)', "'1.25'"]]);
    await client.rows(create);
    const [row] = await client.rows(`SELECT v0 AS v, CAST(v0 AS TEXT) AS text FROM ${name} ORDER BY id`);
    assert.deepEqual([plain(row.v), row.text], ['5', '1.25']);
  });
}

// The rows of the matrix: what is in no suite counts for clients/js.
checks(async () => {
  const client = new FlightSqlClient(address);
  return { rows: async (sql) => (await client.query(sql)).toArray(), close: () => client.close() };
});

describe('@gizmodata/gizmosql-client 1.4.3', () =>
  checks(async () => {
    const client = new FlightSQLClient({ host, port: Number(port), plaintext: true });
    await client.connect();
    return { rows: async (sql) => (await client.execute(sql)).toArray(), close: () => client.close() };
  }));

describe('@lancedb/arrow-flight-sql-client 0.3.0', () =>
  checks(async () => {
    const client = await Client.connect({ host: address, username: 'somebody', password: 'secret', insecure: true });
    return { rows: async (sql) => (await client.query(sql)).collectToObjects(), close: () => {} };
  }));
