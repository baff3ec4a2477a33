//! What the aggregate functions of time series refuse in a call, and the constants among its arguments. Pure.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::function::{AccumulatorArgs, AggregateFunctionSimplification};
use datafusion::logical_expr::{ColumnarValue, Expr};
use datafusion::physical_expr::PhysicalExpr;

use super::refused;

/// Refuses clauses in a call that would change nothing.
pub(super) fn plain(name: &str, args: &AccumulatorArgs) -> Result<()> {
    if !args.order_bys.is_empty() {
        return Err(refused(format!(
            "{name} does not depend on the order of rows; leave ORDER BY out of {name}(...)"
        )));
    }
    if args.is_distinct {
        return Err(refused(format!(
            "{name} takes every row; leave DISTINCT out of {name}(...), or select distinct rows in a subquery"
        )));
    }
    Ok(())
}

/// The value of an argument that does not depend on rows; `None` when it does, or is null.
pub(super) fn constant(argument: &Arc<dyn PhysicalExpr>) -> Option<ScalarValue> {
    match argument.evaluate(&RecordBatch::new_empty(Arc::new(Schema::empty()))) {
        Ok(ColumnarValue::Scalar(constant)) if !constant.is_null() => Some(constant),
        _ => None,
    }
}

/// Has `check` look at the constants of a call, which are its arguments from the one at `first_constant` on, when it is planned:
/// a function is made for groups, and over no rows there are none. It waits for parameters without values.
pub(super) fn planned(
    usage: fn() -> DataFusionError,
    first_constant: usize,
    check: fn(&[ScalarValue]) -> Result<()>,
) -> Option<AggregateFunctionSimplification> {
    Some(Box::new(move |function, _| {
        let arguments = function.params.args.get(first_constant..).unwrap_or_default();
        let mut constants = Vec::new();
        for argument in arguments {
            match argument {
                Expr::Literal(value, _) if value.is_null() => return Err(usage()),
                Expr::Literal(value, _) => constants.push(value.clone()),
                other if !other.column_refs().is_empty() => return Err(usage()),
                _ => {}
            }
        }
        if constants.len() == arguments.len() {
            check(&constants)?;
        }
        Ok(Expr::AggregateFunction(function))
    }))
}
