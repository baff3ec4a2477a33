//! The aggregate function `vwap(price, volume)`: the average price weighted by volume. Pure.
//!
//! Both are taken as doubles. Each product is rounded once, and both sums are exact, so the order of rows changes no bit of the
//! answer. Rows without a price or a volume are left out; without any volume the answer is null.

use std::mem::size_of_val;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, LargeListArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
};

use super::exact_sum::ExactSum;
use super::{call, internal, refused};

const NAME: &str = "vwap";

/// `vwap`.
pub(super) fn function() -> AggregateUDF {
    let signature = Signature::user_defined(Volatility::Immutable);
    AggregateUDF::new_from_impl(Vwap { signature })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Vwap {
    signature: Signature,
}

fn usage() -> DataFusionError {
    refused(format!("{NAME} takes a price and a volume, both numbers; write {NAME}(price, volume)"))
}

impl AggregateUDFImpl for Vwap {
    fn name(&self) -> &'static str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let is_number = |data_type: &DataType| data_type.is_numeric() || data_type.is_null();
        match arg_types {
            [price, volume] if is_number(price) && is_number(volume) => {
                Ok(vec![DataType::Float64, DataType::Float64])
            }
            _ => Err(usage()),
        }
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field = |part: &str, data_type: DataType| {
            Arc::new(Field::new(format_state_name(args.name, part), data_type, true))
        };
        let digits = DataType::LargeList(Arc::new(Field::new_list_field(DataType::Int64, true)));
        let sum = |name: &str| {
            [
                field(&format!("{name}_lowest"), DataType::Int64),
                field(&format!("{name}_digits"), digits.clone()),
                field(&format!("{name}_endless"), DataType::Float64),
            ]
        };
        Ok([sum("turnover"), sum("volume")].concat())
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        call::plain(NAME, &args)?;
        Ok(Box::new(Trades::default()))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

#[derive(Debug, Default)]
struct Trades {
    /// Of the products of price and volume.
    turnover: ExactSum,
    volume: ExactSum,
}

impl Accumulator for Trades {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [prices, volumes] = values else {
            return Err(internal("an average without both prices and volumes"));
        };
        let prices = prices.as_primitive::<Float64Type>();
        let volumes = volumes.as_primitive::<Float64Type>();
        for (price, volume) in prices.iter().zip(volumes) {
            if let (Some(price), Some(volume)) = (price, volume) {
                self.turnover.add(price * volume);
                self.volume.add(volume);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let volume = self.volume.value();
        Ok(ScalarValue::Float64((volume != 0.0).then(|| self.turnover.value() / volume)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.turnover.size() + self.volume.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let mut state = Vec::with_capacity(6);
        for sum in [&mut self.turnover, &mut self.volume] {
            let (lowest, digits, endless) = sum.parts();
            let digits = Arc::new(Int64Array::from(digits.to_vec()));
            let field = Arc::new(Field::new_list_field(DataType::Int64, true));
            let offsets = OffsetBuffer::from_lengths([digits.len()]);
            let digits = LargeListArray::new(field, offsets, digits, None);
            state.extend([lowest.into(), ScalarValue::LargeList(Arc::new(digits)), endless.into()]);
        }
        Ok(state)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [turnover @ .., _, _, _] = states else {
            return Err(internal("a partial average without both of its sums"));
        };
        let volume = states.get(turnover.len()..).unwrap_or_default();
        for (sum, parts) in [(&mut self.turnover, turnover), (&mut self.volume, volume)] {
            let [lowest, digits, endless] = parts else {
                return Err(internal("a partial sum without all of its parts"));
            };
            let (lowest, endless) =
                (lowest.as_primitive::<Int64Type>(), endless.as_primitive::<Float64Type>());
            let digits = digits.as_list::<i64>();
            for row in (0..digits.len()).filter(|row| digits.is_valid(*row)) {
                let digits = digits.value(row);
                let digits = digits.as_primitive::<Int64Type>().values();
                sum.add_parts(lowest.value(row), digits, endless.value(row));
            }
        }
        Ok(())
    }
}
