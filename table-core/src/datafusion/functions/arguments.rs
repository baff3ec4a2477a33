//! What the functions are called with: the name of a table, and the bounds of a range of its index.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, Expr};

use super::{PinnedTable, SnapshotSource, external, refused};
use crate::Snapshot;
use crate::coverage::Run;
use crate::error::Error;
use crate::schema::{TableLayout, portable_field};
use crate::types::{Bucketing, IndexType};

/// The value of a constant argument, whatever constant expression it is written as.
fn constant(what: &str, expr: &Expr, session: &dyn Session) -> Result<ScalarValue> {
    if let Expr::Literal(value, _) = expr {
        return Ok(value.clone());
    }
    let not_constant =
        || DataFusionError::Plan(format!("{what} is \"{expr}\"; it must be a constant"));
    let physical = session
        .create_physical_expr(expr.clone(), &DFSchema::empty())
        .map_err(|error| error.context(not_constant().strip_backtrace()))?;
    let one_row = RecordBatch::try_new_with_options(
        Arc::new(Schema::empty()),
        Vec::new(),
        &RecordBatchOptions::new().with_row_count(Some(1)),
    )?;
    match physical.evaluate(&one_row)? {
        ColumnarValue::Scalar(value) => Ok(value),
        ColumnarValue::Array(array) if array.len() == 1 => ScalarValue::try_from_array(&array, 0),
        ColumnarValue::Array(_) => Err(not_constant()),
    }
}

/// The first argument of `function`.
pub(super) fn table_name(function: &str, expr: &Expr, session: &dyn Session) -> Result<String> {
    let name = match expr {
        Expr::Column(_) => None,
        expr => constant(&format!("the table of {function}"), expr, session)?
            .try_as_str()
            .flatten()
            .map(str::to_owned),
    };
    name.ok_or_else(|| {
        DataFusionError::Plan(format!(
            "the first argument of {function} is {expr}; it must be the name of a table in single quotes: \
             {function}('prices')"
        ))
    })
}

/// A time-series table that has a schema, so that its buckets can be shown in the index column's type.
#[derive(Debug)]
pub(super) struct CoveredTable {
    /// Of the function that asks, for messages.
    function: &'static str,
    pub(super) name: String,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) layout: Arc<TableLayout>,
    pub(super) index: Field,
    pub(super) index_type: IndexType,
    pub(super) bucketing: Bucketing,
}

impl CoveredTable {
    /// The table that the first argument of `function` names.
    pub(super) fn find(
        source: &dyn SnapshotSource,
        function: &'static str,
        table: &Expr,
        session: &dyn Session,
    ) -> Result<Self> {
        let PinnedTable { name, snapshot, .. } =
            source.pinned(&table_name(function, table, session)?)?;
        Self::of(function, name, snapshot)
    }

    /// A table of this name at one version.
    pub(super) fn of(
        function: &'static str,
        name: String,
        snapshot: Arc<Snapshot>,
    ) -> Result<Self> {
        if snapshot.spec.index.is_none() {
            return Err(refused(format!(
                "table \"{name}\" is a plain table: it has no index column, and so no coverage"
            )));
        }
        let Some(layout) = snapshot.layout.clone() else {
            return Err(refused(format!(
                "table \"{name}\" has no data and no schema yet; append to it first"
            )));
        };
        let bound = layout.index.and_then(|position| {
            let field = layout.schema.fields().get(position)?;
            Some((portable_field(field), layout.index_type?, layout.bucketing.clone()?))
        });
        let Some((index, index_type, bucketing)) = bound else {
            return Err(external(Error::internal(format!(
                "the layout of table \"{name}\" lacks the index column of its spec"
            ))));
        };
        Ok(Self { function, name, snapshot, layout, index, index_type, bucketing })
    }

    /// The buckets that `[start, end)` touches.
    pub(super) fn range(&self, start: &Expr, end: &Expr, session: &dyn Session) -> Result<Run> {
        let (first, end) = (self.bound("start", start, session)?, self.bound("end", end, session)?);
        let order = |value: i64| match self.index_type {
            IndexType::UInt64 => value ^ i64::MIN,
            IndexType::Timestamp(_) | IndexType::Int64 => value,
        };
        if order(end) <= order(first) {
            return Err(refused(format!(
                "the range of {}('{}', ...) is empty: it ends at {}, not after its start {}; the end is exclusive",
                self.function,
                self.name,
                self.bucketing.format(end),
                self.bucketing.format(first),
            )));
        }
        let bucket = |what: &str, value: i64| {
            self.bucketing.bucket_of(value).ok_or_else(|| {
                refused(format!(
                    "the {what} of {}('{}', ...) is outside the calendar; give an earlier end or a later start",
                    self.function, self.name
                ))
            })
        };
        Ok(Run { first: bucket("start", first)?, last: bucket("end", end.wrapping_sub(1))? })
    }

    /// A bound as an index value.
    fn bound(&self, what: &str, expr: &Expr, session: &dyn Session) -> Result<i64> {
        let value = constant(&format!("the {what} of {}", self.function), expr, session)?;
        let wrong = || {
            let example = match self.index_type {
                IndexType::Timestamp(_) => {
                    "'2025-01-31T00:00:00Z' or TIMESTAMP '2025-01-31 00:00:00'"
                }
                IndexType::Int64 | IndexType::UInt64 => "1000",
            };
            refused(format!(
                "the {what} of {}('{}', ...) is {value}, which is no {} such as index column \"{}\" holds; write {example}",
                self.function,
                self.name,
                self.index.data_type(),
                self.index.name(),
            ))
        };
        let is_text =
            matches!(value.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        let fits = match self.index_type {
            IndexType::Timestamp(_) => {
                is_text
                    || matches!(
                        value.data_type(),
                        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64
                    )
            }
            IndexType::Int64 | IndexType::UInt64 => is_text || value.data_type().is_integer(),
        };
        if !fits || value.is_null() {
            return Err(wrong());
        }
        match value.cast_to(self.index.data_type()).map_err(|_| wrong())? {
            ScalarValue::UInt64(Some(value)) => Ok(value.cast_signed()),
            ScalarValue::Int64(Some(value))
            | ScalarValue::TimestampSecond(Some(value), _)
            | ScalarValue::TimestampMillisecond(Some(value), _)
            | ScalarValue::TimestampMicrosecond(Some(value), _)
            | ScalarValue::TimestampNanosecond(Some(value), _) => Ok(value),
            _ => Err(wrong()),
        }
    }
}
