//! The aggregate function `ohlc(price, time)`: the candle of a group, a struct of open, high, low and close in the type of the price.
//! Pure.
//!
//! A row without a price or a time is left out. Open and close are `first` and `last` of the others, high and low are the greatest
//! and the least in the order of ORDER BY. A group keeps these four and two times.

use std::cmp::Ordering;
use std::mem::size_of_val;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StructArray, make_comparator};
use arrow::compute::{SortOptions, filter, is_not_null};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
};

use super::ends::{Best, End};
use super::time::{positions, taken_as};
use super::{call, internal, refused};

const NAME: &str = "ohlc";

/// `ohlc`.
pub(super) fn function() -> AggregateUDF {
    let signature = Signature::user_defined(Volatility::Immutable);
    AggregateUDF::new_from_impl(Ohlc { signature })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Ohlc {
    signature: Signature,
}

fn usage() -> DataFusionError {
    refused(format!(
        "{NAME} takes a price, which is a number, and its time, a timestamp, date or integer; write {NAME}(price, ts)"
    ))
}

fn fields(price: &DataType) -> Fields {
    let field = |name: &str| Field::new(name, price.clone(), true);
    ["open", "high", "low", "close"].map(field).into_iter().collect()
}

impl AggregateUDFImpl for Ohlc {
    fn name(&self) -> &'static str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let [price, time] = arg_types else { return Err(usage()) };
        let price = match price {
            DataType::Null => DataType::Float64,
            number if number.is_numeric() => number.clone(),
            _ => return Err(usage()),
        };
        Ok(vec![price, taken_as(time).ok_or_else(usage)?])
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        arg_types.first().map(|price| DataType::Struct(fields(price))).ok_or_else(usage)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let price = args.input_fields.first().ok_or_else(usage)?.data_type();
        let field = |part: &str, data_type: &DataType| {
            Arc::new(Field::new(format_state_name(args.name, part), data_type.clone(), true))
        };
        let positions = ["opened", "closed"].map(|part| field(part, &DataType::Int64));
        let prices = fields(price);
        let prices = prices.iter().map(|price| field(price.name(), price.data_type()));
        Ok(prices.chain(positions).collect())
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        call::plain(NAME, &args)?;
        let [price, _] = args.expr_fields else { return Err(usage()) };
        let price = price.data_type();
        let nothing = ScalarValue::try_from(price)?;
        Ok(Box::new(Candle {
            fields: fields(price),
            open: Best::new(End::First, price)?,
            high: nothing.clone(),
            low: nothing,
            close: Best::new(End::Last, price)?,
        }))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

#[derive(Debug)]
struct Candle {
    fields: Fields,
    open: Best,
    high: ScalarValue,
    low: ScalarValue,
    close: Best,
}

impl Candle {
    fn prices(&self) -> [&ScalarValue; 4] {
        [self.open.value(), &self.high, &self.low, self.close.value()]
    }
}

/// Keeps whichever of a value and those of an array compares like `wanted`; nulls are left out.
fn bound(kept: &mut ScalarValue, values: &ArrayRef, wanted: Ordering) -> Result<()> {
    let compare = make_comparator(values, values, SortOptions::default())?;
    let rows = (0..values.len()).filter(|row| values.is_valid(*row));
    let best = rows.reduce(|best, row| if compare(row, best) == wanted { row } else { best });
    let Some(best) = best else { return Ok(()) };
    let value = ScalarValue::try_from_array(values, best)?;
    if kept.is_null() || value.partial_cmp(kept) == Some(wanted) {
        *kept = value;
    }
    Ok(())
}

impl Accumulator for Candle {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [prices, times] = values else {
            return Err(internal("a function of value and time without both"));
        };
        let (known, positions) = (is_not_null(prices)?, positions(times)?);
        let known = arrow::compute::and(&known, &is_not_null(&positions)?)?;
        let (prices, positions) = (filter(prices, &known)?, filter(&positions, &known)?);
        let positions = positions.as_primitive::<Int64Type>();
        self.open.take(&prices, positions)?;
        self.close.take(&prices, positions)?;
        bound(&mut self.high, &prices, Ordering::Greater)?;
        bound(&mut self.low, &prices, Ordering::Less)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.open.position().is_none() {
            return ScalarValue::try_from(&DataType::Struct(self.fields.clone()));
        }
        let prices = self.prices().map(ScalarValue::to_array);
        let prices = prices.into_iter().collect::<Result<Vec<_>>>()?;
        let candle = StructArray::try_new(self.fields.clone(), prices, None)?;
        Ok(ScalarValue::Struct(Arc::new(candle)))
    }

    fn size(&self) -> usize {
        let outside = |value: &ScalarValue| value.size() - size_of_val(value);
        size_of_val(self) + self.prices().into_iter().map(outside).sum::<usize>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let positions = [&self.open, &self.close].map(|end| ScalarValue::Int64(end.position()));
        Ok(self.prices().into_iter().cloned().chain(positions).collect())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [open, high, low, close, opened, closed] = states else {
            return Err(internal("a partial candle without all of its parts"));
        };
        self.open.take(open, opened.as_primitive::<Int64Type>())?;
        self.close.take(close, closed.as_primitive::<Int64Type>())?;
        bound(&mut self.high, high, Ordering::Greater)?;
        bound(&mut self.low, low, Ordering::Less)
    }
}
