//! The aggregate function `time_weighted_avg(value, time)`: the average of a value that holds from each sample to the next. Pure.
//!
//! The last sample ends the time and has no weight of its own; where no time passes, it is the answer. Of several samples of one
//! time only the greatest holds for any time. Answers are doubles, of every type of number.

use arrow::datatypes::{DataType, FieldRef, Float64Type};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
};

use super::samples::{Answer, Keep, OverSamples, Sample, state_fields};
use super::{call, internal, refused, time};

const NAME: &str = "time_weighted_avg";

/// What a tick weighs: no time between two samples weighs more than 1, so no product overflows. A power of two rounds nothing.
const TICK_WEIGHT: f64 = 1.0 / (1_u128 << 64) as f64;

/// `time_weighted_avg`.
pub(super) fn function() -> AggregateUDF {
    let signature = Signature::user_defined(Volatility::Immutable);
    AggregateUDF::new_from_impl(TimeWeighted { signature })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TimeWeighted {
    signature: Signature,
}

fn usage() -> DataFusionError {
    refused(format!(
        "{NAME} takes a number and its time, a timestamp, date or integer; write {NAME}(level, ts)"
    ))
}

impl AggregateUDFImpl for TimeWeighted {
    fn name(&self) -> &'static str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let [value, time] = arg_types else { return Err(usage()) };
        if !value.is_numeric() && !value.is_null() {
            return Err(usage());
        }
        let time = time::taken_as(time).ok_or_else(usage)?;
        Ok(vec![DataType::Float64, time])
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(state_fields(args.name, &DataType::Float64))
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        call::plain(NAME, &args)?;
        let nothing = ScalarValue::Float64(None);
        let average = Average::default();
        Ok(Box::new(OverSamples::new(DataType::Float64, Keep::All, average, nothing)))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// The weight of the time from one sample to another.
fn weight(from: &Sample<Float64Type>, to: &Sample<Float64Type>) -> f64 {
    (i128::from(to.0) - i128::from(from.0)) as f64 * TICK_WEIGHT
}

#[derive(Debug, Default)]
struct Average {
    /// Of the values by their weights.
    total: f64,
}

impl Answer<Float64Type> for Average {
    fn begin(&mut self) {
        self.total = 0.0;
    }

    fn step(&mut self, from: &Sample<Float64Type>, to: &Sample<Float64Type>) -> Result<()> {
        // An infinity that holds for no time is no part of the average.
        if from.0 != to.0 {
            self.total += from.1 * weight(from, to);
        }
        Ok(())
    }

    fn finish(&self, samples: &[Sample<Float64Type>]) -> Result<ScalarValue> {
        let [first, ..] = samples else { return Err(internal("an average of no samples")) };
        let last = samples.last().unwrap_or(first);
        let average = match first.0 == last.0 {
            true => last.1,
            false => self.total / weight(first, last),
        };
        Ok(ScalarValue::from(average))
    }
}
