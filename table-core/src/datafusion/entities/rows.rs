//! What an aggregation is over, and what of each entity it asks for. Pure.

use std::collections::HashSet;

use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::expr::{
    AggregateFunction, AggregateFunctionParams, NullTreatment, Sort,
};
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, TableScan};

use super::{End, Ends};
use crate::schema::TableLayout;

/// The columns of a plan that hands on the rows of one scan, or some of them, as they are.
pub(super) struct Shown<'a> {
    pub(super) scan: &'a TableScan,
    /// For each column the name of the table's column that it shows as it is.
    columns: Vec<Option<&'a str>>,
    /// What rows are picked by, and the plan whose columns that names.
    pub(super) filters: Vec<(&'a Expr, &'a LogicalPlan)>,
}

impl<'a> Shown<'a> {
    pub(super) fn by(plan: &'a LogicalPlan) -> Option<Self> {
        match plan {
            LogicalPlan::TableScan(scan) => {
                let fields = scan.projected_schema.fields().iter();
                let columns = fields.map(|field| Some(field.name().as_str())).collect();
                let filters = scan.filters.iter().map(|filter| (filter, plan)).collect();
                scan.fetch.is_none().then_some(Self { scan, columns, filters })
            }
            LogicalPlan::SubqueryAlias(alias) => Self::by(&alias.input),
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => Self::by(&sort.input),
            LogicalPlan::Filter(filter) => {
                let mut shown = Self::by(&filter.input)?;
                shown.filters.push((&filter.predicate, &filter.input));
                Some(shown)
            }
            LogicalPlan::Projection(projection) => {
                let below = Self::by(&projection.input)?;
                let columns = projection.expr.iter();
                let columns = columns.map(|expr| below.name_of(expr, &projection.input)).collect();
                Some(Self { columns, ..below })
            }
            _ => None,
        }
    }

    /// The table's column that an expression over `plan`, which has these columns, is.
    pub(super) fn name_of(&self, expr: &Expr, plan: &LogicalPlan) -> Option<&'a str> {
        match expr {
            Expr::Alias(alias) => self.name_of(&alias.expr, plan),
            Expr::Column(column) => {
                let position = plan.schema().maybe_index_of_column(column)?;
                self.columns.get(position).copied().flatten()
            }
            _ => None,
        }
    }
}

/// The rows that an aggregation is over.
pub(super) struct Rows<'a> {
    pub(super) layout: &'a TableLayout,
    pub(super) plan: &'a LogicalPlan,
    pub(super) shown: Shown<'a>,
}

impl Rows<'_> {
    /// The table's column that an expression is.
    pub(super) fn name_of(&self, expr: &Expr) -> Option<&str> {
        self.shown.name_of(expr, self.plan)
    }

    fn is_index(&self, expr: &Expr) -> bool {
        let name = self.name_of(expr);
        name.is_some() && name == self.layout.index_name()
    }

    pub(super) fn is_entity(&self, name: &str) -> bool {
        self.layout.entity_names.iter().any(|entity| entity == name)
    }

    /// Whether all rows of an entity are among them or none.
    pub(super) fn are_all_of_some_entities(&self) -> bool {
        self.shown.filters.iter().all(|(filter, plan)| {
            let Some(below) = Shown::by(plan) else { return false };
            let mut columns = filter.column_refs().into_iter();
            let by_entity = columns.all(|column| {
                let position = plan.schema().maybe_index_of_column(column);
                let name = position.and_then(|position| *below.columns.get(position)?);
                name.is_some_and(|name| self.is_entity(name))
            });
            by_entity && !filter.is_volatile() && !has_subquery(filter)
        })
    }

    /// Which rows of each entity an aggregation asks for; `None` when it groups by something else, or asks for more.
    pub(super) fn ends_of(&self, aggregation: &Aggregate) -> Option<Ends> {
        let groups: Option<HashSet<&str>> =
            aggregation.group_expr.iter().map(|expr| self.name_of(expr)).collect();
        let groups = groups?;
        let entities: HashSet<&str> = self.layout.entity_names.iter().map(String::as_str).collect();
        if entities.is_empty() || groups != entities {
            return None;
        }
        let ends = aggregation.aggr_expr.iter().map(|aggregate| self.end_of_one(aggregate));
        ends.collect::<Option<Ends>>().filter(|ends| !ends.is_empty())
    }

    /// Whether an aggregate counts rows: `count(*)`, or of a column that is never null.
    pub(super) fn is_count(&self, aggregate: &Expr) -> bool {
        let AggregateFunction { func, params } = match aggregate {
            Expr::Alias(alias) => return self.is_count(&alias.expr),
            Expr::AggregateFunction(function) => function,
            _ => return false,
        };
        let AggregateFunctionParams { args, distinct, filter, order_by, null_treatment } = params;
        let is_plain = !distinct
            && filter.is_none()
            && order_by.is_empty()
            && null_treatment.is_none()
            && func.name() == "count";
        let never_null = |argument: &Expr| match argument {
            Expr::Literal(value, _) => !value.is_null(),
            argument => {
                let schema = &self.layout.query_schema;
                let name = self.name_of(argument);
                let field = name.and_then(|name| schema.field_with_name(name).ok());
                field.is_some_and(|field| !field.is_nullable())
            }
        };
        is_plain && matches!(args.as_slice(), [argument] if never_null(argument))
    }

    fn end_of_one(&self, aggregate: &Expr) -> Option<End> {
        let AggregateFunction { func, params } = match aggregate {
            Expr::Alias(alias) => return self.end_of_one(&alias.expr),
            Expr::AggregateFunction(function) => function,
            _ => return None,
        };
        let AggregateFunctionParams { args, filter, order_by, null_treatment, .. } = params;
        // With IGNORE NULLS the last value that is there can be in an earlier row.
        if filter.is_some() || *null_treatment == Some(NullTreatment::IgnoreNulls) {
            return None;
        }
        match (func.name(), args.as_slice()) {
            ("max", [argument]) if self.is_index(argument) => return Some(End::Last),
            ("min", [argument]) if self.is_index(argument) => return Some(End::First),
            ("first_value" | "last_value", _) => {}
            _ => return None,
        }
        let key = self.keys(order_by).next()?;
        if !self.is_index(&key.expr) {
            return None;
        }
        match (func.name() == "last_value", key.asc) {
            (true, true) | (false, false) => Some(End::Last),
            _ => Some(End::First),
        }
    }

    /// The keys of an order that order rows of one entity: entity columns are the same in all of them.
    fn keys<'k>(&self, order_by: &'k [Sort]) -> impl Iterator<Item = &'k Sort> {
        let orders =
            |key: &&Sort| !self.name_of(&key.expr).is_some_and(|name| self.is_entity(name));
        order_by.iter().filter(orders)
    }

    /// Of an aggregate that [`Self::end_of`] knows: the index and the value, when it gives a value of the row at that end and
    /// nothing but the index decides which row that is.
    pub(super) fn value_at_end<'e>(&self, aggregate: &'e Expr) -> Option<(&'e Expr, &'e Expr)> {
        let AggregateFunction { func, params } = match aggregate {
            Expr::Alias(alias) => return self.value_at_end(&alias.expr),
            Expr::AggregateFunction(function) => function,
            _ => return None,
        };
        let ([value], "first_value" | "last_value") = (params.args.as_slice(), func.name()) else {
            return None;
        };
        let mut keys = self.keys(&params.order_by);
        let index = &keys.next()?.expr;
        keys.next().is_none().then_some((index, value))
    }
}

pub(super) fn has_subquery(expr: &Expr) -> bool {
    let is_subquery = |part: &Expr| {
        Ok(matches!(
            part,
            Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::SetComparison(_)
                | Expr::ScalarSubquery(_)
        ))
    };
    expr.exists(is_subquery).unwrap_or(true)
}
