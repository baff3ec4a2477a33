#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::Arc;

use prost::Message;
use uuid::Uuid;

use super::*;
use crate::schema::assign_field_ids;

fn example() -> (SegmentMeta, Schema) {
    let scalars = vec![
        ScalarValue::Boolean(Some(true)),
        ScalarValue::Int8(Some(-128)),
        ScalarValue::Int16(Some(i16::MIN)),
        ScalarValue::Int32(Some(i32::MIN)),
        ScalarValue::Int64(Some(i64::MIN)),
        ScalarValue::UInt8(Some(255)),
        ScalarValue::UInt16(Some(u16::MAX)),
        ScalarValue::UInt32(Some(u32::MAX)),
        ScalarValue::UInt64(Some(u64::MAX)),
        ScalarValue::Float32(Some(0.1)),
        ScalarValue::Float64(Some(-0.0)),
        ScalarValue::Utf8(Some("NVDA".into())),
        ScalarValue::Binary(Some(vec![0, 255])),
        ScalarValue::FixedSizeBinary(3, Some(vec![1, 2, 3])),
        ScalarValue::Date32(Some(-1)),
        ScalarValue::Date64(Some(86_400_000)),
        ScalarValue::Time32Second(Some(1)),
        ScalarValue::Time32Millisecond(Some(2)),
        ScalarValue::Time64Microsecond(Some(3)),
        ScalarValue::Time64Nanosecond(Some(4)),
        ScalarValue::TimestampSecond(Some(-5), None),
        ScalarValue::TimestampNanosecond(Some(i64::MAX), Some("America/New_York".into())),
        ScalarValue::DurationMicrosecond(Some(7)),
        ScalarValue::Decimal128(Some(-12345), 38, 4),
        ScalarValue::Decimal256(Some(i256::MIN), 76, 0),
    ];
    let fields: Vec<Field> = scalars
        .iter()
        .enumerate()
        .map(|(at, scalar)| Field::new(format!("c{at}"), scalar.data_type(), true))
        .collect();
    let schema = assign_field_ids(&Schema::new(fields));
    let mut columns: Vec<ColumnStats> = scalars
        .into_iter()
        .zip(1..)
        .map(|(scalar, field_id)| ColumnStats {
            field_id,
            null_count: 2,
            min: Some(scalar.clone()),
            max: Some(scalar),
        })
        .collect();
    columns[3].min = None;
    columns[3].max = None;
    let key = |byte: u8| EntityKey(vec![byte].into());
    let meta = SegmentMeta {
        id: SegmentId(Uuid::from_u128(77)),
        file_bytes: 1000,
        footer_bytes: 100,
        row_count: 30,
        index_range: Some((i64::MIN, i64::MAX)),
        entity_range: Some((key(1), key(2))),
        columns,
        row_groups: vec![
            RowGroupMeta { row_count: 10, start: 4, end: 400, crc32c: 1 },
            RowGroupMeta { row_count: 20, start: 400, end: 800, crc32c: u32::MAX },
        ],
        tail_crc32c: 9,
        file_digest: [7; 32],
        sorted: true,
    };
    (meta, Arc::unwrap_or_clone(schema))
}

#[test]
fn every_statistic_survives_the_bytes_of_the_log() {
    let (meta, schema) = example();
    let bytes = meta.to_proto().encode_to_vec();
    let read = proto::AddSegment::decode(bytes.as_slice()).unwrap();
    assert_eq!(SegmentMeta::from_proto(&read, &schema).unwrap(), meta);
    assert_eq!(meta.column(12).unwrap().max, Some(ScalarValue::Utf8(Some("NVDA".into()))));
}

#[test]
fn contradictions_are_refused_by_name() {
    let (meta, schema) = example();
    type Break = fn(&mut proto::AddSegment);
    let cases: Vec<(Break, &str)> = vec![
        (|add| add.segment_id.truncate(5), "segment_id has 5 bytes"),
        (|add| add.path = "../x".into(), "path"),
        (|add| add.shard = 1, "shard 1"),
        (|add| add.file_digest.clear(), "file_digest"),
        (|add| add.index_min = None, "index_min and index_max"),
        (|add| add.entity_max = None, "entity_min and entity_max"),
        (|add| add.entity_max = Some(vec![0].into()), "greater"),
        (|add| add.row_count = 29, "30 rows but the segment 29"),
        (|add| add.row_groups[1].start = 401, "must start at 400"),
        (|add| add.row_groups[1].end = 399, "row group 1"),
        (|add| add.row_groups[0].row_count = u64::MAX, "impossible row_count"),
        (|add| add.file_bytes = 850, "does not fit"),
        (|add| add.file_bytes = 10, "does not fit"),
        (|add| add.footer_bytes = 7, "does not fit"),
        (|add| add.columns[0].field_id = 99, "field id 99"),
        (|add| add.columns[0].min = None, "only one of min and max"),
        (|add| add.columns[1].min = add.columns[11].min.clone(), "no Int8"),
        (
            |add| {
                add.columns[1].max =
                    Some(proto::Scalar { value: Some(proto::scalar::Value::IntValue(128)) });
            },
            "no Int8",
        ),
        (
            |add| {
                add.columns[13].max = Some(proto::Scalar {
                    value: Some(proto::scalar::Value::BytesValue(vec![1].into())),
                });
            },
            "no FixedSizeBinary",
        ),
        (|add| add.columns[23].min = Some(proto::Scalar { value: None }), "no Decimal128"),
    ];
    for (damage, expected) in cases {
        let mut add = meta.to_proto();
        damage(&mut add);
        let error = SegmentMeta::from_proto(&add, &schema).unwrap_err();
        assert!(error.contains(expected), "{error} should say {expected}");
    }
}
