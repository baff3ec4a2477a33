//! `ts AT TIME ZONE 'zone'` is a call of our function of that name: the planner would make a cast of it that fails for times that
//! clocks show twice or never, and for all that nanoseconds do not reach.

use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident,
    ObjectName,
};

use super::each_expression;

const FUNCTION: &str = "at_time_zone";

/// Makes calls of such expressions.
pub(super) fn read(statement: &mut DfStatement) {
    each_expression(statement, read_of);
}

fn read_of(expr: &mut Expr) {
    let Expr::AtTimeZone { timestamp, time_zone } = expr else { return };
    let argument = |expr: &Expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr.clone()));
    let args = FunctionArgumentList {
        duplicate_treatment: None,
        args: vec![argument(timestamp), argument(time_zone)],
        clauses: Vec::new(),
    };
    *expr = Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(FUNCTION)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(args),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    });
}
