//! The logical node over an aggregation whose gaps are filled.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::{DFSchema, DFSchemaRef};
use datafusion::error::Result;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{Expr, Extension, Filter, LogicalPlan, UserDefinedLogicalNodeCore};

use super::buckets::Buckets;
use super::functions::Filling;
use super::one_input;
use crate::types::BucketId;

/// The buckets that every group gets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Window {
    pub(super) buckets: Buckets,
    pub(super) first: BucketId,
    pub(super) last: BucketId,
}

/// One more column: that of an aggregate, filled.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Fill {
    pub(super) filling: Filling,
    /// Position of the aggregate in the input.
    pub(super) column: usize,
    pub(super) name: String,
    pub(super) data_type: DataType,
}

/// Rows for the buckets that a group of its input lacks.
///
/// Columns are those of the input, an aggregation, with all aggregates nullable, and behind them the fills.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct GapFill {
    pub(super) input: LogicalPlan,
    /// Number of group expressions: the first columns of the input.
    pub(super) group_count: usize,
    /// Position of the bucket among them.
    pub(super) bucket: usize,
    /// `None` while it depends on parameters without values.
    pub(super) window: Option<Window>,
    pub(super) fills: Vec<Fill>,
    /// What holds for a row of the output or not, whatever groups there are.
    pub(super) filters: Vec<Expr>,
    pub(super) schema: DFSchemaRef,
}

impl GapFill {
    pub(super) fn try_new(
        input: LogicalPlan,
        group_count: usize,
        bucket: usize,
        window: Option<Window>,
    ) -> Result<Self> {
        let schema = schema_of(&input, group_count, &[])?;
        Ok(Self {
            input,
            group_count,
            bucket,
            window,
            fills: Vec::new(),
            filters: Vec::new(),
            schema,
        })
    }

    /// The same with one more fill, unless it has it.
    pub(super) fn with_fill(mut self, fill: Fill) -> Result<Self> {
        if !self.fills.contains(&fill) {
            self.fills.push(fill);
            self.schema = schema_of(&self.input, self.group_count, &self.fills)?;
        }
        Ok(self)
    }
}

/// The gap filling that a plan is, if it is one.
pub(super) fn gap_fill(plan: &LogicalPlan) -> Option<&GapFill> {
    match plan {
        LogicalPlan::Extension(extension) => extension.node.as_any().downcast_ref(),
        _ => None,
    }
}

/// The plan that a gap filling is.
pub(super) fn extension(node: GapFill) -> LogicalPlan {
    LogicalPlan::Extension(Extension { node: Arc::new(node) })
}

fn schema_of(input: &LogicalPlan, group_count: usize, fills: &[Fill]) -> Result<DFSchemaRef> {
    let mut fields: Vec<_> = input
        .schema()
        .iter()
        .enumerate()
        .map(|(position, (qualifier, field))| {
            let mut field = field.as_ref().clone();
            if position >= group_count {
                field = field.with_nullable(true);
            }
            (qualifier.cloned(), Arc::new(field))
        })
        .collect();
    for fill in fills {
        fields.push((None, Arc::new(Field::new(&fill.name, fill.data_type.clone(), true))));
    }
    let metadata = input.schema().metadata().clone();
    Ok(Arc::new(DFSchema::new_with_metadata(fields, metadata)?))
}

impl PartialOrd for GapFill {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        // Windows have no order; equal nodes are equal, and others only sometimes comparable.
        if self == other {
            return Some(Ordering::Equal);
        }
        self.input.partial_cmp(&other.input).filter(|order| order.is_ne())
    }
}

impl UserDefinedLogicalNodeCore for GapFill {
    fn name(&self) -> &'static str {
        "GapFill"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.filters.clone()
    }

    /// A group is filled without looking at others, so what is asked of its keys can be asked before.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        let is_key = |position: usize| position < self.group_count && position != self.bucket;
        let fields = self.schema.fields().iter().enumerate();
        fields.filter(|(at, _)| !is_key(*at)).map(|(_, field)| field.name().clone()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(window) = &self.window else { return f.write_str("GapFill: parameters to come") };
        let Window { buckets, first, last } = window;
        write!(
            f,
            "GapFill: buckets=[{}], from={}, through={}",
            buckets.describe(),
            buckets.format(buckets.start(*first)),
            buckets.format(buckets.start(*last)),
        )?;
        let names: Vec<&str> = self.fills.iter().map(|fill| fill.name.as_str()).collect();
        if !names.is_empty() {
            write!(f, ", fills=[{}]", names.join(", "))?;
        }
        Ok(())
    }

    /// A filter that is pushed below arrives as the input. DataFusion pushes all that name no other columns than keys, also those
    /// that name none and those of chance; these are asked of every row that comes out instead.
    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let mut input = one_input(inputs)?;
        let mut filters = exprs;
        if let LogicalPlan::Filter(filter) = &input {
            let stays = |term: &&Expr| !term.column_refs().is_empty() && !term.is_volatile();
            let (below, above): (Vec<&Expr>, Vec<&Expr>) =
                split_conjunction(&filter.predicate).into_iter().partition(stays);
            if !above.is_empty() {
                filters.extend(above.into_iter().cloned());
                let rows = Arc::clone(&filter.input);
                input = match conjunction(below.into_iter().cloned()) {
                    Some(predicate) => LogicalPlan::Filter(Filter::try_new(predicate, rows)?),
                    None => Arc::unwrap_or_clone(rows),
                };
            }
        }
        let schema = schema_of(&input, self.group_count, &self.fills)?;
        Ok(Self {
            input,
            group_count: self.group_count,
            bucket: self.bucket,
            window: self.window.clone(),
            fills: self.fills.clone(),
            filters,
            schema,
        })
    }

    fn necessary_children_exprs(&self, _output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![(0..self.input.schema().fields().len()).collect()])
    }
}
