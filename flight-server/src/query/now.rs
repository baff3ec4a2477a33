//! `now()` and `current_time()` in microseconds, as all times are where SQL does not say otherwise: nanoseconds end in 2262, and Python's
//! own times cannot hold them.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, cast,
};

/// `inner`, a function without arguments that gives a time, in microseconds.
pub(super) fn in_microseconds(inner: Arc<ScalarUDF>) -> ScalarUDF {
    ScalarUDF::new_from_impl(InMicroseconds { inner })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct InMicroseconds {
    inner: Arc<ScalarUDF>,
}

fn in_microseconds_of(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        other => other.clone(),
    }
}

impl ScalarUDFImpl for InMicroseconds {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn with_updated_config(&self, config: &ConfigOptions) -> Option<ScalarUDF> {
        let inner = self.inner.inner().with_updated_config(config)?;
        Some(in_microseconds(Arc::new(inner)))
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types).map(|data_type| in_microseconds_of(&data_type))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let field = self.inner.return_field_from_args(args)?;
        let data_type = in_microseconds_of(field.data_type());
        Ok(Arc::new(Field::clone(&field).with_data_type(data_type)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let data_type = args.return_field.data_type().clone();
        self.inner.invoke_with_args(args)?.cast_to(&data_type, None)
    }

    fn simplify(&self, args: Vec<Expr>, context: &SimplifyContext) -> Result<ExprSimplifyResult> {
        match self.inner.simplify(args, context)? {
            ExprSimplifyResult::Simplified(Expr::Literal(value, metadata)) => {
                let value = value.cast_to(&in_microseconds_of(&value.data_type()))?;
                Ok(ExprSimplifyResult::Simplified(Expr::Literal(value, metadata)))
            }
            ExprSimplifyResult::Simplified(other) => {
                let data_type = in_microseconds_of(&context.get_data_type(&other)?);
                Ok(ExprSimplifyResult::Simplified(cast(other, data_type)))
            }
            original @ ExprSimplifyResult::Original(_) => Ok(original),
        }
    }
}
