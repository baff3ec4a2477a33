//! The demo's data: embedded Parquet, cut into the daily files of a recurring job, and what is known about it.
//!
//! Where it comes from is told in `data/README.md`.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use bytes::Bytes;
use chrono::DateTime;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::cli::CliError;

/// Hourly weather at three airports, sorted by time.
const WEATHER: &[u8] = include_bytes!("data/nyc-weather-2013.parquet");

/// Airports of the United States.
const AIRPORTS: &[u8] = include_bytes!("data/airports.parquet");

/// Rows of the weather data.
pub(super) const ROW_COUNT: u64 = 26_115;

/// UTC days that it spans, all of them present.
pub(super) const DAY_COUNT: u64 = 364;

/// What is known about one airport's weather.
pub(super) struct Airport {
    /// Code, as in column `origin`.
    pub code: &'static str,
    /// Hours that are there.
    pub hours: u64,
    /// Hours missing between the first and the last.
    pub missing_hours: u64,
}

/// Every airport of the weather data, by code.
const KNOWN: [Airport; 3] = [
    Airport { code: "EWR", hours: 8_703, missing_hours: 27 },
    Airport { code: "JFK", hours: 8_706, missing_hours: 24 },
    Airport { code: "LGA", hours: 8_706, missing_hours: 24 },
];

const MICROSECONDS_PER_DAY: i64 = 24 * 60 * 60 * 1_000_000;

/// Writes the weather as one Parquet file per UTC day and returns the files in order.
pub(super) fn write_days(folder: &Path) -> Result<Vec<PathBuf>, CliError> {
    let mut files = Vec::new();
    let mut open: Option<(i64, ArrowWriter<File>)> = None;
    for batch in ParquetRecordBatchReaderBuilder::try_new(Bytes::from_static(WEATHER))?.build()? {
        let batch = batch?;
        let mut start = 0;
        let days = days_of(&batch)?;
        while start < days.len() {
            let day = days[start];
            let length = days[start..].iter().take_while(|other| **other == day).count();
            if open.as_ref().is_none_or(|(open_day, _)| *open_day != day) {
                if let Some((_, writer)) = open.take() {
                    writer.close()?;
                }
                let path = folder.join(format!("weather-{}.parquet", date(day)));
                let writer = ArrowWriter::try_new(File::create(&path)?, batch.schema(), None)?;
                files.push(path);
                open = Some((day, writer));
            }
            if let Some((_, writer)) = &mut open {
                writer.write(&batch.slice(start, length))?;
            }
            start += length;
        }
    }
    if let Some((_, writer)) = open {
        writer.close()?;
    }
    Ok(files)
}

/// Writes the airports as a Parquet file.
pub(super) fn write_airports(folder: &Path) -> Result<PathBuf, CliError> {
    let path = folder.join("airports.parquet");
    std::fs::write(&path, AIRPORTS)?;
    Ok(path)
}

/// Days since the epoch, UTC, of every row.
fn days_of(batch: &RecordBatch) -> Result<Vec<i64>, CliError> {
    let times = column(batch, "time_hour")?;
    let times = times
        .as_primitive_opt::<TimestampMicrosecondType>()
        .ok_or_else(|| unexpected("the weather's time_hour is not in microseconds"))?;
    Ok(times.values().iter().map(|time| time.div_euclid(MICROSECONDS_PER_DAY)).collect())
}

fn date(day: i64) -> String {
    DateTime::from_timestamp_micros(day * MICROSECONDS_PER_DAY)
        .map_or_else(|| day.to_string(), |time| time.format("%Y-%m-%d").to_string())
}

/// Checks that `batches` has one row per known airport, by code, and in `count_column` what is `known` of each.
pub(super) fn check_counts(
    batches: &[RecordBatch],
    count_column: &str,
    known: impl Fn(&Airport) -> u64,
) -> Result<(), CliError> {
    let mut found = Vec::new();
    for batch in batches {
        let codes = cast(column(batch, "origin")?, &DataType::Utf8)?;
        let counts = integers(column(batch, count_column)?)?;
        let codes = codes.as_string::<i32>().iter().map(|code| code.unwrap_or_default().to_owned());
        found.extend(codes.zip(counts));
    }
    let expected: Vec<_> =
        KNOWN.iter().map(|airport| (airport.code.to_owned(), known(airport))).collect();
    match found == expected {
        true => Ok(()),
        false => Err(unexpected(&format!(
            "the demo found these {count_column}: {}; it knows that there are: {}",
            listed(&found),
            listed(&expected)
        ))),
    }
}

/// The one number of a result with one row and one column.
pub(super) fn single(batches: &[RecordBatch]) -> Result<u64, CliError> {
    let mut numbers = Vec::new();
    for batch in batches {
        numbers.extend(integers(batch.column(0))?);
    }
    match numbers.as_slice() {
        [number] => Ok(*number),
        _ => Err(unexpected("a count is not one number")),
    }
}

fn integers(values: &ArrayRef) -> Result<Vec<u64>, CliError> {
    let values = cast(values, &DataType::Int64)?;
    if values.null_count() > 0 {
        return Err(unexpected("a count is null"));
    }
    let values = values.as_primitive::<Int64Type>().values();
    Ok(values.iter().map(|value| value.unsigned_abs()).collect())
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, CliError> {
    batch.column_by_name(name).ok_or_else(|| unexpected(&format!("there is no column \"{name}\"")))
}

fn listed(counts: &[(String, u64)]) -> String {
    let counts: Vec<_> = counts.iter().map(|(code, count)| format!("{code} {count}")).collect();
    counts.join(", ")
}

fn unexpected(what: &str) -> CliError {
    CliError::new(format!("{what}; this is a bug, please report this text"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};

    use super::*;

    fn read(path: &Path) -> Vec<RecordBatch> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
        reader.build().unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn the_daily_files_hold_what_is_known_of_the_data() {
        let folder = tempfile::tempdir().unwrap();
        let files = write_days(folder.path()).unwrap();
        assert_eq!(files.len() as u64, DAY_COUNT);
        assert!(files[0].ends_with("weather-2013-01-01.parquet"));
        assert!(files[363].ends_with("weather-2013-12-30.parquet"));
        assert!(files.is_sorted());

        let mut hours: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
        let mut row_count = 0;
        for file in &files {
            let batches = read(file);
            let days: BTreeSet<_> =
                batches.iter().flat_map(|batch| days_of(batch).unwrap()).collect();
            assert_eq!(days.len(), 1, "{file:?}");
            for batch in batches {
                row_count += batch.num_rows() as u64;
                let origins = batch.column_by_name("origin").unwrap().as_string::<i32>();
                let times = batch.column_by_name("time_hour").unwrap();
                let times = times.as_primitive::<TimestampMicrosecondType>();
                for (origin, time) in origins.iter().zip(times.values()) {
                    let hour = time / 3_600_000_000;
                    assert!(hours.entry(origin.unwrap().to_owned()).or_default().insert(hour));
                }
            }
        }
        assert_eq!(row_count, ROW_COUNT);
        let codes: Vec<_> = hours.keys().map(String::as_str).collect();
        assert_eq!(codes, KNOWN.map(|airport| airport.code));
        for (airport, hours) in KNOWN.iter().zip(hours.values()) {
            assert_eq!(hours.len() as u64, airport.hours);
            let span = hours.last().unwrap() - hours.first().unwrap() + 1;
            assert_eq!(span.unsigned_abs() - airport.hours, airport.missing_hours);
        }
    }

    #[test]
    fn every_weather_airport_can_be_joined() {
        let folder = tempfile::tempdir().unwrap();
        let batches = read(&write_airports(folder.path()).unwrap());
        let codes: Vec<_> = batches
            .iter()
            .flat_map(|batch| batch.column_by_name("faa").unwrap().as_string::<i32>().iter())
            .map(Option::unwrap)
            .collect();
        for airport in KNOWN {
            assert_eq!(codes.iter().filter(|code| **code == airport.code).count(), 1);
        }
    }

    fn counts(rows: &[(&str, i64)]) -> RecordBatch {
        let codes: Vec<_> = rows.iter().map(|(code, _)| *code).collect();
        let counts: Vec<_> = rows.iter().map(|(_, count)| *count).collect();
        RecordBatch::try_from_iter([
            ("origin", Arc::new(StringArray::from(codes)) as ArrayRef),
            ("hours", Arc::new(Int64Array::from(counts)) as ArrayRef),
        ])
        .unwrap()
    }

    #[test]
    fn other_numbers_than_the_known_ones_fail_the_demo() {
        let hours = |airport: &Airport| airport.hours;
        let right = [("EWR", 8_703), ("JFK", 8_706), ("LGA", 8_706)];
        check_counts(&[counts(&right)], "hours", hours).unwrap();
        check_counts(&[counts(&right[..1]), counts(&right[1..])], "hours", hours).unwrap();
        for wrong in [
            vec![("EWR", 8_704), right[1], right[2]],
            vec![right[0], right[1]],
            vec![],
            vec![("EWR", 8_703), ("JFK", 8_706), ("LGB", 8_706)],
        ] {
            let error = check_counts(&[counts(&wrong)], "hours", hours).unwrap_err();
            assert!(error.to_string().contains("EWR 8703, JFK 8706, LGA 8706"), "{error}");
        }
    }
}
