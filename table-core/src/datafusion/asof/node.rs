//! [`AsofJoin`]: the join in a logical plan.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::common::{DFSchemaRef, JoinType, internal_err};
use datafusion::error::Result;
use datafusion::logical_expr::{
    Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore, build_join_schema,
};

use super::condition::Conditions;

/// Each row of the left side with the nearest of the right one. Columns: those of the left side, then those of the right one, which
/// are null where there is no such row. As many rows as the left side has.
#[derive(Debug, Clone)]
pub struct AsofJoin {
    left: Arc<LogicalPlan>,
    right: Arc<LogicalPlan>,
    conditions: Conditions,
    schema: DFSchemaRef,
}

impl AsofJoin {
    pub(super) fn try_new(
        left: LogicalPlan,
        right: LogicalPlan,
        conditions: Conditions,
    ) -> Result<Self> {
        let schema = build_join_schema(left.schema(), right.schema(), &JoinType::Left)?;
        let (left, right) = (Arc::new(left), Arc::new(right));
        Ok(Self { left, right, conditions, schema: Arc::new(schema) })
    }

    pub(super) fn left(&self) -> &Arc<LogicalPlan> {
        &self.left
    }

    pub(super) fn right(&self) -> &Arc<LogicalPlan> {
        &self.right
    }

    pub(super) fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    /// The same join of other sides with the same columns.
    pub(super) fn with_sides(&self, left: LogicalPlan, right: LogicalPlan) -> Result<LogicalPlan> {
        let node = Self::try_new(left, right, self.conditions.clone())?;
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }
}

impl UserDefinedLogicalNodeCore for AsofJoin {
    fn name(&self) -> &str {
        "AsofJoin"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.left, &self.right]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.conditions.exprs()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AsofJoin: {}", self.conditions)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let Ok([left, right]) = <[LogicalPlan; 2]>::try_from(inputs) else {
            return internal_err!("an ASOF JOIN has two sides");
        };
        let conditions = self.conditions.with_exprs(exprs, left.schema(), right.schema())?;
        Self::try_new(left, right, conditions)
    }

    /// What the conditions need is added by who asks.
    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let left_count = self.left.schema().fields().len();
        let (left, right): (Vec<_>, Vec<_>) =
            output_columns.iter().copied().partition(|column| *column < left_count);
        Some(vec![left, right.into_iter().map(|column| column - left_count).collect()])
    }
}

// The schema follows from the rest.
impl PartialEq for AsofJoin {
    fn eq(&self, other: &Self) -> bool {
        self.left == other.left && self.right == other.right && self.conditions == other.conditions
    }
}

impl Eq for AsofJoin {}

impl Hash for AsofJoin {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.left.hash(state);
        self.right.hash(state);
        self.conditions.hash(state);
    }
}

impl PartialOrd for AsofJoin {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let of = |join: &Self| {
            (Arc::clone(&join.left), Arc::clone(&join.right), join.conditions.clone())
        };
        of(self).partial_cmp(&of(other)).filter(|order| *order != Ordering::Equal || self == other)
    }
}
