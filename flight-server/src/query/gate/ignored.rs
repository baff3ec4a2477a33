//! Clauses that the parser takes and the planner does not look at. They are refused: an answer without them is another answer.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::{
    GroupByExpr, GroupByWithModifier, Query, Select, TableFactor, Visitor,
};
use tonic::Status;

use crate::status;

/// Refuses such clauses, wherever in the statement they stand.
///
/// # Errors
/// UNIMPLEMENTED with what to write.
pub(super) fn refuse(statement: &DfStatement) -> Result<(), Status> {
    match super::visit(statement, &mut Ignored) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(advice) => Err(status::unsupported(advice)),
    }
}

struct Ignored;

impl Visitor for Ignored {
    type Break = &'static str;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<&'static str> {
        first_of(&[
            (
                !query.locks.is_empty(),
                "FOR UPDATE and FOR SHARE are not supported: a query locks nothing and needs no lock; leave them out",
            ),
            (
                query.for_clause.is_some(),
                "FOR XML, FOR JSON and FOR BROWSE are not supported; leave them out",
            ),
            (query.settings.is_some(), "SETTINGS are not supported; leave them out"),
            (
                query.format_clause.is_some(),
                "FORMAT is not supported: answers are Arrow; leave it out",
            ),
        ])
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<&'static str> {
        let totals = match &select.group_by {
            GroupByExpr::All(modifiers) | GroupByExpr::Expressions(_, modifiers) => {
                modifiers.contains(&GroupByWithModifier::Totals)
            }
        };
        first_of(&[
            (select.prewhere.is_some(), "PREWHERE is not supported; write WHERE"),
            (!select.connect_by.is_empty(), "CONNECT BY is not supported; write WITH RECURSIVE"),
            (
                select.exclude.is_some(),
                "EXCLUDE behind the list of columns is not supported; write SELECT * EXCLUDE (column)",
            ),
            (totals, "WITH TOTALS is not supported; write GROUP BY GROUPING SETS or ROLLUP"),
        ])
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<&'static str> {
        let sampled = matches!(factor, TableFactor::Derived { sample: Some(_), .. });
        first_of(&[(sampled, "TABLESAMPLE is not supported; use WHERE or LIMIT")])
    }
}

fn first_of(refusals: &[(bool, &'static str)]) -> ControlFlow<&'static str> {
    match refusals.iter().find(|(stands, _)| *stands) {
        Some((_, advice)) => ControlFlow::Break(advice),
        None => ControlFlow::Continue(()),
    }
}
