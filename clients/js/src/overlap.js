/**
 * What a refused append says about the rows that are there already.
 */
import { fileURLToPath } from 'node:url';
import { status } from '@grpc/grpc-js';
import protobuf from 'protobufjs';

const { root } = protobuf.loadSync(fileURLToPath(new URL('flight.proto', import.meta.url)));
const [Status, ErrorInfo] = ['Status', 'ErrorInfo'].map((name) => root.lookupType(name));
const ERROR_INFO_URL = 'type.googleapis.com/google.rpc.ErrorInfo';

/** A refused append: nothing of it was committed. */
export class OverlapError extends Error {
  constructor(message, fields, cause) {
    super(message, { cause });
    this.name = 'OverlapError';
    this.table = fields.table;
    /** (entity, bucket) pairs of the append that other appends own. */
    this.count = Number(fields.overlap_count);
    /** One of them, for example symbol="AAPL", and its bucket: [start, end). */
    this.entity = fields.example_entity;
    this.bucketStart = fields.bucket_start;
    this.bucketEnd = fields.bucket_end;
    /** The version that owns it. */
    this.ownerVersion = Number(fields.owner_version);
  }

  /** The overlap that an error of grpc-js reports, else the error itself. */
  static orSame(error) {
    if (error.code !== status.ALREADY_EXISTS) return error;
    for (const bytes of error.metadata.get('grpc-status-details-bin')) {
      for (const detail of Status.decode(bytes).details) {
        if (detail.typeUrl !== ERROR_INFO_URL) continue;
        const info = ErrorInfo.decode(detail.value);
        if (info.reason === 'COVERAGE_OVERLAP') return new OverlapError(error.details, info.metadata, error);
      }
    }
    return error;
  }
}
