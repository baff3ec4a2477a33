//! Query results as a table for people: aligned columns, numbers to the right; and counted nouns.
//!
//! Widths come from the first rows; what follows is printed as it arrives, so a long result costs no memory.

use std::io::{self, Write};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// Rows that decide how wide the columns are.
const SAMPLE_ROWS: usize = 1000;

/// How null looks.
const NULL: &str = "NULL";

/// A count with its noun, for sentences.
pub(crate) fn plural(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Prints batches as one table.
pub(crate) struct TableWriter<W> {
    out: W,
    schema: SchemaRef,
    /// Rows that wait for the widths to be known.
    waiting: Vec<Vec<String>>,
    widths: Option<Vec<usize>>,
    row_count: u64,
}

impl<W: Write> TableWriter<W> {
    pub(crate) fn new(out: W, schema: SchemaRef) -> Self {
        Self { out, schema, waiting: Vec::new(), widths: None, row_count: 0 }
    }

    /// Adds rows.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let options = FormatOptions::default().with_null(NULL);
        let columns = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
            .collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let cells = columns
                .iter()
                .map(|column| Ok(printable(&column.value(row).try_to_string()?)))
                .collect::<Result<Vec<_>, ArrowError>>()?;
            self.row_count += 1;
            match &self.widths {
                Some(widths) => line(&mut self.out, &self.schema, widths, &cells)?,
                None => self.waiting.push(cells),
            }
            if self.widths.is_none() && self.waiting.len() >= SAMPLE_ROWS {
                self.begin()?;
            }
        }
        Ok(())
    }

    /// Prints what is left and the number of rows, and returns what was written to.
    pub(crate) fn finish(mut self) -> Result<W, ArrowError> {
        if self.schema.fields().is_empty() {
            return Ok(self.out);
        }
        self.begin()?;
        let plural = if self.row_count == 1 { "" } else { "s" };
        writeln!(self.out, "({} row{plural})", self.row_count)?;
        Ok(self.out)
    }

    /// Fixes the widths and prints the heading and the rows that waited for it.
    fn begin(&mut self) -> Result<(), ArrowError> {
        if self.widths.is_some() {
            return Ok(());
        }
        let names: Vec<_> =
            self.schema.fields().iter().map(|field| printable(field.name())).collect();
        let widths: Vec<_> = names
            .iter()
            .enumerate()
            .map(|(column, name)| {
                let cells = self.waiting.iter().map(|row| row[column].chars().count());
                cells.chain([name.chars().count()]).max().unwrap_or(0)
            })
            .collect();
        let heading: Vec<_> =
            names.iter().zip(&widths).map(|(name, &width)| format!(" {name:width$} ")).collect();
        writeln!(self.out, "{}", heading.join("|").trim_end())?;
        let rule: Vec<_> = widths.iter().map(|width| "-".repeat(width + 2)).collect();
        writeln!(self.out, "{}", rule.join("+"))?;
        for row in std::mem::take(&mut self.waiting) {
            line(&mut self.out, &self.schema, &widths, &row)?;
        }
        self.widths = Some(widths);
        Ok(())
    }
}

fn line(
    out: &mut impl Write,
    schema: &SchemaRef,
    widths: &[usize],
    cells: &[String],
) -> io::Result<()> {
    let cells: Vec<_> = cells
        .iter()
        .zip(widths)
        .zip(schema.fields())
        .map(|((cell, &width), field)| match is_number(field.data_type()) {
            true => format!(" {cell:>width$} "),
            false => format!(" {cell:width$} "),
        })
        .collect();
    writeln!(out, "{}", cells.join("|").trim_end())
}

fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric()
}

/// Text that stays on its line and cannot steer the terminal.
fn printable(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    let escape = |character: char| match character.is_control() {
        true => character.escape_default().to_string(),
        false => character.to_string(),
    };
    text.chars().map(escape).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};

    use super::*;

    fn batch(names: &[Option<&str>], numbers: &[i64]) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable([
            ("name", Arc::new(StringArray::from(names.to_vec())) as _, true),
            ("n", Arc::new(Int64Array::from(numbers.to_vec())) as _, true),
        ])
        .unwrap()
    }

    fn render(batches: &[RecordBatch]) -> String {
        let mut out = Vec::new();
        let mut writer = TableWriter::new(&mut out, batches[0].schema());
        for batch in batches {
            writer.write(batch).unwrap();
        }
        writer.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_are_aligned_and_numbers_stand_to_the_right() {
        let text = render(&[batch(&[Some("EWR"), None], &[7, 1234])]);
        let expected = " name | n\n------+------\n EWR  |    7\n NULL | 1234\n(2 rows)\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn an_empty_result_still_shows_its_columns() {
        assert_eq!(render(&[batch(&[], &[])]), " name | n\n------+---\n(0 rows)\n");
    }

    #[test]
    fn control_characters_are_shown_and_not_obeyed() {
        let text = render(&[batch(&[Some("a\nb\u{1b}[31m")], &[1])]);
        assert!(text.contains("a\\nb\\u{1b}[31m"), "{text}");
    }

    #[test]
    fn rows_beyond_the_sample_are_printed_with_its_widths() {
        let rows = vec![Some("x"); SAMPLE_ROWS];
        let first = batch(&rows, &vec![1; SAMPLE_ROWS]);
        let text = render(&[first, batch(&[Some("longer than the rest")], &[2])]);
        assert!(text.ends_with(" longer than the rest | 2\n(1001 rows)\n"), "{text}");
    }
}
