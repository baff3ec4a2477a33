//! The conditions of an `ASOF JOIN`, told apart and checked: what is equal, what is nearest, and how near it must be.
//!
//! A condition that is not understood is refused: left out, it would change the answer.

use std::fmt;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, DFSchema, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator, binary_expr};

use super::{nearness, ordinal};

/// What `MATCH_CONDITION` takes, for messages.
const MATCH_FORM: &str = "MATCH_CONDITION takes one comparison of the two tables with >=, >, <= or <, and at most how far apart they may be: \
     MATCH_CONDITION (t.ts >= q.ts AND t.ts - q.ts <= INTERVAL '5 seconds')";

/// How the value of the left side compares to that of the row it is joined with, which is the nearest that does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Comparison {
    /// `left >= right`: the latest that is not later.
    AtOrAfter,
    /// `left > right`: the latest before.
    After,
    /// `left <= right`: the first that is not earlier.
    AtOrBefore,
    /// `left < right`: the first after.
    Before,
}

impl Comparison {
    fn of(operator: Operator) -> Option<Self> {
        match operator {
            Operator::GtEq => Some(Self::AtOrAfter),
            Operator::Gt => Some(Self::After),
            Operator::LtEq => Some(Self::AtOrBefore),
            Operator::Lt => Some(Self::Before),
            _ => None,
        }
    }

    pub(super) fn operator(self) -> Operator {
        match self {
            Self::AtOrAfter => Operator::GtEq,
            Self::After => Operator::Gt,
            Self::AtOrBefore => Operator::LtEq,
            Self::Before => Operator::Lt,
        }
    }

    /// Whether rows are joined with what comes before them.
    pub(super) fn looks_back(self) -> bool {
        matches!(self, Self::AtOrAfter | Self::After)
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.operator().fmt(f)
    }
}

/// An expression over the left side and one over the right.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Hash)]
pub(super) struct Pair {
    pub(super) left: Expr,
    pub(super) right: Expr,
}

/// How far apart two matching values may be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Hash)]
pub(super) struct Tolerance {
    /// A constant, or a parameter.
    pub(super) distance: Expr,
    /// Whether exactly that far is near enough.
    pub(super) inclusive: bool,
}

/// All conditions of a join.
///
/// 1. Every expression of a pair has columns of its side and of no other, or none after it was simplified.
/// 2. No expression has a query of its own, a value from an outer query or a function of chance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Hash)]
pub(super) struct Conditions {
    /// What must be equal; nulls never are.
    pub(super) keys: Vec<Pair>,
    pub(super) matching: Pair,
    pub(super) comparison: Comparison,
    pub(super) tolerance: Option<Tolerance>,
}

impl Conditions {
    /// From what stands in the statement.
    ///
    /// # Errors
    /// A plan error for every condition that is none of these, and for types that do not compare.
    pub(super) fn try_new(
        left: &DFSchema,
        right: &DFSchema,
        on: Option<Expr>,
        match_condition: Expr,
    ) -> Result<Self> {
        let sides = Sides { left, right };
        let keys = on.map(split_conjunction_owned).unwrap_or_default();
        let keys = keys.into_iter().map(|key| sides.key(key)).collect::<Result<Vec<_>>>()?;
        let (mut comparison, mut rest) = (None, Vec::new());
        for part in split_conjunction_owned(match_condition) {
            match sides.comparison(&part)? {
                Some(found) if comparison.is_none() => comparison = Some(found),
                Some(_) => return plan_err!("ASOF JOIN compares one pair of values; {MATCH_FORM}"),
                None => rest.push(part),
            }
        }
        let Some((matching, comparison)) = comparison else {
            return plan_err!("ASOF JOIN does not know what is nearest; {MATCH_FORM}");
        };
        let tolerance = match rest.pop() {
            Some(part) => Some(tolerance(part, &matching, comparison)?),
            None => None,
        };
        if let Some(part) = rest.pop() {
            return plan_err!("ASOF JOIN takes no \"{part}\" as a condition; {MATCH_FORM}");
        }
        let conditions = Self { keys, matching, comparison, tolerance };
        conditions.check_types(left, right)?;
        Ok(conditions)
    }

    /// As one list, of which [`Self::with_exprs`] makes the same again. Comparisons stay whole, so that both sides of each are brought
    /// to one type as in any join.
    pub(super) fn exprs(&self) -> Vec<Expr> {
        let whole =
            |pair: &Pair, operator| binary_expr(pair.left.clone(), operator, pair.right.clone());
        let keys = self.keys.iter().map(|pair| whole(pair, Operator::Eq));
        let matching = whole(&self.matching, self.comparison.operator());
        let tolerance = self.tolerance.iter().map(|tolerance| tolerance.distance.clone());
        keys.chain([matching]).chain(tolerance).collect()
    }

    /// The same conditions after the engine rewrote their expressions.
    ///
    /// # Errors
    /// A plan error when a comparison is none any more: it was the same for all rows.
    pub(super) fn with_exprs(
        &self,
        exprs: Vec<Expr>,
        left: &DFSchema,
        right: &DFSchema,
    ) -> Result<Self> {
        let sides = Sides { left, right };
        // A rewritten expression may have been given its old name.
        let mut exprs = exprs.into_iter().map(|expr| expr.unalias_nested().data);
        let mut next = || match exprs.next() {
            Some(expr) => Ok(expr),
            None => plan_err!("ASOF JOIN lost a condition"),
        };
        let keys = self.keys.iter().map(|_| {
            let (pair, operator) = sides.pair(next()?)?;
            match operator {
                Operator::Eq => Ok(pair),
                _ => plan_err!("ASOF JOIN lost an equality"),
            }
        });
        let keys = keys.collect::<Result<Vec<_>>>()?;
        let (matching, operator) = sides.pair(next()?)?;
        let Some(comparison) = Comparison::of(operator) else {
            return plan_err!("ASOF JOIN lost its comparison");
        };
        let tolerance = match &self.tolerance {
            Some(tolerance) => {
                Some(Tolerance { distance: next()?, inclusive: tolerance.inclusive })
            }
            None => None,
        };
        Ok(Self { keys, matching, comparison, tolerance })
    }

    /// Refuses what cannot be compared as far as types are known; parameters have none yet.
    fn check_types(&self, left: &DFSchema, right: &DFSchema) -> Result<()> {
        for pair in &self.keys {
            if let Some(common) = common_type(pair, left, right, "=")?
                && !ordinal::is_key(&common)
            {
                return plan_err!(
                    "ASOF JOIN cannot compare {common} in \"{} = {}\"",
                    pair.left,
                    pair.right
                );
            }
        }
        let Pair { left: left_value, right: right_value } = &self.matching;
        let common = common_type(&self.matching, left, right, &self.comparison.to_string())?;
        if let Some(common) = &common
            && !ordinal::is_ordered(common)
        {
            return plan_err!(
                "ASOF JOIN finds the nearest number, date or time, not {common} as in \"{left_value} {} {right_value}\"; cast both sides",
                self.comparison
            );
        }
        if let (Some(tolerance), Some(common)) = (&self.tolerance, &common)
            && let Ok(distance) = tolerance.distance.get_type(&DFSchema::empty())
        {
            nearness::check(common, &distance)?;
        }
        Ok(())
    }
}

impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "match=[{} {} {}", self.matching.left, self.comparison, self.matching.right)?;
        if let Some(tolerance) = &self.tolerance {
            let sign = if tolerance.inclusive { "<=" } else { "<" };
            write!(f, ", distance {sign} {}", tolerance.distance)?;
        }
        let keys = self.keys.iter().map(|pair| format!("{} = {}", pair.left, pair.right));
        write!(f, "] on=[{}]", keys.collect::<Vec<_>>().join(", "))
    }
}

/// The columns that there are, by side.
struct Sides<'a> {
    left: &'a DFSchema,
    right: &'a DFSchema,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
    /// No column at all.
    Neither,
    Both,
}

impl Sides<'_> {
    fn of(&self, expr: &Expr) -> Side {
        let columns = expr.column_refs();
        let all = |schema: &DFSchema| columns.iter().all(|column| has(schema, column));
        match (columns.is_empty(), all(self.left), all(self.right)) {
            (true, _, _) => Side::Neither,
            (false, true, _) => Side::Left,
            (false, false, true) => Side::Right,
            (false, false, false) => Side::Both,
        }
    }

    fn key(&self, expr: Expr) -> Result<Pair> {
        check_expr(&expr)?;
        if let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = &expr
            && let Some((pair, _)) = self.sorted(left, right)
        {
            return Ok(pair);
        }
        plan_err!(
            "ASOF JOIN takes no \"{expr}\" in ON: it takes equalities of the two tables joined by AND, as in ON t.symbol = q.symbol; \
             put conditions of one table into WHERE or a subquery, and the comparison into MATCH_CONDITION"
        )
    }

    /// The two sides of a comparison in order; the flag says that they were not.
    fn sorted(&self, first: &Expr, second: &Expr) -> Option<(Pair, bool)> {
        match (self.of(first), self.of(second)) {
            (Side::Left, Side::Right) => {
                Some((Pair { left: first.clone(), right: second.clone() }, false))
            }
            (Side::Right, Side::Left) => {
                Some((Pair { left: second.clone(), right: first.clone() }, true))
            }
            _ => None,
        }
    }

    /// The comparison that decides what is nearest, if this is one.
    fn comparison(&self, expr: &Expr) -> Result<Option<(Pair, Comparison)>> {
        check_expr(expr)?;
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else { return Ok(None) };
        let Some((pair, swapped)) = self.sorted(left, right) else { return Ok(None) };
        let operator = if swapped { op.swap() } else { Some(*op) };
        match operator.and_then(Comparison::of) {
            Some(comparison) => Ok(Some((pair, comparison))),
            None => plan_err!("ASOF JOIN finds nothing nearest by \"{expr}\"; {MATCH_FORM}"),
        }
    }

    /// A comparison that was one before it was rewritten. Simplifying may have swapped it, or left no column on a side.
    fn pair(&self, expr: Expr) -> Result<(Pair, Operator)> {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else {
            return plan_err!("a condition of ASOF JOIN is the same for all rows; compare columns");
        };
        let in_order =
            !matches!(self.of(&left), Side::Right) && !matches!(self.of(&right), Side::Left);
        if in_order {
            return Ok((Pair { left: *left, right: *right }, op));
        }
        match op.swap() {
            Some(operator) => Ok((Pair { left: *right, right: *left }, operator)),
            None => plan_err!("ASOF JOIN cannot turn {op} around"),
        }
    }
}

fn has(schema: &DFSchema, column: &Column) -> bool {
    schema.has_column(column)
}

/// Refuses what has another value for every pair of rows, or asks a question of its own.
fn check_expr(expr: &Expr) -> Result<()> {
    let refused = expr.exists(|part| {
        Ok(matches!(
            part,
            Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::ScalarSubquery(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(..)
                | Expr::AggregateFunction(_)
                | Expr::WindowFunction(_)
                | Expr::Unnest(_)
                | Expr::GroupingSet(_)
        ) || part.is_volatile_node())
    })?;
    if refused {
        return plan_err!(
            "ASOF JOIN takes no subquery, no column of an outer query, no aggregate and no random() in a condition: \"{expr}\"; compute \
             it in a subquery of the table"
        );
    }
    Ok(())
}

/// The distance in `greater - lesser <= distance`.
fn tolerance(expr: Expr, matching: &Pair, comparison: Comparison) -> Result<Tolerance> {
    let (greater, lesser) = match comparison.looks_back() {
        true => (&matching.left, &matching.right),
        false => (&matching.right, &matching.left),
    };
    if let Expr::BinaryExpr(BinaryExpr { left, op, right }) = &expr {
        let sides = match op {
            Operator::LtEq | Operator::Lt => Some((left, right)),
            Operator::GtEq | Operator::Gt => Some((right, left)),
            _ => None,
        };
        if let Some((difference, distance)) = sides
            && let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Minus, right }) = &**difference
            && !distance.any_column_refs()
            && **left == *greater
            && **right == *lesser
        {
            let inclusive = matches!(op, Operator::LtEq | Operator::GtEq);
            return Ok(Tolerance { distance: (**distance).clone(), inclusive });
        }
    }
    plan_err!(
        "ASOF JOIN takes no \"{expr}\" beside the comparison: how far apart the two may be is written as {greater} - {lesser} <= INTERVAL \
         '5 seconds', or <= 5 for numbers"
    )
}

/// The type in which a pair is compared; `None` while one has no type.
fn common_type(
    pair: &Pair,
    left: &DFSchema,
    right: &DFSchema,
    operator: &str,
) -> Result<Option<DataType>> {
    let (Ok(left_type), Ok(right_type)) = (pair.left.get_type(left), pair.right.get_type(right))
    else {
        return Ok(None);
    };
    match comparison_coercion(&left_type, &right_type) {
        Some(common) => Ok(Some(common)),
        None => plan_err!(
            "ASOF JOIN cannot compare {left_type} with {right_type} in \"{} {operator} {}\"; cast one of them",
            pair.left,
            pair.right
        ),
    }
}
