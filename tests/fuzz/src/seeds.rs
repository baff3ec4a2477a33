//! The first inputs of each target, made by the product: a root in memory with two tables and what it left on its disk, streams
//! as clients send them, tickets and commands. The corpus has them too, and a test holds the two against each other.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Decimal128Array, DictionaryArray, Float64Array,
    Int32Array, Int64Array, ListArray, NullArray, RecordBatch, RunArray, StringArray,
    StringViewArray, StructArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int8Type, Int32Type};
use arrow_flight::sql::{
    Any, Command, CommandGetTables, CommandPreparedStatementQuery, CommandStatementIngest,
    CommandStatementQuery, ProstMessageExt, TableDefinitionOptions, TicketStatementQuery,
};
use arrow_flight::{FlightData, FlightDescriptor};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use coverline_proto::flight::{AppendCommand, PreparedHandle, QueryTicket, TablePin, UpdateTicket};
use prost::Message;
use table_core::append::AppendRequest;
use table_core::clock::SeededClock;
use table_core::hot::INLINE_BYTES_MAX;
use table_core::schema::{IndexSpec, TableLayout, TableSpec};
use table_core::storage::faults::SimDisk;
use table_core::storage::layout as paths;
use table_core::types::{BucketWidth, TableId, Version};
use table_core::{Catalog, CatalogOptions, Snapshot, Table};

use crate::Target;
use crate::targets::{flight, segment, sql};

/// A name and the bytes of one input.
pub type Seed = (&'static str, Vec<u8>);

/// A root with a table of everything and a plain one.
struct Root {
    disk: SimDisk,
    prices: Arc<Snapshot>,
    plain: Arc<Snapshot>,
    tables: Vec<Snapshot>,
}

static ROOT: LazyLock<Root> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(root())
});

/// How the table of everything is made.
pub fn spec() -> TableSpec {
    TableSpec {
        index: Some(IndexSpec {
            column: "n".into(),
            bucket: BucketWidth::parse("10").unwrap(),
            entity_columns: vec!["name".into()],
            time_zone: "UTC".into(),
        }),
    }
}

/// Columns of the table of everything.
pub fn layout() -> Arc<TableLayout> {
    Arc::clone(ROOT.prices.layout.as_ref().unwrap())
}

/// Tables that a record may follow.
pub fn tables() -> &'static [Snapshot] {
    &ROOT.tables
}

/// Makes what all inputs share, so that none of them pays for it.
pub fn prepare() {
    LazyLock::force(&ROOT);
    sql::prepare();
}

/// A catalog on a disk in memory.
pub async fn catalog(disk: &SimDisk) -> Arc<Catalog> {
    let clock = Arc::new(SeededClock::new(1));
    let options = CatalogOptions {
        clock: clock.clone(),
        disk_floor_bytes: Some(0),
        ..CatalogOptions::default()
    };
    Catalog::over(Arc::new(disk.store(clock)), options).await.unwrap()
}

/// Rows of the table of everything. A large note makes an append too long for its record.
pub fn rows(rows: &[(i64, &str)], note: &str) -> RecordBatch {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("n", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0)))),
        ("name", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.1)))),
        ("price", Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.0 as f64)))),
        ("note", Arc::new(StringArray::from_iter_values(rows.iter().map(|_| note)))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

async fn append(table: &Arc<Table>, batch: RecordBatch, key: &str) {
    let append_id = (!key.is_empty()).then(|| key.to_owned());
    let mut append = table.append(AppendRequest { append_id, ..AppendRequest::default() });
    append.write(batch).await.unwrap();
    append.commit().await.unwrap();
}

async fn root() -> Root {
    let disk = SimDisk::new();
    let catalog = catalog(&disk).await;
    let prices = catalog.create_table("prices", spec(), None, "").await.unwrap();
    let plain = catalog.create_table("plain", TableSpec::plain(), None, "ann").await.unwrap();
    let mut tables = vec![prices.snapshot().as_ref().clone()];
    append(&prices, rows(&[(1, "a"), (-2, "b"), (3, "a")], ""), "first").await;
    append(&prices, rows(&[(20, "é")], ""), "").await;
    prices.flush().await.unwrap();
    append(&prices, rows(&[(40, "b")], &"n".repeat(INLINE_BYTES_MAX)), "large").await;
    append(&prices, rows(&[(60, "a"), (70, "a")], "hot"), "").await;
    prices.checkpoint().await.unwrap();
    append(&plain, rows(&[(1, "x")], ""), "").await;
    tables.extend([prices.snapshot().as_ref().clone(), plain.snapshot().as_ref().clone()]);
    Root { disk, prices: prices.snapshot(), plain: plain.snapshot(), tables }
}

fn record(table: TableId, version: u64) -> Vec<u8> {
    ROOT.disk.peek(&paths::record(&paths::table_log(table), Version(version))).unwrap()
}

/// A batch of the kinds that most clients send.
fn plain_batch() -> RecordBatch {
    let symbols = ["S0", "S1", "S0", "a longer symbol"];
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("ts", Arc::new(TimestampMicrosecondArray::from_iter_values(0..4).with_timezone("UTC"))),
        ("symbol", Arc::new(StringArray::from_iter_values(symbols))),
        ("price", Arc::new(Float64Array::from(vec![Some(1.0), None, Some(3.0), Some(4.0)]))),
        ("open", Arc::new(BooleanArray::from(vec![true, false, true, true]))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// A batch of everything that is nested or encoded.
fn nested_batch() -> RecordBatch {
    let long = "a value that is longer than a view's twelve bytes";
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
        Some(vec![Some(3)]),
    ]);
    let point = StructArray::from(vec![(
        Arc::new(Field::new("x", DataType::Int64, true)),
        Arc::new(Int64Array::from(vec![Some(1), None, Some(3), Some(4)])) as ArrayRef,
    )]);
    let runs = RunArray::<Int32Type>::try_new(
        &Int32Array::from(vec![3, 4]),
        &StringArray::from(vec!["first", "second"]),
    )
    .unwrap();
    let dictionary: DictionaryArray<Int8Type> =
        [Some("a"), None, Some("b"), Some("a")].into_iter().collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("list", Arc::new(list)),
        ("point", Arc::new(point)),
        ("runs", Arc::new(runs)),
        ("dictionary", Arc::new(dictionary)),
        (
            "view",
            Arc::new(StringViewArray::from(vec![Some("short"), None, Some(long), Some(long)])),
        ),
        ("bytes", Arc::new(BinaryArray::from_vec(vec![b"x", b"", b"yz", b"w"]))),
        ("amount", Arc::new(Decimal128Array::from(vec![1, 2, 3, 4]))),
        ("nothing", Arc::new(NullArray::new(4))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// A stream as a client writes it.
fn stream(batches: &[RecordBatch], compression: Option<CompressionType>) -> Vec<FlightData> {
    let options = IpcWriteOptions::default().try_with_compression(compression).unwrap();
    let generator = IpcDataGenerator::default();
    let mut tracker = DictionaryTracker::new(false);
    let schema = batches[0].schema();
    let schema = generator.schema_to_bytes_with_dictionary_tracker(&schema, &mut tracker, &options);
    let mut messages: Vec<FlightData> = vec![schema.into()];
    let mut context = IpcWriteContext::default();
    for batch in batches {
        let (dictionaries, batch) =
            generator.encode(batch, &mut tracker, &options, &mut context).unwrap();
        messages.extend(dictionaries.into_iter().map(Into::into));
        messages.push(batch.into());
    }
    messages
}

fn streams() -> Vec<Seed> {
    let zeros: ArrayRef = Arc::new(Int64Array::from(vec![0; 1 << 14]));
    let zeros = RecordBatch::try_from_iter([("zero", zeros)]).unwrap();
    // More than the targets allow, though no column is.
    let much: ArrayRef = Arc::new(Int64Array::from(vec![0; 1 << 18]));
    let names: Vec<String> = (0..20).map(|number| format!("{number}")).collect();
    let bomb = RecordBatch::try_from_iter(names.iter().map(|name| (name, much.clone()))).unwrap();
    let (lz4, zstd) = (Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD));
    let of = |batches: &[RecordBatch], compression| flight::input(&stream(batches, compression));
    vec![
        ("plain", of(&[plain_batch(), plain_batch()], None)),
        ("nested", of(&[nested_batch()], None)),
        ("plain-lz4", of(&[plain_batch()], lz4)),
        ("nested-zstd", of(&[nested_batch()], zstd)),
        ("zeros-lz4", of(std::slice::from_ref(&zeros), lz4)),
        ("zeros-zstd", of(&[zeros], zstd)),
        ("bomb-zstd", of(&[bomb], zstd)),
    ]
}

fn parameters(columns: usize) -> Vec<u8> {
    let value = |number: usize| -> ArrayRef {
        match number % 2 {
            0 => Arc::new(Int64Array::from(vec![1, 2])),
            _ => Arc::new(StringArray::from(vec![Some("a"), None])),
        }
    };
    let names: Vec<String> = (0..columns).map(|number| format!("{number}")).collect();
    let columns = names.iter().enumerate().map(|(number, name)| (name, value(number)));
    flight::input(&stream(&[RecordBatch::try_from_iter(columns).unwrap()], None))
}

fn any(name: &str, value: Vec<u8>) -> Vec<u8> {
    let type_url = format!("type.googleapis.com/coverline.flight.v1.{name}");
    Any { type_url, value: value.into() }.encode_to_vec()
}

fn handle(parameters: Vec<u8>) -> Vec<u8> {
    let handle = PreparedHandle {
        id: vec![7; 16].into(),
        sql: "SELECT * FROM prices WHERE n = ?".into(),
        parameters: parameters.into(),
        substrait: Vec::new().into(),
    };
    any("PreparedHandle", handle.encode_to_vec())
}

fn tickets() -> Vec<Seed> {
    let ticket = |handle: Vec<u8>| {
        TicketStatementQuery { statement_handle: handle.into() }.as_any().encode_to_vec()
    };
    let query = |parameters: Vec<u8>| {
        let pin = TablePin {
            table_id: vec![7; 16].into(),
            name: "prices".into(),
            version: 41,
            past_name: "prices/version=41".into(),
        };
        let sql = "SELECT * FROM prices WHERE n = ?".into();
        let (pins, parameters) = (vec![pin], parameters.into());
        QueryTicket { sql, pins, parameters, ..Default::default() }.encode_to_vec()
    };
    let tables = CommandGetTables { catalog: Some("coverline".into()), ..Default::default() };
    vec![
        ("query", ticket(any("QueryTicket", query(Vec::new())))),
        ("query-bound", ticket(any("QueryTicket", query(parameters(1))))),
        ("update", ticket(any("UpdateTicket", UpdateTicket { record_count: 5 }.encode_to_vec()))),
        ("command", tables.as_any().encode_to_vec()),
        ("sql", b"SELECT * FROM prices".to_vec()),
    ]
}

fn commands() -> Vec<Seed> {
    let append = AppendCommand {
        table: "prices".into(),
        on_overlap: 2,
        commit: 2,
        append_id: "2025-03-01".into(),
    };
    let ingest = CommandStatementIngest {
        table_definition_options: Some(TableDefinitionOptions { if_not_exist: 1, if_exists: 2 }),
        table: "prices".into(),
        schema: Some("public".into()),
        catalog: Some("coverline".into()),
        // One, as the bytes of a map with two come in any order.
        options: [("index_column".into(), "ts".into())].into(),
        ..Default::default()
    };
    let query = CommandStatementQuery { query: "SELECT 1".into(), transaction_id: None };
    let prepared = Command::CommandPreparedStatementQuery(CommandPreparedStatementQuery {
        prepared_statement_handle: vec![1; 16].into(),
    });
    let path = FlightDescriptor::new_path(vec!["public".into(), "prices".into()]);
    let append = any("AppendCommand", append.encode_to_vec());
    vec![
        ("append", append.clone()),
        ("append-descriptor", FlightDescriptor::new_cmd(append).encode_to_vec()),
        ("ingest", ingest.as_any().encode_to_vec()),
        ("query", query.as_any().encode_to_vec()),
        ("prepared", prepared.into_any().encode_to_vec()),
        ("path", path.encode_to_vec()),
        ("sql", b"SELECT 1".to_vec()),
    ]
}

fn coverage() -> Vec<Seed> {
    let stored = ROOT.prices.coverage.encode();
    let hot = ROOT.prices.hot.iter().next().unwrap();
    let range = hot.index_range.unwrap();
    let mut delta = table_core::coverage::CoverageDelta::default();
    for number in 0..8_i64 {
        let key = table_core::types::EntityKey(format!("SYM{number}\0\0").into_bytes().into());
        for bucket in (range.0..range.0 + 40).step_by(number as usize + 1) {
            delta.insert(&key, table_core::types::BucketId(bucket * (number - 3)));
        }
        delta.insert(&key, table_core::types::BucketId(i64::MAX));
        delta.insert(&key, table_core::types::BucketId(i64::MIN));
    }
    vec![("table", stored), ("many-runs", delta.encode()), ("empty", vec![1, 0])]
}

fn records() -> Vec<Seed> {
    let prices = |version| record(ROOT.prices.table_id, version);
    let plain = |version| record(ROOT.plain.table_id, version);
    let catalog = ROOT.disk.peek(&paths::record("_catalog/log", Version(2))).unwrap();
    vec![
        ("create", prices(1)),
        ("inline", prices(2)),
        ("flush", prices(4)),
        ("segment", prices(5)),
        ("plain", plain(2)),
        ("catalog", catalog),
    ]
}

fn checkpoints() -> Vec<Seed> {
    let log = paths::table_log(ROOT.prices.table_id);
    let table = ROOT.disk.peek(&paths::checkpoint(&log, ROOT.prices.version)).unwrap();
    let plain = table_core::fuzzing::write_checkpoint(&ROOT.plain).to_vec();
    vec![("table", table), ("plain", plain)]
}

fn segments() -> Vec<Seed> {
    let names = ["flush", "large"];
    let seeds = names.into_iter().zip(&ROOT.prices.segments).map(|(name, meta)| {
        let file = ROOT.disk.peek(&paths::segment(ROOT.prices.table_id, meta.id)).unwrap();
        (name, segment::input(meta, &file))
    });
    seeds.collect()
}

/// Choices of a target that draws them from its input: enough of them to reach most of it.
fn choices() -> Vec<Seed> {
    let ramp = |step: usize, count: usize| (0..count).map(|at| (at * step) as u8).collect();
    vec![("steps", ramp(7, 200)), ("leaps", ramp(37, 120)), ("zeros", vec![0; 64])]
}

/// The first inputs of a target.
pub fn of(target: &Target) -> Vec<Seed> {
    let text = |texts: &[(&'static str, &str)]| -> Vec<Seed> {
        texts.iter().map(|(name, text)| (*name, text.as_bytes().to_vec())).collect()
    };
    match target.name {
        "flight_data_stream" | "ipc_precheck" => streams(),
        "ticket_decode" => tickets(),
        "any_command_decode" => commands(),
        "prepared_handle_params" => vec![
            ("one", [vec![1], parameters(1)].concat()),
            ("three", [vec![3], parameters(3)].concat()),
            ("none", vec![0]),
            ("handle", handle(Vec::new())),
            ("handle-bound", handle(parameters(1))),
        ],
        "append_id_header" => {
            text(&[("header", "\0load-2025-03-01"), ("command", "\u{1}é"), ("option", "\u{2}a b")])
        }
        "min_version_header" => {
            text(&[("single", "17"), ("named", "prices=4, a%2Cb=18446744073709551615")])
        }
        "sql_gate" => text(&sql::SEEDS),
        "commit_record_decode" => records(),
        "checkpoint_decode" => checkpoints(),
        "coverage_decode" => coverage(),
        "table_name" => {
            text(&[("plain", "prices"), ("spaces", "Preise 2025"), ("quoted", "a\"b;c")])
        }
        "parquet_segment_open" => segments(),
        "bucket_math" | "log_replay" => choices(),
        other => panic!("{other} has no seeds"),
    }
}
