#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::optimizer::Analyzer;
use datafusion::prelude::SessionContext;
use proptest::prelude::*;

use super::*;

/// Digits behind the point of the numbers of the model, which are integers.
const SCALE: u32 = 8;

/// A number with at most `digits` behind the point; of fifteen digits at the most, which a double keeps.
fn numbers(digits: u32) -> impl Strategy<Value = i64> {
    let step = 10_i64.pow(SCALE - digits);
    let most = 10_i64.pow(15 - (SCALE - digits));
    prop_oneof![-300..300_i64, -most..most].prop_map(move |number| number % most * step)
}

/// A number as SQL has it: without noughts at the end.
fn written(number: i64) -> String {
    let one = 10_u64.pow(SCALE);
    let sign = if number < 0 { "-" } else { "" };
    let (integer, fraction) = (number.unsigned_abs() / one, number.unsigned_abs() % one);
    let fraction = format!("{fraction:08}");
    match fraction.trim_end_matches('0') {
        "" => format!("{sign}{integer}"),
        fraction => format!("{sign}{integer}.{fraction}"),
    }
}

/// A condition on `n`.
#[derive(Debug, Clone)]
enum Condition {
    /// With the number on the left where it is `turned`.
    Compare {
        operator: &'static str,
        other: i64,
        turned: bool,
    },
    Between(i64, i64),
    In(Vec<i64>),
}

impl Condition {
    fn sql(&self) -> String {
        match self {
            Self::Compare { operator, other, turned: false } => {
                format!("n {operator} {}", written(*other))
            }
            Self::Compare { operator, other, turned: true } => {
                format!("{} {operator} n", written(*other))
            }
            Self::Between(low, high) => {
                format!("n BETWEEN {} AND {}", written(*low), written(*high))
            }
            Self::In(others) => {
                let members: Vec<_> = others.iter().copied().map(written).collect();
                format!("n IN ({})", members.join(", "))
            }
        }
    }

    fn holds(&self, number: i64) -> bool {
        match self {
            Self::Compare { operator, other, turned } => {
                let (left, right) = if *turned { (*other, number) } else { (number, *other) };
                match *operator {
                    "=" => left == right,
                    "<>" => left != right,
                    "<" => left < right,
                    "<=" => left <= right,
                    ">" => left > right,
                    _ => left >= right,
                }
            }
            Self::Between(low, high) => (*low..=*high).contains(&number),
            Self::In(others) => others.contains(&number),
        }
    }
}

/// Conditions about some of these numbers, and others.
fn conditions(rows: Vec<i64>) -> impl Strategy<Value = Condition> {
    let there = prop::sample::select(rows);
    // More digits than the columns have as well.
    let number = prop_oneof![6 => there, 1 => numbers(2), 1 => numbers(SCALE)].boxed();
    let operator = prop::sample::select(vec!["=", "<>", "<", "<=", ">", ">="]);
    prop_oneof![
        3 => (operator, number.clone(), any::<bool>())
            .prop_map(|(operator, other, turned)| Condition::Compare { operator, other, turned }),
        1 => (number.clone(), number.clone()).prop_map(|(low, high)| Condition::Between(low, high)),
        1 => prop::collection::vec(number, 1..5).prop_map(Condition::In),
    ]
}

fn session() -> SessionContext {
    let mut rules = Analyzer::new().rules;
    rules.insert(0, Arc::new(ExactComparisons));
    let builder = SessionStateBuilder::new().with_default_features();
    SessionContext::new_with_state(builder.with_analyzer_rules(rules).build())
}

/// Positions of the numbers of a column of this type that a condition holds of.
async fn kept(session: &SessionContext, numbers: &[i64], sql_type: &str, filter: &str) -> Vec<i64> {
    let rows: Vec<_> = (0..)
        .zip(numbers)
        .map(|(at, number)| format!("({at}, CAST('{}' AS {sql_type}))", written(*number)))
        .collect();
    let sql = format!("SELECT at FROM (VALUES {}) t(at, n) WHERE {filter}", rows.join(", "));
    let batches = session.sql(&sql).await.unwrap().collect().await.unwrap();
    let mut kept: Vec<i64> = batches
        .iter()
        .flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec())
        .collect();
    kept.sort_unstable();
    kept
}

#[test]
fn decimals_and_doubles_are_compared_with_what_is_written() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let session = session();
    let rows = prop::collection::vec(numbers(2), 1..20);
    let cases = (
        rows.prop_flat_map(|rows| (conditions(rows.clone()), Just(rows))),
        prop::sample::select(vec!["DECIMAL(15, 2)", "DECIMAL(20, 4)", "DECIMAL(38, 10)", "DOUBLE"]),
    );
    proptest!(ProptestConfig::with_cases(300), |(((condition, numbers), sql_type) in cases)| {
        let expected: Vec<i64> =
            (0..).zip(&numbers).filter(|(_, number)| condition.holds(**number)).map(|(at, _)| at).collect();
        let filter = condition.sql();
        let kept = runtime.block_on(kept(&session, &numbers, sql_type, &filter));
        prop_assert_eq!(kept, expected, "{} as {}", filter, sql_type);
    });
}
