//! Values with their times, which aggregates keep until a group is complete: rows come in any order, and what lies between two
//! samples can change how they count. Pure.
//!
//! A sample is a row with both a value and a time. Samples are in the order of their times, and those of one time in the order
//! of their values (that of ORDER BY, NaN last), so no answer depends on the order of rows or on how they were split. A group
//! takes the bytes of its times and values, about 16 a row, all of which [`Samples::size`] tells.

use std::cmp::Ordering;
use std::fmt::Debug;
use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, Int64Array, LargeListArray,
    PrimitiveArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Field, FieldRef, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::Accumulator;
use datafusion::logical_expr::utils::format_state_name;

use super::time::positions;
use super::{internal, refused};

/// A position in time and the value there.
pub(super) type Sample<T> = (i64, <T as ArrowPrimitiveType>::Native);

/// What a function makes of the samples of a group.
pub(super) trait Answer<T: ArrowPrimitiveType>: Debug + Send + Sync + 'static {
    /// Whether the time is the first argument of the function, and the value the second.
    const TIME_FIRST: bool = false;

    /// Whether a row with this value is a sample.
    fn keeps(&self, _value: T::Native) -> bool {
        true
    }

    /// Forgets all steps.
    fn begin(&mut self) {}

    /// Goes from one sample to the next, once for each that follows another.
    fn step(&mut self, _from: &Sample<T>, _to: &Sample<T>) -> Result<()> {
        Ok(())
    }

    /// The answer to samples in order, after the steps over all of them; there is at least one.
    fn finish(&self, samples: &[Sample<T>]) -> Result<ScalarValue>;
}

/// Which samples an answer depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// Every one.
    All,
    /// The first and the last; no others take memory.
    Ends,
}

/// An accumulator over the samples of one group; without samples the answer is null.
#[derive(Debug)]
pub(super) struct OverSamples<T: ArrowPrimitiveType, A> {
    samples: Samples<T>,
    keep: Keep,
    answer: A,
    nothing: ScalarValue,
}

impl<T: ArrowPrimitiveType, A: Answer<T>> OverSamples<T, A> {
    /// Over values of `data_type`, with an answer of the type of `nothing`.
    pub(super) fn new(data_type: DataType, keep: Keep, answer: A, nothing: ScalarValue) -> Self {
        let samples = Samples { data_type, rows: Vec::new(), is_sorted: true, stepped: 0 };
        Self { samples, keep, answer, nothing }
    }

    fn take(&mut self, positions: &Int64Array, values: &PrimitiveArray<T>) {
        let rows = rows(&self.answer, positions, values);
        match self.keep {
            Keep::All => rows.for_each(|row| self.samples.push(row)),
            Keep::Ends => rows.for_each(|row| self.samples.push_end(row)),
        }
    }
}

impl<T: ArrowPrimitiveType + Debug, A: Answer<T>> Accumulator for OverSamples<T, A> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (values, positions) = columns::<T>(values, A::TIME_FIRST)?;
        self.take(&positions, values);
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.samples.rows.is_empty() {
            return Ok(self.nothing.clone());
        }
        self.samples.sort();
        if self.samples.stepped == 0 {
            self.answer.begin();
            self.samples.stepped = 1;
        }
        let behind = self.samples.rows.get(self.samples.stepped - 1..).unwrap_or_default();
        for pair in behind.windows(2) {
            if let [from, to] = pair {
                self.answer.step(from, to)?;
            }
        }
        self.samples.stepped = self.samples.rows.len();
        self.answer.finish(&self.samples.rows)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.samples.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(self.samples.lists())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [positions, values] = states else {
            return Err(internal("partial samples without both times and values"));
        };
        let (positions, values) = (positions.as_list::<i64>(), values.as_list::<i64>());
        for row in (0..positions.len()).filter(|row| positions.is_valid(*row)) {
            let (positions, values) = (positions.value(row), values.value(row));
            self.take(positions.as_primitive::<Int64Type>(), values.as_primitive::<T>());
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (values, positions) = columns::<T>(values, A::TIME_FIRST)?;
        self.samples.remove(rows(&self.answer, &positions, values).collect());
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        self.keep == Keep::All
    }
}

/// The type that a value is taken in where no digit of it may be lost; `None` for what is no number.
///
/// # Errors
/// `Invalid` for decimals that are longer than any of these types.
pub(super) fn exact_type(function: &str, value: &DataType) -> Result<Option<DataType>> {
    Ok(Some(match value {
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Decimal128(..) => value.clone(),
        DataType::Decimal256(..) => {
            return Err(refused(format!(
                "{function} does not take {value}; cast the value to DOUBLE or to a DECIMAL of at most \
                 {DECIMAL128_MAX_PRECISION} digits"
            )));
        }
        DataType::Null => DataType::Float64,
        float if float.is_floating() => DataType::Float64,
        integer if integer.is_unsigned_integer() => DataType::UInt64,
        integer if integer.is_signed_integer() => DataType::Int64,
        _ => return Ok(None),
    }))
}

/// The columns of a partial state, for values of a type.
pub(super) fn state_fields(name: &str, value: &DataType) -> Vec<FieldRef> {
    let field = |part: &str, item: &DataType| {
        let list = DataType::LargeList(Arc::new(Field::new_list_field(item.clone(), true)));
        Arc::new(Field::new(format_state_name(name, part), list, true))
    };
    vec![field("positions", &DataType::Int64), field("values", value)]
}

fn columns<T: ArrowPrimitiveType>(
    arguments: &[ArrayRef],
    time_first: bool,
) -> Result<(&PrimitiveArray<T>, Int64Array)> {
    let [first, second, ..] = arguments else {
        return Err(internal("a function of value and time without both"));
    };
    let (values, times) = if time_first { (second, first) } else { (first, second) };
    let values = values.as_primitive_opt::<T>();
    let values = values.ok_or_else(|| internal("a value of another type than it was planned"))?;
    Ok((values, positions(times)?))
}

/// The samples among the rows of two columns.
fn rows<T: ArrowPrimitiveType, A: Answer<T>>(
    answer: &A,
    positions: &Int64Array,
    values: &PrimitiveArray<T>,
) -> impl Iterator<Item = Sample<T>> {
    let rows = positions.iter().zip(values).filter_map(|(at, value)| Some((at?, value?)));
    rows.filter(|row| answer.keeps(row.1))
}

#[derive(Debug)]
struct Samples<T: ArrowPrimitiveType> {
    /// Of the values: more than `T` where they are decimals.
    data_type: DataType,
    rows: Vec<Sample<T>>,
    is_sorted: bool,
    /// How many of the first rows are as they were when an answer went over them. A window that grows is not gone over again
    /// from its start for every row.
    stepped: usize,
}

fn order<T: ArrowPrimitiveType>(a: &Sample<T>, b: &Sample<T>) -> Ordering {
    a.0.cmp(&b.0).then_with(|| a.1.compare(b.1))
}

impl<T: ArrowPrimitiveType> Samples<T> {
    fn push(&mut self, row: Sample<T>) {
        let is_next = self.rows.last().is_none_or(|last| order::<T>(last, &row).is_le());
        self.is_sorted &= is_next;
        self.rows.push(row);
    }

    /// Takes a row in if it comes first or last of all, in place of the one that did.
    fn push_end(&mut self, row: Sample<T>) {
        self.stepped = 0;
        match self.rows.as_mut_slice() {
            [first, _] if order::<T>(&row, first).is_lt() => *first = row,
            [_, last] if order::<T>(&row, last).is_gt() => *last = row,
            [_, _] => {}
            _ => {
                self.rows.reserve_exact(2);
                self.rows.push(row);
                self.rows.sort_unstable_by(order::<T>);
            }
        }
    }

    /// In place, so that it takes no memory that is not accounted for.
    fn sort(&mut self) {
        if !self.is_sorted {
            self.rows.sort_unstable_by(order::<T>);
            self.is_sorted = true;
            self.stepped = 0;
        }
    }

    /// Takes rows out that were put in.
    fn remove(&mut self, mut leaving: Vec<Sample<T>>) {
        self.sort();
        leaving.sort_unstable_by(order::<T>);
        let mut leaving = leaving.iter().peekable();
        self.rows.retain(|row| leaving.next_if(|left| order::<T>(left, row).is_eq()).is_none());
        self.stepped = 0;
    }

    fn lists(&self) -> Vec<ScalarValue> {
        let list = |items: ArrayRef| {
            let field = Arc::new(Field::new_list_field(items.data_type().clone(), true));
            let offsets = OffsetBuffer::from_lengths([items.len()]);
            ScalarValue::LargeList(Arc::new(LargeListArray::new(field, offsets, items, None)))
        };
        let positions = Int64Array::from_iter_values(self.rows.iter().map(|row| row.0));
        let values = PrimitiveArray::<T>::from_iter_values(self.rows.iter().map(|row| row.1));
        let values = values.with_data_type(self.data_type.clone());
        vec![list(Arc::new(positions)), list(Arc::new(values))]
    }

    /// Bytes on the heap.
    fn size(&self) -> usize {
        self.rows.capacity() * size_of::<Sample<T>>()
    }
}
