//! The aggregates `min` and `max` of floats in groups, in the order that the rest of SQL here has: minus infinity first, NaN last.
//!
//! DataFusion starts the bound of a group at the least or greatest finite float, so a group that holds nothing but an infinity
//! gets a number that is not in it, and it takes every comparison with NaN for a win, so the answer depends on the order of
//! rows. Without groups it has neither fault. Everything but the bounds of floats in groups is left to it.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::datatypes::{
    ArrowPrimitiveType, DataType, FieldRef, Float16Type, Float32Type, Float64Type,
};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, GroupsAccumulator, ReversedUDAF,
    SetMonotonicity, Signature, StatisticsArgs,
};
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::prim_op::PrimitiveGroupsAccumulator;

/// `min` or `max`, around DataFusion's own.
pub fn float_bounds(inner: Arc<AggregateUDF>) -> AggregateUDF {
    let better = if inner.name() == "max" { Ordering::Greater } else { Ordering::Less };
    AggregateUDF::new_from_impl(FloatBounds { inner, better })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct FloatBounds {
    inner: Arc<AggregateUDF>,
    /// How a value compares that takes the place of another.
    better: Ordering,
}

/// The bounds of groups; `worst` gives way to every value.
fn bounds<T>(
    data_type: &DataType,
    better: Ordering,
    worst: T::Native,
    compare: fn(&T::Native, &T::Native) -> Ordering,
) -> Box<dyn GroupsAccumulator>
where
    T: ArrowPrimitiveType + Send,
{
    let keep = move |kept: &mut T::Native, value: T::Native| {
        if compare(&value, kept) == better {
            *kept = value;
        }
    };
    Box::new(PrimitiveGroupsAccumulator::<T, _>::new(data_type, keep).with_starting_value(worst))
}

impl AggregateUDFImpl for FloatBounds {
    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        let better = self.better;
        // All bits set is the first float of all in the total order, without the sign the last.
        macro_rules! of {
            ($array:ty, $bits:ty) => {{
                type Native = <$array as ArrowPrimitiveType>::Native;
                let bits =
                    if better == Ordering::Greater { <$bits>::MAX } else { <$bits>::MAX >> 1 };
                let worst = Native::from_bits(bits);
                Ok(bounds::<$array>(
                    args.return_field.data_type(),
                    better,
                    worst,
                    Native::total_cmp,
                ))
            }};
        }
        match args.return_field.data_type() {
            DataType::Float16 => of!(Float16Type, u16),
            DataType::Float32 => of!(Float32Type, u32),
            DataType::Float64 => of!(Float64Type, u64),
            _ => self.inner.create_groups_accumulator(args),
        }
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arg_types)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        self.inner.accumulator(args)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_sliding_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn Accumulator>> {
        self.inner.create_sliding_accumulator(args)
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.inner.reverse_udf()
    }

    fn is_descending(&self) -> Option<bool> {
        self.inner.is_descending()
    }

    fn value_from_stats(&self, args: &StatisticsArgs<'_>) -> Option<ScalarValue> {
        self.inner.value_from_stats(args)
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        self.inner.default_value(data_type)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.inner.inner().set_monotonicity(data_type)
    }
}
