//! A guard around DataFusion's simplifier: two lists that one value is looked up in are made one only where that is right.
//!
//! The simplifier takes `x IN (a, b) AND x IN (b, c)` for `x IN (b)`, and the same with NOT and OR. That is right of constants: of
//! columns, `x IN (y) AND x IN (z)` becomes "never", although `y` and `z` may be equal. Nor is it right of nulls when no member
//! is left: `x NOT IN (1) OR x NOT IN (2)` becomes "always", and a null is in no list and out of none. Equations are lists, too,
//! since `x = 1 OR x = 2` becomes one first, and so do LIKE, `= ANY (...)` and patterns, all on one walk.
//!
//! What stands in one chain of OR may become one list, which is always right. Everything else that may become one is a group of
//! its own, and of several groups about one column all but one are hidden while the simplifier works on an expression: their
//! columns have names of their own for that time, so that no two values look alike. A constant that is looked up among columns
//! has no columns to hide, and is compared with each instead. Pure.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{
    Transformed, TreeNode, TreeNodeRecursion, TreeNodeRewriter, TreeNodeVisitor,
};
use datafusion::common::{Column, TableReference};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{Alias, InList};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, disjunction};
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, LogicalPlan, Operator, TryCast};
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

/// A rule that sees at most one group of each column.
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
        let is_aggregate = matches!(plan, LogicalPlan::Aggregate(_));
        let hidden = hide(plan)?;
        let simplified = self.0.rewrite(hidden.data, config)?;
        if !hidden.transformed {
            return Ok(simplified);
        }
        simplified.map_data(|plan| match is_aggregate {
            // It may have got a projection above it.
            true => plan.transform_up(show).map(|plan| plan.data),
            false => show(plan).map(|plan| plan.data),
        })
    }
}

fn hide(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let names = NamePreserver::new(&plan);
    let mut hide = |expr: Expr| {
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

/// Of each column the group that can be seen: the one that has it most often.
#[derive(Debug, Default)]
struct Visible {
    groups: HashMap<Column, usize>,
    /// Whether some column is in more than one group.
    is_contested: bool,
}

/// Whether a part of an expression can be, or become, one of two lists. Most expressions have none.
fn may_become_list(part: &Expr) -> bool {
    match part {
        Expr::BinaryExpr(BinaryExpr { op, .. }) => *op == Operator::Or || is_pattern(*op),
        Expr::ScalarFunction(call) => call.func.name().starts_with("array_"),
        Expr::InList(_) | Expr::Not(_) | Expr::Case(_) => true,
        _ => false,
    }
}

fn is_pattern(op: Operator) -> bool {
    use Operator::{
        LikeMatch, NotLikeMatch, RegexIMatch, RegexMatch, RegexNotIMatch, RegexNotMatch,
    };
    matches!(
        op,
        RegexMatch | RegexIMatch | RegexNotMatch | RegexNotIMatch | LikeMatch | NotLikeMatch
    )
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

/// Where a part of an expression stands.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// In a condition that is no list, nor in a chain.
    Open,
    /// In the chain of OR of this group.
    Chain(usize),
    /// In what may become a list of this group.
    Value(usize),
}

/// Numbers the groups of an expression on a walk over it.
#[derive(Debug, Default)]
struct Groups {
    /// Of each part between the root and here.
    path: Vec<Place>,
    count: usize,
}

impl Groups {
    fn enter(&mut self, part: &Expr) {
        let around = self.path.last().copied().unwrap_or(Place::Open);
        let place = match role(part) {
            Role::Chain => match around {
                Place::Chain(group) => Place::Chain(group),
                Place::Open | Place::Value(_) => Place::Chain(self.new_group()),
            },
            Role::Condition => Place::Open,
            Role::Lookup => match around {
                Place::Chain(group) => Place::Value(group),
                Place::Open | Place::Value(_) => Place::Value(self.new_group()),
            },
            Role::Alone => Place::Value(self.new_group()),
            Role::Call => match around {
                Place::Value(group) => Place::Value(group),
                Place::Open | Place::Chain(_) => Place::Value(self.new_group()),
            },
            Role::Other => match around {
                Place::Value(group) => Place::Value(group),
                Place::Open | Place::Chain(_) => Place::Open,
            },
        };
        self.path.push(place);
    }

    fn new_group(&mut self) -> usize {
        self.count += 1;
        self.count
    }

    /// The group that the part that ends belongs to, as a value.
    fn leave(&mut self) -> Option<usize> {
        match self.path.pop() {
            Some(Place::Value(group)) => Some(group),
            _ => None,
        }
    }
}

/// What a part of an expression is to lists.
enum Role {
    /// OR.
    Chain,
    /// What joins conditions in another way, or never becomes a list.
    Condition,
    /// What may become one list with others of its chain.
    Lookup,
    /// What may become a list, perhaps one of what must not be there.
    Alone,
    /// A function: a list, as `array_has` may be, or part of a value.
    Call,
    /// A part of a value, or of none.
    Other,
}

fn role(part: &Expr) -> Role {
    use Operator::{And, Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq, Or};
    match part {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
            Or => Role::Chain,
            And | Lt | LtEq | Gt | GtEq => Role::Condition,
            Eq | IsNotDistinctFrom | NotEq | IsDistinctFrom => {
                match (has_columns(left), has_columns(right)) {
                    (true, true) => Role::Condition,
                    _ if *op == Eq && is_plain(left) && is_plain(right) => Role::Lookup,
                    _ => Role::Alone,
                }
            }
            op if is_pattern(*op) => Role::Alone,
            _ => Role::Other,
        },
        Expr::InList(InList { expr, negated: false, .. }) if is_plain(expr) => Role::Lookup,
        Expr::InList(_) | Expr::Like(_) | Expr::SimilarTo(_) | Expr::Between(_) => Role::Alone,
        Expr::ScalarFunction(_) => Role::Call,
        Expr::Not(_)
        | Expr::Case(_)
        | Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::IsTrue(_)
        | Expr::IsFalse(_)
        | Expr::IsUnknown(_)
        | Expr::IsNotTrue(_)
        | Expr::IsNotFalse(_)
        | Expr::IsNotUnknown(_) => Role::Condition,
        _ => Role::Other,
    }
}

/// Whether a value has no conditions in it: the equation of one with `false` is a NOT.
fn is_plain(value: &Expr) -> bool {
    match value {
        Expr::Column(_) | Expr::OuterReferenceColumn(..) => true,
        Expr::Literal(value, _) => value.data_type() != DataType::Boolean,
        Expr::Cast(Cast { expr, .. }) | Expr::TryCast(TryCast { expr, .. }) => is_plain(expr),
        Expr::Negative(value) => is_plain(value),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            op.is_numerical_operators() && is_plain(left) && is_plain(right)
        }
        _ => false,
    }
}

/// Counts how often each column is in each group.
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
        if let (Some(group), Some(column)) = (self.groups.leave(), column_of(part)) {
            *self.counts.entry(column.clone()).or_default().entry(group).or_default() += 1;
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
        let (Some(group), Some(column)) = (self.groups.leave(), column_of(&part)) else {
            return Ok(Transformed::no(part));
        };
        if self.visible.groups.get(column) == Some(&group) {
            return Ok(Transformed::no(part));
        }
        let relation = Some(TableReference::bare(HIDDEN));
        Ok(Transformed::yes(Expr::Alias(Alias::new(part, relation, group.to_string()))))
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
