//! Physical rules around DataFusion's `FilterPushdown` and `ProjectionPushdown`: filters and projections stop where they would be
//! handed on by a name that two columns have.
//!
//! DataFusion moves filters down a plan, those of queries and those that joins and sorts find out while they run. On the way it
//! looks columns up by name, and takes the first of that name. Above a join of two tables that both have a `ts` it so
//! filters one table by the other's column, and rows are lost or too many. Joins themselves go by position. While the
//! inner rule runs, a barrier that lets no filter through stands above every operator whose columns cannot be told apart by
//! name; afterwards the barriers are taken away again.
//!
//! A projection it moves below a filter when the projection shows what the filter asks for. Where the filter leaves out columns
//! itself, it looks that up among those that are left, by positions among all: a column of the same name at that position is
//! taken for the one that is asked for. Above such filters barriers stand, too, while projections move.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::JoinType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, replace_children_if_necessary,
};

type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// `rules` with a guard around each that pushes filters or projections.
pub fn guard_pushdown(rules: Vec<Rule>) -> Vec<Rule> {
    rules
        .into_iter()
        .map(|rule| {
            let stops: Stops = match rule.name() {
                name if name.starts_with("FilterPushdown") => stops_filters,
                "ProjectionPushdown" => stops_projections,
                _ => return rule,
            };
            Arc::new(Guarded { rule, stops }) as Rule
        })
        .collect()
}

/// Whether a barrier is needed between an operator and one of its inputs.
type Stops = fn(&Arc<dyn ExecutionPlan>, &Arc<dyn ExecutionPlan>) -> bool;

/// A rule that moves things down a plan, between barriers.
#[derive(Debug)]
struct Guarded {
    rule: Rule,
    stops: Stops,
}

impl PhysicalOptimizerRule for Guarded {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let guarded = plan.transform_up(|node| put_barriers(node, self.stops))?;
        if !guarded.transformed {
            return self.rule.optimize(guarded.data, config);
        }
        let pushed = self.rule.optimize(guarded.data, config)?;
        pushed.transform_up(take_barrier).map(|transformed| transformed.data)
    }

    fn name(&self) -> &str {
        self.rule.name()
    }

    fn schema_check(&self) -> bool {
        self.rule.schema_check()
    }
}

/// `node` with a barrier above each input that needs one.
fn put_barriers(
    node: Arc<dyn ExecutionPlan>,
    stops: Stops,
) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let mut changed = false;
    let children = node.children().into_iter().map(|child| {
        if !stops(&node, child) {
            return Arc::clone(child);
        }
        changed = true;
        Arc::new(Barrier(Arc::clone(child))) as Arc<dyn ExecutionPlan>
    });
    let children = children.collect();
    if !changed {
        return Ok(Transformed::no(node));
    }
    replace_children_if_necessary(node, children).map(Transformed::yes)
}

fn take_barrier(node: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    Ok(match node.downcast_ref::<Barrier>() {
        Some(Barrier(inner)) => Transformed::yes(Arc::clone(inner)),
        None => Transformed::no(node),
    })
}

/// Whether filters of `parent` must not come to `child`.
fn stops_filters(parent: &Arc<dyn ExecutionPlan>, child: &Arc<dyn ExecutionPlan>) -> bool {
    is_ambiguous(child) && !asks_by_position(parent, child)
}

/// Whether projections must not come to `child`: a filter that leaves out columns, of which some have one name.
fn stops_projections(_parent: &Arc<dyn ExecutionPlan>, child: &Arc<dyn ExecutionPlan>) -> bool {
    child
        .downcast_ref::<FilterExec>()
        .is_some_and(|filter| filter.projection().is_some() && has_twins(&filter.input().schema()))
}

/// Whether a filter over the columns of `node` may be taken for one over others.
fn is_ambiguous(node: &Arc<dyn ExecutionPlan>) -> bool {
    let schema = node.schema();
    if has_twins(&schema) {
        return true;
    }
    if let Some(union) = node.downcast_ref::<UnionExec>() {
        let names = |schema: &Schema| -> Vec<String> {
            schema.fields().iter().map(|field| field.name().clone()).collect()
        };
        return union.children().into_iter().any(|input| names(&input.schema()) != names(&schema));
    }
    node.downcast_ref::<HashJoinExec>().is_some_and(moves_keys_by_name)
}

fn has_twins(schema: &Schema) -> bool {
    let mut seen = HashSet::new();
    schema.fields().iter().any(|field| !seen.insert(field.name()))
}

/// Semi joins hand filters over a key of the side that they show to the other side, by the name that the key has on the first.
fn moves_keys_by_name(join: &HashJoinExec) -> bool {
    let is_semi = matches!(join.join_type(), JoinType::LeftSemi | JoinType::RightSemi);
    let name = |key: &Arc<dyn PhysicalExpr>| {
        key.downcast_ref::<Column>().map(|column| column.name().to_owned())
    };
    is_semi && join.on().iter().any(|(left, right)| name(left) != name(right))
}

/// Whether `parent` refers to the columns of a join below it by position only, in its own filters and in those of others.
fn asks_by_position(parent: &Arc<dyn ExecutionPlan>, child: &Arc<dyn ExecutionPlan>) -> bool {
    let Some(join) = child.downcast_ref::<HashJoinExec>() else { return false };
    if moves_keys_by_name(join) {
        return false;
    }
    // Those of others pass through an operator with the same columns only where they stop above it.
    let keeps_columns = parent.schema().fields().len() == join.schema().fields().len();
    (parent.is::<SortExec>() || parent.is::<FilterExec>()) && keeps_columns
        || parent.is::<ProjectionExec>() && !has_twins(&parent.schema())
}

/// Lets nothing through: what an operator that says nothing of filters and projections does.
#[derive(Debug)]
struct Barrier(Arc<dyn ExecutionPlan>);

impl DisplayAs for Barrier {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Barrier")
    }
}

impl ExecutionPlan for Barrier {
    fn name(&self) -> &'static str {
        "Barrier"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.0.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.0]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match <[_; 1]>::try_from(children) {
            Ok([inner]) => Ok(Arc::new(Self(inner))),
            Err(children) => Err(DataFusionError::Internal(format!(
                "a barrier has one input, not {}",
                children.len()
            ))),
        }
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        self.0.execute(partition, context)
    }
}
