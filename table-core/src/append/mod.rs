//! One append: batches in, one version out, or nothing.
//!
//! `stage` normalises batches, computes entities and buckets, checks them against the snapshot and writes segments with
//! bounded memory; `plan` (pure) turns what was staged into the actions of a commit; `publish` is the commit loop.

mod plan;
mod publish;
mod stage;

pub use stage::{Append, AppendRequest, OverlapPolicy, Receipt};
