//! A logical rule: a filter that compares the day of a time with another column can be planned.
//!
//! DataFusion estimates how many rows such a filter lets through from the bounds of its columns, calculated backwards through the
//! cast to a date. The bounds that it finds can be wider than those it began with, and then it refuses the query. The rule
//! puts a function in the place of the cast, about which it estimates nothing. Scans have been given the filter with the
//! cast before, for pruning.
//!
//! Belongs behind all other logical rules. `lossy` does the same for what physical rules conclude from a filter.

use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    BinaryExpr, Cast, ColumnarValue, Expr, ExprSchemable, Filter, LogicalPlan, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// See the module.
#[derive(Debug, Default)]
pub struct DayFilters;

impl OptimizerRule for DayFilters {
    fn name(&self) -> &str {
        "day_filters"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Filter(Filter { predicate, input, .. }) = &plan else {
            return Ok(Transformed::no(plan));
        };
        let schema = input.schema();
        let hidden = predicate.clone().transform_up(|part| {
            let Expr::BinaryExpr(BinaryExpr { left, op, right }) = part else {
                return Ok(Transformed::no(part));
            };
            let constant = left.column_refs().is_empty() || right.column_refs().is_empty();
            if !op.supports_propagation() || constant {
                return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })));
            }
            let mut changed = false;
            let mut side = |expr: Box<Expr>| -> Result<Box<Expr>> {
                let hidden = expr.transform_up(|part| match part {
                    Expr::Cast(Cast { expr, field })
                        if field.data_type() == &DataType::Date32
                            && matches!(expr.get_type(schema)?, DataType::Timestamp(..)) =>
                    {
                        Ok(Transformed::yes(day().call(vec![*expr])))
                    }
                    part => Ok(Transformed::no(part)),
                })?;
                changed |= hidden.transformed;
                Ok(Box::new(hidden.data))
            };
            let (left, right) = (side(left)?, side(right)?);
            let binary = Expr::BinaryExpr(BinaryExpr { left, op, right });
            Ok(if changed { Transformed::yes(binary) } else { Transformed::no(binary) })
        })?;
        if !hidden.transformed {
            return Ok(Transformed::no(plan));
        }
        let filter = Filter::try_new(hidden.data, std::sync::Arc::clone(input))?;
        Ok(Transformed::yes(LogicalPlan::Filter(filter)))
    }
}

/// The cast of a timestamp to the day that it is on, as a function.
fn day() -> ScalarUDF {
    ScalarUDF::new_from_impl(Day { signature: Signature::any(1, Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Day {
    signature: Signature,
}

impl ScalarUDFImpl for Day {
    fn name(&self) -> &str {
        "day"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Date32)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.as_slice() {
            [ColumnarValue::Array(array)] => {
                Ok(ColumnarValue::Array(cast(array, &DataType::Date32)?))
            }
            [ColumnarValue::Scalar(value)] => {
                let value: ScalarValue = value.cast_to(&DataType::Date32)?;
                Ok(ColumnarValue::Scalar(value))
            }
            others => Err(DataFusionError::Internal(format!(
                "the day of a time takes one argument, not {}",
                others.len()
            ))),
        }
    }
}
