//! What is checked of an IPC message before Arrow's reader sees it. Pure, allocates nothing in proportion to a claim.
//!
//! Arrow's reader allocates the decompressed length that a buffer claims before it looks at the data, and an allocation that
//! fails ends the process; it also slices buffers and nodes by unchecked numbers and panics. So every number that it would
//! use is checked here: counts against the schema, places against the body, claims against the limits.

use arrow::datatypes::{DataType, Field, Schema};
use arrow_ipc::{CompressionType, MetadataVersion};

use super::decode::{DecodeError, DecodeLimits};
use super::lz4;

/// Each compressed buffer starts with its uncompressed length in 8 bytes.
const CLAIM_BYTES: u64 = 8;

/// The claim that says "not compressed after all".
const CLAIM_STORED: i64 = -1;

type Result<T> = std::result::Result<T, DecodeError>;

fn malformed<T>(what: impl Into<String>) -> Result<T> {
    Err(DecodeError::Malformed { what: what.into() })
}

/// Metadata versions whose layout Arrow's reader knows.
pub(super) fn version(version: MetadataVersion) -> Result<()> {
    match version {
        MetadataVersion::V4 | MetadataVersion::V5 => Ok(()),
        other => malformed(format!("metadata version {} is not known", other.0)),
    }
}

/// Bounds of a schema, read from the flatbuffer: a small message can name the same field many thousand times.
pub(super) fn schema(schema: &arrow_ipc::Schema<'_>, limits: &DecodeLimits) -> Result<()> {
    if schema.endianness() != arrow_ipc::Endianness::Little {
        return malformed("the data is big endian; send it little endian");
    }
    let Some(fields) = schema.fields() else {
        return malformed("the schema has no list of fields");
    };
    if fields.len() > limits.columns_max {
        return Err(DecodeError::Schema {
            what: format!(
                "the schema has {} columns; at most {} are allowed",
                fields.len(),
                limits.columns_max
            ),
        });
    }
    let mut walk = SchemaWalk { limits, fields: 0, names_bytes: 0, metadata_bytes: 0 };
    walk.metadata(schema.custom_metadata())?;
    fields.iter().try_for_each(|field| walk.field(field, 1))
}

struct SchemaWalk<'a> {
    limits: &'a DecodeLimits,
    fields: usize,
    names_bytes: usize,
    metadata_bytes: usize,
}

/// pandas describes every column of a frame under this key; it grows with the columns and is dropped with the rest.
const PANDAS_KEY: &str = "pandas";

impl SchemaWalk<'_> {
    fn field(&mut self, field: arrow_ipc::Field<'_>, depth: usize) -> Result<()> {
        self.fields += 1;
        if self.fields > self.limits.fields_max {
            return Err(DecodeError::Schema {
                what: format!(
                    "the schema has more than {} fields, nested ones included",
                    self.limits.fields_max
                ),
            });
        }
        if depth > self.limits.depth_max {
            return Err(DecodeError::Schema {
                what: format!("the schema is nested deeper than {} levels", self.limits.depth_max),
            });
        }
        self.names_bytes = self.names_bytes.saturating_add(field.name().map_or(0, str::len));
        if self.names_bytes > self.limits.names_bytes_max {
            return Err(DecodeError::Schema {
                what: format!(
                    "the names of the schema take more than {} bytes",
                    self.limits.names_bytes_max
                ),
            });
        }
        self.metadata(field.custom_metadata())?;
        field.children().into_iter().flatten().try_for_each(|child| self.field(child, depth + 1))
    }

    fn metadata<'a>(
        &mut self,
        pairs: Option<impl IntoIterator<Item = arrow_ipc::KeyValue<'a>>>,
    ) -> Result<()> {
        for pair in pairs.into_iter().flatten() {
            let key = pair.key().unwrap_or_default();
            if key != PANDAS_KEY {
                self.add_metadata(key.len() + pair.value().map_or(0, str::len))?;
            }
        }
        Ok(())
    }

    fn add_metadata(&mut self, bytes: usize) -> Result<()> {
        self.metadata_bytes = self.metadata_bytes.saturating_add(bytes);
        if self.metadata_bytes <= self.limits.metadata_bytes_max {
            return Ok(());
        }
        Err(DecodeError::Schema {
            what: format!(
                "the metadata of the schema takes more than {} bytes; leave it out",
                self.limits.metadata_bytes_max
            ),
        })
    }
}

/// Everything that a record batch's header says about its body.
pub(super) fn record_batch(
    batch: &arrow_ipc::RecordBatch<'_>,
    version: MetadataVersion,
    schema: &Schema,
    body: &[u8],
    limits: &DecodeLimits,
) -> Result<()> {
    let row_count = length(batch.length(), "row count")?;
    if row_count > limits.rows_max {
        return malformed(format!(
            "the batch claims {row_count} rows; at most {} are allowed in one batch",
            limits.rows_max
        ));
    }
    let (Some(nodes), Some(buffers)) = (batch.nodes(), batch.buffers()) else {
        return malformed("the batch has no list of nodes or buffers");
    };

    let mut layout = Layout {
        limits,
        version,
        nodes: nodes.iter(),
        buffers_needed: 0,
        variadic: batch.variadicBufferCounts().into_iter().flatten().collect(),
        variadic_used: 0,
    };
    for field in schema.fields() {
        let len = layout.field(field)?;
        if len != row_count {
            return malformed(format!(
                "column \"{}\" has {len} rows where its batch has {row_count}",
                field.name()
            ));
        }
    }
    if layout.variadic_used != layout.variadic.len() {
        return malformed("the batch counts more variadic buffers than it has view columns");
    }
    if layout.buffers_needed > buffers.len() as u64 {
        return malformed(format!(
            "the batch lists {} buffers where its schema needs {}",
            buffers.len(),
            layout.buffers_needed
        ));
    }

    let codec = match batch.compression() {
        None => None,
        Some(compression) => {
            let codec = compression.codec();
            if codec != CompressionType::LZ4_FRAME && codec != CompressionType::ZSTD {
                return malformed(format!("compression codec {} is not known", codec.0));
            }
            Some(codec)
        }
    };
    let mut decoded_bytes = 0u64;
    for buffer in buffers {
        let bytes = slice(body, buffer.offset(), buffer.length())?;
        let unfolded = match codec {
            None => bytes.len() as u64,
            Some(codec) => unfolded_bytes(bytes, codec, limits)?,
        };
        decoded_bytes = decoded_bytes.saturating_add(unfolded);
    }
    if decoded_bytes > limits.batch_bytes_max {
        return Err(DecodeError::Limit {
            what: format!(
                "the batch decodes to {decoded_bytes} bytes; at most {} are allowed, send smaller batches",
                limits.batch_bytes_max
            ),
        });
    }
    Ok(())
}

/// The most a compressed buffer can take in memory, after checking its claim.
fn unfolded_bytes(bytes: &[u8], codec: CompressionType, limits: &DecodeLimits) -> Result<u64> {
    if bytes.is_empty() {
        return Ok(0);
    }
    let Some((prefix, data)) = bytes.split_first_chunk::<{ CLAIM_BYTES as usize }>() else {
        return malformed("a compressed buffer is too short for its length");
    };
    let claim = i64::from_le_bytes(*prefix);
    if claim == CLAIM_STORED {
        return Ok(data.len() as u64);
    }
    let claimed = length(claim, "uncompressed length of a buffer")?;
    if claimed > limits.buffer_bytes_max {
        return Err(DecodeError::Limit {
            what: format!(
                "a compressed buffer claims {claimed} bytes; at most {} are allowed, send smaller batches",
                limits.buffer_bytes_max
            ),
        });
    }
    // Constant columns honestly compress ten thousandfold; the ratio is a sign of a bomb only where the claim would hurt.
    let ratio_bytes_max = (data.len() as u64).saturating_mul(limits.compression_ratio_max);
    if claimed > limits.compression_ratio_floor_bytes && claimed > ratio_bytes_max {
        return Err(DecodeError::Limit {
            what: format!(
                "a compressed buffer claims {claimed} bytes from {}; at most {} times are allowed",
                data.len(),
                limits.compression_ratio_max
            ),
        });
    }
    let unfolded = match codec {
        CompressionType::LZ4_FRAME if claimed > 0 => lz4::unfolded_bytes_max(data),
        _ => 0,
    };
    Ok(claimed.max(unfolded))
}

fn slice(body: &[u8], offset: i64, len: i64) -> Result<&[u8]> {
    let start = length(offset, "buffer offset")?;
    let end = start.saturating_add(length(len, "buffer length")?);
    let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
    match range.and_then(|(start, end)| body.get(start..end)) {
        Some(bytes) => Ok(bytes),
        None => malformed(format!(
            "a buffer at {start}..{end} lies outside its body of {} bytes",
            body.len()
        )),
    }
}

/// A length or offset that must not be negative.
pub(super) fn length(value: i64, what: &str) -> Result<u64> {
    match u64::try_from(value) {
        Ok(value) => Ok(value),
        Err(_) => malformed(format!("{what} is negative ({value})")),
    }
}

/// Walks a schema in the order in which Arrow's reader takes nodes and buffers.
struct Layout<'a, N> {
    limits: &'a DecodeLimits,
    version: MetadataVersion,
    nodes: N,
    buffers_needed: u64,
    variadic: Vec<i64>,
    variadic_used: usize,
}

impl<'a, N: Iterator<Item = &'a arrow_ipc::FieldNode>> Layout<'_, N> {
    /// Takes what the field needs and returns its length.
    fn field(&mut self, field: &Field) -> Result<u64> {
        let Some(node) = self.nodes.next() else {
            return malformed(format!("column \"{}\" has no node in the batch", field.name()));
        };
        let len = length(node.length(), "length of a column")?;
        let nulls = length(node.null_count(), "null count of a column")?;
        if nulls > len {
            return malformed(format!(
                "column \"{}\" claims {nulls} nulls in {len} rows",
                field.name()
            ));
        }
        if len > self.limits.node_length_max {
            return malformed(format!("column \"{}\" claims {len} values", field.name()));
        }
        match field.data_type() {
            DataType::Null => {}
            DataType::Utf8 | DataType::Binary | DataType::LargeUtf8 | DataType::LargeBinary => {
                self.buffers_needed += 3;
            }
            DataType::Utf8View | DataType::BinaryView => {
                let Some(count) = self.variadic.get(self.variadic_used) else {
                    return malformed(format!(
                        "column \"{}\" has no count of variadic buffers",
                        field.name()
                    ));
                };
                let count = length(*count, "count of variadic buffers")?;
                self.variadic_used += 1;
                self.buffers_needed = self.buffers_needed.saturating_add(count.saturating_add(2));
            }
            DataType::List(child) | DataType::LargeList(child) | DataType::Map(child, _) => {
                self.buffers_needed += 2;
                self.field(child)?;
            }
            DataType::ListView(child) | DataType::LargeListView(child) => {
                self.buffers_needed += 3;
                self.field(child)?;
            }
            DataType::FixedSizeList(child, _) => {
                self.buffers_needed += 1;
                self.field(child)?;
            }
            DataType::Struct(children) => {
                self.buffers_needed += 1;
                for child in children {
                    self.field(child)?;
                }
            }
            DataType::RunEndEncoded(run_ends, values) => {
                if len > self.limits.rows_max {
                    return malformed(format!(
                        "run-end encoded column \"{}\" claims {len} values",
                        field.name()
                    ));
                }
                self.field(run_ends)?;
                self.field(values)?;
            }
            DataType::Union(children, mode) => {
                self.buffers_needed += match mode {
                    arrow::datatypes::UnionMode::Dense => 2,
                    arrow::datatypes::UnionMode::Sparse => 1,
                };
                if self.version < MetadataVersion::V5 {
                    self.buffers_needed += 1;
                }
                for (_, child) in children.iter() {
                    self.field(child)?;
                }
            }
            _ => self.buffers_needed += 2,
        }
        Ok(len)
    }
}
