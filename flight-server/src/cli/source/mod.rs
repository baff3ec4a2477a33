//! Files to append: what kind a file is, and its rows as record batches.
//!
//! A file is read batch by batch, so memory does not grow with its size. The content decides the kind; the name only
//! where content cannot (CSV has no mark). Reading happens on the blocking pool: see [`Source::into_stream`].

mod csv;

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use arrow_ipc::reader::{FileReader, StreamReader};
use futures::Stream;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

/// Rows per batch where the file leaves the choice.
const BATCH_ROWS: usize = 16 * 1024;

/// Batches read ahead of the network.
const READ_AHEAD_BATCHES: usize = 2;

/// Bytes that tell the kinds of file apart.
const MAGIC_BYTES: u64 = 512;

/// Read buffer, bytes.
const BUFFER_BYTES: usize = 256 * 1024;

/// The kinds of file that can be appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileKind {
    Parquet,
    ArrowFile,
    ArrowStream,
    /// Text with this delimiter.
    Csv(u8),
}

/// How CSV is read.
#[derive(Debug, Clone, Default)]
pub(crate) struct CsvOptions {
    /// Texts that mean null, besides the empty one.
    pub null_texts: Vec<String>,
    /// The table's schema, when it has one: it decides the types of the columns that it names.
    pub table_schema: Option<SchemaRef>,
}

/// Why a file cannot be appended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    /// It cannot be opened.
    #[error("cannot open \"{path}\": {source}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Neither content nor name say what it is.
    #[error(
        "cannot tell what \"{path}\" is: {reason}; files can be Parquet, CSV, Arrow IPC files and Arrow IPC streams"
    )]
    UnknownKind {
        /// The file.
        path: PathBuf,
        /// What was looked at.
        reason: &'static str,
    },
    /// Somebody wrote to it meanwhile.
    #[error(
        "\"{path}\" changed while it was read, so this append of it was called off; append it again when it is complete"
    )]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// It is damaged, or of the wrong kind.
    #[error("cannot read \"{path}\" as {kind}: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Parquet, CSV, an Arrow IPC file or stream.
        kind: &'static str,
        /// What the reader said.
        reason: String,
    },
}

/// An open file: its columns, and its rows when asked for.
pub(crate) struct Source {
    /// Columns of every batch.
    pub schema: SchemaRef,
    path: PathBuf,
    kind: FileKind,
    position: Position,
    batches: Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>,
}

/// How far a file has been read, bytes; shared with whoever draws the progress bar.
pub(crate) type Position = Arc<AtomicU64>;

impl Source {
    /// Opens a file. Blocks: call it where blocking is allowed. CSV is read once to its end to learn its types.
    pub(crate) fn open(path: &Path, csv: &CsvOptions) -> Result<Self, SourceError> {
        let open_error = |source| SourceError::Open { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(open_error)?;
        let metadata = file.metadata().map_err(open_error)?;
        if metadata.is_dir() {
            return Err(open_error(io::Error::from(io::ErrorKind::IsADirectory)));
        }
        let mut head = Vec::new();
        (&mut file).take(MAGIC_BYTES).read_to_end(&mut head).map_err(open_error)?;
        file.rewind().map_err(open_error)?;
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or("");
        let kind = detect(&head, extension)
            .map_err(|reason| SourceError::UnknownKind { path: path.to_owned(), reason })?;

        let position = Position::default();
        let file_bytes = metadata.len();
        let opened = match kind {
            FileKind::Parquet => open_parquet(file, file_bytes, &position),
            FileKind::ArrowFile => open_arrow_file(counted(file, &position)),
            FileKind::ArrowStream => open_arrow_stream(counted(file, &position)),
            FileKind::Csv(delimiter) => csv::open(file, delimiter, csv, &position),
        };
        let (schema, batches) = opened.map_err(|error| malformed(path, kind, &error))?;
        Ok(Self { schema, path: path.to_owned(), kind, position, batches })
    }

    /// What separates the columns of CSV; `None` for other kinds.
    pub(crate) fn delimiter(&self) -> Option<u8> {
        match self.kind {
            FileKind::Csv(delimiter) => Some(delimiter),
            FileKind::Parquet | FileKind::ArrowFile | FileKind::ArrowStream => None,
        }
    }

    /// How far the file has been read.
    pub(crate) fn position(&self) -> Position {
        Arc::clone(&self.position)
    }

    /// The rows, read on the blocking pool a few batches ahead of whoever takes them.
    ///
    /// A reader that stops without saying so (a panic over damaged bytes) is an error, never the end of the rows.
    pub(crate) fn into_stream(
        self,
    ) -> impl Stream<Item = Result<RecordBatch, ArrowError>> + Send + 'static {
        let Self { path, kind, batches, .. } = self;
        let (sender, receiver) = mpsc::channel(READ_AHEAD_BATCHES);
        let reader_path = path.clone();
        tokio::task::spawn_blocking(move || {
            for batch in batches {
                let item = batch.map_err(|error| external(malformed(&reader_path, kind, &error)));
                let failed = item.is_err();
                if sender.blocking_send(Item::Batch(item)).is_err() || failed {
                    return;
                }
            }
            // Nobody listens only when the append is over already.
            let _ = sender.blocking_send(Item::End);
        });
        let stopped = Item::Batch(Err(external(SourceError::Malformed {
            path,
            kind: kind.name(),
            reason: "the reader stopped".to_owned(),
        })));
        ReceiverStream::new(receiver).chain(tokio_stream::once(stopped)).map_while(
            |item| match item {
                Item::Batch(batch) => Some(batch),
                Item::End => None,
            },
        )
    }
}

/// Opens a file where blocking is allowed.
pub(crate) async fn open(path: PathBuf, csv: CsvOptions) -> Result<Source, SourceError> {
    let name = path.clone();
    let opened = tokio::task::spawn_blocking(move || Source::open(&path, &csv)).await;
    // Readers of damaged files can panic; that is an error of this file.
    opened.unwrap_or_else(|error| {
        Err(SourceError::Open { path: name, source: io::Error::other(error) })
    })
}

enum Item {
    Batch(Result<RecordBatch, ArrowError>),
    End,
}

impl FileKind {
    fn name(self) -> &'static str {
        match self {
            Self::Parquet => "Parquet",
            Self::ArrowFile => "an Arrow IPC file",
            Self::ArrowStream => "an Arrow IPC stream",
            Self::Csv(_) => "CSV",
        }
    }
}

/// The kind of a file, from its first bytes, then from its name.
fn detect(head: &[u8], extension: &str) -> Result<FileKind, &'static str> {
    let extension = extension.to_ascii_lowercase();
    if head.starts_with(b"PAR1") {
        return Ok(FileKind::Parquet);
    }
    if head.starts_with(b"PARE") {
        return Err("it is an encrypted Parquet file, which cannot be read");
    }
    if head.starts_with(b"ARROW1") {
        return Ok(FileKind::ArrowFile);
    }
    if head.starts_with(&[0xff, 0xff, 0xff, 0xff]) {
        return Ok(FileKind::ArrowStream);
    }
    if head.is_empty() {
        return Err("it is empty");
    }
    match extension.as_str() {
        "parquet" | "pq" => Err("it is named like Parquet but does not begin with \"PAR1\""),
        "arrow" | "arrows" | "ipc" | "feather" => {
            Err("it is named like Arrow IPC but does not begin like it")
        }
        "tsv" => Ok(FileKind::Csv(b'\t')),
        _ if head.contains(&0) => Err("it is not text, and not a kind of file known here"),
        _ => Ok(FileKind::Csv(b',')),
    }
}

type Opened = (SchemaRef, Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>);

fn open_parquet(file: File, file_bytes: u64, position: &Position) -> Result<Opened, ArrowError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
    let schema = Arc::clone(builder.schema());
    let row_count = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0);
    let position = Arc::clone(position);
    let mut rows_read = 0;
    // Parquet is not read front to back: the share of rows stands for the share of bytes.
    let batches = builder.with_batch_size(BATCH_ROWS).build()?.inspect(move |batch| {
        rows_read += batch.as_ref().map_or(0, |batch| batch.num_rows() as u64);
        let share = u128::from(file_bytes) * u128::from(rows_read) / u128::from(row_count.max(1));
        position.store(u64::try_from(share).unwrap_or(file_bytes), Ordering::Relaxed);
    });
    Ok((schema, Box::new(batches)))
}

fn open_arrow_file(file: BufReader<Counted>) -> Result<Opened, ArrowError> {
    let reader = FileReader::try_new(file, None)?;
    Ok((reader.schema(), Box::new(reader)))
}

fn open_arrow_stream(file: BufReader<Counted>) -> Result<Opened, ArrowError> {
    let reader = StreamReader::try_new(file, None)?;
    Ok((reader.schema(), Box::new(reader)))
}

/// A file that notes how far it has been read.
struct Counted {
    file: File,
    position: Position,
}

fn counted(file: File, position: &Position) -> BufReader<Counted> {
    BufReader::with_capacity(BUFFER_BYTES, Counted { file, position: Arc::clone(position) })
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.position.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

impl Seek for Counted {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        let position = self.file.seek(to)?;
        self.position.store(position, Ordering::Relaxed);
        Ok(position)
    }
}

fn malformed(path: &Path, kind: FileKind, error: &ArrowError) -> SourceError {
    // The readers' own prefixes ("Parquet argument error: ...") name their code, not the file.
    let reason = match error {
        ArrowError::ParquetError(reason)
        | ArrowError::CsvError(reason)
        | ArrowError::ParseError(reason)
        | ArrowError::IpcError(reason)
        | ArrowError::SchemaError(reason)
        | ArrowError::InvalidArgumentError(reason)
        | ArrowError::IoError(reason, _) => reason.clone(),
        other => other.to_string(),
    };
    SourceError::Malformed { path: path.to_owned(), kind: kind.name(), reason }
}

fn external(error: SourceError) -> ArrowError {
    ArrowError::ExternalError(Box::new(error))
}

#[cfg(test)]
mod tests;
