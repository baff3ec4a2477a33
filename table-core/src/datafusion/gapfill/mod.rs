//! Gap filling: `time_bucket_gapfill` and `date_bin_gapfill` in GROUP BY, `locf` and `interpolate` around aggregates.
//!
//! `functions` has the functions, which only mark a place: evaluating one is an error. `rule` finds the marks in a plan and puts a
//! `node` over the aggregation: `call` says for which buckets, from `buckets`, in which range, from `bounds`, and `fills` has what
//! stands above take its fills from there. `exec` runs the node with `filler` over rows in order; `work` goes through them bucket by
//! bucket and writes a `page` at a time. What a mark would mean anywhere else is refused by the rule, with the name of the place.

mod bounds;
mod buckets;
mod call;
mod exec;
mod filler;
mod fills;
mod functions;
mod node;
mod page;
mod rule;
mod work;

use datafusion::error::DataFusionError;

pub use exec::GAPFILL_ROWS_MAX;
pub(super) use exec::GapFillPlanner;
pub use functions::gapfill_functions;
pub use rule::GapFilling;

use crate::error::{Error, ErrorKind};

/// The one input of a node.
fn one_input<T>(mut inputs: Vec<T>) -> Result<T, DataFusionError> {
    match (inputs.pop(), inputs.is_empty()) {
        (Some(input), true) => Ok(input),
        _ => Err(internal("gaps are filled in one input")),
    }
}

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
