//! DoPut streams to appends: guarded decode, append, receipt.
