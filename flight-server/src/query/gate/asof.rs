//! `ASOF JOIN` in a statement: put where the planner of DataFusion asks for advice.
//!
//! That planner knows the syntax and refuses it, but lets others plan the relations of a FROM clause (`query::asof`). So everything up
//! to an ASOF JOIN is put into parentheses, which makes it one relation: `a JOIN b ASOF JOIN c` becomes `((a JOIN b) ASOF JOIN c)`. A
//! place that is missed here is refused there.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::{
    Join, JoinOperator, Select, TableFactor, TableWithJoins, VisitMut, VisitorMut,
};
use tonic::Status;

use crate::status;

/// Puts every ASOF JOIN into parentheses, with all that is joined before.
///
/// # Errors
/// UNIMPLEMENTED for what the syntax has and would be ignored: GLOBAL before any join, and LATERAL beside ASOF.
pub(super) fn nest(statement: &mut DfStatement) -> Result<(), Status> {
    match visit(statement) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(refusal) => Err(refusal),
    }
}

fn visit(statement: &mut DfStatement) -> ControlFlow<Status> {
    match statement {
        DfStatement::Statement(statement) => statement.visit(&mut Nesting),
        DfStatement::Explain(explain) => visit(&mut explain.statement),
        // Refused by the gate; nothing in them is looked at.
        _ => ControlFlow::Continue(()),
    }
}

struct Nesting;

impl VisitorMut for Nesting {
    type Break = Status;

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<Status> {
        select.from.iter_mut().try_for_each(nest_joins)
    }

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Status> {
        match factor {
            TableFactor::NestedJoin { table_with_joins, .. } => nest_joins(table_with_joins),
            _ => ControlFlow::Continue(()),
        }
    }
}

fn nest_joins(tables: &mut TableWithJoins) -> ControlFlow<Status> {
    if let Some(refusal) = refusal(tables) {
        return ControlFlow::Break(status::unsupported(refusal));
    }
    if !tables.joins.iter().any(is_asof) {
        return ControlFlow::Continue(());
    }
    for join in std::mem::take(&mut tables.joins) {
        if !is_asof(&join) {
            tables.joins.push(join);
            continue;
        }
        if !tables.joins.is_empty() {
            wrap(tables);
        }
        tables.joins.push(join);
        wrap(tables);
    }
    ControlFlow::Continue(())
}

/// Puts the tables into parentheses.
fn wrap(tables: &mut TableWithJoins) {
    let joins = std::mem::take(&mut tables.joins);
    let inner = TableWithJoins { relation: tables.relation.clone(), joins };
    tables.relation = TableFactor::NestedJoin { table_with_joins: Box::new(inner), alias: None };
}

fn is_asof(join: &Join) -> bool {
    matches!(join.join_operator, JoinOperator::AsOf { .. })
}

fn refusal(tables: &TableWithJoins) -> Option<&'static str> {
    let mut left = &tables.relation;
    for join in &tables.joins {
        if join.global {
            return Some("GLOBAL JOIN is not supported: there is one server; leave GLOBAL out");
        }
        if is_asof(join) && (is_lateral(left) || is_lateral(&join.relation)) {
            return Some(
                "LATERAL is not supported beside ASOF JOIN; join the other tables in a subquery first",
            );
        }
        left = &join.relation;
    }
    None
}

fn is_lateral(factor: &TableFactor) -> bool {
    matches!(
        factor,
        TableFactor::Derived { lateral: true, .. } | TableFactor::Function { lateral: true, .. }
    )
}
