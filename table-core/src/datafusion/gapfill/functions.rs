//! The functions as SQL sees them. They stand for what the rule does with them, and cannot be evaluated.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::refused;
use crate::types::IndexType;

/// Arguments by name, in the order of `time_bucket_gapfill` with all of them.
const PARAMETERS: [&str; 5] = ["width", "ts", "start", "finish", "time_zone"];

/// Which buckets a call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Bucketer {
    /// `time_bucket_gapfill(width, ts [, start, finish] [, time_zone])`
    TimeBucket,
    /// `date_bin_gapfill(width, ts [, origin])`
    DateBin,
}

impl Bucketer {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::TimeBucket => "time_bucket_gapfill",
            Self::DateBin => "date_bin_gapfill",
        }
    }

    fn usage(self) -> &'static str {
        match self {
            Self::TimeBucket => {
                "time_bucket_gapfill(width, ts), (width, ts, time_zone), (width, ts, start, finish) or (width, ts, start, finish, \
                 time_zone)"
            }
            Self::DateBin => "date_bin_gapfill(width, ts) or (width, ts, origin)",
        }
    }
}

/// How a column is filled where its bucket has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Hash)]
pub(super) enum Filling {
    /// The last value before it.
    Locf,
    /// On the line between its neighbours.
    Interpolate,
}

impl Filling {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Locf => "locf",
            Self::Interpolate => "interpolate",
        }
    }
}

/// What a function of this module marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Mark {
    Buckets(Bucketer),
    Fill(Filling),
}

impl Mark {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Buckets(bucketer) => bucketer.name(),
            Self::Fill(filling) => filling.name(),
        }
    }

    /// The mark and its arguments, if the expression is one.
    pub(super) fn of(expr: &Expr) -> Option<(Self, &[Expr])> {
        let Expr::ScalarFunction(call) = expr else { return None };
        let marker = call.func.inner().downcast_ref::<Marker>()?;
        Some((marker.mark, &call.args))
    }
}

/// `time_bucket_gapfill`, `date_bin_gapfill`, `locf` and `interpolate`; they need [`GapFilling`](super::GapFilling) and
/// [`PhysicalPlans`](crate::datafusion::PhysicalPlans) in the session.
pub fn gapfill_functions() -> Vec<ScalarUDF> {
    [
        Mark::Buckets(Bucketer::TimeBucket),
        Mark::Buckets(Bucketer::DateBin),
        Mark::Fill(Filling::Locf),
        Mark::Fill(Filling::Interpolate),
    ]
    .into_iter()
    .map(|mark| ScalarUDF::new_from_impl(Marker::new(mark)))
    .collect()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Marker {
    mark: Mark,
    signature: Signature,
}

impl Marker {
    fn new(mark: Mark) -> Self {
        let mut signature = Signature::user_defined(Volatility::Immutable);
        if mark == Mark::Buckets(Bucketer::TimeBucket) {
            signature.parameter_names = Some(PARAMETERS.map(str::to_owned).to_vec());
        }
        Self { mark, signature }
    }
}

impl ScalarUDFImpl for Marker {
    fn name(&self) -> &str {
        self.mark.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Never fails, because DataFusion wraps what it fails with; what is wrong is said in `return_field_from_args`.
    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let mut coerced = arg_types.to_vec();
        let Mark::Buckets(_) = self.mark else { return Ok(coerced) };
        let Some(column) = coerced.get_mut(1) else { return Ok(coerced) };
        let widened = match &*column {
            DataType::Date32 | DataType::Date64 => DataType::Timestamp(TimeUnit::Microsecond, None),
            DataType::Int8 | DataType::Int16 | DataType::Int32 => DataType::Int64,
            DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => DataType::UInt64,
            other => other.clone(),
        };
        column.clone_from(&widened);
        // A third argument alone is a time zone, or an origin.
        let bounds = match (self.mark, coerced.len()) {
            (Mark::Buckets(Bucketer::TimeBucket), 3) => 3..3,
            _ => 2..coerced.len().min(4),
        };
        for bound in coerced.get_mut(bounds).unwrap_or_default() {
            if !matches!(bound, DataType::Timestamp(..))
                || matches!(widened, DataType::Int64 | DataType::UInt64)
            {
                bound.clone_from(&widened);
            }
        }
        Ok(coerced)
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        let name = self.name();
        match self.mark {
            Mark::Buckets(bucketer) => {
                let most = match bucketer {
                    Bucketer::TimeBucket => 5,
                    Bucketer::DateBin => 3,
                };
                let column = match arg_types.get(1) {
                    Some(column) if arg_types.len() <= most => column,
                    _ => {
                        return Err(refused(format!(
                            "{name} with {} arguments is not known; write {}",
                            arg_types.len(),
                            bucketer.usage()
                        )));
                    }
                };
                if IndexType::from_arrow(column).is_none() {
                    return Err(refused(format!(
                        "the second argument of {name} is of type {column}; it must be a timestamp, a date or an integer: \
                         cast it"
                    )));
                }
                Ok(column.clone())
            }
            Mark::Fill(filling) => {
                let [value] = arg_types else {
                    return Err(refused(format!(
                        "{name} takes one argument, an aggregate, not {}; write {name}(avg(price))",
                        arg_types.len()
                    )));
                };
                match filling {
                    Filling::Locf => Ok(value.clone()),
                    Filling::Interpolate if value.is_numeric() => Ok(DataType::Float64),
                    Filling::Interpolate => Err(refused(format!(
                        "interpolate of a value of type {value} is not possible; it takes numbers, and locf takes anything"
                    ))),
                }
            }
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let types: Vec<DataType> =
            args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        Ok(Arc::new(Field::new(self.name(), self.return_type(&types)?, true)))
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Err(refused(misplaced(self.mark, "here")))
    }
}

/// Why a mark cannot stand where it does.
pub(super) fn misplaced(mark: Mark, place: &str) -> String {
    let name = mark.name();
    match mark {
        Mark::Buckets(_) => format!(
            "{name} {place} has no meaning; it must be an expression of GROUP BY by itself: SELECT {name}('1h', ts) AS bucket, \
             avg(price) FROM prices WHERE ts >= '2026-01-01' AND ts < '2026-02-01' GROUP BY bucket"
        ),
        Mark::Fill(_) => format!(
            "{name} {place} has no meaning; it takes an aggregate of a SELECT that is grouped by time_bucket_gapfill or \
             date_bin_gapfill, such as {name}(avg(price)), and calculations go around it"
        ),
    }
}
