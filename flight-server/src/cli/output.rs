//! Where a query's result goes and in which format: stdout or a file; table, CSV, JSON lines or Parquet.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::RecordBatch;
use arrow::csv;
use arrow::datatypes::SchemaRef;
use arrow::json;
use arrow::json::writer::LineDelimited;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use tempfile::{NamedTempFile, TempPath};

use super::error::CliError;
use super::render::TableWriter;

/// The formats of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns, for people.
    Table,
    /// RFC 4180 with a header; null is empty.
    Csv,
    /// One JSON object per line.
    Json,
    /// Parquet, zstd; needs --output or a redirected stdout.
    Parquet,
}

/// Writes batches in one format to one place.
pub(crate) struct ResultWriter {
    encoder: Encoder,
    place: Place,
    reader_gone: Arc<AtomicBool>,
}

type Sink = Box<dyn Write + Send>;

enum Encoder {
    Table(TableWriter<Sink>),
    Csv(Box<csv::Writer<Sink>>),
    Json(json::Writer<Sink, LineDelimited>),
    Parquet(Box<ArrowWriter<Sink>>),
}

enum Place {
    Stdout,
    /// A result appears under its name when it is complete, and not at all when the query fails.
    File {
        temporary: TempPath,
        path: PathBuf,
    },
}

impl ResultWriter {
    /// Opens the place; refuses Parquet on a terminal.
    pub(crate) fn open(
        format: Format,
        path: Option<&Path>,
        schema: &SchemaRef,
    ) -> Result<Self, CliError> {
        let reader_gone = Arc::default();
        let (sink, place) = match path {
            Some(path) => open_file(path).map_err(|error| {
                CliError::from(error).about(format!("cannot write \"{}\"", path.display()))
            })?,
            None => {
                let stdout =
                    Watched { stdout: io::stdout(), reader_gone: Arc::clone(&reader_gone) };
                (Box::new(BufWriter::new(stdout)) as Sink, Place::Stdout)
            }
        };
        let encoder = match format {
            Format::Table => Encoder::Table(TableWriter::new(sink, schema.clone())),
            Format::Csv => Encoder::Csv(Box::new(csv_writer(sink, schema)?)),
            Format::Json => {
                let builder = json::WriterBuilder::new().with_explicit_nulls(true);
                Encoder::Json(builder.build(sink))
            }
            Format::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .build();
                let writer = ArrowWriter::try_new(sink, schema.clone(), Some(properties))?;
                Encoder::Parquet(Box::new(writer))
            }
        };
        Ok(Self { encoder, place, reader_gone })
    }

    /// Checks what can be known before the query runs.
    pub(crate) fn check(format: Format, path: Option<&Path>) -> Result<(), CliError> {
        if format == Format::Parquet && path.is_none() && io::stdout().is_terminal() {
            return Err(CliError::new("Parquet is not for terminals")
                .hint("name a file with --output FILE, or redirect stdout"));
        }
        Ok(())
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), CliError> {
        self.encoder.write(batch).map_err(|error| excuse(error, &self.reader_gone))
    }

    /// Completes the result.
    pub(crate) fn finish(self) -> Result<(), CliError> {
        self.encoder.finish().map_err(|error| excuse(error, &self.reader_gone))?;
        match self.place {
            Place::Stdout => Ok(()),
            Place::File { temporary, path } => temporary.persist(&path).map_err(|error| {
                CliError::from(error.error).about(format!("cannot write \"{}\"", path.display()))
            }),
        }
    }
}

impl Encoder {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), CliError> {
        match self {
            Self::Table(writer) => writer.write(batch)?,
            Self::Csv(writer) => writer.write(batch)?,
            Self::Json(writer) => writer.write(batch)?,
            Self::Parquet(writer) => writer.write(batch)?,
        }
        Ok(())
    }

    fn finish(self) -> Result<(), CliError> {
        let mut sink = match self {
            Self::Table(writer) => writer.finish()?,
            Self::Csv(writer) => writer.into_inner(),
            Self::Json(mut writer) => {
                writer.finish()?;
                writer.into_inner()
            }
            Self::Parquet(writer) => writer.into_inner()?,
        };
        sink.flush()?;
        Ok(())
    }
}

/// Stdout, noting when nobody reads it any more: the encoders turn errors into text and lose what kind they were.
struct Watched {
    stdout: Stdout,
    reader_gone: Arc<AtomicBool>,
}

impl Watched {
    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            self.reader_gone.store(true, Ordering::Relaxed);
        }
        result
    }
}

impl Write for Watched {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.stdout.write(bytes);
        self.note(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.stdout.flush();
        self.note(result)
    }
}

fn excuse(error: CliError, reader_gone: &AtomicBool) -> CliError {
    match reader_gone.load(Ordering::Relaxed) {
        true => error.reader_gone(),
        false => error,
    }
}

/// A CSV writer that has written its header: a result without rows has columns too.
fn csv_writer(sink: Sink, schema: &SchemaRef) -> Result<csv::Writer<Sink>, CliError> {
    let mut writer = csv::WriterBuilder::new().with_header(true).build(sink);
    if !schema.fields().is_empty() {
        writer.write(&RecordBatch::new_empty(schema.clone()))?;
    }
    Ok(writer)
}

fn open_file(path: &Path) -> io::Result<(Sink, Place)> {
    // Renaming over a device or a pipe would replace it by a file.
    if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        return Ok((Box::new(BufWriter::new(File::create(path)?)), Place::Stdout));
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let (file, temporary) = new_file(folder)?.into_parts();
    let place = Place::File { temporary, path: path.to_owned() };
    Ok((Box::new(BufWriter::new(file)), place))
}

/// A temporary file with the permissions of any other new file; the default would be readable by its owner alone.
fn new_file(folder: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new()
        .prefix(".coverline-")
        .make_in(folder, |path| File::options().read(true).write(true).create_new(true).open(path))
}
