//! Marks on the lossy operations of a logical plan's filters: functions that give back what they get, and of which DataFusion
//! concludes nothing.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    BinaryExpr, Cast, ColumnarValue, Expr, ExprSchemable, Filter, LogicalPlan, Operator,
    ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::types::ticks_per_second;

/// The plan with a mark around every operation in its filters that can have the same value for different arguments. Belongs behind
/// all logical rules.
///
/// # Errors
/// What DataFusion returns for a plan that is not well formed.
pub(crate) fn mark(plan: LogicalPlan) -> Result<LogicalPlan> {
    let marked = plan.transform_down_with_subqueries(|plan| {
        let LogicalPlan::Filter(filter) = &plan else { return Ok(Transformed::no(plan)) };
        let schema = filter.input.schema();
        let marked = filter.predicate.clone().transform_down(|part| mark_part(part, schema))?;
        if !marked.transformed {
            return Ok(Transformed::no(plan));
        }
        let filter = Filter::try_new(marked.data, Arc::clone(&filter.input))?;
        Ok(Transformed::yes(LogicalPlan::Filter(filter)))
    })?;
    Ok(marked.data)
}

fn mark_part(part: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    if !part.any_column_refs() || !is_lossy(&part, schema)? {
        return Ok(Transformed::no(part));
    }
    Ok(Transformed::new(hidden(part), true, TreeNodeRecursion::Jump))
}

/// An expression with a mark around it.
pub(in crate::datafusion) fn hidden(part: Expr) -> Expr {
    ScalarUDF::new_from_impl(Mark::default()).call(vec![part])
}

/// What a mark is around; `None` for every other call.
pub(crate) fn marked(call: &ScalarFunction) -> Option<&Expr> {
    call.func.inner().is::<Mark>().then(|| call.args.first()).flatten()
}

/// Whether two arguments can have the same value.
fn is_lossy(part: &Expr, schema: &DFSchema) -> Result<bool> {
    Ok(match part {
        Expr::Cast(Cast { expr, field }) => {
            !keeps_apart(&expr.get_type(schema)?, field.data_type())
        }
        Expr::BinaryExpr(BinaryExpr { op, .. }) => match op {
            Operator::Divide => true,
            // Rounding makes the same sum of different terms.
            Operator::Plus | Operator::Minus | Operator::Multiply => {
                part.get_type(schema)?.is_floating()
            }
            _ => false,
        },
        _ => false,
    })
}

/// Whether a cast gives different values different results. Says no where nobody needs to know.
fn keeps_apart(from: &DataType, to: &DataType) -> bool {
    use DataType::{
        Date32, Date64, Float32, Float64, Int8, Int16, Int32, Int64, Timestamp, UInt8, UInt16,
        UInt32, UInt64,
    };
    from == to
        || match (from, to) {
            (Int8, Int16 | Int32 | Int64 | Float32 | Float64)
            | (UInt8, UInt16 | UInt32 | UInt64 | Int16 | Int32 | Int64 | Float32 | Float64)
            | (Int16, Int32 | Int64 | Float32 | Float64)
            | (UInt16, UInt32 | UInt64 | Int32 | Int64 | Float32 | Float64)
            | (Int32, Int64 | Float64)
            | (UInt32, UInt64 | Int64 | Float64)
            | (Float32, Float64)
            | (Date32, Date64) => true,
            (Date32, Timestamp(_, _)) => true,
            // Another zone can take two hours of a clock change for one.
            (Timestamp(from, from_zone), Timestamp(to, to_zone)) => {
                from_zone == to_zone && ticks_per_second(*from) <= ticks_per_second(*to)
            }
            _ => false,
        }
}

/// The mark: a function of one argument of any type, which it returns.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Mark {
    signature: Signature,
}

impl Default for Mark {
    fn default() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Mark {
    /// None, so that a plan shows what was written, in parentheses.
    fn name(&self) -> &str {
        ""
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        arg_types.first().cloned().ok_or_else(of_one_argument)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        args.arg_fields.first().cloned().ok_or_else(of_one_argument)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        args.args.into_iter().next().ok_or_else(of_one_argument)
    }
}

fn of_one_argument() -> DataFusionError {
    DataFusionError::Internal("a mark has one argument".to_owned())
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;

    use super::*;

    #[test]
    fn casts_that_lose_something_are_known() {
        let utc = |unit| DataType::Timestamp(unit, Some("UTC".into()));
        let local = |unit| DataType::Timestamp(unit, None);
        for (from, to, apart) in [
            (DataType::Int32, DataType::Int64, true),
            (DataType::Int64, DataType::Int32, false),
            (DataType::Int64, DataType::Float64, false),
            (DataType::Float64, DataType::Int64, false),
            (DataType::Date32, utc(TimeUnit::Second), true),
            (utc(TimeUnit::Second), DataType::Date32, false),
            (utc(TimeUnit::Millisecond), utc(TimeUnit::Nanosecond), true),
            (utc(TimeUnit::Nanosecond), utc(TimeUnit::Millisecond), false),
            (utc(TimeUnit::Second), local(TimeUnit::Second), false),
            (DataType::Utf8, DataType::Int64, false),
        ] {
            assert_eq!(keeps_apart(&from, &to), apart, "{from} to {to}");
        }
    }
}
