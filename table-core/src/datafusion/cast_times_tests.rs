#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::optimizer::Optimizer;
use datafusion::prelude::SessionContext;
use proptest::prelude::*;

use super::*;

/// Half seconds since 1970, or a null.
type Half = Option<i64>;

/// A condition on `s`, which has whole seconds.
#[derive(Debug, Clone)]
enum Condition {
    /// With the constant on the left where it is `turned`.
    Compare {
        operator: &'static str,
        other: Half,
        turned: bool,
    },
    Between(Half, Half, bool),
    In(Vec<Half>, bool),
}

/// How a constant is written.
fn written(half: Half) -> String {
    match half {
        None => "arrow_cast(NULL, 'Timestamp(ns)')".to_owned(),
        // What takes working out, too.
        Some(half) if half % 3 == 0 => {
            format!("to_timestamp_millis({}) + INTERVAL '0.5 seconds'", half * 500 - 500)
        }
        Some(half) => format!("arrow_cast({}, 'Timestamp(ms)')", half * 500),
    }
}

fn holds(operator: &str, left: Half, right: Half) -> Option<bool> {
    match operator {
        "IS DISTINCT FROM" => return Some(left != right),
        "IS NOT DISTINCT FROM" => return Some(left == right),
        _ => {}
    }
    let (left, right) = (left?, right?);
    Some(match operator {
        "=" => left == right,
        "<>" => left != right,
        "<" => left < right,
        "<=" => left <= right,
        ">" => left > right,
        _ => left >= right,
    })
}

fn and(left: Option<bool>, right: Option<bool>) -> Option<bool> {
    match (left, right) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

fn not(value: Option<bool>, negated: bool) -> Option<bool> {
    value.map(|value| value != negated)
}

impl Condition {
    fn sql(&self) -> String {
        let not = |negated: bool| if negated { "NOT " } else { "" };
        match self {
            Self::Compare { operator, other, turned: false } => {
                format!("s {operator} {}", written(*other))
            }
            Self::Compare { operator, other, turned: true } => {
                format!("{} {operator} s", written(*other))
            }
            Self::Between(low, high, negated) => {
                format!("s {}BETWEEN {} AND {}", not(*negated), written(*low), written(*high))
            }
            Self::In(others, negated) => {
                let members: Vec<_> = others.iter().copied().map(written).collect();
                format!("s {}IN ({})", not(*negated), members.join(", "))
            }
        }
    }

    fn holds(&self, second: Half) -> Option<bool> {
        let second = second.map(|second| second * 2);
        match self {
            Self::Compare { operator, other, turned: false } => holds(operator, second, *other),
            Self::Compare { operator, other, turned: true } => holds(operator, *other, second),
            Self::Between(low, high, negated) => {
                not(and(holds(">=", second, *low), holds("<=", second, *high)), *negated)
            }
            Self::In(others, negated) => {
                let unequal =
                    others.iter().map(|other| holds("<>", second, *other)).fold(Some(true), and);
                not(unequal, !*negated)
            }
        }
    }
}

fn conditions() -> impl Strategy<Value = Condition> {
    let half = prop_oneof![9 => (-9_i64..9).prop_map(Some), 1 => Just(None)].boxed();
    let operator = prop::sample::select(vec![
        "=",
        "<>",
        "<",
        "<=",
        ">",
        ">=",
        "IS DISTINCT FROM",
        "IS NOT DISTINCT FROM",
    ]);
    prop_oneof![
        3 => (operator, half.clone(), any::<bool>())
            .prop_map(|(operator, other, turned)| Condition::Compare { operator, other, turned }),
        1 => (half.clone(), half.clone(), any::<bool>())
            .prop_map(|(low, high, negated)| Condition::Between(low, high, negated)),
        1 => (prop::collection::vec(half, 1..6), any::<bool>())
            .prop_map(|(others, negated)| Condition::In(others, negated)),
    ]
}

fn session(zone: &str) -> (SessionContext, String) {
    let mut rules = Optimizer::new().rules;
    rules.insert(0, Arc::new(CastTimes));
    let state =
        SessionStateBuilder::new().with_default_features().with_optimizer_rules(rules).build();
    (SessionContext::new_with_state(state), format!("Timestamp(s{zone})"))
}

/// What a condition is of each row: of a filter that it is, and of a column.
async fn found(
    session: &SessionContext,
    s_type: &str,
    seconds: &[Half],
    condition: &str,
) -> Vec<Option<bool>> {
    let rows: Vec<_> = (0..)
        .zip(seconds)
        .map(|(at, second)| match second {
            Some(second) => format!("({at}, {second})"),
            None => format!("({at}, NULL)"),
        })
        .collect();
    let table = format!(
        "SELECT at, arrow_cast(n, '{s_type}') AS s FROM (VALUES {}) t(at, n)",
        rows.join(", ")
    );
    let mut found = vec![None; seconds.len()];
    for (wanted, value) in [("", true), ("NOT ", false)] {
        // Of a view that is filtered from without, too.
        let sql = format!("SELECT at FROM ({table}) WHERE {wanted}({condition})");
        for batch in session.sql(&sql).await.unwrap().collect().await.unwrap() {
            for at in batch.column(0).as_primitive::<Int64Type>().values() {
                found[usize::try_from(*at).unwrap()] = Some(value);
            }
        }
    }
    let sql = format!("SELECT {condition} AS c FROM ({table}) ORDER BY at");
    let batches = session.sql(&sql).await.unwrap().collect().await.unwrap();
    let shown: Vec<_> =
        batches.iter().flat_map(|batch| batch.column(0).as_boolean().iter()).collect();
    assert_eq!(found, shown, "{condition}: as a filter and as a column");
    found
}

#[test]
fn what_is_between_two_ticks_is_compared_as_if_both_were_of_the_finer_unit() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let seconds = prop::collection::vec(prop::option::weighted(0.8, -5_i64..5), 1..12);
    let zones = prop::sample::select(vec!["", ", \"UTC\""]);
    proptest!(ProptestConfig::with_cases(300), |(seconds in seconds, condition in conditions(), zone in zones)| {
        let expected: Vec<_> = seconds.iter().map(|second| condition.holds(*second)).collect();
        let (session, s_type) = session(zone);
        let found = runtime.block_on(found(&session, &s_type, &seconds, &condition.sql()));
        prop_assert_eq!(found, expected, "{}", condition.sql());
    });
}
