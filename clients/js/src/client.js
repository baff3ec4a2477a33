/**
 * A small Flight SQL client on grpc-js: queries give Arrow tables, appends take them. Copy it and make it yours.
 */
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { credentials, makeGenericClientConstructor, Metadata } from '@grpc/grpc-js';
import { RecordBatchReader, Table, vectorFromArray } from 'apache-arrow';
import protobuf from 'protobufjs';
import { asFlightData, asStream } from './ipc.js';
import { OverlapError } from './overlap.js';

const MESSAGE_BYTES_MAX = 64 << 20;
const { root } = protobuf.loadSync(fileURLToPath(new URL('flight.proto', import.meta.url)));

export const encode = (type, fields) => {
  const message = root.lookupType(type);
  return Buffer.from(message.encode(message.fromObject(fields)).finish());
};
export const decode = (type, bytes) => root.lookupType(type).decode(bytes);

const method = (name, request, response, requestStream, responseStream) => ({
  path: `/arrow.flight.protocol.FlightService/${name}`,
  requestStream,
  responseStream,
  requestSerialize: (fields) => encode(request, fields),
  requestDeserialize: (bytes) => decode(request, bytes),
  responseSerialize: (fields) => encode(response, fields),
  responseDeserialize: (bytes) => decode(response, bytes),
});

const FlightService = makeGenericClientConstructor(
  {
    getFlightInfo: method('GetFlightInfo', 'FlightDescriptor', 'FlightInfo', false, false),
    doGet: method('DoGet', 'Ticket', 'FlightData', false, true),
    doPut: method('DoPut', 'FlightData', 'PutResult', true, true),
    doAction: method('DoAction', 'Action', 'Result', false, true),
  },
  'FlightService',
);

/** A command of Flight SQL as the bytes that travel: packed in google.protobuf.Any. */
const pack = (name, value) => encode('Any', { typeUrl: `type.googleapis.com/arrow.flight.protocol.sql.${name}`, value });
const command = (name, value) => ({ type: 'CMD', cmd: pack(name, value) });

export class FlightSqlClient {
  #service;

  /** @param {string} address HOST:PORT */
  constructor(address, channelCredentials = credentials.createInsecure()) {
    this.#service = new FlightService(address, channelCredentials, {
      'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
      'grpc.max_send_message_length': MESSAGE_BYTES_MAX,
    });
  }

  close() {
    this.#service.close();
  }

  /** The rows of a query as an Arrow table; `?` takes the parameters in order. */
  async query(sql, parameters = []) {
    return this.#prepared(sql, parameters, (handle) =>
      this.#read(command('CommandPreparedStatementQuery', encode('PreparedStatement', { preparedStatementHandle: handle }))),
    );
  }

  /** Runs CREATE, DROP or INSERT; the rows that it changed. */
  async execute(sql, parameters = []) {
    return this.#prepared(sql, parameters, async (handle, values) => {
      const descriptor = command('CommandPreparedStatementUpdate', encode('PreparedStatement', { preparedStatementHandle: handle }));
      const answer = await this.#put(descriptor, values === undefined ? [] : [values]);
      return Number(decode('AppendReceipt', answer).recordCount);
    });
  }

  /**
   * Appends Arrow tables as one version of a table: all of them, or nothing.
   *
   * @param {AsyncIterable<Table> | Iterable<Table>} tables all of one schema
   * @param {{onOverlap?: 'reject' | 'skip', appendId?: string}} options with the same id a retry is harmless
   * @throws {OverlapError} when rows are there already
   */
  async append(table, tables, { onOverlap, appendId } = {}) {
    const headers = new Metadata();
    if (onOverlap !== undefined) headers.set('x-coverline-on-overlap', onOverlap);
    if (appendId !== undefined) headers.set('x-coverline-append-id', appendId);
    const receipt = decode('AppendReceipt', await this.#put({ type: 'PATH', path: [table] }, tables, headers));
    return { rows: Number(receipt.recordCount), version: Number(receipt.version), repeated: receipt.repeated };
  }

  /** Tables whose name is like a pattern. */
  async tables(pattern = '%') {
    return this.#read(command('CommandGetTables', encode('CommandGetTables', { tableNameFilterPattern: pattern })));
  }

  /** Catalogs, schemas, table types and the like: commands without arguments that matter. */
  async metadata(name) {
    return this.#read(command(name, Buffer.alloc(0)));
  }

  /** Prepares, binds, runs and closes. */
  async #prepared(sql, parameters, run) {
    const [created] = await this.#action('CreatePreparedStatement', pack('ActionCreatePreparedStatementRequest', encode('ActionCreatePreparedStatementRequest', { query: sql })));
    const statement = decode('ActionCreatePreparedStatementResult', decode('Any', created).value);
    let handle = statement.preparedStatementHandle;
    try {
      let values;
      if (parameters.length > 0) {
        values = bind(statement.parameterSchema, parameters);
        const descriptor = command('CommandPreparedStatementQuery', encode('PreparedStatement', { preparedStatementHandle: handle }));
        const answer = await this.#put(descriptor, [values]);
        const updated = decode('PreparedStatement', answer).preparedStatementHandle;
        if (updated.length > 0) handle = updated;
      }
      return await run(handle, values);
    } finally {
      await this.#action('ClosePreparedStatement', pack('ActionClosePreparedStatementRequest', encode('PreparedStatement', { preparedStatementHandle: handle })));
    }
  }

  async #read(descriptor) {
    const info = await new Promise((resolve, reject) => {
      this.#service.getFlightInfo(descriptor, (error, answer) => (error ? reject(OverlapError.orSame(error)) : resolve(answer)));
    });
    const batches = [];
    let schema;
    for (const { ticket } of info.endpoint) {
      const reader = await RecordBatchReader.from(asStream(this.#service.doGet(ticket)));
      await reader.open();
      schema ??= reader.schema;
      for await (const batch of reader) batches.push(batch);
    }
    return new Table(schema, batches);
  }

  /** Sends tables in one DoPut; the first answer's bytes. */
  async #put(descriptor, tables, headers = new Metadata()) {
    const call = this.#service.doPut(headers);
    const answers = [];
    call.on('data', (answer) => answers.push(answer.appMetadata));
    // The reason that the server gave shows here, also for what fails while sending.
    const ended = new Promise((resolve, reject) => {
      call.on('end', resolve);
      call.on('error', (error) => reject(OverlapError.orSame(error)));
    });
    const send = async () => {
      let first = true;
      for await (const table of tables) {
        for (const data of asFlightData(table, { withSchema: first })) {
          const flightDescriptor = first ? descriptor : undefined;
          first = false;
          if (!call.write({ ...data, flightDescriptor })) await once(call, 'drain');
        }
      }
      // An update without parameters is a message without data.
      if (first) call.write({ flightDescriptor: descriptor });
      call.end();
    };
    const sent = send().catch((error) => {
      call.cancel();
      throw error;
    });
    await Promise.race([ended, sent.then(() => ended)]);
    if (answers.length === 0) throw new Error('the server answered a DoPut with nothing');
    return answers[0];
  }

  async #action(type, body) {
    const call = this.#service.doAction({ type, body });
    const results = [];
    try {
      for await (const result of call) results.push(result.body);
    } catch (error) {
      throw OverlapError.orSame(error);
    }
    return results;
  }
}

/** One row of parameters, of the types that the server expects. */
function bind(schemaMessage, parameters) {
  const { fields } = RecordBatchReader.from(schemaMessage).open().schema;
  if (fields.length !== parameters.length) {
    throw new RangeError(`the statement takes ${fields.length} parameters, ${parameters.length} were given`);
  }
  return new Table(Object.fromEntries(fields.map((field, i) => [field.name, vectorFromArray([parameters[i]], field.type)])));
}
