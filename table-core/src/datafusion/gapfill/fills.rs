//! `locf` and `interpolate` in the expressions above a gap filling: which columns they ask of it, and how those come to them.

use std::sync::Arc;

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, Projection, Sort, Window as WindowPlan};

use super::functions::{Filling, Mark, misplaced};
use super::node::{Fill, extension, gap_fill};
use super::refused;

/// Has the fills in a node's expressions made by the gap filling below, and takes them from there.
pub(super) fn place_fills(node: LogicalPlan) -> Result<LogicalPlan> {
    let mut wanted = Vec::new();
    node.apply_expressions(|expr| {
        expr.apply(|part| {
            if let Some((Mark::Fill(filling), [Expr::Column(column)])) = Mark::of(part) {
                wanted.push((filling, column.clone(), part.schema_name().to_string()));
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    if wanted.is_empty() {
        return Ok(node);
    }
    let shown = node.schema().columns();
    match node {
        LogicalPlan::Projection(Projection { expr, input, .. }) => {
            let Some(input) = with_fills(&input, &wanted, false)? else {
                return refuse(&wanted, OUTSIDE);
            };
            let expr = expr.into_iter().map(|expr| taken(expr, &wanted)).collect::<Result<_>>()?;
            Projection::try_new(expr, Arc::new(input)).map(LogicalPlan::Projection)
        }
        LogicalPlan::Filter(Filter { predicate, input, .. }) => {
            let Some(input) = with_fills(&input, &wanted, false)? else {
                return refuse(&wanted, "in WHERE or HAVING");
            };
            let predicate = taken(predicate, &wanted)?;
            Filter::try_new(predicate, Arc::new(input)).map(LogicalPlan::Filter)
        }
        LogicalPlan::Window(WindowPlan { window_expr, input, .. }) => {
            let Some(input) = with_fills(&input, &wanted, false)? else {
                return refuse(&wanted, OUTSIDE);
            };
            let window_expr =
                window_expr.into_iter().map(|expr| taken(expr, &wanted)).collect::<Result<_>>()?;
            WindowPlan::try_new(window_expr, Arc::new(input)).map(LogicalPlan::Window)
        }
        LogicalPlan::Sort(Sort { expr, input, fetch }) => {
            let Some(input) = with_fills(&input, &wanted, true)? else {
                return refuse(&wanted, OUTSIDE);
            };
            let expr = expr
                .into_iter()
                .map(|mut sort| {
                    sort.expr = taken(sort.expr, &wanted)?;
                    Ok(sort)
                })
                .collect::<Result<_>>()?;
            let sorted = LogicalPlan::Sort(Sort { expr, input: Arc::new(input), fetch });
            // The fills came up with the rows to be sorted by, and end here.
            let shown = shown.into_iter().map(Expr::Column).collect();
            Projection::try_new(shown, Arc::new(sorted)).map(LogicalPlan::Projection)
        }
        // What is no place for a fill keeps it, and is refused for it.
        node => Ok(node),
    }
}

/// What is to be filled: how, which column, and the name of the expression that says so.
type Wanted = [(Filling, Column, String)];

/// The place of a fill whose rows come from no gap filling.
const OUTSIDE: &str = "outside of a SELECT with gap filling";

fn refuse(wanted: &Wanted, place: &str) -> Result<LogicalPlan> {
    let filling = wanted.first().map_or(Filling::Locf, |(filling, ..)| *filling);
    Err(refused(misplaced(Mark::Fill(filling), place)))
}

/// The plan of rows with fills as further columns; `None` where no gap filling of the same SELECT is below. ORDER BY is
/// above the SELECT list, and looks through it.
fn with_fills(
    plan: &LogicalPlan,
    wanted: &Wanted,
    through_list: bool,
) -> Result<Option<LogicalPlan>> {
    match plan {
        LogicalPlan::Filter(filter) => {
            let Some(input) = with_fills(&filter.input, wanted, false)? else { return Ok(None) };
            Filter::try_new(filter.predicate.clone(), Arc::new(input))
                .map(LogicalPlan::Filter)
                .map(Some)
        }
        LogicalPlan::Window(window) => {
            let Some(input) = with_fills(&window.input, wanted, false)? else { return Ok(None) };
            WindowPlan::try_new(window.window_expr.clone(), Arc::new(input))
                .map(LogicalPlan::Window)
                .map(Some)
        }
        LogicalPlan::Projection(list) if through_list => {
            let mut below = Vec::new();
            for (filling, column, name) in wanted {
                let position = list.schema.maybe_index_of_column(column);
                let expr = position.and_then(|position| list.expr.get(position));
                let Some(Expr::Column(column)) = expr.map(|expr| expr.clone().unalias()) else {
                    return Ok(None);
                };
                below.push((*filling, column, name.clone()));
            }
            let Some(input) = with_fills(&list.input, &below, false)? else { return Ok(None) };
            let mut expr = list.expr.clone();
            for (_, _, name) in wanted {
                let fill = Expr::Column(Column::new_unqualified(name));
                if !list.schema.has_column(&Column::new_unqualified(name)) && !expr.contains(&fill)
                {
                    expr.push(fill);
                }
            }
            Projection::try_new(expr, Arc::new(input)).map(LogicalPlan::Projection).map(Some)
        }
        plan => {
            let Some(node) = gap_fill(plan) else { return Ok(None) };
            let mut node = node.clone();
            for (filling, column, name) in wanted {
                let position = node.schema.maybe_index_of_column(column);
                let aggregates = node.group_count..node.input.schema().fields().len();
                let Some(position) = position.filter(|position| aggregates.contains(position))
                else {
                    return Err(refused(format!(
                        "{name} fills what is never missing: \"{}\" is an expression of GROUP BY; {} takes an aggregate such as \
                         avg(price)",
                        column.name(),
                        filling.name()
                    )));
                };
                let data_type = match filling {
                    Filling::Locf => node.schema.field(position).data_type().clone(),
                    Filling::Interpolate => arrow::datatypes::DataType::Float64,
                };
                node = node.with_fill(Fill {
                    filling: *filling,
                    column: position,
                    name: name.clone(),
                    data_type,
                })?;
            }
            Ok(Some(extension(node)))
        }
    }
}

/// The expression with its fills taken from the rows below, under its old name.
fn taken(expr: Expr, wanted: &Wanted) -> Result<Expr> {
    let name = NamePreserver::new_for_projection().save(&expr);
    let taken = expr.transform_up(|part| {
        if let Some((Mark::Fill(_), [Expr::Column(_)])) = Mark::of(&part) {
            let name = part.schema_name().to_string();
            if wanted.iter().any(|(_, _, known)| *known == name) {
                return Ok(Transformed::yes(Expr::Column(Column::new_unqualified(name))));
            }
        }
        Ok(Transformed::no(part))
    })?;
    Ok(name.restore(taken.data))
}
