/**
 * Arrow's stream format, and the same messages as Flight carries them: header and body apart, without lengths between.
 */
import { Message, MessageHeader, tableToIPC } from 'apache-arrow';

const CONTINUATION = 0xffffffff;
const PREFIX_BYTES = 8;
const ALIGNMENT = 8;

/** The bytes of an Arrow stream from the messages of a DoGet. */
export async function* asStream(messages) {
  for await (const { dataHeader, dataBody } of messages) {
    if (dataHeader.length === 0) continue;
    const padded = Math.ceil(dataHeader.length / ALIGNMENT) * ALIGNMENT;
    const head = Buffer.alloc(PREFIX_BYTES + padded);
    head.writeUInt32LE(CONTINUATION, 0);
    head.writeInt32LE(padded, 4);
    head.set(dataHeader, PREFIX_BYTES);
    yield head;
    if (dataBody.length > 0) yield dataBody;
  }
}

/** The messages of a DoPut from an Arrow table. */
export function* asFlightData(table, { withSchema }) {
  const stream = Buffer.from(tableToIPC(table, 'stream'));
  let at = 0;
  while (at + PREFIX_BYTES <= stream.length) {
    const length = stream.readInt32LE(at + 4);
    if (length === 0) return; // the end of the stream
    const dataHeader = stream.subarray(at + PREFIX_BYTES, at + PREFIX_BYTES + length);
    const message = Message.decode(dataHeader);
    at += PREFIX_BYTES + length;
    const dataBody = stream.subarray(at, at + Number(message.bodyLength));
    at += dataBody.length;
    if (withSchema || message.headerType !== MessageHeader.Schema) yield { dataHeader, dataBody };
  }
}
