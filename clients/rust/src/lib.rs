//! Reads what a refused append says about the rows that are there already.

use std::collections::HashMap;

use arrow::error::ArrowError;
use arrow_flight::error::FlightError;
use tonic::Status;
use tonic_types::StatusExt;

const REASON: &str = "COVERAGE_OVERLAP";

/// Why an append was refused. Nothing of it was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlap {
    /// The table.
    pub table: String,
    /// (entity, bucket) pairs of the append that other appends own.
    pub count: u64,
    /// One such entity, for example `symbol="AAPL"`.
    pub entity: String,
    /// Start of its bucket.
    pub bucket_start: String,
    /// End of its bucket, exclusive.
    pub bucket_end: String,
    /// The version that owns it.
    pub owner_version: u64,
}

impl Overlap {
    /// The overlap that an error of arrow-flight's clients reports; `None` for every other error.
    pub fn of(error: &FlightError) -> Option<Self> {
        match error {
            FlightError::Tonic(status) => Self::of_status(status),
            // What a stream or a Flight SQL call failed with is wrapped.
            FlightError::ExternalError(inner) => of_source(inner.as_ref()),
            FlightError::Arrow(ArrowError::ExternalError(inner)) => of_source(inner.as_ref()),
            _ => None,
        }
    }

    /// The same of a gRPC status.
    pub fn of_status(status: &Status) -> Option<Self> {
        let info = status.get_details_error_info().filter(|info| info.reason == REASON)?;
        let text = |key: &str| info.metadata.get(key).cloned().unwrap_or_default();
        Some(Self {
            table: text("table"),
            count: number(&info.metadata, "overlap_count"),
            entity: text("example_entity"),
            bucket_start: text("bucket_start"),
            bucket_end: text("bucket_end"),
            owner_version: number(&info.metadata, "owner_version"),
        })
    }
}

fn number(fields: &HashMap<String, String>, key: &str) -> u64 {
    fields.get(key).and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn of_source(error: &(dyn std::error::Error + 'static)) -> Option<Overlap> {
    if let Some(status) = error.downcast_ref::<Status>() {
        return Overlap::of_status(status);
    }
    error.downcast_ref::<FlightError>().and_then(Overlap::of)
}
