//! `coverline tables`: what tables there are.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use futures::TryStreamExt;
use serde_json::{Value, json};

use super::Outcome;
use super::error::CliError;
use super::render::TableWriter;
use super::target::Target;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How the list looks.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    target: Target,
}

/// Looks of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Aligned columns, for people.
    Table,
    /// One JSON object per line.
    Json,
}

pub(crate) async fn run(arguments: Arguments) -> Result<Outcome, CliError> {
    let Arguments { format, target } = arguments;
    target
        .with_reading(async |client| {
            let tables: Vec<Value> =
                client.action("coverline.ListTables", &json!({})).await?.try_collect().await?;
            let mut out = BufWriter::new(io::stdout());
            match format {
                Format::Json => tables.iter().try_for_each(|table| writeln!(out, "{table}"))?,
                Format::Table => {
                    let batch = table_of(&tables)?;
                    let mut writer = TableWriter::new(&mut out, batch.schema());
                    writer.write(&batch)?;
                    writer.finish()?;
                }
            }
            out.flush()?;
            for table in &tables {
                // A table that cannot be opened is listed all the same, with what is wrong with it.
                if let Some(error) = table["error"].as_str() {
                    writeln!(io::stderr(), "warning: table {}: {error}", table["name"])?;
                }
            }
            Ok(Outcome::Done)
        })
        .await
}

fn table_of(tables: &[Value]) -> Result<RecordBatch, CliError> {
    let text = |of: &dyn Fn(&Value) -> Option<String>| -> ArrayRef {
        Arc::new(
            tables.iter().map(|table| Some(of(table).unwrap_or_default())).collect::<StringArray>(),
        )
    };
    let number = |key: &str| -> ArrayRef {
        Arc::new(tables.iter().map(|table| table[key].as_u64()).collect::<UInt64Array>())
    };
    let field = |key: &'static str| move |table: &Value| table[key].as_str().map(str::to_owned);
    let entities = |table: &Value| {
        let names = table["entity_columns"].as_array()?.iter().filter_map(Value::as_str);
        Some(names.collect::<Vec<_>>().join(", "))
    };
    Ok(RecordBatch::try_from_iter([
        ("table", text(&field("name"))),
        ("index", text(&field("index_column"))),
        ("bucket", text(&field("bucket"))),
        ("entity", text(&entities)),
        ("time zone", text(&field("time_zone"))),
        ("rows", number("row_count")),
        ("first", text(&field("first_index"))),
        ("last", text(&field("last_index"))),
        ("version", number("version")),
    ])?)
}
