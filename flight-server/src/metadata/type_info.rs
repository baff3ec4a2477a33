//! GetXdbcTypeInfo: the types that columns can have, in the words of ODBC and JDBC.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use arrow_flight::sql::metadata::{XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder};
use arrow_flight::sql::{
    CommandGetXdbcTypeInfo, Nullable, Searchable, XdbcDataType, XdbcDatetimeSubcode,
};
use tonic::Status;

use super::flight;

pub(super) fn type_info(command: CommandGetXdbcTypeInfo) -> Result<RecordBatch, Status> {
    command.into_builder(&all()?).build().map_err(|error| flight(&error))
}

pub(super) fn schema() -> Result<SchemaRef, Status> {
    Ok(XdbcTypeInfoDataBuilder::new().schema())
}

fn all() -> Result<XdbcTypeInfoData, Status> {
    let mut builder = XdbcTypeInfoDataBuilder::new();
    let numbers = [
        ("TINYINT", XdbcDataType::XdbcTinyint, 3, false),
        ("SMALLINT", XdbcDataType::XdbcSmallint, 5, false),
        ("INTEGER", XdbcDataType::XdbcInteger, 10, false),
        ("BIGINT", XdbcDataType::XdbcBigint, 19, false),
        ("TINYINT UNSIGNED", XdbcDataType::XdbcTinyint, 3, true),
        ("SMALLINT UNSIGNED", XdbcDataType::XdbcSmallint, 5, true),
        ("INTEGER UNSIGNED", XdbcDataType::XdbcInteger, 10, true),
        ("BIGINT UNSIGNED", XdbcDataType::XdbcBigint, 20, true),
        ("REAL", XdbcDataType::XdbcReal, 7, false),
        ("DOUBLE", XdbcDataType::XdbcDouble, 15, false),
    ];
    for (name, data_type, digits, unsigned) in numbers {
        builder.append(XdbcTypeInfo {
            unsigned_attribute: Some(unsigned),
            num_prec_radix: Some(10),
            column_size: Some(digits),
            ..named(name, data_type)
        });
    }
    builder.append(XdbcTypeInfo {
        create_params: Some(vec!["precision".to_owned(), "scale".to_owned()]),
        unsigned_attribute: Some(false),
        minimum_scale: Some(0),
        maximum_scale: Some(38),
        num_prec_radix: Some(10),
        column_size: Some(38),
        ..named("DECIMAL", XdbcDataType::XdbcDecimal)
    });
    builder
        .append(XdbcTypeInfo { column_size: Some(1), ..named("BOOLEAN", XdbcDataType::XdbcBit) });
    for (name, data_type) in
        [("VARCHAR", XdbcDataType::XdbcVarchar), ("VARBINARY", XdbcDataType::XdbcVarbinary)]
    {
        let is_text = data_type == XdbcDataType::XdbcVarchar;
        builder.append(XdbcTypeInfo {
            column_size: Some(i32::MAX),
            literal_prefix: Some(if is_text { "'" } else { "X'" }.to_owned()),
            literal_suffix: Some("'".to_owned()),
            case_sensitive: is_text,
            searchable: if is_text { Searchable::Full } else { Searchable::Basic },
            ..named(name, data_type)
        });
    }
    let times = [
        ("DATE", "DATE '", XdbcDataType::XdbcDate, 10, XdbcDatetimeSubcode::XdbcSubcodeYear),
        ("TIME", "TIME '", XdbcDataType::XdbcTime, 18, XdbcDatetimeSubcode::XdbcSubcodeTime),
        (
            "TIMESTAMP",
            "TIMESTAMP '",
            XdbcDataType::XdbcTimestamp,
            29,
            XdbcDatetimeSubcode::XdbcSubcodeTimestamp,
        ),
        (
            "TIMESTAMP WITH TIME ZONE",
            "TIMESTAMPTZ '",
            XdbcDataType::XdbcTimestamp,
            35,
            XdbcDatetimeSubcode::XdbcSubcodeTimestampWithTimezone,
        ),
    ];
    for (name, prefix, data_type, size, subcode) in times {
        let has_fraction = data_type != XdbcDataType::XdbcDate;
        builder.append(XdbcTypeInfo {
            column_size: Some(size),
            literal_prefix: Some(prefix.to_owned()),
            literal_suffix: Some("'".to_owned()),
            minimum_scale: has_fraction.then_some(0),
            maximum_scale: has_fraction.then_some(9),
            sql_data_type: XdbcDataType::XdbcDatetime,
            datetime_subcode: Some(subcode),
            ..named(name, data_type)
        });
    }
    builder.append(XdbcTypeInfo {
        searchable: Searchable::Basic,
        ..named("INTERVAL", XdbcDataType::XdbcInterval)
    });
    builder.build().map_err(|error| flight(&error))
}

/// What most types have in common.
fn named(name: &str, data_type: XdbcDataType) -> XdbcTypeInfo {
    XdbcTypeInfo {
        type_name: name.to_owned(),
        local_type_name: Some(name.to_owned()),
        data_type,
        sql_data_type: data_type,
        nullable: Nullable::NullabilityNullable,
        searchable: Searchable::Basic,
        auto_increment: Some(false),
        ..XdbcTypeInfo::default()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use arrow::array::AsArray;

    use super::*;

    #[test]
    fn all_types_or_those_of_one_code() {
        let all = type_info(CommandGetXdbcTypeInfo { data_type: None }).unwrap();
        assert!(all.num_rows() > 15);
        assert_eq!(all.schema(), schema().unwrap());
        let varchar = XdbcDataType::XdbcVarchar as i32;
        let one = type_info(CommandGetXdbcTypeInfo { data_type: Some(varchar) }).unwrap();
        assert_eq!(one.column(0).as_string::<i32>().value(0), "VARCHAR");
        assert_eq!(one.num_rows(), 1);
    }

    #[test]
    fn every_name_that_columns_carry_is_a_listed_type() {
        use arrow::datatypes::{DataType, TimeUnit};
        let all = type_info(CommandGetXdbcTypeInfo { data_type: None }).unwrap();
        let names: Vec<_> = all.column(0).as_string::<i32>().iter().flatten().collect();
        for data_type in [
            DataType::Int8,
            DataType::UInt64,
            DataType::Float32,
            DataType::Float64,
            DataType::Decimal128(1, 0),
            DataType::Boolean,
            DataType::Utf8,
            DataType::Binary,
            DataType::Date32,
            DataType::Time64(TimeUnit::Nanosecond),
            DataType::Timestamp(TimeUnit::Second, None),
            DataType::Timestamp(TimeUnit::Second, Some("UTC".into())),
            DataType::Duration(TimeUnit::Second),
        ] {
            let name = crate::metadata::types::sql_type(&data_type).name;
            assert!(names.contains(&name), "{name}");
        }
    }
}
