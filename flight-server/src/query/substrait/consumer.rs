//! [`Consumer`]: what of Substrait is let through, and how it becomes a plan; `datafusion-substrait` does most of it.
//!
//! What is not named here is refused: other kinds of relations, files, extensions. Counts what a plan asks for against the bounds of
//! `limits`, since planning costs more than the square of some of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use datafusion::common::{Column, DFSchema, TableReference};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{EmptyRelation, Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion_substrait::extensions::Extensions;
use datafusion_substrait::logical_plan::consumer::{
    SubstraitConsumer, from_cross_rel, from_join_rel, from_project_rel, from_read_rel,
    from_scalar_function, from_set_rel, from_substrait_func_args, from_substrait_named_struct,
    from_substrait_rel, name_to_op, substrait_fun_name,
};
use datafusion_substrait::substrait::proto::expression::{MaskExpression, ScalarFunction};
use datafusion_substrait::substrait::proto::read_rel::ReadType;
use datafusion_substrait::substrait::proto::rel::RelType;
use datafusion_substrait::substrait::proto::rel_common::EmitKind;
use datafusion_substrait::substrait::proto::{
    AggregateRel, CrossRel, DynamicParameter, JoinRel, ProjectRel, ReadRel, Rel, RelCommon, SetRel,
};
use parking_lot::{Mutex, RwLock};
use prost::Message;
use table_core::{Error, ErrorKind};

use crate::limits;

/// Where the tables of a plan come from.
enum Tables {
    /// From nowhere yet: their names are collected.
    Named(Mutex<BTreeSet<TableReference>>),
    /// From the session, at its versions.
    Pinned,
}

/// Reads one plan, once.
pub(super) struct Consumer<'a> {
    state: &'a SessionState,
    extensions: &'a Extensions,
    tables: Tables,
    /// Of the queries around the one that is being read, innermost last.
    outer: RwLock<Vec<Arc<DFSchema>>>,
    joins: AtomicUsize,
    set_operations: AtomicUsize,
    terms: AtomicUsize,
    parameters: AtomicUsize,
}

impl<'a> Consumer<'a> {
    /// One that looks at no table.
    pub(super) fn without_tables(state: &'a SessionState, extensions: &'a Extensions) -> Self {
        Self::new(state, extensions, Tables::Named(Mutex::default()))
    }

    /// One over the tables of a session.
    pub(super) fn over(state: &'a SessionState, extensions: &'a Extensions) -> Self {
        Self::new(state, extensions, Tables::Pinned)
    }

    fn new(state: &'a SessionState, extensions: &'a Extensions, tables: Tables) -> Self {
        Self {
            state,
            extensions,
            tables,
            outer: RwLock::default(),
            joins: AtomicUsize::default(),
            set_operations: AtomicUsize::default(),
            terms: AtomicUsize::default(),
            parameters: AtomicUsize::default(),
        }
    }

    /// The tables that the plan named.
    pub(super) fn into_tables(self) -> Vec<TableReference> {
        match self.tables {
            Tables::Named(names) => names.into_inner().into_iter().collect(),
            Tables::Pinned => Vec::new(),
        }
    }

    /// How many parameters the plan has.
    pub(super) fn parameter_count(&self) -> usize {
        self.parameters.load(Ordering::Relaxed)
    }

    /// A read without its filter and its mask.
    async fn read_all(&self, read: &ReadRel) -> DfResult<LogicalPlan> {
        let name = match &read.read_type {
            Some(ReadType::NamedTable(table)) => reference(&table.names)?,
            Some(ReadType::VirtualTable(_)) => return from_read_rel(self, read).await,
            Some(ReadType::LocalFiles(_) | ReadType::IcebergTable(_)) => {
                return Err(unsupported(
                    "reading files is not supported: the server reads no files of its host; append the rows instead",
                ));
            }
            Some(ReadType::ExtensionTable(_)) => {
                return Err(unsupported("extension tables are not supported; name a table"));
            }
            None => return Err(invalid("a read relation does not say what it reads")),
        };
        let Tables::Named(names) = &self.tables else { return from_read_rel(self, read).await };
        names.lock().insert(name.clone());
        let schema = read.base_schema.as_ref();
        let schema = schema.ok_or_else(|| invalid("a read relation has no base schema"))?;
        let schema = from_substrait_named_struct(self, schema)?.replace_qualifier(name);
        let stand_in = EmptyRelation { produce_one_row: false, schema: Arc::new(schema) };
        Ok(LogicalPlan::EmptyRelation(stand_in))
    }
}

#[async_trait]
impl SubstraitConsumer for Consumer<'_> {
    async fn resolve_table_ref(
        &self,
        table: &TableReference,
    ) -> DfResult<Option<Arc<dyn TableProvider>>> {
        self.state.schema_for_ref(table.clone())?.table(table.table()).await
    }

    fn get_extensions(&self) -> &Extensions {
        self.extensions
    }

    fn get_function_registry(&self) -> &impl FunctionRegistry {
        self.state
    }

    async fn consume_rel(&self, rel: &Rel) -> DfResult<LogicalPlan> {
        let common = match &rel.rel_type {
            Some(RelType::Read(rel)) => &rel.common,
            Some(RelType::Filter(rel)) => &rel.common,
            Some(RelType::Fetch(rel)) => &rel.common,
            Some(RelType::Aggregate(rel)) => &rel.common,
            Some(RelType::Sort(rel)) => &rel.common,
            Some(RelType::Join(rel)) => &rel.common,
            Some(RelType::Project(rel)) => &rel.common,
            Some(RelType::Set(rel)) => &rel.common,
            Some(RelType::Cross(rel)) => &rel.common,
            Some(RelType::Write(_) | RelType::Ddl(_) | RelType::Update(_)) => {
                return Err(unsupported(
                    "a Substrait plan cannot write; use an append, CREATE TABLE or INSERT INTO",
                ));
            }
            Some(_) => {
                return Err(unsupported(
                    "this kind of Substrait relation is not supported; there are read, filter, project, aggregate, sort, fetch, join, \
                     cross and set",
                ));
            }
            None => return Err(invalid("a relation of the Substrait plan is empty")),
        };
        let copies = emitted(common.as_ref());
        if copies.saturating_mul(rel.encoded_len()) > limits::SUBSTRAIT_EMITTED_BYTES_MAX {
            return Err(invalid(format!(
                "a relation of the Substrait plan emits {copies} columns, too many for its length; emit fewer, or leave out what \
                 nobody uses"
            )));
        }
        from_substrait_rel(self, rel).await
    }

    /// The filter and the mask are put above the read: beside it, a filter would only be a hint to whoever reads.
    async fn consume_read(&self, read: &ReadRel) -> DfResult<LogicalPlan> {
        let bare = ReadRel { filter: None, projection: None, ..read.clone() };
        let mut plan = self.read_all(&bare).await?;
        if let Some(filter) = &read.filter {
            let filter = self.consume_expression(filter, plan.schema()).await?;
            plan = LogicalPlanBuilder::from(plan).filter(filter)?.build()?;
        }
        match &read.projection {
            Some(mask) => masked(plan, mask),
            None => Ok(plan),
        }
    }

    async fn consume_aggregate(&self, aggregate: &AggregateRel) -> DfResult<LogicalPlan> {
        let references = aggregate.groupings.iter().map(|set| set.expression_references.len());
        let longest = aggregate.grouping_expressions.iter().map(Message::encoded_len).max();
        let copied = references.sum::<usize>().saturating_mul(longest.unwrap_or_default());
        if copied > limits::SUBSTRAIT_EMITTED_BYTES_MAX / COPY_FACTOR {
            return Err(invalid("an aggregate relation has too many groupings; group by less"));
        }
        datafusion_substrait::logical_plan::consumer::from_aggregate_rel(self, aggregate).await
    }

    async fn consume_join(&self, join: &JoinRel) -> DfResult<LogicalPlan> {
        count(&self.joins, 1, limits::JOINS_MAX, "joins")?;
        from_join_rel(self, join).await
    }

    async fn consume_cross(&self, cross: &CrossRel) -> DfResult<LogicalPlan> {
        count(&self.joins, 1, limits::JOINS_MAX, "joins")?;
        from_cross_rel(self, cross).await
    }

    async fn consume_set(&self, set: &SetRel) -> DfResult<LogicalPlan> {
        let operations = set.inputs.len().saturating_sub(1);
        count(&self.set_operations, operations, limits::SET_OPERATIONS_MAX, "set operations")?;
        from_set_rel(self, set).await
    }

    async fn consume_project(&self, project: &ProjectRel) -> DfResult<LogicalPlan> {
        // An expression is copied for every column that it is emitted as.
        let longest = project.expressions.iter().map(Message::encoded_len).max();
        let copies = emitted(project.common.as_ref());
        let copied = copies.saturating_mul(longest.unwrap_or_default());
        if copied > limits::SUBSTRAIT_EMITTED_BYTES_MAX / COPY_FACTOR {
            return Err(invalid(format!(
                "a project relation emits {copies} columns, too many for the length of its expressions; emit fewer"
            )));
        }
        from_project_rel(self, project).await
    }

    async fn consume_scalar_function(
        &self,
        function: &ScalarFunction,
        input: &DFSchema,
    ) -> DfResult<Expr> {
        let name = self.extensions.functions.get(&function.function_reference);
        let name = name.map(|name| substrait_fun_name(name)).ok_or_else(|| {
            invalid(format!(
                "the Substrait plan calls function {}, which it does not declare",
                function.function_reference
            ))
        })?;
        if name_to_op(name).is_some() || name == "xor" {
            let terms = function.arguments.len();
            count(&self.terms, terms, limits::SUBSTRAIT_TERMS_MAX, "arguments of operators")?;
        }
        if name == "xor" {
            // The same truth table; the library would copy both sides, and those of a chain again and again.
            let arguments = from_substrait_func_args(self, &function.arguments, input).await?;
            let [left, right] =
                arguments.try_into().map_err(|_| invalid("the function xor has two arguments"))?;
            return Ok(left.not_eq(right));
        }
        match from_scalar_function(self, function, input).await {
            Err(DataFusionError::NotImplemented(text)) if text.contains("function name") => {
                Err(invalid(format!("the function \"{name}\" does not exist")))
            }
            other => other,
        }
    }

    async fn consume_dynamic_parameter(
        &self,
        parameter: &DynamicParameter,
        _input: &DFSchema,
    ) -> DfResult<Expr> {
        let number = usize::try_from(parameter.parameter_reference).unwrap_or(usize::MAX);
        if number >= limits::PARAMETERS_MAX {
            return Err(invalid(format!(
                "the Substrait plan has parameter {number}; there are at most {}",
                limits::PARAMETERS_MAX
            )));
        }
        self.parameters.fetch_max(number + 1, Ordering::Relaxed);
        let number = number + 1;
        Ok(datafusion::logical_expr::placeholder(format!("${number}")))
    }

    fn push_outer_schema(&self, schema: Arc<DFSchema>) {
        self.outer.write().push(schema);
    }

    fn pop_outer_schema(&self) {
        self.outer.write().pop();
    }

    fn get_outer_schema(&self, steps_out: usize) -> Option<Arc<DFSchema>> {
        let outer = self.outer.read();
        outer.len().checked_sub(steps_out).and_then(|position| outer.get(position).cloned())
    }
}

/// How much larger than encoded an expression is in memory, about.
const COPY_FACTOR: usize = 16;

/// Columns that a relation emits by number.
fn emitted(common: Option<&RelCommon>) -> usize {
    match common.and_then(|common| common.emit_kind.as_ref()) {
        Some(EmitKind::Emit(emit)) => emit.output_mapping.len(),
        _ => 0,
    }
}

fn count(so_far: &AtomicUsize, more: usize, max: usize, what: &str) -> DfResult<()> {
    let total = so_far.fetch_add(more, Ordering::Relaxed).saturating_add(more);
    if total > max {
        return Err(invalid(format!(
            "the Substrait plan has {total} {what} or more, but at most {max} are taken"
        )));
    }
    Ok(())
}

fn reference(names: &[String]) -> DfResult<TableReference> {
    match names {
        [table] => Ok(TableReference::bare(table.as_str())),
        [schema, table] => Ok(TableReference::partial(schema.as_str(), table.as_str())),
        [catalog, schema, table] => {
            Ok(TableReference::full(catalog.as_str(), schema.as_str(), table.as_str()))
        }
        names => Err(invalid(format!(
            "a table is named by {} names; use its own, with schema, or with catalog and schema before it",
            names.len()
        ))),
    }
}

/// The columns of a plan that a mask names.
fn masked(plan: LogicalPlan, mask: &MaskExpression) -> DfResult<LogicalPlan> {
    let Some(select) = &mask.select else { return Ok(plan) };
    let column_count = plan.schema().fields().len();
    let columns = select.struct_items.iter().map(|item| {
        if item.child.is_some() {
            return Err(unsupported("a mask of parts of a column is not supported; project them"));
        }
        let index = usize::try_from(item.field).ok().filter(|index| *index < column_count);
        let index = index.ok_or_else(|| {
            invalid(format!(
                "a read relation has {column_count} columns, and none is {}",
                item.field
            ))
        })?;
        Ok(Expr::Column(Column::from(plan.schema().qualified_field(index))))
    });
    let columns: Vec<Expr> = columns.collect::<DfResult<_>>()?;
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}

fn invalid(message: impl Into<String>) -> DataFusionError {
    DataFusionError::External(Box::new(Error::new(ErrorKind::Invalid, message.into())))
}

fn unsupported(message: impl Into<String>) -> DataFusionError {
    DataFusionError::External(Box::new(Error::new(ErrorKind::Unsupported, message.into())))
}
