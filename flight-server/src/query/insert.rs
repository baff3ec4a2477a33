//! INSERT INTO: a query whose rows are appended, checked like any other append, as one version.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, ScalarValue};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{
    Expr, LogicalPlan, LogicalPlanBuilder, Projection, WriteOp, cast, lit,
};
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::{
    Insert, ObjectName, Query, SetExpr, Statement as SqlStatement, TableObject, Visit, Visitor,
};
use futures::TryStreamExt;
use table_core::append::{Append, AppendRequest, Receipt};
use table_core::{Error, Table};
use tonic::Status;

use crate::auth;
use crate::engine::Engine;
use crate::query::gate::Gated;
use crate::query::min_versions::MinVersions;
use crate::query::plan::{self, Prepared};
use crate::query::{ddl, parameters};
use crate::status;

/// Executes an INSERT with all rows of parameters; returns the number of rows written.
///
/// # Errors
/// What planning, the query and the append return. Then nothing was written, unless the code says that nobody knows.
pub(crate) async fn insert(
    engine: &Arc<Engine>,
    gated: Gated,
    insert: Insert,
    rows: &[RecordBatch],
    at_least: &MinVersions,
) -> Result<i64, Status> {
    let append = uncommitted(engine, gated, insert, rows, at_least).await;
    match append.map_err(status::not_committed)? {
        Some(append) => row_count(append.commit().await),
        None => Ok(0),
    }
}

/// The append of an INSERT, up to its commit. `None` when there are no rows of parameters.
async fn uncommitted(
    engine: &Arc<Engine>,
    gated: Gated,
    insert: Insert,
    rows: &[RecordBatch],
    at_least: &MinVersions,
) -> Result<Option<Append>, Status> {
    let values = parameters::rows(rows, gated.parameter_count)?;
    let prepared = Prepared::newest(engine, gated, at_least).await?;
    let (table, source) = source(engine, &prepared, insert).await?;
    if values.is_empty() {
        return Ok(None);
    }
    let plans = match batched(&source, rows).map_err(|error| status::query(&error))? {
        Some(plan) => vec![plan],
        None => {
            values.into_iter().map(|row| plan::bind(&source, row)).collect::<Result<Vec<_>, _>>()?
        }
    };
    fill(engine, &prepared, &table, plans).await.map(Some)
}

/// One plan for all rows of parameters of `INSERT INTO t VALUES (?, ...)`, which is how clients send many rows; planning
/// each row by itself takes a thousand times as long. `None` for statements of another shape.
fn batched(source: &LogicalPlan, rows: &[RecordBatch]) -> DfResult<Option<LogicalPlan>> {
    let LogicalPlan::Projection(outer) = source else { return Ok(None) };
    let LogicalPlan::Values(values) = outer.input.as_ref() else { return Ok(None) };
    let ([row], [first, ..]) = (values.values.as_slice(), rows) else { return Ok(None) };
    if !outer.expr.iter().all(is_plain) || !first.columns().iter().all(|c| castable(c.data_type()))
    {
        return Ok(None);
    }
    let name = |number: usize| format!("${number}");
    let fields: Vec<_> = first
        .schema()
        .fields()
        .iter()
        .enumerate()
        .map(|(at, field)| Field::new(name(at + 1), field.data_type().clone(), true))
        .collect();
    let schema = Arc::new(Schema::new(fields));
    let batches = rows
        .iter()
        .map(|batch| RecordBatch::try_new(Arc::clone(&schema), batch.columns().to_vec()))
        .collect::<Result<Vec<_>, _>>()?;
    let parameters = MemTable::try_new(schema, vec![batches])?;

    let columns = row.iter().zip(values.schema.fields()).map(|(expr, field)| {
        let expr = expr.clone().transform(|expr| {
            Ok(match expr {
                Expr::Placeholder(placeholder) => {
                    Transformed::yes(Expr::Column(Column::new_unqualified(placeholder.id)))
                }
                other => Transformed::no(other),
            })
        })?;
        let expr = match field.data_type() {
            DataType::Null => expr.data,
            known => cast(expr.data, known.clone()),
        };
        Ok(expr.alias(field.name()))
    });
    let columns = columns.collect::<DfResult<Vec<_>>>()?;
    let inner =
        LogicalPlanBuilder::scan("parameters", provider_as_source(Arc::new(parameters)), None)?
            .project(columns)?
            .build()?;
    Projection::try_new(outer.expr.clone(), Arc::new(inner))
        .map(|plan| Some(LogicalPlan::Projection(plan)))
}

/// Whether an expression has neither parameters nor queries of its own.
fn is_plain(expr: &Expr) -> bool {
    let special = expr.exists(|expr| {
        Ok(matches!(
            expr,
            Expr::Placeholder(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::ScalarSubquery(_)
        ))
    });
    matches!(special, Ok(false))
}

/// Encodings that SQL casts do not look through.
fn castable(data_type: &DataType) -> bool {
    !matches!(data_type, DataType::Union(..) | DataType::RunEndEncoded(..))
}

/// The table of an INSERT and the plan of its rows, cast to the table's columns.
///
/// # Errors
/// What planning returns; UNIMPLEMENTED for INSERT OVERWRITE and the like.
pub(crate) async fn source(
    engine: &Arc<Engine>,
    prepared: &Prepared,
    insert: Insert,
) -> Result<(Arc<Table>, LogicalPlan), Status> {
    let TableObject::TableName(name) = &insert.table else {
        return Err(status::unsupported("INSERT takes the name of a table"));
    };
    let name = ddl::flat_name(name)?;
    let pin = prepared.pins.get(&name).ok_or_else(|| {
        status::internal("the table of an INSERT is not among the statement's tables")
    })?;
    let table = Arc::clone(&pin.table);
    let Some(layout) = &pin.snapshot.layout else {
        return Ok((table, adopted(engine, prepared, &name, insert).await?));
    };
    if !is_only_values(insert.source.as_deref()) && is_append(&insert) {
        let rows = selected(engine, prepared, &layout.schema, insert).await?;
        return Ok((table, rows));
    }
    let statement = DfStatement::Statement(Box::new(SqlStatement::Insert(insert)));
    match prepared.logical(engine, statement).await? {
        LogicalPlan::Dml(dml) if dml.op == WriteOp::Insert(InsertOp::Append) => {
            let input = Arc::unwrap_or_clone(dml.input);
            plan::read_only(&input)?;
            let input = typed_parameters(input).map_err(|error| status::query(&error))?;
            Ok((table, input))
        }
        _ => Err(status::unsupported(
            "rows cannot be replaced; INSERT INTO appends, and refuses what is there already",
        )),
    }
}

/// The rows with every parameter of theirs cast to the type of its column, which the planner knows, and forgets when values are bound.
fn typed_parameters(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let has_parameter = |expr: &Expr| expr.exists(|expr| Ok(matches!(expr, Expr::Placeholder(_))));
    let typed = plan.transform_up(|plan| {
        let LogicalPlan::Values(mut values) = plan else { return Ok(Transformed::no(plan)) };
        for row in &mut values.values {
            for (expr, field) in row.iter_mut().zip(values.schema.fields()) {
                if !field.data_type().is_null() && has_parameter(expr)? {
                    *expr = cast(std::mem::take(expr), field.data_type().clone());
                }
            }
        }
        Ok(Transformed::yes(LogicalPlan::Values(values)))
    })?;
    Ok(typed.data)
}

/// Whether the rows are all written out, with no other VALUES among them.
fn is_only_values(source: Option<&Query>) -> bool {
    #[derive(Default)]
    struct Lists(usize);
    impl Visitor for Lists {
        type Break = ();
        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            self.0 += usize::from(matches!(query.body.as_ref(), SetExpr::Values(_)));
            ControlFlow::Continue(())
        }
    }
    let Some(source) = source else { return true };
    let mut lists = Lists::default();
    let _ = source.visit(&mut lists);
    matches!(source.body.as_ref(), SetExpr::Values(_)) && lists.0 == 1
}

/// Whether nothing but rows is asked for; what else there is, the planner knows or refuses.
fn is_append(insert: &Insert) -> bool {
    !insert.overwrite
        && !insert.replace_into
        && insert.or.is_none()
        && insert.on.is_none()
        && insert.returning.is_none()
        && insert.partitioned.is_none()
        && insert.assignments.is_empty()
}

/// The rows of a query, cast to the table's columns; those that the INSERT does not name are null.
///
/// The planner takes the types of the table for those of every VALUES in the statement, by position: `SELECT x * 2 FROM (VALUES
/// (1.5)) t(x)` into a BIGINT gave 2. So the query is planned by itself.
async fn selected(
    engine: &Arc<Engine>,
    prepared: &Prepared,
    schema: &Schema,
    insert: Insert,
) -> Result<LogicalPlan, Status> {
    let Some(query) = insert.source else {
        return Err(status::invalid("INSERT needs VALUES or a query"));
    };
    let named = insert.columns.iter().map(ddl_column).collect::<Result<Vec<_>, _>>()?;
    let fields = schema.fields();
    let mut places: Vec<_> = match named.is_empty() {
        true => (0..fields.len()).map(Some).collect(),
        false => vec![None; fields.len()],
    };
    for (at, name) in named.iter().enumerate() {
        let place = schema.index_of(name).map_err(|_| {
            let columns: Vec<_> = fields.iter().map(|field| field.name().as_str()).collect();
            status::invalid(format!(
                "the table has no column \"{name}\"; its columns are {}",
                columns.join(", ")
            ))
        })?;
        if places.get_mut(place).is_some_and(|place| place.replace(at).is_some()) {
            return Err(status::invalid(format!("INSERT names the column \"{name}\" twice")));
        }
    }
    let statement = DfStatement::Statement(Box::new(SqlStatement::Query(query)));
    let plan = prepared.query(engine, statement).await?;
    let columns = plan.schema().columns();
    let expected = if named.is_empty() { fields.len() } else { named.len() };
    if columns.len() != expected {
        return Err(status::invalid(format!(
            "the rows of the INSERT have {} columns, but {expected} are to be filled",
            columns.len()
        )));
    }
    let filled = fields.iter().zip(places).map(|(field, place)| {
        let value = match place.and_then(|place| columns.get(place)) {
            Some(column) => Expr::Column(column.clone()),
            None => lit(ScalarValue::Null),
        };
        // Even to the type that is there: that of a UNION may yet change.
        cast(value, field.data_type().clone()).alias(field.name())
    });
    let filled: Vec<_> = filled.collect();
    LogicalPlanBuilder::from(plan)
        .project(filled)
        .and_then(LogicalPlanBuilder::build)
        .map_err(|error| status::query(&error))
}

/// The rows for a table that has no schema yet: it takes theirs.
async fn adopted(
    engine: &Arc<Engine>,
    prepared: &Prepared,
    table: &str,
    insert: Insert,
) -> Result<LogicalPlan, Status> {
    let Some(query) = insert.source else {
        return Err(status::invalid("INSERT needs VALUES or a query"));
    };
    if insert.columns.is_empty() && matches!(query.body.as_ref(), SetExpr::Values(_)) {
        return Err(status::invalid(format!(
            "table \"{table}\" has no columns yet; name them, INSERT INTO {table} (ts, ...) VALUES ..."
        )));
    }
    let statement = DfStatement::Statement(Box::new(SqlStatement::Query(query)));
    let plan = prepared.query(engine, statement).await?;
    if insert.columns.is_empty() {
        return Ok(plan);
    }
    let columns = plan.schema().columns();
    if columns.len() != insert.columns.len() {
        return Err(status::invalid(format!(
            "INSERT names {} columns, but its rows have {}",
            insert.columns.len(),
            columns.len()
        )));
    }
    let named = columns
        .into_iter()
        .zip(&insert.columns)
        .map(|(column, name)| ddl_column(name).map(|name| Expr::Column(column).alias(name)));
    let named = named.collect::<Result<Vec<_>, Status>>()?;
    LogicalPlanBuilder::from(plan)
        .project(named)
        .and_then(LogicalPlanBuilder::build)
        .map_err(|error| status::query(&error))
}

fn ddl_column(name: &ObjectName) -> Result<String, Status> {
    match name.0.as_slice() {
        [part] => part.as_ident().map(|ident| match ident.quote_style {
            Some(_) => ident.value.clone(),
            None => ident.value.to_lowercase(),
        }),
        _ => None,
    }
    .ok_or_else(|| status::invalid(format!("\"{name}\" is not the name of a column")))
}

/// Runs the plans one after another into one append, which is left to commit.
///
/// # Errors
/// What the queries and the append return.
pub(crate) async fn fill(
    engine: &Arc<Engine>,
    prepared: &Prepared,
    table: &Arc<Table>,
    plans: Vec<LogicalPlan>,
) -> Result<Append, Status> {
    let request =
        AppendRequest { principal: auth::ANONYMOUS.to_owned(), ..AppendRequest::default() };
    let mut append = table.append(request);
    let mut begun = false;
    for plan in plans {
        let (_, mut batches) = prepared.execute(engine, plan).await?;
        if !begun {
            append.begin(&batches.schema()).await.map_err(|error| status::append(&error))?;
            begun = true;
        }
        while let Some(batch) = batches.try_next().await.map_err(|error| status::query(&error))? {
            append.write(batch).await.map_err(|error| status::append(&error))?;
        }
    }
    Ok(append)
}

/// The number of rows that a commit wrote, as an update answers.
///
/// # Errors
/// The commit's; INTERNAL for a number that no answer can hold.
pub(crate) fn row_count(committed: Result<Receipt, Error>) -> Result<i64, Status> {
    let receipt = committed.map_err(|error| status::commit(&error))?;
    i64::try_from(receipt.row_count)
        .map_err(|_| status::internal("more rows were written than fit a count"))
}
