/** Flight SQL clients from npm against the server that COVERLINE_ADDRESS names. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { FlightSQLClient } from '@gizmodata/gizmosql-client';
import { Client } from '@lancedb/arrow-flight-sql-client';

const address = process.env.COVERLINE_ADDRESS;
assert.ok(address, 'COVERLINE_ADDRESS is not set; tests/run js sets it');
const [host, port] = address.split(':');
let tables = 0;
const freshName = () => `npm_${process.pid}_${++tables}`;
const pricesTable = (name) =>
  `CREATE TABLE ${name} (ts TIMESTAMP(6) WITH TIME ZONE NOT NULL, symbol TEXT NOT NULL, close DOUBLE)
   WITH (index_column = 'ts', bucket = '1h', entity_columns = 'symbol')`;
const TYPES = `SELECT true AS b, CAST(-5 AS SMALLINT) AS i, 9 AS l, 2.5 AS f, 'naïve' AS s, DATE '2025-03-01' AS day,
  TIMESTAMP '2025-03-01T01:02:03' AS ts, CAST(NULL AS BIGINT) AS n`;

describe('@gizmodata/gizmosql-client 1.4.3', () => {
  let client;
  before(async () => {
    client = new FlightSQLClient({ host, port: Number(port), plaintext: true });
    await client.connect();
  });
  after(() => client.close());
  const rows = async (sql) => (await client.execute(sql)).toArray().map((row) => row.toJSON());

  test('connects with a user and a password, and with a token', async () => {
    for (const login of [{ username: 'somebody', password: 'p:ass' }, { token: 'abc' }]) {
      const other = new FlightSQLClient({ host, port: Number(port), plaintext: true, ...login });
      await other.connect();
      assert.equal((await other.execute('SELECT 1 AS n')).get(0).n, 1n);
      await other.close();
    }
  });

  test('creates, fills and reads a table, each statement exactly once', async () => {
    const name = freshName();
    await client.execute(pricesTable(name));
    await client.execute(`INSERT INTO ${name} VALUES (TIMESTAMP '2025-03-01T05:00:00Z', 'AAPL', 1.0)`);
    assert.deepEqual(await rows(`SELECT symbol, close FROM ${name}`), [{ symbol: 'AAPL', close: 1 }]);
  });

  test('an INSERT over rows that are there is refused, and the message tells the facts', async () => {
    const name = freshName();
    await client.execute(pricesTable(name));
    const insert = `INSERT INTO ${name} VALUES (TIMESTAMP '2025-03-01T05:00:00Z', 'AAPL', 1.0)`;
    await client.execute(insert);
    await assert.rejects(client.execute(insert), /1 bucket already holds these very rows for symbol="AAPL".*since version 2/);
    const other = insert.replace('1.0', '2.0');
    await assert.rejects(client.execute(other), /1 bucket already holds rows for symbol="AAPL".*since version 2/);
    assert.equal((await rows(`SELECT count(*) AS n FROM ${name}`))[0].n, 1n);
  });

  test('reads types, NULL and an empty result', async () => {
    const [row] = await rows(TYPES);
    assert.deepEqual({ ...row, day: undefined, ts: undefined }, { b: true, i: -5, l: 9n, f: 2.5, s: 'naïve', n: null, day: undefined, ts: undefined });
    assert.equal(new Date(Number(row.day)).toISOString(), '2025-03-01T00:00:00.000Z');
    assert.equal(new Date(Number(row.ts)).toISOString(), '2025-03-01T01:02:03.000Z');
    const empty = await client.execute('SELECT 1 AS a WHERE false');
    assert.deepEqual([empty.numRows, empty.schema.fields.length], [0, 1]);
  });

  test('reads the catalog', async () => {
    const name = freshName();
    await client.execute(pricesTable(name));
    assert.ok((await client.getCatalogs()).includes('coverline'));
    assert.deepEqual((await client.getTables(undefined, undefined, name)).map(({ tableName }) => tableName), [name]);
    assert.ok((await client.getSchemas()).some(({ schema }) => schema === 'public'));
    assert.ok((await client.getTableTypes()).length > 0);
    assert.equal((await client.getSqlInfo([0])).get(0), 'Coverline');
    assert.ok((await client.getSqlInfo()).size > 50);
    assert.ok((await client.listActions()).length > 0);
  });

  test('bad SQL says what is wrong', async () => {
    await assert.rejects(client.execute('SELEC 1'), /SELEC/);
  });

  test('limit: prepare, getQuerySchema and the key lists send messages that are not Flight SQL; write values into the SQL', async () => {
    await assert.rejects(client.prepare('SELECT 1'), /serialization failure/);
    await assert.rejects(client.getQuerySchema('SELECT 1'));
    await assert.rejects(client.getPrimaryKeys('coverline', 'public', 't'));
  });
});

describe('@lancedb/arrow-flight-sql-client 0.3.0', () => {
  let client;
  before(async () => {
    client = await Client.connect({ host: address, username: 'somebody', password: 'secret', insecure: true });
  });
  const rows = async (sql) => (await client.query(sql)).collectToObjects();

  test('runs queries, and reads types, NULL and an empty result', async () => {
    const [row] = await rows(TYPES);
    assert.deepEqual([row.b, row.i, row.f, row.s, row.n], [true, -5, 2.5, 'naïve', null]);
    assert.deepEqual(await rows('SELECT 1 AS a WHERE false'), []);
  });

  test('creates and fills a table, each statement exactly once', async () => {
    const name = freshName();
    await rows(pricesTable(name));
    await rows(`INSERT INTO ${name} VALUES (TIMESTAMP '2025-03-01T05:00:00Z', 'AAPL', 1.0)`);
    assert.equal(Number((await rows(`SELECT count(*) AS n FROM ${name}`))[0].n), 1);
  });

  test('an INSERT over rows that are there is ALREADY_EXISTS, and trailers tell the facts', async () => {
    const name = freshName();
    await rows(pricesTable(name));
    const insert = `INSERT INTO ${name} VALUES (TIMESTAMP '2025-03-01T05:00:00Z', 'AAPL', 1.0)`;
    await rows(insert);
    await assert.rejects(rows(insert), (error) => {
      assert.equal(error.code, 6);
      assert.deepEqual(error.metadata.get('x-coverline-error'), ['COVERAGE_OVERLAP']);
      assert.deepEqual(error.metadata.get('x-coverline-overlap-count'), ['1']);
      return true;
    });
  });

  test('bad SQL is INVALID_ARGUMENT and says what is wrong', async () => {
    await assert.rejects(rows('SELEC 1'), { code: 3, message: /SELEC/ });
  });
});
