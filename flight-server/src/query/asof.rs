//! `ASOF JOIN` from syntax to a logical plan: DataFusion's planner asks here for every relation of a FROM clause. The gate has put each
//! such join into parentheses of its own; what the join is and does is decided by `table_core`.

use datafusion::common::not_impl_err;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::sql::sqlparser::ast::{
    Expr, Join, JoinConstraint, JoinOperator, ObjectName, TableAlias, TableFactor, TableWithJoins,
};
use table_core::datafusion::{AsofKeys, asof_join};

/// See the module.
#[derive(Debug)]
pub(crate) struct AsofRelations;

impl RelationPlanner for AsofRelations {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> DfResult<RelationPlanning> {
        match Asof::of(relation) {
            Ok(join) => {
                join.plan(context).map(|planned| RelationPlanning::Planned(Box::new(planned)))
            }
            Err(other) => Ok(RelationPlanning::Original(other)),
        }
    }
}

/// One ASOF JOIN in parentheses.
struct Asof {
    left: TableFactor,
    right: TableFactor,
    match_condition: Expr,
    constraint: JoinConstraint,
    alias: Option<TableAlias>,
}

impl Asof {
    /// The join that a relation is, or the relation.
    fn of(relation: TableFactor) -> Result<Self, Box<TableFactor>> {
        let TableFactor::NestedJoin { table_with_joins, alias } = relation else {
            return Err(Box::new(relation));
        };
        let TableWithJoins { relation: left, mut joins } = *table_with_joins;
        match (joins.pop(), joins.is_empty()) {
            (
                Some(Join {
                    relation: right,
                    join_operator: JoinOperator::AsOf { match_condition, constraint },
                    ..
                }),
                true,
            ) => Ok(Self { left, right, match_condition, constraint, alias }),
            (last, _) => {
                joins.extend(last);
                let table_with_joins = Box::new(TableWithJoins { relation: left, joins });
                Err(Box::new(TableFactor::NestedJoin { table_with_joins, alias }))
            }
        }
    }

    fn plan(self, context: &mut dyn RelationPlannerContext) -> DfResult<PlannedRelation> {
        let left = context.plan(self.left)?;
        let right = context.plan(self.right)?;
        let schema = left.schema().join(right.schema())?;
        let keys = match self.constraint {
            JoinConstraint::None => AsofKeys::All,
            JoinConstraint::On(on) => AsofKeys::On(context.sql_to_expr(on, &schema)?),
            JoinConstraint::Using(names) => {
                let names = names.into_iter().map(|name| column_name(name, context));
                AsofKeys::Using(names.collect::<DfResult<_>>()?)
            }
            JoinConstraint::Natural => {
                return not_impl_err!("NATURAL ASOF JOIN is not supported; write ON or USING");
            }
        };
        let match_condition = context.sql_to_expr(self.match_condition, &schema)?;
        let plan = asof_join(left, right, keys, match_condition)?;
        Ok(PlannedRelation::new(plan, self.alias))
    }
}

fn column_name(name: ObjectName, context: &mut dyn RelationPlannerContext) -> DfResult<String> {
    match name.0.as_slice() {
        [part] if let Some(ident) = part.as_ident() => Ok(context.normalize_ident(ident.clone())),
        _ => not_impl_err!("USING takes names of columns without a table, not \"{name}\""),
    }
}
