//! Arguments by name in a call of `time_bucket_gapfill`: `time_zone => '...'` without bounds is put where the function takes it, and one
//! bound without the other is refused.
//!
//! DataFusion takes arguments by name only where none before them is left out, and the bounds come before the zone. A zone alone is
//! the third argument, so these calls get all of theirs by position.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArguments, Ident, VisitMut, VisitorMut,
};
use tonic::Status;

use crate::status;

const FUNCTION: &str = "time_bucket_gapfill";
/// The arguments of a call without bounds, in order.
const PARAMETERS: [&str; 3] = ["width", "ts", "time_zone"];

/// The bounds, which come together, and how many arguments come before them.
const BOUNDS: [&str; 2] = ["start", "finish"];
const BEFORE_BOUNDS: usize = 2;

/// Puts the arguments of such calls in their order.
///
/// # Errors
/// INVALID_ARGUMENT for one bound without the other.
pub(super) fn place(statement: &mut DfStatement) -> Result<(), Status> {
    let visited = match statement {
        DfStatement::Statement(statement) => statement.visit(&mut Placing),
        DfStatement::Explain(explain) => return place(&mut explain.statement),
        // Refused by the gate; nothing in them is looked at.
        _ => ControlFlow::Continue(()),
    };
    match visited {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(refusal) => Err(refusal),
    }
}

struct Placing;

impl VisitorMut for Placing {
    type Break = Status;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Status> {
        if let Expr::Function(call) = expr
            && let [name] = call.name.0.as_slice()
            && name.as_ident().is_some_and(|name| is(name, FUNCTION))
            && let FunctionArguments::List(list) = &mut call.args
        {
            if let Some((given, missing)) = lone_bound(&list.args) {
                return ControlFlow::Break(status::invalid(format!(
                    "{FUNCTION} has {given} but no {missing}; give both, or leave both out and bound the index column in WHERE"
                )));
            }
            in_order(&mut list.args);
        }
        ControlFlow::Continue(())
    }
}

/// The bound that is given by name without the other, and that other.
fn lone_bound(arguments: &[FunctionArg]) -> Option<(&'static str, &'static str)> {
    let [start, finish] = BOUNDS;
    let has = |bound: &str| {
        let named = |argument: &FunctionArg| matches!(argument, FunctionArg::Named { name, .. } if is(name, bound));
        arguments.iter().any(named)
    };
    let in_place = arguments.iter().filter(|one| matches!(one, FunctionArg::Unnamed(_))).count();
    match (has(start), has(finish)) {
        (true, false) => Some((start, finish)),
        (false, true) if in_place <= BEFORE_BOUNDS => Some((finish, start)),
        _ => None,
    }
}

/// Whether a name as written is this one.
fn is(written: &Ident, name: &str) -> bool {
    match written.quote_style {
        Some(_) => written.value == name,
        None => written.value.eq_ignore_ascii_case(name),
    }
}

/// Takes the names away if they are those of a call without bounds; anything else stays for the planner.
fn in_order(arguments: &mut Vec<FunctionArg>) {
    let place = |(position, argument): (usize, &FunctionArg)| match argument {
        FunctionArg::Unnamed(_) => Some(position),
        FunctionArg::Named { name, .. } => PARAMETERS.iter().position(|known| is(name, known)),
        FunctionArg::ExprNamed { .. } => None,
    };
    let places: Option<Vec<usize>> = arguments.iter().enumerate().map(place).collect();
    let Some(places) = places else { return };
    let mut sorted = places.clone();
    sorted.sort_unstable();
    // Names come last.
    let zone_is_named = matches!(arguments.last(), Some(FunctionArg::Named { .. }));
    if sorted != [0, 1, 2] || !zone_is_named {
        return;
    }
    let mut placed: Vec<(usize, FunctionArg)> =
        places.into_iter().zip(std::mem::take(arguments)).collect();
    placed.sort_by_key(|(place, _)| *place);
    arguments.extend(placed.into_iter().map(|(_, argument)| match argument {
        FunctionArg::Named { arg, .. } => FunctionArg::Unnamed(arg),
        other => other,
    }));
}
