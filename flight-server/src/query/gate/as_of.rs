//! Time travel in a statement: `FROM prices VERSION AS OF 41`, `FROM prices TIMESTAMP AS OF '2026-01-31T00:00:00Z'`, and the named
//! arguments `version => 41` and `timestamp => '...'` of table functions.
//!
//! Every such place gets a name of its own, which no table can have, and is looked up under it: so a clause that is not understood
//! cannot be ignored. Which version a name stands for is decided by `pins`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use arrow::array::timezone::Tz;
use arrow::compute::kernels::cast_utils::string_to_datetime;
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::planner::object_name_to_table_reference;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Ident, ObjectName, TableAlias, TableFactor, TableVersion,
    Value, VisitMut, VisitorMut,
};
use tonic::Status;

use super::is_table_function;
use crate::catalog::table_name;
use crate::status;

/// A moment in the life of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Moment {
    /// A version.
    Version(u64),
    /// The version that was the newest then; microseconds since the epoch.
    Time(i64),
}

/// A table as of a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PastTable {
    /// Its name.
    pub(crate) table: String,
    /// When.
    pub(crate) moment: Moment,
}

impl PastTable {
    /// The name that stands for it in the statement. Names of tables have no slash.
    fn name(&self) -> String {
        match self.moment {
            Moment::Version(version) => format!("{}/version={version}", self.table),
            Moment::Time(time_us) => format!("{}/time={time_us}", self.table),
        }
    }
}

/// Gives every place of the statement that reads the past a name of its own, and returns what the names stand for.
///
/// # Errors
/// INVALID_ARGUMENT for a version or a time that is none, and for a place that has no versions.
pub(super) fn rename(
    statement: &mut DfStatement,
    common_tables: &BTreeSet<String>,
) -> Result<BTreeMap<String, PastTable>, Status> {
    let mut renaming = Renaming { common_tables, found: BTreeMap::new() };
    match visit(statement, &mut renaming) {
        ControlFlow::Continue(()) => Ok(renaming.found),
        ControlFlow::Break(refusal) => Err(refusal),
    }
}

fn visit(statement: &mut DfStatement, renaming: &mut Renaming<'_>) -> ControlFlow<Status> {
    match statement {
        DfStatement::Statement(statement) => statement.visit(renaming),
        DfStatement::Explain(explain) => visit(&mut explain.statement, renaming),
        // Refused by the gate; nothing in them is looked at.
        _ => ControlFlow::Continue(()),
    }
}

struct Renaming<'a> {
    /// Names of the common table expressions, folded.
    common_tables: &'a BTreeSet<String>,
    found: BTreeMap<String, PastTable>,
}

impl VisitorMut for Renaming<'_> {
    type Break = Status;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Status> {
        let renamed = match factor {
            TableFactor::Table { name, args: Some(args), version: None, .. } => {
                self.call(&name.to_string(), &mut args.args)
            }
            TableFactor::Table { name, alias, args: None, version: version @ Some(_), .. } => {
                match version.take() {
                    Some(version) => self.table(name, alias, version),
                    None => Ok(()),
                }
            }
            TableFactor::Table { name, version: Some(_), .. } => Err(status::invalid(format!(
                "\"{name}\" is a function; name its version as an argument: {name}('prices', version => 41)"
            ))),
            TableFactor::Function { name, args, .. } => self.call(&name.to_string(), args),
            _ => Ok(()),
        };
        match renamed {
            Ok(()) => ControlFlow::Continue(()),
            Err(refusal) => ControlFlow::Break(refusal),
        }
    }
}

impl Renaming<'_> {
    fn table(
        &mut self,
        name: &mut ObjectName,
        alias: &mut Option<TableAlias>,
        version: TableVersion,
    ) -> Result<(), Status> {
        let moment = match &version {
            TableVersion::VersionAsOf(expr) => version_of(expr),
            TableVersion::TimestampAsOf(expr) | TableVersion::ForSystemTimeAsOf(expr) => {
                time_of(expr)
            }
            TableVersion::Function(_) | TableVersion::Changes { .. } => Err(status::unsupported(
                "this form of time travel is not supported; write VERSION AS OF 41 or TIMESTAMP AS OF '2026-01-31T00:00:00Z' behind \
                 the table",
            )),
        }?;
        let reference = object_name_to_table_reference(name.clone(), true)
            .map_err(|error| status::query(&error))?;
        if reference.schema().is_none() && self.common_tables.contains(reference.table()) {
            return Err(status::invalid(format!(
                "\"{name}\" is a common table expression and has no versions; name the version of the tables in it"
            )));
        }
        let table = table_name(&reference)?.to_owned();
        if alias.is_none() {
            // So that columns can be named by the table still.
            *alias = Some(TableAlias {
                explicit: true,
                name: Ident::with_quote('"', table.clone()),
                columns: Vec::new(),
                at: None,
            });
        }
        *name = ObjectName::from(vec![Ident::with_quote('"', self.note(table, moment))]);
        Ok(())
    }

    /// Takes the named arguments of a table function away.
    fn call(&mut self, function: &str, args: &mut Vec<FunctionArg>) -> Result<(), Status> {
        if !is_table_function(function) {
            return Ok(());
        }
        let mut moment = None;
        for arg in std::mem::take(args) {
            let FunctionArg::Named { name, arg, .. } = arg else {
                args.push(arg);
                continue;
            };
            let FunctionArgExpr::Expr(expr) = &arg else {
                return Err(status::invalid(format!("{name} of {function} must be a constant")));
            };
            let named = match name.value.to_ascii_lowercase().as_str() {
                "version" => version_of(expr)?,
                "timestamp" => time_of(expr)?,
                _ => {
                    return Err(status::invalid(format!(
                        "{function} has no argument \"{name}\"; by name it takes version => 41 or timestamp => '2026-01-31T00:00:00Z'"
                    )));
                }
            };
            if moment.replace(named).is_some() {
                return Err(status::invalid(format!(
                    "{function} is told twice of when; name one version or one timestamp"
                )));
            }
        }
        let (Some(moment), Some(first)) = (moment, args.first_mut()) else { return Ok(()) };
        match first {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value))) => {
                if let Value::SingleQuotedString(table) = &mut value.value {
                    *table = self.note(std::mem::take(table), moment);
                    return Ok(());
                }
                Err(unnamed_table(function))
            }
            _ => Err(unnamed_table(function)),
        }
    }

    /// The name for a table as of a moment.
    fn note(&mut self, table: String, moment: Moment) -> String {
        let past = PastTable { table, moment };
        let name = past.name();
        self.found.insert(name.clone(), past);
        name
    }
}

fn unnamed_table(function: &str) -> Status {
    status::invalid(format!(
        "the first argument of {function} must be the name of a table in single quotes: {function}('prices', version => 41)"
    ))
}

fn version_of(expr: &Expr) -> Result<Moment, Status> {
    let number = match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => digits.parse().ok(),
            _ => None,
        },
        _ => None,
    };
    number.map(Moment::Version).ok_or_else(|| {
        status::invalid(format!("{expr} is not a version; versions are whole numbers from 1 on"))
    })
}

fn time_of(expr: &Expr) -> Result<Moment, Status> {
    let text = match expr {
        Expr::Value(value) => value.value.clone().into_string(),
        Expr::TypedString(typed) => typed.value.value.clone().into_string(),
        _ => None,
    };
    let time = text.and_then(|text| {
        // Without an offset it is UTC, as everywhere in SQL here.
        let utc: Tz = "+00:00".parse().ok()?;
        string_to_datetime(&utc, &text).ok()
    });
    time.map(|time| Moment::Time(time.timestamp_micros())).ok_or_else(|| {
        status::invalid(format!(
            "{expr} is not a time; write one like '2026-01-31T00:00:00Z', which is UTC unless it has an offset"
        ))
    })
}
