//! Coverage: the set of (entity, bucket) pairs that hold rows, as an immutable value that is cheap to clone and cheap to
//! grow.
//!
//! Pure: no I/O, no locks held across calls. Owns interning of entity keys, run sets, overlap, gaps, the codec, and how many rows
//! each entity has. Which append owns a pair is the log's knowledge; that every pair is owned once is guaranteed by checking
//! before adding.
//!
//! Cost rules: an overlap check and an addition cost in proportion to the append, never to the table; a contiguous
//! history costs one run whatever its length; memory never follows a span that holds no rows.

mod codec;
mod delta;
mod gaps;
mod index;
mod intern;
mod packed;
mod rows;
mod runs;

#[cfg(test)]
mod tests;

pub use codec::CodecError;
pub use delta::CoverageDelta;
pub use gaps::{Completeness, Gap, completeness_of, gaps_of};
pub use index::{Coverage, FoldedCoverage};
pub use rows::EntityRows;
pub use runs::{Run, Runs};
