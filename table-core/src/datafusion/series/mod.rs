//! Functions of time series: scalar and aggregate functions of SQL that need no table. Pure.
//!
//! `width` reads widths as SQL writes them, `buckets` is the arithmetic of buckets with an origin, `time_bucket` the scalar
//! function over it, `at_time_zone` reads times as clocks show them. `ends` has the aggregate functions `first` and `last`, and `counters` has `delta`, `increase` and `rate`,
//! `weighted` has `time_weighted_avg`, `lttb` picks points for plots, all three over the sorted rows of a group that `samples`
//! keeps, and `ohlc`, `vwap` and `histogram` are what their names say; `time` and `call` read arguments. The session registers what
//! [`scalar_functions`] and [`aggregate_functions`] give.

mod at_time_zone;
mod buckets;
mod call;
mod counters;
mod ends;
mod exact_sum;
mod histogram;
mod lttb;
mod ohlc;
mod samples;
mod time;
mod time_bucket;
mod vwap;
mod weighted;
pub(super) mod width;

use datafusion::error::DataFusionError;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};

pub(crate) use at_time_zone::NAME as AT_TIME_ZONE;
pub(crate) use time_bucket::bucket_length;

use crate::error::{Error, ErrorKind};

/// The scalar functions, for a session and for the lists of what there is.
pub fn scalar_functions() -> Vec<ScalarUDF> {
    vec![time_bucket::function(), at_time_zone::function()]
}

/// The aggregate functions, for a session and for the lists of what there is.
pub fn aggregate_functions() -> Vec<AggregateUDF> {
    let mut functions = vec![ends::first(), ends::last()];
    functions.extend(counters::functions());
    functions.extend([weighted::function(), ohlc::function(), vwap::function()]);
    functions.extend([histogram::function(), lttb::function()]);
    functions
}

fn refused(message: String) -> DataFusionError {
    DataFusionError::External(Box::new(Error::new(ErrorKind::Invalid, message)))
}

fn internal(message: &str) -> DataFusionError {
    DataFusionError::External(Box::new(Error::internal(message)))
}

#[cfg(test)]
mod tests;
