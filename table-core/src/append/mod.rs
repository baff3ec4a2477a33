//! One append: batches in, one version out, or nothing.
//!
//! `request` says what is asked and answered. `stage` normalises batches (in `slices`), computes entities and buckets, checks them
//! against the snapshot and has the `encoder` write segments with bounded memory, or none for a small append; `plan` (pure) turns
//! what was staged into the actions of a commit; `publish` makes the segments durable and hands the plan to the table's commit
//! loop. `digest` recognises a retry, `fingerprint` an append that repeats another; `overlap` says what a refused one met, whose
//! `owner` the log knows.

mod digest;
mod encoder;
mod fingerprint;
mod overlap;
mod owner;
mod plan;
mod publish;
mod request;
mod slices;
mod stage;

pub use publish::first_try;
pub use request::{APPEND_ID_BYTES_MAX, AppendRequest, OverlapPolicy, Receipt};
pub use stage::{Append, BATCH_ROWS_MAX, NEW_ENTITIES_MAX};
