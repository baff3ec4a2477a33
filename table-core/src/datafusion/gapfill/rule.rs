//! The logical rule that makes gap filling of the marks in a plan, and refuses marks that would mean nothing.
//!
//! Belongs in front of all of DataFusion's rules: filters are where the statement has them then, and nothing has tried to
//! evaluate a mark.

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::{Aggregate, Expr, Filter, LogicalPlan, Union};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use super::call::{Call, Simplifier, window};
use super::fills::place_fills;
use super::functions::{Mark, misplaced};
use super::node::{GapFill, extension, gap_fill};
use super::refused;

/// See the module.
#[derive(Debug, Default)]
pub struct GapFilling;

impl OptimizerRule for GapFilling {
    fn name(&self) -> &'static str {
        "gap_filling"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        None
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        if !has_marks(&plan)? {
            return Ok(Transformed::no(plan));
        }
        let done = plan.transform_up_with_subqueries(|node| {
            // Aggregates that become nullable below make what is above nullable.
            let node = recomputed(node)?;
            let node = match node {
                LogicalPlan::Aggregate(aggregate) => fill_aggregate(aggregate, config)?,
                node => place_fills(node)?,
            };
            Ok(Transformed::yes(node))
        })?;
        refuse_marks(&done.data)?;
        Ok(done)
    }
}

/// The node with the schema that follows from its inputs. DataFusion keeps that of a UNION as long as the number of columns does.
fn recomputed(node: LogicalPlan) -> Result<LogicalPlan> {
    let Union { inputs, schema } = match node.recompute_schema()? {
        LogicalPlan::Union(union) => union,
        node => return Ok(node),
    };
    let fields = schema.iter().enumerate().map(|(position, (qualifier, field))| {
        let nullable = inputs.iter().any(|input| {
            input.schema().fields().get(position).is_some_and(|field| field.is_nullable())
        });
        (qualifier.cloned(), Arc::new(field.as_ref().clone().with_nullable(nullable)))
    });
    let schema = DFSchema::new_with_metadata(fields.collect(), schema.metadata().clone())?;
    Ok(LogicalPlan::Union(Union { inputs, schema: Arc::new(schema) }))
}

fn has_marks(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            found |= expr.exists(|part| Ok(Mark::of(part).is_some()))?;
            Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })
    })?;
    Ok(found)
}

/// Refuses every mark that is left, which the rule found no meaning for.
fn refuse_marks(plan: &LogicalPlan) -> Result<()> {
    // Where parameters have no values yet, a mark waits for them.
    let mut waiting = Vec::new();
    plan.apply_with_subqueries(|node| {
        if let Some(GapFill { window: None, input, .. }) = gap_fill(node) {
            waiting.push(input.clone());
        }
        let waits = waiting.contains(node);
        node.apply_expressions(|expr| {
            let mut left = None;
            expr.apply(|part| {
                left = Mark::of(part).map(|(mark, _)| mark);
                Ok(if left.is_some() {
                    TreeNodeRecursion::Stop
                } else {
                    TreeNodeRecursion::Continue
                })
            })?;
            match left {
                Some(Mark::Buckets(_)) if waits => Ok(TreeNodeRecursion::Continue),
                Some(mark) => Err(refused(misplaced(mark, place(node)))),
                None => Ok(TreeNodeRecursion::Continue),
            }
        })
    })?;
    Ok(())
}

fn place(node: &LogicalPlan) -> &'static str {
    match node {
        LogicalPlan::Projection(_) => "in a SELECT list that it does not belong to",
        LogicalPlan::Filter(_) => "in WHERE or HAVING",
        LogicalPlan::Aggregate(_) => "inside of another expression of GROUP BY or of an aggregate",
        LogicalPlan::Join(_) => "in the condition of a join",
        LogicalPlan::Sort(_) => "in ORDER BY",
        LogicalPlan::Window(_) => "in a window function",
        LogicalPlan::Values(_) => "in VALUES",
        _ => "here",
    }
}

/// Puts gap filling over an aggregation whose groups ask for it.
fn fill_aggregate(aggregate: Aggregate, config: &dyn OptimizerConfig) -> Result<LogicalPlan> {
    let mut calls = Vec::new();
    for (position, expr) in aggregate.group_expr.iter().enumerate() {
        if let Some(call) = Call::of(expr)? {
            calls.push((position, call));
        } else if let Expr::GroupingSet(sets) = expr
            && let Some(mark) = sets.distinct_expr().into_iter().find_map(|expr| Mark::of(expr))
        {
            return Err(refused(format!(
                "{} in ROLLUP, CUBE or GROUPING SETS is not supported; group by plain expressions",
                mark.0.name()
            )));
        }
    }
    let (bucket, call) = match (calls.pop(), calls.pop()) {
        (None, _) => return Ok(LogicalPlan::Aggregate(aggregate)),
        (Some(only), None) => only,
        (Some((_, one)), Some((_, other))) => {
            return Err(refused(format!(
                "GROUP BY has both {} and {}; gaps are filled along one of them: write the other as time_bucket or date_bin, or \
                 fill in a query of its own",
                other.bucketer.name(),
                one.bucketer.name()
            )));
        }
    };
    let group_count = aggregate.group_expr.len();
    let Some((window, filter)) = window(&call, &aggregate.input, &Simplifier(config))? else {
        return GapFill::try_new(LogicalPlan::Aggregate(aggregate), group_count, bucket, None)
            .map(extension);
    };
    let input = match filter {
        Some(predicate) => {
            Arc::new(LogicalPlan::Filter(Filter::try_new(predicate, Arc::clone(&aggregate.input))?))
        }
        None => Arc::clone(&aggregate.input),
    };
    let start = window.buckets.function().call(vec![call.index.clone()]);
    let mut group_expr = aggregate.group_expr.clone();
    if let Some(expr) = group_expr.get_mut(bucket) {
        let name = expr.schema_name().to_string();
        *expr = start.alias(name);
    }
    let aggregate = Aggregate::try_new(input, group_expr, aggregate.aggr_expr)?;
    GapFill::try_new(LogicalPlan::Aggregate(aggregate), group_count, bucket, Some(window))
        .map(extension)
}
