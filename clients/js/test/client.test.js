/** The small client of the examples against the server that COVERLINE_ADDRESS names. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { credentials } from '@grpc/grpc-js';
import { Float64, Table, TimestampMicrosecond, Utf8, vectorFromArray } from 'apache-arrow';
import { FlightSqlClient } from '../src/client.js';
import { OverlapError } from '../src/overlap.js';

const DAY = Date.UTC(2025, 2, 1);
const HOUR = 3_600_000;
const GRPC = { INVALID_ARGUMENT: 3, NOT_FOUND: 5, ALREADY_EXISTS: 6, UNAVAILABLE: 14 };

const address = process.env.COVERLINE_ADDRESS;
let client;
let tables = 0;

before(() => {
  assert.ok(address, 'COVERLINE_ADDRESS is not set; tests/run js sets it');
  client = new FlightSqlClient(address);
});
after(() => client.close());

const freshName = () => `js_${process.pid}_${++tables}`;

async function pricesTable() {
  const name = freshName();
  await client.execute(
    `CREATE TABLE ${name} (ts TIMESTAMP(6) WITH TIME ZONE NOT NULL, symbol TEXT NOT NULL, close DOUBLE)
     WITH (index_column = 'ts', bucket = '1h', entity_columns = 'symbol')`,
  );
  return name;
}

/** Hourly rows of two symbols, 48. */
function dayOf(number) {
  const rows = ['AAPL', 'NVDA'].flatMap((symbol) => Array.from({ length: 24 }, (_, hour) => ({ symbol, hour })));
  return new Table({
    ts: vectorFromArray(rows.map(({ hour }) => DAY + (24 * number + hour) * HOUR), new TimestampMicrosecond('UTC')),
    symbol: vectorFromArray(rows.map(({ symbol }) => symbol), new Utf8()),
    close: vectorFromArray(rows.map(({ hour }) => 100 + hour), new Float64()),
  });
}

const rowsOf = (table) => table.toArray().map((row) => row.toJSON());
const count = async (name) => Number((await client.query(`SELECT count(*) AS n FROM ${name}`)).get(0).n);

test('creates, fills, reads and drops a table by SQL', async () => {
  const name = freshName();
  await client.execute(`CREATE TABLE ${name} (id BIGINT, name TEXT)`);
  assert.equal(await client.execute(`INSERT INTO ${name} VALUES (1, 'a'), (2, NULL)`), 2);
  assert.deepEqual(rowsOf(await client.query(`SELECT * FROM ${name} ORDER BY id`)), [
    { id: 1n, name: 'a' },
    { id: 2n, name: null },
  ]);
  await client.execute(`DROP TABLE ${name}`);
  await assert.rejects(client.query(`SELECT * FROM ${name}`), { code: GRPC.NOT_FOUND });
});

test('appends tables as one version', async () => {
  const name = await pricesTable();
  assert.deepEqual(await client.append(name, [dayOf(0), dayOf(1)]), { rows: 96, version: 2, repeated: false });
  assert.equal(await count(name), 96);
});

test('the same append again is refused, and the error carries the facts', async () => {
  const name = await pricesTable();
  await client.append(name, [dayOf(0)]);
  await assert.rejects(client.append(name, [dayOf(0)]), (error) => {
    assert.ok(error instanceof OverlapError, `${error}`);
    const { table, count, entity, bucketStart, bucketEnd, ownerVersion } = error;
    assert.deepEqual(
      { table, count, entity, bucketStart, bucketEnd, ownerVersion },
      {
        table: name,
        count: 48,
        entity: 'symbol="AAPL"',
        bucketStart: '2025-03-01T00:00:00Z',
        bucketEnd: '2025-03-01T01:00:00Z',
        ownerVersion: 2,
      },
    );
    assert.equal(error.cause.code, GRPC.ALREADY_EXISTS);
    assert.match(error.message, /48 buckets/);
    return true;
  });
  assert.equal(await count(name), 48);
});

test('an INSERT over rows that are there is the same error', async () => {
  const name = await pricesTable();
  const insert = `INSERT INTO ${name} VALUES (TIMESTAMP '2025-03-01T05:30:00Z', 'AAPL', 1.0)`;
  assert.equal(await client.execute(insert), 1);
  await assert.rejects(client.execute(insert), OverlapError);
});

test('options choose what happens to rows that overlap, and make a retry harmless', async () => {
  const name = await pricesTable();
  await client.append(name, [dayOf(0)]);
  assert.equal((await client.append(name, [dayOf(0)], { onOverlap: 'skip' })).rows, 0);
  const appendId = `day-1-of-${name}`;
  const first = await client.append(name, [dayOf(1)], { appendId });
  assert.deepEqual(await client.append(name, [dayOf(1)], { appendId }), { ...first, repeated: true });
  assert.equal(await count(name), 96);
});

test('a feed that fails half way, or a server that refuses early, ends the append with its reason', async () => {
  const name = await pricesTable();
  async function* broken() {
    yield dayOf(0);
    throw new Error('the feed broke');
  }
  await assert.rejects(client.append(name, broken()), /the feed broke/);
  assert.equal(await count(name), 0);
  async function* endless() {
    for (let number = 0; number < 5_000; number++) yield dayOf(number);
  }
  await assert.rejects(client.append('nowhere', endless()), { code: GRPC.NOT_FOUND });
});

test('binds parameters of the types that the server expects', async () => {
  const name = await pricesTable();
  await client.append(name, [dayOf(0)]);
  const query = `SELECT count(*) AS n FROM ${name} WHERE symbol = ? AND ts >= ? AND close < ?`;
  for (const [symbol, expected] of [['AAPL', 8n], ['none', 0n]]) {
    assert.equal((await client.query(query, [symbol, DAY + 12 * HOUR, 120])).get(0).n, expected);
  }
  assert.equal(await client.execute(`INSERT INTO ${name} VALUES (?, ?, ?)`, [DAY + 24 * HOUR, 'AAPL', null]), 1);
  await assert.rejects(client.query(query, ['AAPL']), RangeError);
});

test('reads every type that SQL can make', async () => {
  const row = (
    await client.query(
      `SELECT true AS b, CAST(-5 AS SMALLINT) AS i, CAST(18446744073709551615 AS BIGINT UNSIGNED) AS u, 2.5 AS f, 'naïve' AS s,
         CAST(1.25 AS DECIMAL(10, 2)) AS d, DATE '2025-03-01' AS day, TIMESTAMP '2025-03-01T01:02:03.456' AS ts, X'00ff' AS bin,
         [1, 2] AS l, named_struct('x', 1) AS st, NULL AS n`,
    )
  )
    .get(0)
    .toJSON();
  assert.equal(row.b, true);
  assert.equal(row.i, -5);
  assert.equal(row.u, 18446744073709551615n);
  assert.equal(row.f, 2.5);
  assert.equal(row.s, 'naïve');
  assert.equal(new Date(row.day).toISOString(), '2025-03-01T00:00:00.000Z');
  assert.equal(new Date(Number(row.ts)).toISOString(), '2025-03-01T01:02:03.456Z');
  assert.deepEqual([...row.bin], [0, 255]);
  assert.deepEqual([...row.l], [1n, 2n]);
  assert.equal(row.st.x, 1n);
  assert.equal(row.n, null);
});

test('limit: apache-arrow gives a decimal as the digits without the point; divide by the scale of its type', async () => {
  const table = await client.query('SELECT CAST(1.25 AS DECIMAL(10, 2)) AS d');
  const { scale } = table.schema.fields[0].type;
  assert.equal(Number(table.get(0).d.toString()), 1.25 * 10 ** scale);
});

test('an empty result has its columns', async () => {
  const table = await client.query('SELECT 1 AS a, 2 AS b WHERE false');
  assert.deepEqual(table.schema.fields.map(({ name }) => name), ['a', 'b']);
  assert.equal(table.numRows, 0);
});

test('a result of 300,000 rows arrives whole', async () => {
  const table = await client.query('SELECT value FROM generate_series(1, 300000) ORDER BY value');
  assert.equal(table.numRows, 300_000);
  assert.equal(table.get(299_999).value, 300_000n);
});

test('metadata commands answer', async () => {
  const name = await pricesTable();
  assert.deepEqual(rowsOf(await client.tables(name)).map((row) => row.table_name), [name]);
  for (const command of ['CommandGetCatalogs', 'CommandGetDbSchemas', 'CommandGetTableTypes', 'CommandGetSqlInfo', 'CommandGetXdbcTypeInfo']) {
    assert.ok((await client.metadata(command)).numRows > 0, command);
  }
});

test('gaps() answers as a table', async () => {
  const name = await pricesTable();
  await client.append(name, [dayOf(0), dayOf(2)]);
  const gaps = rowsOf(await client.query(`SELECT * FROM gaps('${name}') ORDER BY symbol`));
  assert.deepEqual(gaps.map(({ symbol, missing_buckets }) => [symbol, Number(missing_buckets)]), [['AAPL', 24], ['NVDA', 24]]);
});

test('bad SQL says what is wrong, with the right code', async () => {
  await assert.rejects(client.query('SELEC 1'), { code: GRPC.INVALID_ARGUMENT, details: /SELEC/ });
  await assert.rejects(client.query('SELECT * FROM nowhere'), { code: GRPC.NOT_FOUND, details: /nowhere/ });
});

test('a closed client refuses', async () => {
  const other = new FlightSqlClient(address);
  await other.query('SELECT 1');
  other.close();
  await assert.rejects(other.query('SELECT 1'));
});

test('over TLS, to a server whose authority it is told to trust, and to no other', async () => {
  const secured = process.env.COVERLINE_TLS_ADDRESS?.replace('127.0.0.1', 'localhost');
  assert.ok(secured, 'COVERLINE_TLS_ADDRESS is not set; tests/run js sets it');
  const authority = readFileSync(process.env.COVERLINE_TLS_AUTHORITY);
  const trusting = new FlightSqlClient(secured, credentials.createSsl(authority));
  assert.equal((await trusting.query('SELECT 41 + 1 AS n')).get(0).n, 42n);
  trusting.close();
  const stranger = new FlightSqlClient(secured, credentials.createSsl());
  await assert.rejects(stranger.query('SELECT 1'), { code: GRPC.UNAVAILABLE });
  stranger.close();
});
