//! The function that gives the rows of an entity, known from its columns. Only rules call it.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use crate::error::Error;
use crate::snapshot::Snapshot;
use crate::types::encode_entities;

/// How many rows the entities of a snapshot have, by their columns in the order of the table.
#[derive(Debug)]
struct RowCount {
    snapshot: Arc<Snapshot>,
    signature: Signature,
}

/// The function over a snapshot whose entities have `columns` columns and all of whose counts are known.
pub(super) fn function(snapshot: &Arc<Snapshot>, columns: usize) -> ScalarUDF {
    let signature = Signature::any(columns, Volatility::Immutable);
    ScalarUDF::new_from_impl(RowCount { snapshot: Arc::clone(snapshot), signature })
}

impl ScalarUDFImpl for RowCount {
    fn name(&self) -> &str {
        "entity_row_count"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    /// As of `count`: never null.
    fn return_field_from_args(&self, _args: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(self.name(), DataType::Int64, false)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns: Vec<ArrayRef> = ColumnarValue::values_to_arrays(&args.args)?;
        let rows = columns.first().map_or(args.number_rows, |column| column.len());
        let (keys, numbers) = encode_entities(&columns, rows)?;
        let counts = keys.iter().map(|key| {
            let count = self.snapshot.coverage.rows(key);
            count.and_then(|count| i64::try_from(count).ok()).ok_or_else(|| {
                let unknown = "an entity that was read has no known number of rows";
                DataFusionError::External(Box::new(Error::internal(unknown)))
            })
        });
        let counts = counts.collect::<Result<Vec<_>>>()?;
        let of_rows = numbers.iter().filter_map(|number| counts.get(*number as usize).copied());
        Ok(ColumnarValue::Array(Arc::new(Int64Array::from_iter_values(of_rows))))
    }
}

impl PartialEq for RowCount {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.snapshot, &other.snapshot)
    }
}

impl Eq for RowCount {}

impl Hash for RowCount {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.snapshot).hash(state);
    }
}
