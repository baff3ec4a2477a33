//! The aggregate functions `last_row` and `first_row`: values of one row of each group, the one with the greatest or the least
//! index. The rule puts one of them in the place of many `last_value` and `first_value`, each of which would keep the order of
//! every group for itself. Not for SQL. Pure.
//!
//! Of rows with the same index the first that comes is kept.

use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, StructArray};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Int64Type};
use datafusion::common::internal_err;
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};

use super::End;
use crate::segment::buffer::index_values;

/// Batches of which rows are kept before the kept rows are put together.
const BATCHES_MAX: usize = 256;

/// Rows of kept batches for each row that is kept of them, before the kept ones are put together.
const ROWS_PER_GROUP_MAX: usize = 4;

/// The function of an index column and values, which gives a struct of the values; its fields are named by their positions.
pub(super) fn function(end: End) -> AggregateUDF {
    AggregateUDF::new_from_impl(EndRow {
        end,
        signature: Signature::user_defined(Volatility::Immutable),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct EndRow {
    end: End,
    signature: Signature,
}

impl AggregateUDFImpl for EndRow {
    fn name(&self) -> &'static str {
        match self.end {
            End::First => "first_row",
            End::Last => "last_row",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(arg_types.to_vec())
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        internal_err!("{} is known by the fields of its arguments", self.name())
    }

    fn return_field(&self, arg_fields: &[FieldRef]) -> Result<FieldRef> {
        let values = arg_fields.iter().skip(1).enumerate();
        let values: Fields = values
            .map(|(position, field)| {
                // Nullable as `last_value` is.
                field.as_ref().clone().with_name(position.to_string()).with_nullable(true)
            })
            .collect();
        Ok(Arc::new(Field::new(self.name(), DataType::Struct(values), true)))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field = |part: &str, data_type: DataType| {
            Arc::new(Field::new(format_state_name(args.name, part), data_type, true))
        };
        Ok(vec![field("index", DataType::Int64), field("row", args.return_type().clone())])
    }

    fn accumulator(&self, _args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        internal_err!("{} is for groups", self.name())
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        let DataType::Struct(fields) = args.return_field.data_type() else {
            return internal_err!("{} of no struct", self.name());
        };
        Ok(Box::new(Rows::new(self.end, fields.clone())))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// The row that is kept of a group.
#[derive(Debug, Clone, Copy)]
struct Kept {
    /// Its index value, such that greater numbers are nearer to the end that is asked for.
    nearness: i64,
    batch: usize,
    row: usize,
}

/// The kept rows of all groups.
pub(super) struct Rows {
    end: End,
    fields: Fields,
    /// `None` for a group of which no row has come.
    kept: Vec<Option<Kept>>,
    /// For each batch its columns.
    batches: Vec<Vec<ArrayRef>>,
    batch_rows: usize,
    batch_bytes: usize,
}

impl Rows {
    pub(super) fn new(end: End, fields: Fields) -> Self {
        let (kept, batches) = (Vec::new(), Vec::new());
        Self { end, fields, kept, batches, batch_rows: 0, batch_bytes: 0 }
    }

    /// Numbers that are the greater the nearer an index value is to the end.
    fn nearness(&self, index: &ArrayRef) -> Result<Vec<i64>> {
        let Some(values) = index_values(index) else {
            return internal_err!("no index column: {}", index.data_type());
        };
        let flip = if index.data_type() == &DataType::UInt64 { i64::MIN } else { 0 };
        // In two's complement `!` turns the order around, and has no value that it does not fit.
        Ok(values
            .iter()
            .map(|value| match self.end {
                End::First => !(value ^ flip),
                End::Last => value ^ flip,
            })
            .collect())
    }

    fn take(
        &mut self,
        nearness: &[i64],
        columns: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        self.kept.resize(total_num_groups, None);
        let batch = self.batches.len();
        let mut any = false;
        for (row, (nearness, group)) in nearness.iter().zip(group_indices).enumerate() {
            let kept = &mut self.kept[*group];
            if kept.is_none_or(|kept| kept.nearness < *nearness) {
                *kept = Some(Kept { nearness: *nearness, batch, row });
                any = true;
            }
        }
        if any {
            self.hold(columns.to_vec());
            let crowded =
                self.batch_rows > ROWS_PER_GROUP_MAX * self.kept.len().max(nearness.len());
            if crowded || self.batches.len() > BATCHES_MAX {
                let all = self.columns(self.kept.len())?;
                (self.batch_rows, self.batch_bytes) = (0, 0);
                self.batches.clear();
                self.hold(all);
                for (row, kept) in self.kept.iter_mut().enumerate() {
                    if let Some(kept) = kept {
                        (kept.batch, kept.row) = (0, row);
                    }
                }
            }
        }
        Ok(())
    }

    fn hold(&mut self, columns: Vec<ArrayRef>) {
        self.batch_rows += columns.first().map_or(0, |column| column.len());
        self.batch_bytes += columns.iter().map(Array::get_array_memory_size).sum::<usize>();
        self.batches.push(columns);
    }

    /// The values of the first groups.
    fn columns(&self, count: usize) -> Result<Vec<ArrayRef>> {
        let Some(places) = self.kept[..count]
            .iter()
            .map(|kept| kept.map(|kept| (kept.batch, kept.row)))
            .collect::<Option<Vec<_>>>()
        else {
            return internal_err!("a group without a row");
        };
        let columns = (0..self.fields.len()).map(|column| {
            let of_batches: Vec<&dyn Array> =
                self.batches.iter().map(|columns| columns[column].as_ref()).collect();
            Ok(interleave(&of_batches, &places)?)
        });
        columns.collect()
    }

    /// Lets go of groups: their index values, and their rows as structs.
    fn emit(&mut self, emit_to: EmitTo) -> Result<(Int64Array, StructArray)> {
        let count = match emit_to {
            EmitTo::All => self.kept.len(),
            EmitTo::First(count) => count,
        };
        let rows = match count {
            0 => StructArray::new_null(self.fields.clone(), 0),
            _ => StructArray::try_new(self.fields.clone(), self.columns(count)?, None)?,
        };
        let kept = emit_to.take_needed(&mut self.kept);
        if self.kept.is_empty() {
            self.batches.clear();
            (self.batch_rows, self.batch_bytes) = (0, 0);
        }
        let nearness = kept.into_iter().map(|kept| kept.map(|kept| kept.nearness));
        Ok((nearness.collect(), rows))
    }
}

impl GroupsAccumulator for Rows {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        let ([index, columns @ ..], None) = (values, opt_filter) else {
            return internal_err!("the row of a group without an index, or with a filter");
        };
        let nearness = self.nearness(index)?;
        self.take(&nearness, columns, group_indices, total_num_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        Ok(Arc::new(self.emit(emit_to)?.1))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let (nearness, rows) = self.emit(emit_to)?;
        Ok(vec![Arc::new(nearness), Arc::new(rows)])
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        let [nearness, rows] = values else {
            return internal_err!("a partial answer without its row");
        };
        let nearness = nearness.as_primitive::<Int64Type>().values();
        let rows = rows.as_struct().columns();
        self.take(nearness, rows, group_indices, total_num_groups)
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let ([index, columns @ ..], None) = (values, opt_filter) else {
            return internal_err!("the row of a group without an index, or with a filter");
        };
        let nearness = Int64Array::from(self.nearness(index)?);
        let rows = StructArray::try_new(self.fields.clone(), columns.to_vec(), None)?;
        Ok(vec![Arc::new(nearness), Arc::new(rows)])
    }

    fn size(&self) -> usize {
        self.batch_bytes + self.kept.capacity() * size_of::<Option<Kept>>()
    }
}
