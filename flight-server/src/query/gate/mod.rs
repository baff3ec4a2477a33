//! The gate that every SQL text passes before anything is planned: size, shape, and which statements there are.
//!
//! Parsing and planning are recursive and some of their costs grow with the square of a chain or the exponent of a CTE, so
//! the text is measured first as tokens, then as a syntax tree. Runs on a planner thread (`query::planner`).

mod as_of;
mod asof;
mod clocks;
mod dialect;
mod digits;
mod ignored;
mod measure;
mod repeats;
mod rows;
mod texts;
mod zone;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::common::TableReference;
use datafusion::sql::parser::{DFParserBuilder, Statement as DfStatement};
use datafusion::sql::planner::object_name_to_table_reference;
use datafusion::sql::resolve::resolve_table_references;
use datafusion::sql::sqlparser::ast::{
    self, Expr, FunctionArg, FunctionArgExpr, ObjectName, ObjectType, Query, SetExpr,
    Statement as SqlStatement, TableFactor, Value, Visit, Visitor, visit_expressions_mut,
};
use datafusion_substrait::substrait::proto::Plan;
use table_core::datafusion::table_function_names;
use tonic::Status;

pub(crate) use as_of::{Moment, PastTable};
pub(crate) use repeats::Repeats;

use crate::limits;
use crate::query::source::Source;
use crate::status;

/// One statement that may run.
#[derive(Debug, Clone)]
pub(crate) struct Gated {
    /// How it was written.
    pub(crate) source: Source,
    /// What it is.
    pub(crate) statement: Statement,
    /// Tables it reads or writes, as written and folded; without common table expressions and table functions.
    pub(crate) tables: Vec<TableReference>,
    /// Tables that it names as an argument of a table function.
    pub(crate) function_tables: Vec<String>,
    /// Tables that it reads as of a moment, by the names that stand for them in `statement`; they are in neither of the two above.
    pub(crate) past_tables: BTreeMap<String, PastTable>,
    /// Columns of the answer that were given other names in `statement`.
    pub(crate) repeats: Repeats,
    /// Number of parameters, `?` or `$n`.
    pub(crate) parameter_count: usize,
}

/// The kinds of statements there are.
#[derive(Debug, Clone)]
pub(crate) enum Statement {
    /// Anything with rows: SELECT, VALUES, WITH, EXPLAIN, SHOW, DESCRIBE.
    Query(Box<DfStatement>),
    /// The same as a Substrait plan.
    Substrait(Arc<Plan>),
    /// CREATE TABLE, AS SELECT included.
    CreateTable(Box<ast::CreateTable>),
    /// DROP TABLE.
    DropTable { name: ObjectName, if_exists: bool },
    /// INSERT INTO.
    Insert(Box<ast::Insert>),
}

impl Statement {
    /// Whether it changes something instead of having rows.
    pub(crate) fn is_update(&self) -> bool {
        !matches!(self, Self::Query(_) | Self::Substrait(_))
    }
}

/// Checks one statement.
///
/// # Errors
/// INVALID_ARGUMENT for bad syntax, several statements and exceeded limits; UNIMPLEMENTED for statements that Coverline
/// does not have.
pub(crate) fn check(sql: &str) -> Result<Gated, Status> {
    if sql.len() > limits::SQL_BYTES_MAX {
        return Err(status::invalid(format!(
            "the statement has {} bytes, but at most {} are taken; send data with an append or as parameters",
            sql.len(),
            limits::SQL_BYTES_MAX
        )));
    }
    let (tokens, parameter_count) = measure::tokens(sql)?;
    let dialect = dialect::of(&tokens);
    let mut statements = DFParserBuilder::new(tokens)
        .with_dialect(dialect)
        .with_recursion_limit(limits::PARSER_DEPTH_MAX)
        .build()
        .and_then(|mut parser| parser.parse_statements())
        .map_err(|error| status::query(&error))?;
    let mut statement = match (statements.pop_front(), statements.len()) {
        (Some(statement), 0) => statement,
        (None, _) => return Err(status::invalid("the statement is empty; write SQL")),
        (Some(_), others) => {
            return Err(status::invalid(format!(
                "the text has {} statements; send one at a time",
                others + 1
            )));
        }
    };
    measure::tree(&statement)?;
    ignored::refuse(&statement)?;
    rows::limit(&mut statement)?;
    let common_tables = common_tables(&statement)?;
    let past_tables = as_of::rename(&mut statement, &common_tables)?;
    asof::nest(&mut statement)?;
    zone::place(&mut statement)?;
    clocks::read(&mut statement);
    digits::keep(&mut statement);
    texts::assume(&mut statement);
    let repeats = repeats::rename(&mut statement);
    let mut names = Names::of(&statement)?;
    names.function_tables.retain(|table| !past_tables.contains_key(table));
    let mut tables = tables(&statement, &names.functions)?;
    tables.retain(|reference| !past_tables.contains_key(reference.table()));
    let statement = classify(statement)?;
    if let Statement::CreateTable(table) = &statement {
        // The name of a table that is to be made is no table yet.
        let own = object_name_to_table_reference(table.name.clone(), true)
            .map_err(|error| status::query(&error))?;
        tables.retain(|reference| *reference != own);
    }
    Ok(Gated {
        source: sql.into(),
        statement,
        tables,
        function_tables: names.function_tables.into_iter().collect(),
        past_tables,
        repeats,
        parameter_count,
    })
}

/// Whether a text has parameters, whatever else can be said of it.
pub(crate) fn has_parameters(sql: &str) -> bool {
    measure::tokens(sql).is_ok_and(|(_, count)| count > 0)
}

/// Changes every expression of a statement that may run.
fn each_expression(statement: &mut DfStatement, mut change: impl FnMut(&mut Expr)) {
    let mut inner = statement;
    while let DfStatement::Explain(explain) = inner {
        inner = explain.statement.as_mut();
    }
    // Others are refused; nothing in them is looked at.
    if let DfStatement::Statement(statement) = inner {
        let _: ControlFlow<()> = visit_expressions_mut(statement.as_mut(), |expr| {
            change(expr);
            ControlFlow::Continue(())
        });
    }
}

fn classify(statement: DfStatement) -> Result<Statement, Status> {
    let sql_statement = match statement {
        DfStatement::Statement(inner) => inner,
        DfStatement::Explain(explain) => {
            return match classify((*explain.statement).clone())? {
                Statement::Query(_) => {
                    Ok(Statement::Query(Box::new(DfStatement::Explain(explain))))
                }
                _ => Err(status::unsupported("only queries can be explained")),
            };
        }
        DfStatement::CreateExternalTable(_) => {
            return Err(status::unsupported(
                "CREATE EXTERNAL TABLE is not supported: the server reads no files of its host; append the rows instead",
            ));
        }
        DfStatement::CopyTo(_) => {
            return Err(status::unsupported(
                "COPY is not supported: the server writes no files of its host; query the rows and write them where you are",
            ));
        }
        DfStatement::Reset(_) => return Err(settings()),
    };
    match *sql_statement {
        SqlStatement::Query(query) => {
            queries_only(&query)?;
            Ok(query_statement(SqlStatement::Query(query)))
        }
        statement @ (SqlStatement::ShowTables { .. }
        | SqlStatement::ShowColumns { .. }
        | SqlStatement::ShowCreate { .. }
        | SqlStatement::ShowFunctions { .. }
        | SqlStatement::ExplainTable { .. }) => Ok(query_statement(statement)),
        SqlStatement::Explain { analyze, verbose, statement, .. } => {
            let _ = (analyze, verbose, statement);
            Err(status::unsupported(
                "this form of EXPLAIN is not supported; write EXPLAIN [ANALYZE] query",
            ))
        }
        SqlStatement::CreateTable(table) if table.temporary => Err(status::unsupported(
            "temporary tables are not supported; write the query with WITH, or make a table and drop it when done",
        )),
        SqlStatement::CreateTable(table) => Ok(Statement::CreateTable(Box::new(table))),
        SqlStatement::Insert(insert) => {
            if let Some(source) = &insert.source {
                queries_only(source)?;
            }
            Ok(Statement::Insert(Box::new(insert)))
        }
        SqlStatement::Drop { object_type: ObjectType::Table, if_exists, mut names, .. } => {
            match (names.pop(), names.is_empty()) {
                (Some(name), true) => Ok(Statement::DropTable { name, if_exists }),
                _ => Err(status::invalid("DROP TABLE takes one table; drop the others one by one")),
            }
        }
        SqlStatement::Set(_) => Err(settings()),
        SqlStatement::Update { .. } | SqlStatement::Delete(_) | SqlStatement::Merge { .. } => {
            Err(status::unsupported("rows cannot be changed or deleted; tables take appends only"))
        }
        SqlStatement::CreateView { .. } => {
            Err(status::unsupported("views are not supported; write the query with WITH"))
        }
        SqlStatement::Prepare { .. }
        | SqlStatement::Execute { .. }
        | SqlStatement::Deallocate { .. } => Err(status::unsupported(
            "PREPARE is not supported as SQL; use the prepared statements of Flight SQL",
        )),
        SqlStatement::StartTransaction { .. }
        | SqlStatement::Commit { .. }
        | SqlStatement::Rollback { .. } => Err(status::unsupported(
            "transactions are not supported; every statement commits by itself",
        )),
        other => Err(status::unsupported(format!(
            "{} is not supported; Coverline has SELECT, EXPLAIN, SHOW, DESCRIBE, CREATE TABLE, DROP TABLE and INSERT",
            leading_words(&other)
        ))),
    }
}

fn query_statement(statement: SqlStatement) -> Statement {
    Statement::Query(Box::new(DfStatement::Statement(Box::new(statement))))
}

fn settings() -> Status {
    status::unsupported("engine settings cannot be changed; configure the server instead")
}

/// The first two words of a statement, for messages.
fn leading_words(statement: &SqlStatement) -> String {
    let text = statement.to_string();
    text.split_whitespace().take(2).collect::<Vec<_>>().join(" ").to_uppercase()
}

/// Refuses INSERT, UPDATE and DELETE in the place of a query (`WITH x AS (DELETE …)`).
fn queries_only(query: &Query) -> Result<(), Status> {
    struct Writes;
    impl Visitor for Writes {
        type Break = ();
        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            if body_writes(&query.body) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        }
        fn pre_visit_select(&mut self, select: &ast::Select) -> ControlFlow<()> {
            if select.into.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }
    fn body_writes(body: &SetExpr) -> bool {
        match body {
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                true
            }
            SetExpr::SetOperation { left, right, .. } => body_writes(left) || body_writes(right),
            _ => false,
        }
    }
    match query.visit(&mut Writes) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(status::unsupported(
            "a query cannot write; use CREATE TABLE ... AS or INSERT INTO ... SELECT",
        )),
    }
}

/// Table functions that a statement calls, and the clauses of tables that would be ignored.
#[derive(Default)]
struct Names {
    functions: BTreeSet<String>,
    function_tables: BTreeSet<String>,
}

impl Names {
    fn of(statement: &DfStatement) -> Result<Self, Status> {
        let mut names = Self::default();
        match visit(statement, &mut names) {
            ControlFlow::Continue(()) => Ok(names),
            ControlFlow::Break(refusal) => Err(refusal),
        }
    }

    fn call(&mut self, name: &ObjectName, args: &[FunctionArg]) {
        let name = name.to_string().to_lowercase();
        let argument = args.first().and_then(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value))) => match &value.value {
                Value::SingleQuotedString(text) => Some(text.clone()),
                _ => None,
            },
            _ => None,
        });
        if let Some(table) = argument
            && is_table_function(&name)
        {
            self.function_tables.insert(table);
        }
        self.functions.insert(name);
    }
}

impl Visitor for Names {
    type Break = Status;

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Status> {
        match factor {
            TableFactor::Table {
                name,
                args,
                version,
                with_hints,
                partitions,
                sample,
                json_path,
                ..
            } => {
                if version.is_some() {
                    // Taken away where it is understood.
                    return ControlFlow::Break(status::unsupported(format!(
                        "this form of time travel is not supported behind \"{name}\"; write VERSION AS OF 41 or TIMESTAMP AS OF \
                         '2026-01-31T00:00:00Z'"
                    )));
                }
                if !with_hints.is_empty() || !partitions.is_empty() || json_path.is_some() {
                    return ControlFlow::Break(status::unsupported(format!(
                        "hints, partitions and paths behind \"{name}\" are not supported; leave them out"
                    )));
                }
                if sample.is_some() {
                    return ControlFlow::Break(status::unsupported(
                        "TABLESAMPLE is not supported; use WHERE or LIMIT",
                    ));
                }
                if let Some(args) = args {
                    self.call(name, &args.args);
                }
            }
            TableFactor::Function { name, args, .. } => self.call(name, args),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Visits the part of a statement that sqlparser knows.
fn visit<V: Visitor>(statement: &DfStatement, visitor: &mut V) -> ControlFlow<V::Break> {
    match statement {
        DfStatement::Statement(statement) => statement.visit(visitor),
        DfStatement::Explain(explain) => visit(&explain.statement, visitor),
        // Refused by `classify`; nothing in them is looked at.
        _ => ControlFlow::Continue(()),
    }
}

/// Whether a table function of this name has the name of a table as its first argument.
fn is_table_function(name: &str) -> bool {
    table_function_names().any(|function| function.eq_ignore_ascii_case(name))
}

/// Names of the common table expressions of a statement.
fn common_tables(statement: &DfStatement) -> Result<BTreeSet<String>, Status> {
    let (_references, common) =
        resolve_table_references(statement, true).map_err(|error| status::query(&error))?;
    Ok(common.into_iter().map(|reference| reference.table().to_owned()).collect())
}

fn tables(
    statement: &DfStatement,
    functions: &BTreeSet<String>,
) -> Result<Vec<TableReference>, Status> {
    let (references, _ctes) =
        resolve_table_references(statement, true).map_err(|error| status::query(&error))?;
    let is_function = |reference: &TableReference| {
        reference.schema().is_none() && functions.contains(reference.table())
    };
    Ok(references.into_iter().filter(|reference| !is_function(reference)).collect())
}
