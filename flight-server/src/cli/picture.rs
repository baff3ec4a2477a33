//! Coverage as a picture for a terminal: one line per entity, time from left to right, darker where more is covered. Pure.

use std::io::{self, Write};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use arrow::error::ArrowError;
use arrow::util::display::array_value_to_string;

/// Cells of a line.
const CELLS: usize = 60;

/// Lines drawn at most; entities behind them are counted.
const LINES_MAX: usize = 100;

/// Runs kept at most. More cannot be told apart in a picture; those behind them are counted.
const RUNS_MAX: usize = 1_000_000;

/// Characters of an entity's name shown.
const NAME_CHARS_MAX: usize = 24;

/// From nothing to everything of a cell.
const SHADES: [char; 5] = ['·', '░', '▒', '▓', '█'];

/// What one entity has.
struct Line {
    name: String,
    /// Start and end of each run, as numbers.
    runs: Vec<(f64, f64)>,
}

/// The picture of the rows of `coverage('t')`: entity columns, start, end, number of buckets; rows of an entity follow one another.
#[derive(Default)]
pub(super) struct Picture {
    lines: Vec<Line>,
    run_count: usize,
    /// Runs and entities that are not in the picture.
    runs_left_out: usize,
    entities_left_out: usize,
    last_left_out: Option<String>,
    /// First start and last end, as a number and as text.
    first: Option<(f64, String)>,
    last: Option<(f64, String)>,
}

impl Picture {
    /// Takes rows.
    ///
    /// # Errors
    /// When these are not rows of that shape.
    pub(super) fn add(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let Some(entity_count) = batch.num_columns().checked_sub(3) else {
            return Err(ArrowError::SchemaError("coverage without start and end".to_owned()));
        };
        let (starts, ends) = (batch.column(entity_count), batch.column(entity_count + 1));
        let (start_numbers, end_numbers) = (numbers(starts)?, numbers(ends)?);
        let (start_numbers, end_numbers) = (
            start_numbers.as_primitive::<Float64Type>(),
            end_numbers.as_primitive::<Float64Type>(),
        );
        for row in 0..batch.num_rows() {
            let (start, end) = (start_numbers.value(row), end_numbers.value(row));
            if self.first.as_ref().is_none_or(|(first, _)| start < *first) {
                self.first = Some((start, array_value_to_string(starts, row)?));
            }
            if self.last.as_ref().is_none_or(|(last, _)| end > *last) {
                self.last = Some((end, array_value_to_string(ends, row)?));
            }
            let names = batch.columns()[..entity_count].iter();
            let names = names.map(|column| array_value_to_string(column, row));
            self.push(names.collect::<Result<Vec<_>, _>>()?.join(" "), start, end);
        }
        Ok(())
    }

    fn push(&mut self, name: String, start: f64, end: f64) {
        let is_full = self.run_count >= RUNS_MAX;
        let line_count = self.lines.len();
        match self.lines.last_mut() {
            Some(line) if line.name == name && self.last_left_out.is_none() => match is_full {
                true => self.runs_left_out += 1,
                false => {
                    line.runs.push((start, end));
                    self.run_count += 1;
                }
            },
            _ if line_count >= LINES_MAX || is_full => {
                if self.last_left_out.as_ref() != Some(&name) {
                    self.entities_left_out += 1;
                    self.last_left_out = Some(name);
                }
            }
            _ => {
                self.lines.push(Line { name, runs: vec![(start, end)] });
                self.run_count += 1;
            }
        }
    }

    /// Draws it.
    pub(super) fn draw(&self, out: &mut impl Write) -> io::Result<()> {
        let (Some((first, first_text)), Some((last, last_text))) = (&self.first, &self.last) else {
            return writeln!(out, "nothing is covered yet");
        };
        let names: Vec<String> = self.lines.iter().map(|line| shortened(&line.name)).collect();
        let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        let space = CELLS.saturating_sub(first_text.chars().count());
        writeln!(out, "{:width$}  {first_text}{last_text:>space$}", "")?;
        for (name, line) in names.iter().zip(&self.lines) {
            let cells: String = shares(&line.runs, *first, *last).map(shade).collect();
            writeln!(out, "{name:width$}  {cells}")?;
        }
        if self.entities_left_out > 0 {
            writeln!(out, "and {} more entities", self.entities_left_out)?;
        }
        if self.runs_left_out > 0 {
            writeln!(out, "{} runs are not drawn; use --format to see all", self.runs_left_out)?;
        }
        let [nothing, .., everything] = SHADES;
        writeln!(out, "{everything} all covered  {nothing} nothing")
    }
}

/// Index values as numbers to draw with.
fn numbers(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let array = match array.data_type() {
        DataType::Timestamp(..) => cast(array, &DataType::Int64)?,
        _ => array.clone(),
    };
    cast(&array, &DataType::Float64)
}

/// How much of each cell the runs cover, from 0 to 1.
fn shares(runs: &[(f64, f64)], first: f64, last: f64) -> impl Iterator<Item = f64> {
    let cell = (last - first) / CELLS as f64;
    let mut covered = vec![0.0; CELLS];
    for (start, end) in runs {
        let at = |value: f64| ((value - first) / cell).clamp(0.0, CELLS as f64);
        let (start, end) = (at(*start), at(*end));
        for (position, share) in covered.iter_mut().enumerate().skip(start as usize) {
            let left = position as f64;
            if left >= end {
                break;
            }
            *share += end.min(left + 1.0) - start.max(left);
        }
    }
    covered.into_iter()
}

/// Only what is wholly covered looks so, and only what has nothing at all looks empty.
fn shade(share: f64) -> char {
    // Sums of fractions of a cell end near the truth.
    const EXACT: f64 = 1e-6;
    let [nothing, little, some, most, everything] = SHADES;
    match share {
        share if share < EXACT => nothing,
        share if share > 1.0 - EXACT => everything,
        share if share < 0.34 => little,
        share if share < 0.67 => some,
        _ => most,
    }
}

fn shortened(name: &str) -> String {
    if name.chars().count() <= NAME_CHARS_MAX {
        return name.to_owned();
    }
    let mut short: String = name.chars().take(NAME_CHARS_MAX - 1).collect();
    short.push('…');
    short
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};

    use super::*;

    fn drawn(rows: &[(&str, i64, i64)]) -> String {
        let batch = RecordBatch::try_from_iter([
            (
                "e",
                Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0))) as ArrayRef,
            ),
            ("start", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1)))),
            ("end", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.2)))),
            (
                "buckets",
                Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.2 - row.1))),
            ),
        ])
        .unwrap();
        let mut picture = Picture::default();
        // In two parts, as a stream brings them.
        let half = rows.len() / 2;
        picture.add(&batch.slice(0, half)).unwrap();
        picture.add(&batch.slice(half, rows.len() - half)).unwrap();
        let mut out = Vec::new();
        picture.draw(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn time_runs_from_left_to_right_and_holes_show() {
        let text = drawn(&[("A", 0, 60), ("LONG", 0, 20), ("LONG", 40, 60), ("Z", 30, 31)]);
        let expected = format!(
            "      0{:>59}\nA     {}\nLONG  {}{}{}\nZ     {}█{}\n█ all covered  · nothing\n",
            60,
            "█".repeat(60),
            "█".repeat(20),
            "·".repeat(20),
            "█".repeat(20),
            "·".repeat(30),
            "·".repeat(29),
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn a_cell_with_a_hole_never_looks_whole() {
        let text = drawn(&[("A", 0, 599), ("B", 0, 1), ("C", 0, 600)]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].ends_with('▓'), "{text}");
        assert!(lines[2].starts_with("B  ░·"), "{text}");
    }

    #[test]
    fn many_entities_are_counted() {
        let names: Vec<String> = (0..150).map(|number| format!("E{number:03}")).collect();
        let rows: Vec<_> =
            names.iter().flat_map(|name| [(name.as_str(), 0, 1), (name.as_str(), 2, 3)]).collect();
        let text = drawn(&rows);
        assert!(text.contains("E099  ") && !text.contains("E100"), "{text}");
        assert!(text.contains("and 50 more entities"), "{text}");
    }

    #[test]
    fn nothing_says_so() {
        assert_eq!(drawn(&[]), "nothing is covered yet\n");
    }
}
