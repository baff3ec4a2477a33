//! An analyzer rule: values are compared in a type that holds both of them exactly.
//!
//! DataFusion finds a common type for the two sides of a comparison, and some of those types lose what they should hold:
//!
//! - a decimal and a double meet in `DECIMAL(30, 15)`, where 70.32 is 70.320000000000007, so `price = 70.32` finds nothing. A number
//!   that is written becomes a decimal here, and where the double is no constant the decimal becomes one, too;
//! - a timestamp and a text or a date meet in nanoseconds, which end in the year 2262. The text and the date become timestamps of
//!   the unit that is there;
//! - times of two units meet nowhere. The coarser one becomes one of the finer unit.
//!
//! A written number that is cast to a decimal, as in an INSERT, becomes that decimal, and not the product of a double and a power of ten.
//!
//! The rule belongs before DataFusion's own, which then finds nothing to do. Constants are changed, and columns only where nothing
//! else is left, as a comparison with a column as it is can be pruned by. Pure.

mod digits;

use arrow::datatypes::{DataType, Decimal128Type, DecimalType, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{InList, ScalarFunction};
use datafusion::logical_expr::{
    Between, BinaryExpr, Case, Cast, Expr, ExprSchemable, LogicalPlan, Operator, cast, lit,
};
use datafusion::optimizer::AnalyzerRule;

use self::digits::Digits;
use super::parts;

/// Digits behind the second that a timestamp of less than nanoseconds can have.
const SUBSECOND_DIGITS_MAX: usize = 6;

/// Functions whose arguments are values of one kind.
const OF_ONE_KIND: [&str; 6] = ["coalesce", "greatest", "ifnull", "least", "nullif", "nvl"];

/// See the module.
#[derive(Debug, Default)]
pub struct ExactComparisons;

impl AnalyzerRule for ExactComparisons {
    fn name(&self) -> &str {
        "exact_comparisons"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        parts::changed(plan, |part, schema| Ok(exact_part(part, schema)))
    }
}

/// One comparison, or what stands for some.
fn exact_part(part: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let changed = match &part {
        Expr::BinaryExpr(binary) => of_two(binary, schema).map(Expr::BinaryExpr),
        Expr::Between(between) => of_range(between, schema).map(Expr::Between),
        Expr::InList(InList { expr, list, negated }) => {
            let others: Vec<&Expr> = list.iter().collect();
            of_all(expr, &others, schema)
                .map(|(expr, list)| Expr::InList(InList::new(expr.into(), list, *negated)))
        }
        Expr::Case(Case { expr: Some(expr), when_then_expr, else_expr }) => {
            let whens = when_then_expr.iter().map(|(when, _)| when.as_ref());
            of_some(expr, whens, schema).map(|whens| {
                let thens = when_then_expr.iter().map(|(_, then)| then.clone());
                let pairs = whens.into_iter().map(Box::new).zip(thens).collect();
                Expr::Case(Case::new(Some(expr.clone()), pairs, else_expr.clone()))
            })
        }
        Expr::ScalarFunction(call) if OF_ONE_KIND.contains(&call.name()) => {
            let is_decimal = |argument: &&Expr| {
                argument.get_type(schema).is_ok_and(|data_type| data_type.is_decimal())
            };
            call.args.iter().find(is_decimal).and_then(|decimal| {
                let args = of_some(decimal, &call.args, schema)?;
                Some(Expr::ScalarFunction(ScalarFunction { func: call.func.clone(), args }))
            })
        }
        Expr::Cast(Cast { expr, field }) if field.data_type().is_floating() => {
            double_of(expr).map(|value| cast(lit(value), field.data_type().clone()))
        }
        Expr::Cast(Cast { expr, field }) => match field.data_type() {
            DataType::Decimal128(precision, scale) => {
                digits_of(expr).and_then(|digits| digits.rounded(*precision, *scale)).map(lit)
            }
            _ => None,
        },
        _ => None,
    };
    changed.map_or_else(|| Transformed::no(part), Transformed::yes)
}

/// The two sides of a comparison; of arithmetic only a written number beside a double.
fn of_two(binary: &BinaryExpr, schema: &DFSchema) -> Option<BinaryExpr> {
    let BinaryExpr { left, op, right } = binary;
    let compares = matches!(
        op,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom
    );
    if !compares && !op.is_numerical_operators() {
        return None;
    }
    let types = (left.get_type(schema).ok()?, right.get_type(schema).ok()?);
    let side = |value: &DataType, other: &Expr, other_type: &DataType| match compares {
        true => fitted(value, other, other_type),
        false if value.is_floating() && other_type.is_decimal() => double_of(other).map(lit),
        false => None,
    };
    let by_left = || side(&types.1, left, &types.0).map(|left| (left, right.as_ref().clone()));
    let by_right = || side(&types.0, right, &types.1).map(|right| (left.as_ref().clone(), right));
    // Of a constant and a column the constant changes.
    let (left, right) = match value_of(left) {
        Some(_) => by_left().or_else(by_right),
        None => by_right().or_else(by_left),
    }?;
    Some(BinaryExpr::new(left.into(), *op, right.into()))
}

/// A value and the bounds that it is held against.
fn of_range(between: &Between, schema: &DFSchema) -> Option<Between> {
    let Between { expr, negated, low, high } = between;
    let bounds = [low.as_ref(), high.as_ref()];
    let (expr, bounds) = of_all(expr, &bounds, schema)?;
    let [low, high] = bounds.try_into().ok()?;
    Some(Between::new(expr.into(), *negated, low.into(), high.into()))
}

/// A value and what it is compared with; `None` when nothing changes.
fn of_all(value: &Expr, others: &[&Expr], schema: &DFSchema) -> Option<(Expr, Vec<Expr>)> {
    let finer = finer(value, others, schema);
    let value = finer.clone().unwrap_or_else(|| value.clone());
    match of_some(&value, others.iter().copied(), schema) {
        Some(others) => Some((value, others)),
        None => finer.map(|value| (value, others.iter().copied().cloned().collect())),
    }
}

/// A value of less than others in the type of those: a coarser time of day, or a date beside timestamps.
fn finer(value: &Expr, others: &[&Expr], schema: &DFSchema) -> Option<Expr> {
    use DataType::{Date32, Date64, Time32, Time64, Timestamp};
    let types = others.iter().filter_map(|other| other.get_type(schema).ok());
    let wanted = match value.get_type(schema).ok()? {
        Time32(unit) | Time64(unit) => types
            .filter(|other| matches!(other, Time32(other) | Time64(other) if unit < *other))
            .max()?,
        Date32 | Date64 => types
            .filter(|other| matches!(other, Timestamp(unit, _) if *unit != TimeUnit::Nanosecond))
            .max()?,
        _ => return None,
    };
    Some(cast(value.clone(), wanted))
}

/// What one value is compared with; `None` when nothing of it changes.
fn of_some<'a>(
    value: &Expr,
    others: impl IntoIterator<Item = &'a Expr>,
    schema: &DFSchema,
) -> Option<Vec<Expr>> {
    let value = value.get_type(schema).ok()?;
    let mut changed = false;
    let others = others.into_iter().map(|other| {
        let other_type = other.get_type(schema).ok();
        match other_type.and_then(|other_type| fitted(&value, other, &other_type)) {
            Some(fitted) => {
                changed = true;
                fitted
            }
            None => other.clone(),
        }
    });
    let others = others.collect();
    changed.then_some(others)
}

/// `other` as a value of this type is compared with it; `None` where it can stay as it is.
fn fitted(value: &DataType, other: &Expr, other_type: &DataType) -> Option<Expr> {
    match (value, other_type) {
        (decimal, double) if decimal.is_decimal() && double.is_floating() => {
            decimal_of(other, decimal).map(lit)
        }
        (double, decimal) if double.is_floating() && decimal.is_decimal() => {
            Some(double_of(other).map_or_else(|| cast(other.clone(), DataType::Float64), lit))
        }
        (DataType::Timestamp(TimeUnit::Nanosecond, _), _) => None,
        (DataType::Timestamp(..), DataType::Date32 | DataType::Date64) => {
            Some(cast(other.clone(), value.clone()))
        }
        (DataType::Timestamp(..), _) => timestamp_of(other, value).map(lit),
        (
            DataType::Time32(unit) | DataType::Time64(unit),
            DataType::Time32(other_unit) | DataType::Time64(other_unit),
        ) if other_unit < unit => Some(cast(other.clone(), value.clone())),
        _ => None,
    }
}

/// The number that a constant double is, as a decimal: of this type where that holds it.
fn decimal_of(constant: &Expr, data_type: &DataType) -> Option<ScalarValue> {
    let digits = digits_of(constant)?;
    match *data_type {
        DataType::Decimal128(precision, scale) if scale >= digits.scale => {
            digits.rounded(precision, scale).or_else(|| digits.natural())
        }
        _ => digits.natural(),
    }
}

fn digits_of(constant: &Expr) -> Option<Digits> {
    Digits::of(&value_of(constant)?)
}

/// The double that is nearest to a constant decimal. Arrow's own is the quotient of two doubles, and may be its neighbour.
fn double_of(constant: &Expr) -> Option<f64> {
    match value_of(constant)? {
        ScalarValue::Decimal128(Some(value), precision, scale) => {
            Decimal128Type::format_decimal(value, precision, scale).parse().ok()
        }
        _ => None,
    }
}

/// The moment that a constant text means, where a timestamp of this type can have all its digits.
fn timestamp_of(constant: &Expr, data_type: &DataType) -> Option<ScalarValue> {
    let value = value_of(constant)?;
    let text = value.try_as_str()??;
    let subsecond = text.rsplit_once('.').map_or("", |(_, digits)| digits);
    let digits = subsecond.chars().take_while(char::is_ascii_digit).collect::<String>();
    let most = match data_type {
        DataType::Timestamp(TimeUnit::Second, _) => 0,
        DataType::Timestamp(TimeUnit::Millisecond, _) => SUBSECOND_DIGITS_MAX / 2,
        _ => SUBSECOND_DIGITS_MAX,
    };
    if digits.trim_end_matches('0').len() > most {
        return None;
    }
    value.cast_to(data_type).ok().filter(|timestamp| !timestamp.is_null())
}

/// The value of a constant, a negative one, or a text that is cast to a decimal.
fn value_of(constant: &Expr) -> Option<ScalarValue> {
    match constant {
        Expr::Literal(value, _) => Some(value.clone()),
        Expr::Alias(alias) => value_of(&alias.expr),
        Expr::Negative(value) => value_of(value)?.arithmetic_negate().ok(),
        Expr::Cast(Cast { expr, field }) if field.data_type().is_decimal() => {
            let value = value_of(expr).filter(|value| value.try_as_str().is_some())?;
            value.cast_to(field.data_type()).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
