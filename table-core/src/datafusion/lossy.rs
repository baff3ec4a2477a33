//! A physical rule: what an equation says of a lossy function's value, it does not say of the function's argument.
//!
//! DataFusion derives from a filter which values a column can have, by running the filter backwards. It takes every cast and
//! every arithmetic operation for one that has an inverse: of `ts::date = '2024-01-01'` it concludes that `ts` is midnight of
//! that day, hence the same in every row, and then leaves `ts` out of the sort that `ORDER BY ts, v` or a window over `ts`
//! needs. The rule hides such operations from that reasoning. Their values are computed as ever.
//!
//! It also takes both sides of an equation for the same wherever one of them stands, again and again: after `n % 7 = n` a sort by
//! `n` is one by `n % 7`, then by `n % 7 % 7`, so it does not find what it sorted itself. Equations of two columns are no problem;
//! others between columns are hidden as a whole.
//!
//! Belongs in front of all rules that look at orders. Pruning happens before, in the provider.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::sort_properties::ExprProperties;
use datafusion::logical_expr::{ColumnarValue, Operator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, CastExpr, Column};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};

use crate::types::ticks_per_second;

/// See the module.
#[derive(Debug, Default)]
pub struct OneWayFilters;

impl PhysicalOptimizerRule for OneWayFilters {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let Some(filter) = node.downcast_ref::<FilterExec>() else {
                return Ok(Transformed::no(node));
            };
            let schema = filter.input().schema();
            let predicate = Arc::clone(filter.predicate());
            let hidden = predicate.transform_down(|part| hide(part, &schema))?;
            if !hidden.transformed {
                return Ok(Transformed::no(node));
            }
            let filter = FilterExecBuilder::from(filter).with_predicate(hidden.data).build()?;
            Ok(Transformed::yes(Arc::new(filter)))
        })
        .map(|transformed| transformed.data)
    }

    fn name(&self) -> &'static str {
        "one_way_filters"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn hide(
    part: Arc<dyn PhysicalExpr>,
    schema: &Schema,
) -> Result<Transformed<Arc<dyn PhysicalExpr>>> {
    let done = part.downcast_ref::<OneWay>().is_some();
    let hidden = !done && (is_equation(&part) || is_lossy(&part, schema)?);
    if !hidden || collect_columns(&part).is_empty() {
        let next = if done { TreeNodeRecursion::Jump } else { TreeNodeRecursion::Continue };
        return Ok(Transformed::new(part, false, next));
    }
    Ok(Transformed::new(Arc::new(OneWay(part)), true, TreeNodeRecursion::Jump))
}

/// Whether columns are equal to something calculated from columns.
fn is_equation(part: &Arc<dyn PhysicalExpr>) -> bool {
    let Some(binary) = part.downcast_ref::<BinaryExpr>() else { return false };
    let sides = [binary.left(), binary.right()];
    *binary.op() == Operator::Eq
        && sides.iter().all(|side| !collect_columns(side).is_empty())
        && sides.iter().any(|side| !side.is::<Column>())
}

/// Whether two arguments can have the same value.
fn is_lossy(part: &Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<bool> {
    if let Some(cast) = part.downcast_ref::<CastExpr>() {
        return Ok(!keeps_apart(&cast.expr().data_type(schema)?, cast.cast_type()));
    }
    let Some(binary) = part.downcast_ref::<BinaryExpr>() else { return Ok(false) };
    Ok(match binary.op() {
        Operator::Divide => true,
        // Rounding makes the same sum of different terms.
        Operator::Plus | Operator::Minus | Operator::Multiply => {
            part.data_type(schema)?.is_floating()
        }
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

/// An expression whose argument nobody should conclude from its value.
#[derive(Debug)]
struct OneWay(Arc<dyn PhysicalExpr>);

impl PartialEq for OneWay {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq(&other.0)
    }
}

impl Eq for OneWay {}

impl Hash for OneWay {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Display for OneWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl PhysicalExpr for OneWay {
    fn return_field(&self, input_schema: &Schema) -> Result<FieldRef> {
        self.0.return_field(input_schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        self.0.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.0]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        match <[_; 1]>::try_from(children) {
            Ok([inner]) => Ok(Arc::new(Self(inner))),
            Err(children) => Err(DataFusionError::Internal(format!(
                "a one-way expression has one child, not {}",
                children.len()
            ))),
        }
    }

    /// Running forwards is fine: it is as ordered as what it stands for.
    fn get_properties(&self, children: &[ExprProperties]) -> Result<ExprProperties> {
        match children {
            [inner] => Ok(inner.clone()),
            _ => Ok(ExprProperties::new_unknown()),
        }
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt_sql(f)
    }
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
