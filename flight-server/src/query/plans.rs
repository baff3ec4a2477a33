//! Queries that were planned a moment ago, for their next use at the same versions.
//!
//! Most clients prepare a statement, ask for its FlightInfo and fetch the stream: three calls that plan the same text. A plan
//! is only kept when nothing but the text and the pinned versions decides it: no function of time or chance, no table but
//! those of the root.

use std::time::Instant;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use parking_lot::Mutex;
use table_core::datafusion::{AsofJoin, SnapshotProvider};

use crate::limits;
use crate::query::gate::Gated;
use crate::query::pins::Pins;
use crate::query::plan::Prepared;
use crate::query::source::Source;

/// The plans of all clients, bounded in number and in age.
#[derive(Debug, Default)]
pub(crate) struct Plans {
    /// Least recently used first.
    kept: Mutex<Vec<Kept>>,
}

#[derive(Debug)]
struct Kept {
    prepared: Prepared,
    used: Instant,
}

impl Plans {
    /// What the gate said of a statement.
    pub(crate) fn gated(&self, source: &Source) -> Option<Gated> {
        self.find(|kept| kept.gated.source == *source).map(|found| found.gated)
    }

    /// The planned query of a statement at these versions.
    pub(crate) fn get(&self, source: &Source, pins: &Pins) -> Option<Prepared> {
        self.find(|kept| kept.gated.source == *source && kept.pins.same_versions(pins))
    }

    fn find(&self, is_it: impl Fn(&Prepared) -> bool) -> Option<Prepared> {
        let mut kept = self.kept.lock();
        kept.retain(|one| one.used.elapsed() < limits::PLAN_LIFE);
        let position = kept.iter().rposition(|one| is_it(&one.prepared))?;
        let mut found = kept.remove(position);
        found.used = Instant::now();
        let prepared = found.prepared.clone();
        kept.push(found);
        Some(prepared)
    }

    /// Keeps a planned query; what is known of its statement at other versions goes.
    pub(crate) fn keep(&self, prepared: Prepared) {
        if prepared.gated.source.len() > limits::PLAN_SOURCE_BYTES_MAX {
            return;
        }
        let mut kept = self.kept.lock();
        kept.retain(|one| {
            one.used.elapsed() < limits::PLAN_LIFE
                && one.prepared.gated.source != prepared.gated.source
        });
        if kept.len() >= limits::PLANS_MAX {
            kept.remove(0);
        }
        kept.push(Kept { prepared, used: Instant::now() });
    }
}

/// Whether the text and the versions of its tables are all that decides a plan.
pub(crate) fn is_lasting(plan: &LogicalPlan) -> bool {
    let lasts = plan.apply_with_subqueries(|node| {
        let known = match node {
            LogicalPlan::TableScan(scan) => {
                source_as_provider(&scan.source)?.is::<SnapshotProvider>()
            }
            LogicalPlan::Extension(extension) => extension.node.as_any().is::<AsofJoin>(),
            LogicalPlan::Explain(_)
            | LogicalPlan::Analyze(_)
            | LogicalPlan::DescribeTable(_)
            | LogicalPlan::Statement(_) => false,
            _ => true,
        };
        if !known {
            return Ok(TreeNodeRecursion::Stop);
        }
        node.apply_expressions(|expr| {
            expr.apply(|inner| match inner {
                Expr::ScalarFunction(function)
                    if function.func.signature().volatility != Volatility::Immutable =>
                {
                    Ok(TreeNodeRecursion::Stop)
                }
                _ => Ok(TreeNodeRecursion::Continue),
            })
        })
    });
    matches!(lasts, Ok(TreeNodeRecursion::Continue))
}

#[cfg(test)]
#[path = "plans_tests.rs"]
mod tests;
