//! `? || ?`: two parameters of which nothing says a type are texts, as they are elsewhere. The planner would find none.

use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::{BinaryOperator, CastKind, DataType, Expr, Value};

use super::each_expression;

/// Gives such parameters their type.
pub(super) fn assume(statement: &mut DfStatement) {
    each_expression(statement, assume_of);
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
