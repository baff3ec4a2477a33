//! The aggregate functions `first(value, time)` and `last(value, time)`: the value at the smallest and at the largest time. Pure.
//!
//! Rows without a time are left out; a null value counts like any other. Of several values at that time `first` takes the
//! smallest and `last` the largest, in the order of ORDER BY and only then a null, so that the answer does not depend on the
//! order of rows. A group keeps one value and its time, and partial answers are merged like rows.

use std::cmp::Ordering;
use std::mem::size_of_val;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
};

use super::time::{positions, taken_as};
use super::{call, internal, refused};

/// `first(value, time)`.
pub(super) fn first() -> AggregateUDF {
    end(End::First)
}

/// `last(value, time)`.
pub(super) fn last() -> AggregateUDF {
    end(End::Last)
}

fn end(end: End) -> AggregateUDF {
    let signature = Signature::user_defined(Volatility::Immutable);
    AggregateUDF::new_from_impl(AtEnd { end, signature })
}

/// Which end of time is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum End {
    First,
    Last,
}

impl End {
    fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Last => "last",
        }
    }

    /// The order in which what comes first is wanted.
    fn wanted(self, order: Ordering) -> Ordering {
        match self {
            Self::First => order,
            Self::Last => order.reverse(),
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct AtEnd {
    end: End,
    signature: Signature,
}

impl AtEnd {
    fn usage(&self) -> DataFusionError {
        let name = self.end.name();
        refused(format!(
            "{name} takes a value and its time, a timestamp, date or integer; write {name}(price, ts)"
        ))
    }
}

impl AggregateUDFImpl for AtEnd {
    fn name(&self) -> &str {
        self.end.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let [value, time] = arg_types else { return Err(self.usage()) };
        let time = taken_as(time).ok_or_else(|| self.usage())?;
        Ok(vec![value.clone(), time])
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        arg_types.first().cloned().ok_or_else(|| self.usage())
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field = |part: &str, data_type: &DataType| {
            Arc::new(Field::new(format_state_name(args.name, part), data_type.clone(), true))
        };
        Ok(vec![field("value", args.return_field.data_type()), field("position", &DataType::Int64)])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        call::plain(self.end.name(), &args)?;
        Ok(Box::new(Best::new(self.end, args.return_field.data_type())?))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// The best row so far. Positions are times as signed numbers in the same order.
#[derive(Debug)]
pub(super) struct Best {
    end: End,
    position: Option<i64>,
    value: ScalarValue,
}

impl Best {
    /// Of no rows, for values of a type.
    pub(super) fn new(end: End, data_type: &DataType) -> Result<Self> {
        Ok(Self { end, position: None, value: ScalarValue::try_from(data_type)? })
    }

    /// Null without rows.
    pub(super) fn value(&self) -> &ScalarValue {
        &self.value
    }

    /// Where the value is, if there is one.
    pub(super) fn position(&self) -> Option<i64> {
        self.position
    }

    /// Takes rows in; those without a position are left out.
    pub(super) fn take(&mut self, values: &ArrayRef, positions: &Int64Array) -> Result<()> {
        let found = match self.end {
            End::First => arrow::compute::min(positions),
            End::Last => arrow::compute::max(positions),
        };
        let Some(found) = found else { return Ok(()) };
        let order = self.position.map(|known| self.end.wanted(found.cmp(&known)));
        if order == Some(Ordering::Greater) {
            return Ok(());
        }
        for (row, position) in positions.iter().enumerate() {
            if position != Some(found) {
                continue;
            }
            let mut value = ScalarValue::try_from_array(values, row)?;
            if self.position != Some(found) || self.is_wanted(&value) {
                // A slice would keep its whole batch.
                value.compact();
                self.position = Some(found);
                self.value = value;
            }
        }
        Ok(())
    }

    /// Whether a value is to be taken instead of the one at the same time.
    fn is_wanted(&self, value: &ScalarValue) -> bool {
        match (value.is_null(), self.value.is_null()) {
            (true, _) => false,
            (false, true) => true,
            (false, false) => value
                .partial_cmp(&self.value)
                .is_some_and(|order| self.end.wanted(order) == Ordering::Less),
        }
    }
}

impl Accumulator for Best {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [values, times] = values else {
            return Err(internal("a function of value and time without both"));
        };
        self.take(values, &positions(times)?)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(self.value.clone())
    }

    fn size(&self) -> usize {
        size_of_val(self) - size_of_val(&self.value) + self.value.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.value.clone(), ScalarValue::Int64(self.position)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [values, positions] = states else {
            return Err(internal("a partial answer of value and time without both"));
        };
        self.take(values, positions.as_primitive::<Int64Type>())
    }
}
