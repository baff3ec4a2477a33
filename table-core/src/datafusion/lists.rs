//! A guard around DataFusion's simplifier: two lists that one value is looked up in are made one only where that is right.
//!
//! The simplifier takes `x IN (a, b) AND x IN (b, c)` for `x IN (b)`, and the same with NOT and OR. That is right of constants: of
//! columns, `x IN (y) AND x IN (z)` becomes "never", although `y` and `z` may be equal. Nor is it right of nulls when no member
//! is left: `x NOT IN (1) OR x NOT IN (2)` becomes "always", and a null is in no list and out of none. Equations are lists, too,
//! since `x = 1 OR x = 2` becomes one first.
//!
//! What stands in one chain of OR may become one list, which is always right. Of several such groups about one column all but one
//! are hidden while the simplifier works on an expression: their columns have names of their own for that time, so that no two
//! values look alike. A constant that is looked up among columns has no columns to hide, and is compared with each instead. Pure.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use datafusion::common::tree_node::{
    Transformed, TreeNode, TreeNodeRecursion, TreeNodeRewriter, TreeNodeVisitor,
};
use datafusion::common::{Column, TableReference};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{Alias, InList};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, disjunction};
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator};
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// The relation of the names that hide a value. SQL has no way to give an alias one.
const HIDDEN: &str = "__coverline_hidden";

/// `rules` with a guard around the one that simplifies expressions.
pub fn guard_lists(
    rules: Vec<Arc<dyn OptimizerRule + Send + Sync>>,
) -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let simplify = SimplifyExpressions::new();
    rules
        .into_iter()
        .map(|rule| match rule.name() == simplify.name() {
            true => Arc::new(Guarded(rule)) as Arc<dyn OptimizerRule + Send + Sync>,
            false => rule,
        })
        .collect()
}

/// A rule that sees at most one group of lookups of a column.
#[derive(Debug)]
struct Guarded(Arc<dyn OptimizerRule + Send + Sync>);

impl OptimizerRule for Guarded {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let hidden = hide(plan)?;
        let simplified = self.0.rewrite(hidden.data, config)?;
        match hidden.transformed {
            // An aggregate may have got a projection above it.
            true => simplified.map_data(|plan| plan.transform_up(show).map(|plan| plan.data)),
            false => Ok(simplified),
        }
    }
}

fn hide(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let names = NamePreserver::new(&plan);
    let mut hide = |expr: Expr| {
        // Most expressions have nothing that could become a list.
        if !expr.exists(|part| Ok(may_become_list(part)))? {
            return Ok(Transformed::no(expr));
        }
        let name = names.save(&expr);
        let expr = expr.transform_up(unroll)?;
        let visible = visible_groups(&expr.data)?;
        let expr = match visible.is_contested {
            true => expr.transform_data(|expr| {
                expr.rewrite(&mut Hiding { groups: Groups::default(), visible })
            })?,
            false => expr,
        };
        Ok(expr.update_data(|expr| name.restore(expr)))
    };
    plan.map_expressions(|expr| match expr {
        // The simplifier gives the parts their names, and the whole has none.
        Expr::GroupingSet(_) => expr.map_children(&mut hide),
        expr => hide(expr),
    })
}

/// Of each column of looked up values the group that can be seen: the one with most lookups.
#[derive(Debug, Default)]
struct Visible {
    groups: HashMap<Column, usize>,
    /// Whether some column is in more than one group.
    is_contested: bool,
}

fn may_become_list(part: &Expr) -> bool {
    let is_or = matches!(part, Expr::BinaryExpr(binary) if binary.op == Operator::Or);
    is_or || matches!(part, Expr::InList(_) | Expr::Not(_))
}

fn visible_groups(expr: &Expr) -> Result<Visible> {
    let mut counting = Counting::default();
    expr.visit(&mut counting)?;
    let mut visible = Visible::default();
    for (column, counts) in counting.counts {
        visible.is_contested |= counts.len() > 1;
        let most = counts.into_iter().max_by_key(|(group, count)| (*count, Reverse(*group)));
        visible.groups.extend(most.map(|(group, _)| (column, group)));
    }
    Ok(visible)
}

/// Numbers the groups of an expression on a walk over it: each chain of OR is one, and so is each lookup outside of such, or for
/// what is not there.
#[derive(Debug, Default)]
struct Groups {
    /// Of each part between the root and here: the group that its own parts belong to.
    path: Vec<Option<usize>>,
    count: usize,
}

impl Groups {
    fn enter(&mut self, part: &Expr) {
        let around = self.path.last().copied().flatten();
        let mut new = || {
            self.count += 1;
            Some(self.count)
        };
        let is_or = matches!(part, Expr::BinaryExpr(binary) if binary.op == Operator::Or);
        let group = match looked_up(part) {
            Some((_, negated)) if !negated => around.or_else(new),
            Some(_) => new(),
            None if is_or => around.or_else(new),
            None => None,
        };
        self.path.push(group);
    }

    /// The group of the part that ends.
    fn leave(&mut self) -> Option<usize> {
        self.path.pop().flatten()
    }
}

/// Counts the lookups of each column in each group.
#[derive(Debug, Default)]
struct Counting {
    groups: Groups,
    counts: HashMap<Column, HashMap<usize, usize>>,
}

impl<'n> TreeNodeVisitor<'n> for Counting {
    type Node = Expr;

    fn f_down(&mut self, part: &'n Expr) -> Result<TreeNodeRecursion> {
        self.groups.enter(part);
        Ok(TreeNodeRecursion::Continue)
    }

    fn f_up(&mut self, part: &'n Expr) -> Result<TreeNodeRecursion> {
        if let (Some(group), Some((value, _))) = (self.groups.leave(), looked_up(part)) {
            for column in columns_of(value) {
                *self.counts.entry(column.clone()).or_default().entry(group).or_default() += 1;
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }
}

/// Hides the columns of groups that are not to be seen.
#[derive(Debug)]
struct Hiding {
    groups: Groups,
    visible: Visible,
}

impl TreeNodeRewriter for Hiding {
    type Node = Expr;

    fn f_down(&mut self, part: Expr) -> Result<Transformed<Expr>> {
        self.groups.enter(&part);
        Ok(Transformed::no(part))
    }

    fn f_up(&mut self, part: Expr) -> Result<Transformed<Expr>> {
        let (Some(group), Some((value, _))) = (self.groups.leave(), looked_up(&part)) else {
            return Ok(Transformed::no(part));
        };
        let seen = |column: &&Column| self.visible.groups.get(*column) == Some(&group);
        if columns_of(value).iter().all(seen) {
            return Ok(Transformed::no(part));
        }
        let named = |value: Expr| {
            value.transform_up(|part| match column_of(&part) {
                Some(_) => {
                    let relation = Some(TableReference::bare(HIDDEN));
                    let name = group.to_string();
                    Ok(Transformed::yes(Expr::Alias(Alias::new(part, relation, name))))
                }
                None => Ok(Transformed::no(part)),
            })
        };
        match part {
            Expr::InList(InList { expr, list, negated }) => named(*expr)?
                .map_data(|value| Ok(Expr::InList(InList::new(value.into(), list, negated)))),
            // Of the two sides one is a constant.
            part => part.map_children(named),
        }
    }
}

/// A constant that is looked up among columns is compared with each of them, as a constant has nothing to hide by.
fn unroll(part: Expr) -> Result<Transformed<Expr>> {
    let Expr::InList(list) = &part else { return Ok(Transformed::no(part)) };
    if list.expr.is_volatile() || has_columns(&list.expr) || !list.list.iter().any(has_columns) {
        return Ok(Transformed::no(part));
    }
    let compared = list.list.iter().map(|member| match list.negated {
        false => member.clone().eq(list.expr.as_ref().clone()),
        true => member.clone().not_eq(list.expr.as_ref().clone()),
    });
    let all = if list.negated { conjunction(compared) } else { disjunction(compared) };
    Ok(all.map_or_else(|| Transformed::no(part), Transformed::yes))
}

/// The value that a part looks up in a list, or compares with a constant, as with a list of one; and whether it must not be there.
/// A value without columns is none.
fn looked_up(part: &Expr) -> Option<(&Expr, bool)> {
    let (value, negated) = match part {
        Expr::InList(list) => (list.expr.as_ref(), list.negated),
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::Eq | Operator::NotEq), right }) => {
            match (left.as_ref(), right.as_ref()) {
                (value, Expr::Literal(..)) | (Expr::Literal(..), value) => {
                    (value, *op == Operator::NotEq)
                }
                _ => return None,
            }
        }
        _ => return None,
    };
    has_columns(value).then_some((value, negated))
}

fn columns_of(value: &Expr) -> HashSet<&Column> {
    let mut columns = HashSet::new();
    // What is done with a part cannot fail.
    let _ = value.apply(|part| {
        columns.extend(column_of(part));
        Ok(TreeNodeRecursion::Continue)
    });
    columns
}

fn has_columns(expr: &Expr) -> bool {
    expr.exists(|part| Ok(column_of(part).is_some())).unwrap_or(true)
}

/// The column that an expression is, that of a query around it too.
fn column_of(expr: &Expr) -> Option<&Column> {
    match expr {
        Expr::Column(column) | Expr::OuterReferenceColumn(_, column) => Some(column),
        _ => None,
    }
}

fn show(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    plan.map_expressions(|expr| {
        expr.transform_up(|part| {
            Ok(match part {
                Expr::Alias(Alias { expr, relation: Some(relation), .. })
                    if relation.table() == HIDDEN =>
                {
                    Transformed::yes(*expr)
                }
                part => Transformed::no(part),
            })
        })
    })
}

#[cfg(test)]
#[path = "lists_tests.rs"]
mod tests;
