//! A logical rule: an aggregate that is given its rows in an order is given each key of that order once.
//!
//! A key that comes a second time orders nothing, but DataFusion counts it where it lays out the state of an aggregate and
//! leaves it out where it fills that state in, and then fails. `DISTINCT ON` becomes such an aggregate, too.

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// See the module. Belongs behind all rules that could make two keys the same.
#[derive(Debug, Default)]
pub struct SortKeysOnce;

impl OptimizerRule for SortKeysOnce {
    fn name(&self) -> &str {
        "sort_keys_once"
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
        // The order is part of the name that others know the column by.
        let names = NamePreserver::new(&plan);
        plan.map_expressions(|expr| {
            let name = names.save(&expr);
            Ok(expr.transform_up(|part| Ok(once(part)))?.update_data(|expr| name.restore(expr)))
        })
    }
}

fn once(expr: Expr) -> Transformed<Expr> {
    let Expr::AggregateFunction(AggregateFunction { func, mut params }) = expr else {
        return Transformed::no(expr);
    };
    let before = params.order_by.len();
    let mut keys = Vec::with_capacity(before);
    for sort in std::mem::take(&mut params.order_by) {
        // Whatever its direction: rows that agree in the key agree in it both ways.
        if keys.iter().all(|known: &datafusion::logical_expr::SortExpr| known.expr != sort.expr) {
            keys.push(sort);
        }
    }
    params.order_by = keys;
    let changed = params.order_by.len() != before;
    let expr = Expr::AggregateFunction(AggregateFunction { func, params });
    if changed { Transformed::yes(expr) } else { Transformed::no(expr) }
}
