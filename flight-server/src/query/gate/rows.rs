//! How many rows a query wants, in the words of the SQL standard: `FETCH FIRST 10 ROWS ONLY` is read as `LIMIT 10`. Other words for it
//! are refused with those to write.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::{
    Expr, Fetch, LimitClause, Query, Select, TopQuantity, Value, VisitMut, VisitorMut,
};
use tonic::Status;

use crate::status;

/// Writes FETCH as LIMIT, wherever in the statement it stands.
///
/// # Errors
/// INVALID_ARGUMENT for LIMIT beside FETCH; UNIMPLEMENTED for TOP, PERCENT and WITH TIES.
pub(super) fn limit(statement: &mut DfStatement) -> Result<(), Status> {
    let visited = match statement {
        DfStatement::Statement(statement) => statement.visit(&mut Limiting),
        DfStatement::Explain(explain) => return limit(&mut explain.statement),
        // Refused by the gate; nothing in them is looked at.
        _ => ControlFlow::Continue(()),
    };
    match visited {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(refusal) => Err(refusal),
    }
}

struct Limiting;

impl VisitorMut for Limiting {
    type Break = Status;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Status> {
        let Some(Fetch { with_ties, percent, quantity }) = query.fetch.take() else {
            return ControlFlow::Continue(());
        };
        if with_ties || percent {
            return ControlFlow::Break(status::unsupported(
                "FETCH with PERCENT or WITH TIES is not supported; write FETCH FIRST 10 ROWS ONLY or LIMIT 10",
            ));
        }
        // Without a number it means one row.
        let one = || Expr::Value(Value::Number("1".to_owned(), false).into());
        let rows = Some(quantity.unwrap_or_else(one));
        match &mut query.limit_clause {
            clause @ None => {
                *clause = Some(LimitClause::LimitOffset {
                    limit: rows,
                    offset: None,
                    limit_by: Vec::new(),
                });
            }
            Some(LimitClause::LimitOffset { limit: limit @ None, .. }) => *limit = rows,
            Some(_) => {
                return ControlFlow::Break(status::invalid(
                    "the query has both LIMIT and FETCH; write one of them",
                ));
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Status> {
        let Some(top) = &select.top else { return ControlFlow::Continue(()) };
        let rows = match &top.quantity {
            Some(TopQuantity::Constant(rows)) if !top.percent => rows.to_string(),
            _ => "10".to_owned(),
        };
        ControlFlow::Break(status::unsupported(format!(
            "SELECT TOP is not supported; write LIMIT {rows} at the end of the query"
        )))
    }
}
