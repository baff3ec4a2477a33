#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;
use crate::schema::field_id;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("price", DataType::Float64, true),
        Field::new("ts", DataType::Timestamp(TimeUnit::Nanosecond, None), true),
        Field::new("venue", DataType::Int16, true),
        Field::new("symbol", DataType::LargeUtf8, true),
    ]))
}

fn spec(bucket: &str, entities: &[&str]) -> TableSpec {
    TableSpec {
        index: Some(IndexSpec {
            column: "ts".into(),
            bucket: BucketWidth::parse(bucket).unwrap(),
            entity_columns: entities.iter().map(|&name| name.to_owned()).collect(),
            time_zone: "America/New_York".into(),
        }),
    }
}

#[test]
fn binding_finds_the_columns_and_fixes_their_nullability() {
    let layout = spec("1d", &["symbol", "venue"]).bind(&schema()).unwrap();
    assert_eq!((layout.index, layout.entities.clone()), (Some(1), vec![3, 2]));
    assert_eq!(layout.index_type, Some(IndexType::Timestamp(TimeUnit::Nanosecond)));
    assert_eq!(layout.entity_types, [EntityType::Utf8, EntityType::Int]);
    let nullable: Vec<bool> =
        layout.schema.fields().iter().map(|field| field.is_nullable()).collect();
    assert_eq!(nullable, [true, false, false, false]);
    let ids: Vec<_> = layout.schema.fields().iter().map(|field| field_id(field)).collect();
    assert_eq!(ids, [Some(1), Some(2), Some(3), Some(4)]);
    assert_eq!(layout.schema.field(3).data_type(), &DataType::Utf8);
    let again = spec("1d", &["symbol", "venue"]).bind(&layout.schema).unwrap();
    assert_eq!(again.schema, layout.schema);

    let plain = TableSpec::plain().bind(&schema()).unwrap();
    assert!(plain.bucketing.is_none() && plain.index.is_none() && plain.entities.is_empty());
    assert!(plain.schema.field(1).is_nullable());
}

#[test]
fn what_does_not_go_together_is_refused_by_name() {
    let cases = [
        (spec("1d", &["symbol", "symbol"]), "column \"symbol\" is named twice"),
        (spec("1d", &["ts"]), "column \"ts\" is named twice"),
        (spec("1d", &["nope"]), "entity column \"nope\" is not in the schema"),
        (spec("1d", &["price"]), "entity column \"price\" has type Float64"),
        (spec("1d", &[""]), "empty name"),
        (spec("7", &[]), "\"7\""),
    ];
    for (spec, expected) in cases {
        let error = spec.bind(&schema()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error} should say {expected}");
    }
    let mut other = spec("1d", &[]);
    if let Some(index) = &mut other.index {
        index.column = "symbol".into();
    }
    let error = other.bind(&schema()).unwrap_err().to_string();
    assert!(error.contains("index column \"symbol\" has type Utf8"), "{error}");
    if let Some(index) = &mut other.index {
        index.time_zone = "Mars/Olympus".into();
    }
    let error = other.validate().unwrap_err().to_string();
    assert!(error.contains("Mars/Olympus"), "{error}");
}

#[test]
fn schemas_beyond_the_limits_are_refused() {
    let one = |data_type: DataType| vec![Field::new("c", data_type, true)];
    let many = |count: usize| -> Vec<Field> {
        (0..count).map(|at| Field::new(format!("c{at}"), DataType::Int64, true)).collect()
    };
    let nested =
        |depth: usize| (0..depth).fold(DataType::Int8, |inner, _| DataType::new_list(inner, true));
    let union = DataType::Union(
        arrow::datatypes::UnionFields::from_fields(many(2)),
        arrow::datatypes::UnionMode::Sparse,
    );
    let twice = DataType::Struct(vec![many(1).remove(0), many(1).remove(0)].into());
    let refused = [
        (Vec::new(), "no columns"),
        (many(COLUMNS_MAX + 1), "1025 columns"),
        (one(nested(NESTING_DEPTH_MAX + 1)), "nested deeper"),
        (one(DataType::new_list(union, true)), "unions"),
        (one(DataType::Interval(arrow::datatypes::IntervalUnit::DayTime)), "intervals"),
        (one(DataType::Struct(Fields::empty())), "at least one field"),
        (one(twice), "\"c.c0\" is named twice"),
        (one(DataType::FixedSizeBinary(0)), "at least 1"),
        (one(DataType::Time32(TimeUnit::Nanosecond)), "no such unit"),
        (one(DataType::Decimal128(10, -2)), "scale"),
        (one(DataType::Decimal128(39, 2)), "precision"),
        (one(DataType::Timestamp(TimeUnit::Second, Some("Mars/Olympus".into()))), "time zone"),
        (vec![many(1).remove(0), many(1).remove(0)], "\"c0\" is named twice"),
        (vec![Field::new("", DataType::Int8, true)], "empty name"),
        (vec![Field::new("x".repeat(1025), DataType::Int8, true)], "1025 bytes"),
    ];
    for (fields, expected) in refused {
        let error = TableSpec::plain().bind(&Arc::new(Schema::new(fields))).unwrap_err();
        assert!(error.to_string().contains(expected), "{error} should say {expected}");
    }
    let taken = [
        many(COLUMNS_MAX),
        one(nested(NESTING_DEPTH_MAX)),
        one(DataType::Duration(TimeUnit::Second)),
        one(DataType::Timestamp(TimeUnit::Second, Some("+05:30".into()))),
        one(DataType::Decimal256(76, 76)),
    ];
    for fields in taken {
        TableSpec::plain().bind(&Arc::new(Schema::new(fields))).unwrap();
    }
}
