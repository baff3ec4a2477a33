//! A logical rule: an equation of a column and a constant in a filter has the column first.
//!
//! DataFusion's `push_down_filter` takes two equations of one column for "never" unless they are the same to the letter, which
//! `x = 3 AND 3 = x` are not. Its simplifier turns such equations round, but not those that it has only just made simple.
//!
//! Belongs right before that rule. Pure.

use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// See the module.
#[derive(Debug, Default)]
pub struct ColumnsFirst;

impl OptimizerRule for ColumnsFirst {
    fn name(&self) -> &str {
        "columns_first"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        match plan {
            LogicalPlan::Filter(_) => plan.map_expressions(|predicate| Ok(turned(predicate))),
            plan => Ok(Transformed::no(plan)),
        }
    }
}

/// A predicate with its own equations turned, and those of the conditions that it joins by AND.
fn turned(predicate: Expr) -> Transformed<Expr> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = predicate else {
        return Transformed::no(predicate);
    };
    match (left.as_ref(), op, right.as_ref()) {
        (_, Operator::And, _) => {
            let (left, right) = (turned(*left), turned(*right));
            let transformed = left.transformed || right.transformed;
            let both = BinaryExpr::new(left.data.into(), op, right.data.into());
            Transformed::new_transformed(Expr::BinaryExpr(both), transformed)
        }
        (Expr::Literal(..), Operator::Eq, Expr::Column(_)) => {
            Transformed::yes(Expr::BinaryExpr(BinaryExpr::new(right, op, left)))
        }
        _ => Transformed::no(Expr::BinaryExpr(BinaryExpr::new(left, op, right))),
    }
}
