//! Functions of time series: scalar and aggregate functions of SQL that need no table. Pure.
//!
//! `width` reads widths as SQL writes them, `buckets` is the arithmetic of buckets with an origin, `time_bucket` the scalar
//! function over it; `ends` has `first` and `last`. The session registers what [`scalar_functions`] and
//! [`aggregate_functions`] give.

mod buckets;
mod ends;
mod time_bucket;
pub(super) mod width;

use datafusion::error::DataFusionError;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};

use crate::error::{Error, ErrorKind};

/// The scalar functions, for a session and for the lists of what there is.
pub fn scalar_functions() -> Vec<ScalarUDF> {
    vec![time_bucket::function()]
}

/// The aggregate functions, for a session and for the lists of what there is.
pub fn aggregate_functions() -> Vec<AggregateUDF> {
    vec![ends::first(), ends::last()]
}

fn refused(message: String) -> DataFusionError {
    DataFusionError::External(Box::new(Error::new(ErrorKind::Invalid, message)))
}

fn internal(message: &str) -> DataFusionError {
    DataFusionError::External(Box::new(Error::internal(message)))
}

#[cfg(test)]
mod tests;
