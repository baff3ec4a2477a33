//! Filters on entity columns that an answer applies before it makes rows. Pure.

use std::collections::HashSet;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use crate::coverage::{Coverage, Runs};
use crate::schema::TableLayout;
use crate::types::{EntityKey, EntityType, EntityValue};

/// Most entities that are looked up one by one; above, all entities are gone through.
const LOOKUPS_MAX: usize = 4096;

/// Which entities are asked for: for each entity column its values, or all.
#[derive(Debug, Clone)]
pub(super) struct Picks {
    columns: Vec<Option<HashSet<EntityValue>>>,
    types: Vec<EntityType>,
}

impl Picks {
    /// Those that all of `filters` let through; the filters must be ones that [`Picks::is_known`] knows.
    pub(super) fn of(layout: &TableLayout, filters: &[Expr]) -> Self {
        let types = layout.entity_types.clone();
        let mut columns: Vec<Option<HashSet<EntityValue>>> = vec![None; types.len()];
        for filter in filters {
            let Some((at, values)) = values_of(layout, filter) else { continue };
            if let Some(column) = columns.get_mut(at) {
                *column = Some(match column.take() {
                    Some(known) => known.intersection(&values).cloned().collect(),
                    None => values,
                });
            }
        }
        Self { columns, types }
    }

    /// Whether a filter is `column = constant`, `column IN (constants)`, or several of those for one column with OR between them.
    pub(super) fn is_known(layout: &TableLayout, filter: &Expr) -> bool {
        values_of(layout, filter).is_some()
    }

    /// The entities with their runs, in key order.
    pub(super) fn entities<'a>(&self, coverage: &'a Coverage) -> Vec<(EntityKey, &'a Runs)> {
        if let Some(keys) = self.keys() {
            let found = keys.into_iter().filter_map(|key| {
                let runs = coverage.runs(&key)?;
                Some((key, runs))
            });
            return found.collect();
        }
        let all = self.columns.iter().all(Option::is_none);
        let mut found: Vec<_> =
            coverage.iter().filter(|(key, _)| all || self.contains(key)).collect();
        found.sort_unstable_by(|left, right| left.0.cmp(&right.0));
        found
    }

    /// All keys that are asked for, in order; `None` when a column is left open or they are too many.
    fn keys(&self) -> Option<Vec<EntityKey>> {
        if self.columns.is_empty() {
            return None;
        }
        let mut rows: Vec<Vec<EntityValue>> = vec![Vec::new()];
        for column in &self.columns {
            let values = column.as_ref()?;
            if rows.len().saturating_mul(values.len()) > LOOKUPS_MAX {
                return None;
            }
            let longer = rows.iter().flat_map(|row| {
                values.iter().map(|value| {
                    let mut row = row.clone();
                    row.push(value.clone());
                    row
                })
            });
            rows = longer.collect();
        }
        let mut keys: Vec<_> = rows.iter().map(|row| EntityKey::encode(row)).collect();
        keys.sort_unstable();
        Some(keys)
    }

    fn contains(&self, key: &EntityKey) -> bool {
        // A key of other types is let through: making its row says what is wrong.
        key.decode(&self.types).is_none_or(|values| {
            values
                .iter()
                .zip(&self.columns)
                .all(|(value, column)| column.as_ref().is_none_or(|column| column.contains(value)))
        })
    }
}

/// The entity column that a filter is about, by position among them, and the values that it lets through.
fn values_of(layout: &TableLayout, filter: &Expr) -> Option<(usize, HashSet<EntityValue>)> {
    let column = |expr: &Expr| match expr {
        Expr::Column(column) => layout.entity_names.iter().position(|name| *name == column.name),
        _ => None,
    };
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            let (at, constant) = match column(left) {
                Some(at) => (at, right),
                None => (column(right)?, left),
            };
            Some((at, constant_of(layout, at, constant)?.into_iter().collect()))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let ((at, mut values), (other, more)) =
                (values_of(layout, left)?, values_of(layout, right)?);
            values.extend(more);
            (at == other).then_some((at, values))
        }
        Expr::InList(InList { expr, list, negated: false }) => {
            let at = column(expr)?;
            let values: Option<Vec<_>> =
                list.iter().map(|item| constant_of(layout, at, item)).collect();
            Some((at, values?.into_iter().flatten().collect()))
        }
        _ => None,
    }
}

/// The value of a constant of an entity column's kind, nothing for a null, which equals nothing; `None` for any other expression.
#[allow(clippy::option_option, reason = "not understood, and equal to nothing, are different")]
fn constant_of(layout: &TableLayout, at: usize, expr: &Expr) -> Option<Option<EntityValue>> {
    let Expr::Literal(value, _) = expr else { return None };
    if value.is_null() {
        return Some(None);
    }
    let known = match (layout.entity_types.get(at)?, value) {
        (EntityType::Utf8, text) => EntityValue::Utf8(text.try_as_str()??.to_owned()),
        (EntityType::Int, ScalarValue::Int8(Some(value))) => EntityValue::Int((*value).into()),
        (EntityType::Int, ScalarValue::Int16(Some(value))) => EntityValue::Int((*value).into()),
        (EntityType::Int, ScalarValue::Int32(Some(value))) => EntityValue::Int((*value).into()),
        (EntityType::Int, ScalarValue::Int64(Some(value))) => EntityValue::Int(*value),
        (EntityType::UInt, ScalarValue::UInt8(Some(value))) => EntityValue::UInt((*value).into()),
        (EntityType::UInt, ScalarValue::UInt16(Some(value))) => EntityValue::UInt((*value).into()),
        (EntityType::UInt, ScalarValue::UInt32(Some(value))) => EntityValue::UInt((*value).into()),
        (EntityType::UInt, ScalarValue::UInt64(Some(value))) => EntityValue::UInt(*value),
        (EntityType::Bool, ScalarValue::Boolean(Some(value))) => EntityValue::Bool(*value),
        (EntityType::Date, ScalarValue::Date32(Some(value))) => EntityValue::Date(*value),
        _ => return None,
    };
    Some(Some(known))
}
