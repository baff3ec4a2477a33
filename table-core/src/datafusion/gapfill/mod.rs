//! Gap filling: `time_bucket_gapfill` and `date_bin_gapfill` in GROUP BY, `locf` and `interpolate` around aggregates.
//!
//! `functions` has the functions, which only mark a place: evaluating one is an error. `rule` finds the marks in a plan, takes
//! the buckets from `buckets` and their range from `bounds`, and puts a `node` over the aggregation, which `exec` runs with
//! `filler` over rows in order. What a mark would mean anywhere else is refused by the rule, with the name of the place.

mod bounds;
mod buckets;
mod exec;
mod filler;
mod functions;
mod node;
mod rule;

use datafusion::error::DataFusionError;

pub use exec::GAPFILL_ROWS_MAX;
pub(super) use exec::GapFillPlanner;
pub use functions::gapfill_functions;
pub use rule::GapFilling;

use crate::error::{Error, ErrorKind};

fn refused(message: impl Into<String>) -> DataFusionError {
    failed(ErrorKind::Invalid, message)
}

fn internal(message: impl Into<String>) -> DataFusionError {
    DataFusionError::External(Box::new(Error::internal(message.into())))
}

fn failed(kind: ErrorKind, message: impl Into<String>) -> DataFusionError {
    DataFusionError::External(Box::new(Error::new(kind, message)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests;
