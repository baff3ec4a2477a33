//! What a filter says of a lossy function's value, it does not say of the function's argument.
//!
//! DataFusion derives from a filter which values a column can have, by running the filter backwards. It takes every cast and
//! every arithmetic operation for one that has an inverse: of `ts::date = '2024-01-01'` it concludes that `ts` is midnight of
//! that day, hence the same in every row, and then leaves `ts` out of the sort that `ORDER BY ts, v` or a window over `ts`
//! needs. What it finds for `x::int >= 1 AND x > 2` is wider than what it began with, and then it refuses the query. Such
//! operations are hidden from that reasoning: by a [mark](marks) until the filter has been planned, and by an expression of
//! its own afterwards, which shows in plans what was written. Their values are computed as ever.
//!
//! It also takes both sides of an equation for the same wherever one of them stands, again and again: after `n % 7 = n` a sort by
//! `n` is one by `n % 7`, then by `n % 7 % 7`, so it does not find what it sorted itself. Equations of two columns are no problem;
//! others between columns are hidden as a whole.
//!
//! The physical rule belongs in front of all rules that look at orders. Pruning happens before, in the provider.

mod marks;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{FieldRef, Schema};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::sort_properties::ExprProperties;
use datafusion::logical_expr::{ColumnarValue, Operator};
use datafusion::physical_expr::expressions::{BinaryExpr, Column};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};

use self::marks::Mark;
pub(crate) use self::marks::marked;
pub(super) use self::marks::{hidden, mark};

/// Hides what was marked, and equations, from later rules. See the module; the marks are set by
/// [`PhysicalPlans`](super::PhysicalPlans).
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
            let hidden = Arc::clone(filter.predicate()).transform_down(hide)?;
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

fn hide(part: Arc<dyn PhysicalExpr>) -> Result<Transformed<Arc<dyn PhysicalExpr>>> {
    if part.is::<OneWay>() {
        return Ok(Transformed::new(part, false, TreeNodeRecursion::Jump));
    }
    let hidden = match inside(&part) {
        Some(inner) => Arc::clone(inner),
        None if is_equation(&part) => part,
        None => return Ok(Transformed::no(part)),
    };
    Ok(Transformed::new(Arc::new(OneWay(hidden)), true, TreeNodeRecursion::Jump))
}

/// What a mark is around.
fn inside(part: &Arc<dyn PhysicalExpr>) -> Option<&Arc<dyn PhysicalExpr>> {
    let call = part.downcast_ref::<ScalarFunctionExpr>()?;
    call.fun().inner().is::<Mark>().then(|| call.args().first()).flatten()
}

/// Whether columns are equal to something calculated from columns.
fn is_equation(part: &Arc<dyn PhysicalExpr>) -> bool {
    let Some(binary) = part.downcast_ref::<BinaryExpr>() else { return false };
    let sides = [binary.left(), binary.right()];
    *binary.op() == Operator::Eq
        && sides.iter().all(|side| !collect_columns(side).is_empty())
        && sides.iter().any(|side| !side.is::<Column>())
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
