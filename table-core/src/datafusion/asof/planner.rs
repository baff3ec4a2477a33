//! From the join in a logical plan to the operator: its expressions, and how rows come to it.
//!
//! Where both sides are in order already, or where there are no keys, one merge over all rows reads them as they come. Else rows are
//! dealt out by their keys, sorted in each partition, and merged side by side.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, ScalarValue, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_expr::{LexOrdering, PhysicalExpr};
use datafusion::physical_plan::{ColumnarValue, ExecutionPlan, ExecutionPlanProperties};
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};

use super::condition::Tolerance;
use super::exec::{AsofJoinExec, Matching, Spread, ordering};
use super::nearness::Nearness;
use super::node::AsofJoin;
use super::ordinal;
use super::side::SideExprs;

/// Plans `ASOF JOIN` for DataFusion's planner.
#[derive(Debug, Default)]
pub(crate) struct AsofPlanner;

#[async_trait]
impl ExtensionPlanner for AsofPlanner {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        planning_ctx: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(join) = node.as_any().downcast_ref::<AsofJoin>() else { return Ok(None) };
        let [left, right] = physical_inputs else { return Ok(None) };
        let physical = |expr: &Expr, schema: &DFSchema| {
            planner.create_physical_expr(expr, schema, session, planning_ctx)
        };
        let (left_schema, right_schema) = (join.left().schema(), join.right().schema());
        let conditions = join.conditions();
        let mut keys = Vec::new();
        for pair in &conditions.keys {
            let (left_key, right_key) =
                (physical(&pair.left, left_schema)?, physical(&pair.right, right_schema)?);
            let types =
                (left_key.data_type(&left.schema())?, right_key.data_type(&right.schema())?);
            if types.0 != types.1 || !ordinal::is_key(&types.0) {
                return plan_err!(
                    "ASOF JOIN cannot compare {} with {} in ON; cast one of them",
                    types.0,
                    types.1
                );
            }
            keys.push((left_key, right_key));
        }
        let (left_value, right_value) = (
            physical(&conditions.matching.left, left_schema)?,
            physical(&conditions.matching.right, right_schema)?,
        );
        let types =
            (left_value.data_type(&left.schema())?, right_value.data_type(&right.schema())?);
        if types.0 != types.1 || !ordinal::is_ordered(&types.0) {
            return plan_err!(
                "ASOF JOIN finds the nearest number, date or time, not what is nearest of {} and {}; cast both sides",
                types.0,
                types.1
            );
        }
        let nearness = match &conditions.tolerance {
            Some(Tolerance { distance, inclusive }) => {
                let distance = constant(&physical(distance, &DFSchema::empty())?)?;
                Some(Nearness::try_new(&types.0, &distance, *inclusive)?)
            }
            None => None,
        };
        let mut sides = Sides { keys, left_value, right_value };
        let in_order = sides.arrange(left, right)?;
        let spread = match in_order || sides.keys.is_empty() {
            true => Spread::Together,
            false => Spread::ByKeys,
        };
        let matching = Matching {
            left: sides.left(),
            right: sides.right(),
            comparison: conditions.comparison,
            nearness,
            value_type: types.0,
        };
        let (left, right) = (Arc::clone(left), Arc::clone(right));
        Ok(Some(Arc::new(AsofJoinExec::try_new(left, right, matching, spread, None)?)))
    }
}

/// What both sides are compared by.
struct Sides {
    keys: Vec<(Arc<dyn PhysicalExpr>, Arc<dyn PhysicalExpr>)>,
    left_value: Arc<dyn PhysicalExpr>,
    right_value: Arc<dyn PhysicalExpr>,
}

impl Sides {
    fn left(&self) -> SideExprs {
        let keys = self.keys.iter().map(|(left, _)| Arc::clone(left)).collect();
        SideExprs { keys, value: Arc::clone(&self.left_value) }
    }

    fn right(&self) -> SideExprs {
        let keys = self.keys.iter().map(|(_, right)| Arc::clone(right)).collect();
        SideExprs { keys, value: Arc::clone(&self.right_value) }
    }

    /// Puts the keys in an order in which both sides are sorted, and returns whether there is one. Equalities have none of their own.
    fn arrange(
        &mut self,
        left: &Arc<dyn ExecutionPlan>,
        right: &Arc<dyn ExecutionPlan>,
    ) -> Result<bool> {
        let written = self.keys.clone();
        for known in [None, left.output_ordering(), right.output_ordering()] {
            if let Some(known) = known {
                self.keys.sort_by_key(|(left, right)| {
                    let at = |key| known.iter().position(|sort| sort.expr.eq(key));
                    at(left).or(at(right)).unwrap_or(usize::MAX)
                });
            }
            let is_sorted =
                |side: &Arc<dyn ExecutionPlan>, required: Option<LexOrdering>| match required {
                    Some(required) => side.equivalence_properties().ordering_satisfy(required),
                    None => Ok(true),
                };
            if is_sorted(left, ordering(&self.left()))?
                && is_sorted(right, ordering(&self.right()))?
            {
                return Ok(true);
            }
        }
        self.keys = written;
        Ok(false)
    }
}

/// The value of an expression without columns.
fn constant(expr: &Arc<dyn PhysicalExpr>) -> Result<ScalarValue> {
    let schema = Arc::new(Schema::new(Vec::<Field>::new()));
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let row = RecordBatch::try_new_with_options(schema, Vec::new(), &options)?;
    match expr.evaluate(&row)? {
        ColumnarValue::Scalar(value) => Ok(value),
        ColumnarValue::Array(values) => ScalarValue::try_from_array(&values, 0),
    }
}
