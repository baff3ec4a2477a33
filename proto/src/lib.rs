//! Coverline's protobuf messages, compiled from the `.proto` files beside this crate.
//!
//! Owns the encoding only. What the log messages mean is `table-core`'s business, what the wire messages mean is
//! `flight-server`'s. Clients in other languages compile the same `coverline/flight/v1/flight.proto`.

#![allow(missing_docs, reason = "generated code; the .proto files carry the documentation")]
#![allow(clippy::all, reason = "generated code")]

/// The on-disk log: commit records and checkpoints.
pub mod log {
    include!(concat!(env!("OUT_DIR"), "/coverline.log.v1.rs"));
}

/// The wire: append command, receipt, tickets.
pub mod flight {
    include!(concat!(env!("OUT_DIR"), "/coverline.flight.v1.rs"));
}

/// Descriptors of what the server speaks, as an encoded `google.protobuf.FileDescriptorSet`: Arrow Flight, and [`flight`].
pub const WIRE_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/wire.bin"));
