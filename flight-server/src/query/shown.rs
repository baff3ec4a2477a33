//! The names of an answer's columns: those that the gate gave to repeated ones are taken back (`gate::repeats`).

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan};

use crate::query::gate::Repeats;

/// The schema that the client sees of a plan with this schema, by the plan as it was written.
pub(crate) fn schema(schema: &SchemaRef, plan: &LogicalPlan, repeats: &Repeats) -> SchemaRef {
    if repeats.is_empty() {
        return Arc::clone(schema);
    }
    let called = called(plan, repeats);
    let fields = schema.fields().iter().map(|field| {
        let name = repeats.get(field.name()).map(|written| {
            written.clone().or_else(|| called.get(field.name()).cloned()).unwrap_or_default()
        });
        match name {
            Some(name) => Arc::new(Field::clone(field).with_name(name)),
            None => Arc::clone(field),
        }
    });
    let fields: Vec<_> = fields.collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// What the expressions are called that got these names.
fn called(plan: &LogicalPlan, repeats: &Repeats) -> HashMap<String, String> {
    let mut called = HashMap::new();
    let _: Result<TreeNodeRecursion, _> = plan.apply(|node| {
        let exprs = match node {
            LogicalPlan::Projection(projection) => projection.expr.as_slice(),
            _ => &[],
        };
        for expr in exprs {
            if let Expr::Alias(alias) = expr
                && repeats.contains_key(&alias.name)
            {
                let name = alias.expr.qualified_name().1;
                called.entry(alias.name.clone()).or_insert(name);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    });
    called
}
