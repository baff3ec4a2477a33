//! `? || ?`: two parameters of which nothing says a type are texts, as they are elsewhere. The planner would find none.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, DataType, Expr, Value, visit_expressions_mut,
};

/// Gives such parameters their type.
pub(super) fn assume(statement: &mut DfStatement) {
    match statement {
        DfStatement::Statement(statement) => {
            let _: ControlFlow<()> = visit_expressions_mut(statement.as_mut(), |expr| {
                assume_of(expr);
                ControlFlow::Continue(())
            });
        }
        DfStatement::Explain(explain) => assume(&mut explain.statement),
        // Refused by the gate; nothing in them is looked at.
        _ => {}
    }
}

fn assume_of(expr: &mut Expr) {
    let Expr::BinaryOp { left, op: BinaryOperator::StringConcat, right } = expr else { return };
    if is_parameter(left) && is_parameter(right) {
        // The other one follows.
        **left = Expr::Cast {
            kind: CastKind::Cast,
            expr: left.clone(),
            data_type: DataType::Text,
            array: false,
            format: None,
        };
    }
}

fn is_parameter(expr: &Expr) -> bool {
    match expr {
        Expr::Value(value) => matches!(value.value, Value::Placeholder(_)),
        Expr::Nested(inner) => is_parameter(inner),
        _ => false,
    }
}
