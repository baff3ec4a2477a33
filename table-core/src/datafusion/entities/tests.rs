#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Fields, Int64Type};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use proptest::prelude::*;

use super::end_row::Rows;
use super::*;

fn fields() -> Fields {
    vec![Field::new("0", DataType::Utf8, true), Field::new("1", DataType::Int64, true)].into()
}

/// Index values far apart, so that their differences do not fit.
fn index(position: u64, unsigned: bool) -> (i128, u64) {
    let bits = position.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (if unsigned { i128::from(bits) } else { i128::from(bits.cast_signed()) }, bits)
}

proptest! {
    #[test]
    fn of_every_group_the_row_at_the_end_is_kept(
        groups in prop::collection::vec(0..40_usize, 1..1500),
        batch in 1..50_usize,
        emitted in 0..41_usize,
        unsigned: bool,
        last: bool,
    ) {
        let end = if last { End::Last } else { End::First };
        let mut expected: BTreeMap<usize, (i128, usize)> = BTreeMap::new();
        // Two partitions, whose answers are put together.
        let mut partial = [Rows::new(end, fields()), Rows::new(end, fields())];
        let mut numbers = [Vec::<usize>::new(), Vec::new()];
        for (at, rows) in groups.chunks(batch).enumerate() {
            let first = at * batch;
            let positions = first..first + rows.len();
            for (row, group) in positions.clone().zip(rows) {
                let (value, _) = index(row as u64, unsigned);
                let kept = expected.entry(*group).or_insert((value, row));
                if (last && value > kept.0) || (!last && value < kept.0) {
                    *kept = (value, row);
                }
            }
            let bits = positions.clone().map(|row| index(row as u64, unsigned).1);
            let times: ArrayRef = match unsigned {
                true => Arc::new(UInt64Array::from_iter_values(bits)),
                false => Arc::new(Int64Array::from_iter_values(bits.map(u64::cast_signed))),
            };
            let names: StringArray = positions.clone().map(|row| Some(row.to_string())).collect();
            let values: Int64Array = positions.map(|row| (!row.is_multiple_of(3)).then_some(row as i64)).collect();
            let half = at % 2;
            let numbered: Vec<usize> = rows.iter().map(|group| {
                let known = numbers[half].iter().position(|known| known == group);
                known.unwrap_or_else(|| { numbers[half].push(*group); numbers[half].len() - 1 })
            }).collect();
            let count = numbers[half].len();
            partial[half]
                .update_batch(&[times, Arc::new(names), Arc::new(values)], &numbered, None, count)
                .unwrap();
        }
        let mut whole = Rows::new(end, fields());
        let mut order: Vec<usize> = Vec::new();
        for (partial, numbers) in partial.iter_mut().zip(&numbers) {
            let state = partial.state(EmitTo::All).unwrap();
            let numbered: Vec<usize> = numbers.iter().map(|group| {
                let known = order.iter().position(|known| known == group);
                known.unwrap_or_else(|| { order.push(*group); order.len() - 1 })
            }).collect();
            whole.merge_batch(&state, &numbered, order.len()).unwrap();
        }
        let first = EmitTo::First(emitted.min(order.len()));
        let answers = [whole.evaluate(first).unwrap(), whole.evaluate(EmitTo::All).unwrap()];
        let mut order = order.into_iter();
        for answer in answers {
            let answer = answer.as_struct();
            let (names, values) = (answer.column(0).as_string::<i32>(), answer.column(1));
            let values = values.as_primitive::<Int64Type>();
            for (at, group) in (0..answer.len()).zip(order.by_ref()) {
                let row = expected.remove(&group).unwrap().1;
                prop_assert_eq!(names.value(at), row.to_string());
                prop_assert_eq!(values.is_valid(at).then(|| values.value(at)), (!row.is_multiple_of(3)).then_some(row as i64));
            }
        }
        prop_assert!(expected.is_empty() && order.next().is_none());
    }
}

#[test]
fn rows_that_are_not_kept_are_let_go() {
    let mut rows = Rows::new(End::Last, fields());
    for time in 0..10_000_i64 {
        let values = Arc::new(Int64Array::from(vec![time; 100]));
        let names = Arc::new(StringArray::from(vec!["name"; 100]));
        let times = Arc::new(Int64Array::from(vec![time; 100]));
        let groups: Vec<usize> = (0..100).collect();
        rows.update_batch(&[times, names, values], &groups, None, 100).unwrap();
    }
    assert!(rows.size() < 100_000, "{} bytes", rows.size());
}
