//! GetSqlInfo: one table of what the server can do. Clients cast each value to the type that the specification gives its
//! code, some without looking, so every code of the specification is here with its type, and no other.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use arrow_flight::sql::metadata::{SqlInfoData, SqlInfoDataBuilder};
use arrow_flight::sql::{
    CommandGetSqlInfo, SqlInfo, SqlNullOrdering, SqlOuterJoinsSupportLevel,
    SqlSupportedCaseSensitivity, SqlSupportedGroupBy, SqlSupportedResultSetConcurrency,
    SqlSupportedResultSetType, SqlSupportedSubqueries, SqlSupportedTransaction, SqlSupportedUnions,
    SqlSupportsConvert, SqlTransactionIsolationLevel, SupportedSqlGrammar,
};
use datafusion::logical_expr::ScalarUDF;
use tonic::Status;

use super::flight;
use crate::query::substrait;
use crate::{action, limits};

/// Codes in one request; there are fewer than this.
const CODES_MAX: usize = 1_000;

/// Longest table name, bytes; `table-core` refuses longer ones.
const TABLE_NAME_BYTES_MAX: i64 = 255;

/// Columns of a table; the decoder refuses more.
const TABLE_COLUMNS_MAX: i64 = 1_024;

/// No limit, or none that is known.
const UNLIMITED: i64 = 0;

/// Words with a meaning here that SQL:2003 does not reserve.
const KEYWORDS: [&str; 9] =
    ["ANTI", "DESCRIBE", "EXPLAIN", "ILIKE", "LIMIT", "QUALIFY", "SEMI", "SHOW", "UNNEST"];

/// One value, with the type that the specification gives its code.
enum Value {
    Text(&'static str),
    Bool(bool),
    Bigint(i64),
    Int32(i32),
    List(Vec<String>),
    Map(BTreeMap<i32, Vec<i32>>),
}

macro_rules! from {
    ($type:ty, $variant:ident) => {
        impl From<$type> for Value {
            fn from(value: $type) -> Self {
                Self::$variant(value)
            }
        }
    };
}

from!(&'static str, Text);
from!(bool, Bool);
from!(i64, Bigint);
from!(i32, Int32);
from!(Vec<String>, List);
from!(BTreeMap<i32, Vec<i32>>, Map);

pub(super) fn sql_info(
    mut command: CommandGetSqlInfo,
    is_read_only: bool,
) -> Result<RecordBatch, Status> {
    command.info.truncate(CODES_MAX);
    let all = all(is_read_only)?;
    command.into_builder(&all).build().map_err(|error| flight(&error))
}

fn all(is_read_only: bool) -> Result<SqlInfoData, Status> {
    let mut builder = SqlInfoDataBuilder::new();
    for (code, value) in capabilities(is_read_only) {
        match value {
            Value::Text(text) => builder.append(code, text),
            Value::Bool(flag) => builder.append(code, flag),
            Value::Bigint(number) => builder.append(code, number),
            Value::Int32(number) => builder.append(code, number),
            Value::List(texts) => builder.append(code, texts),
            Value::Map(lists) => builder.append(code, lists),
        }
    }
    builder.build().map_err(|error| flight(&error))
}

fn bits<const N: usize>(values: [i32; N]) -> Value {
    values.iter().fold(0i32, |mask, bit| mask | (1 << bit)).into()
}

fn names(functions: Vec<Arc<ScalarUDF>>) -> Value {
    let mut names: Vec<String> = functions
        .iter()
        .flat_map(|function| {
            std::iter::once(function.name().to_owned()).chain(function.aliases().iter().cloned())
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names.into()
}

/// The table. In the order of the codes.
fn capabilities(is_read_only: bool) -> Vec<(SqlInfo, Value)> {
    let statement_ttl_ms =
        i32::try_from(limits::PREPARED_STATEMENT_TTL.as_millis()).unwrap_or(i32::MAX);
    let transactions = match action::serves("BeginTransaction") {
        true => SqlSupportedTransaction::Transaction,
        false => SqlSupportedTransaction::None,
    };
    let has_substrait = action::serves(action::CREATE_PREPARED_SUBSTRAIT_PLAN);
    let mut strings = datafusion::functions::string::functions();
    strings.extend(datafusion::functions::unicode::functions());
    let mut times = datafusion::functions::datetime::functions();
    times.extend(table_core::datafusion::scalar_functions().into_iter().map(Arc::new));
    times.extend(table_core::datafusion::gapfill_functions().into_iter().map(Arc::new));
    let read_only =
        bits([SqlSupportedResultSetConcurrency::SqlResultSetConcurrencyReadOnly as i32]);
    vec![
        (SqlInfo::FlightSqlServerName, "Coverline".into()),
        (SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION").into()),
        (SqlInfo::FlightSqlServerArrowVersion, arrow::ARROW_VERSION.into()),
        (SqlInfo::FlightSqlServerReadOnly, is_read_only.into()),
        (SqlInfo::FlightSqlServerSql, true.into()),
        (SqlInfo::FlightSqlServerSubstrait, has_substrait.into()),
        (SqlInfo::FlightSqlServerSubstraitMinVersion, substrait::VERSION_MIN.into()),
        (SqlInfo::FlightSqlServerSubstraitMaxVersion, substrait::VERSION_MAX.into()),
        (SqlInfo::FlightSqlServerTransaction, (transactions as i32).into()),
        (SqlInfo::FlightSqlServerCancel, action::serves("CancelQuery").into()),
        (SqlInfo::FlightSqlServerBulkIngestion, true.into()),
        (SqlInfo::FlightSqlServerIngestTransactionsSupported, false.into()),
        (SqlInfo::FlightSqlServerStatementTimeout, statement_ttl_ms.into()),
        (SqlInfo::FlightSqlServerTransactionTimeout, 0i32.into()),
        (SqlInfo::SqlDdlCatalog, false.into()),
        (SqlInfo::SqlDdlSchema, false.into()),
        (SqlInfo::SqlDdlTable, true.into()),
        (
            SqlInfo::SqlIdentifierCase,
            (SqlSupportedCaseSensitivity::SqlCaseSensitivityLowercase as i32).into(),
        ),
        (SqlInfo::SqlIdentifierQuoteChar, "\"".into()),
        // Quoted names are kept and compared as they are, for which the specification has no word.
        (
            SqlInfo::SqlQuotedIdentifierCase,
            (SqlSupportedCaseSensitivity::SqlCaseSensitivityUnknown as i32).into(),
        ),
        (SqlInfo::SqlAllTablesAreSelectable, true.into()),
        (SqlInfo::SqlNullOrdering, (SqlNullOrdering::SqlNullsSortedHigh as i32).into()),
        (SqlInfo::SqlKeywords, KEYWORDS.map(str::to_owned).to_vec().into()),
        (SqlInfo::SqlNumericFunctions, names(datafusion::functions::math::functions())),
        (SqlInfo::SqlStringFunctions, names(strings)),
        (SqlInfo::SqlSystemFunctions, names(datafusion::functions::core::functions())),
        (SqlInfo::SqlDatetimeFunctions, names(times)),
        (SqlInfo::SqlSearchStringEscape, "\\".into()),
        (SqlInfo::SqlExtraNameCharacters, "".into()),
        (SqlInfo::SqlSupportsColumnAliasing, true.into()),
        (SqlInfo::SqlNullPlusNullIsNull, true.into()),
        (SqlInfo::SqlSupportsConvert, conversions().into()),
        (SqlInfo::SqlSupportsTableCorrelationNames, true.into()),
        (SqlInfo::SqlSupportsDifferentTableCorrelationNames, false.into()),
        (SqlInfo::SqlSupportsExpressionsInOrderBy, true.into()),
        (SqlInfo::SqlSupportsOrderByUnrelated, true.into()),
        (
            SqlInfo::SqlSupportedGroupBy,
            bits([
                SqlSupportedGroupBy::SqlGroupByUnrelated as i32,
                SqlSupportedGroupBy::SqlGroupByBeyondSelect as i32,
            ]),
        ),
        (SqlInfo::SqlSupportsLikeEscapeClause, false.into()),
        (SqlInfo::SqlSupportsNonNullableColumns, true.into()),
        (
            SqlInfo::SqlSupportedGrammar,
            bits([
                SupportedSqlGrammar::SqlMinimumGrammar as i32,
                SupportedSqlGrammar::SqlCoreGrammar as i32,
            ]),
        ),
        // Bit 0 is the entry level.
        (SqlInfo::SqlAnsi92SupportedLevel, bits([0])),
        (SqlInfo::SqlSupportsIntegrityEnhancementFacility, false.into()),
        (
            SqlInfo::SqlOuterJoinsSupportLevel,
            (SqlOuterJoinsSupportLevel::SqlFullOuterJoins as i32).into(),
        ),
        (SqlInfo::SqlSchemaTerm, "schema".into()),
        (SqlInfo::SqlProcedureTerm, "procedure".into()),
        (SqlInfo::SqlCatalogTerm, "catalog".into()),
        (SqlInfo::SqlCatalogAtStart, true.into()),
        (SqlInfo::SqlSchemasSupportedActions, bits([])),
        (SqlInfo::SqlCatalogsSupportedActions, bits([])),
        (SqlInfo::SqlSupportedPositionedCommands, bits([])),
        (SqlInfo::SqlSelectForUpdateSupported, false.into()),
        (SqlInfo::SqlStoredProceduresSupported, false.into()),
        (
            SqlInfo::SqlSupportedSubqueries,
            bits([
                SqlSupportedSubqueries::SqlSubqueriesInComparisons as i32,
                SqlSupportedSubqueries::SqlSubqueriesInExists as i32,
                SqlSupportedSubqueries::SqlSubqueriesInIns as i32,
            ]),
        ),
        (SqlInfo::SqlCorrelatedSubqueriesSupported, true.into()),
        (
            SqlInfo::SqlSupportedUnions,
            bits([SqlSupportedUnions::SqlUnion as i32, SqlSupportedUnions::SqlUnionAll as i32]),
        ),
        (SqlInfo::SqlMaxBinaryLiteralLength, UNLIMITED.into()),
        (SqlInfo::SqlMaxCharLiteralLength, UNLIMITED.into()),
        (SqlInfo::SqlMaxColumnNameLength, UNLIMITED.into()),
        (SqlInfo::SqlMaxColumnsInGroupBy, UNLIMITED.into()),
        (SqlInfo::SqlMaxColumnsInIndex, 1i64.into()),
        (SqlInfo::SqlMaxColumnsInOrderBy, UNLIMITED.into()),
        (SqlInfo::SqlMaxColumnsInSelect, UNLIMITED.into()),
        (SqlInfo::SqlMaxColumnsInTable, TABLE_COLUMNS_MAX.into()),
        (SqlInfo::SqlMaxConnections, UNLIMITED.into()),
        (SqlInfo::SqlMaxCursorNameLength, UNLIMITED.into()),
        (SqlInfo::SqlMaxIndexLength, UNLIMITED.into()),
        (SqlInfo::SqlDbSchemaNameLength, UNLIMITED.into()),
        (SqlInfo::SqlMaxProcedureNameLength, UNLIMITED.into()),
        (SqlInfo::SqlMaxCatalogNameLength, UNLIMITED.into()),
        (SqlInfo::SqlMaxRowSize, UNLIMITED.into()),
        (SqlInfo::SqlMaxRowSizeIncludesBlobs, true.into()),
        (SqlInfo::SqlMaxStatementLength, (limits::SQL_BYTES_MAX as i64).into()),
        (SqlInfo::SqlMaxStatements, (limits::PREPARED_STATEMENTS_MAX as i64).into()),
        (SqlInfo::SqlMaxTableNameLength, TABLE_NAME_BYTES_MAX.into()),
        (SqlInfo::SqlMaxTablesInSelect, (limits::JOINS_MAX as i64 + 1).into()),
        (SqlInfo::SqlMaxUsernameLength, UNLIMITED.into()),
        // The specification says int32 here, and JDBC and ODBC read a bigint.
        (
            SqlInfo::SqlDefaultTransactionIsolation,
            (SqlTransactionIsolationLevel::SqlTransactionNone as i64).into(),
        ),
        (SqlInfo::SqlTransactionsSupported, action::serves("BeginTransaction").into()),
        (
            SqlInfo::SqlSupportedTransactionsIsolationLevels,
            bits([SqlTransactionIsolationLevel::SqlTransactionNone as i32]),
        ),
        (SqlInfo::SqlDataDefinitionCausesTransactionCommit, false.into()),
        (SqlInfo::SqlDataDefinitionsInTransactionsIgnored, false.into()),
        (
            SqlInfo::SqlSupportedResultSetTypes,
            bits([SqlSupportedResultSetType::SqlResultSetTypeForwardOnly as i32]),
        ),
        (SqlInfo::SqlSupportedConcurrenciesForResultSetUnspecified, bits([])),
        (SqlInfo::SqlSupportedConcurrenciesForResultSetForwardOnly, read_only),
        (SqlInfo::SqlSupportedConcurrenciesForResultSetScrollSensitive, bits([])),
        (SqlInfo::SqlSupportedConcurrenciesForResultSetScrollInsensitive, bits([])),
        (SqlInfo::SqlBatchUpdatesSupported, true.into()),
        (SqlInfo::SqlSavepointsSupported, false.into()),
        (SqlInfo::SqlNamedParametersSupported, false.into()),
        (SqlInfo::SqlLocatorsUpdateCopy, false.into()),
        (SqlInfo::SqlStoredFunctionsUsingCallSyntaxSupported, false.into()),
    ]
}

/// What CAST can do.
fn conversions() -> BTreeMap<i32, Vec<i32>> {
    use SqlSupportsConvert as To;
    let numbers = [
        To::SqlConvertBigint,
        To::SqlConvertBit,
        To::SqlConvertDecimal,
        To::SqlConvertFloat,
        To::SqlConvertInteger,
        To::SqlConvertNumeric,
        To::SqlConvertReal,
        To::SqlConvertSmallint,
        To::SqlConvertTinyint,
    ];
    let text = [To::SqlConvertChar, To::SqlConvertLongvarchar, To::SqlConvertVarchar];
    let times = [To::SqlConvertDate, To::SqlConvertTime, To::SqlConvertTimestamp];
    let list = |groups: &[&[To]]| -> Vec<i32> {
        let mut codes: Vec<i32> =
            groups.iter().flat_map(|group| group.iter().map(|to| *to as i32)).collect();
        codes.sort_unstable();
        codes
    };
    let mut map = BTreeMap::new();
    for from in numbers {
        map.insert(from as i32, list(&[&numbers, &text]));
    }
    for from in text {
        map.insert(from as i32, list(&[&numbers, &text, &times, &[To::SqlConvertVarbinary]]));
    }
    map.insert(
        To::SqlConvertDate as i32,
        list(&[&text, &[To::SqlConvertDate, To::SqlConvertTimestamp]]),
    );
    map.insert(To::SqlConvertTime as i32, list(&[&text, &[To::SqlConvertTime]]));
    map.insert(To::SqlConvertTimestamp as i32, list(&[&text, &times, &[To::SqlConvertBigint]]));
    map.insert(To::SqlConvertVarbinary as i32, list(&[&text, &[To::SqlConvertVarbinary]]));
    map
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::UInt32Type;

    use super::*;

    fn codes(command: Vec<u32>) -> Vec<u32> {
        let batch = sql_info(CommandGetSqlInfo { info: command }, false).unwrap();
        batch.column(0).as_primitive::<UInt32Type>().values().to_vec()
    }

    #[test]
    fn every_code_of_the_specification_is_there_once_and_no_other() {
        let expected: Vec<u32> = (0..=11).chain(100..=101).chain(500..=576).collect();
        assert_eq!(codes(vec![]), expected);
        assert_eq!(capabilities(false).len(), expected.len());
    }

    #[test]
    fn only_what_is_asked_for_comes() {
        assert_eq!(codes(vec![8]), [8]);
        assert_eq!(codes(vec![2, 0, 1]), [0, 1, 2]);
        assert_eq!(codes(vec![9999]), Vec::<u32>::new());
    }

    #[test]
    fn each_value_has_the_type_that_clients_cast_it_to() {
        const STRING: i8 = 0;
        const BOOL: i8 = 1;
        const BIGINT: i8 = 2;
        const INT32: i8 = 3;
        const LIST: i8 = 4;
        const MAP: i8 = 5;
        let batch = sql_info(CommandGetSqlInfo::default(), false).unwrap();
        let values = batch.column(1).as_union();
        for (row, code) in codes(vec![]).into_iter().enumerate() {
            let expected = match code {
                0..=2 | 6 | 7 | 504 | 513 | 514 | 529..=531 => STRING,
                3..=5
                | 9..=11
                | 500..=502
                | 506
                | 515
                | 516
                | 518..=521
                | 523
                | 524
                | 527
                | 532
                | 536
                | 537
                | 539
                | 556
                | 563
                | 565
                | 566
                | 572..=576 => BOOL,
                541..=555 | 557..=562 => BIGINT,
                508..=512 => LIST,
                517 => MAP,
                _ => INT32,
            };
            assert_eq!(values.type_id(row), expected, "code {code}");
        }
        assert_eq!(values.len(), batch.num_rows());
    }

    #[test]
    fn functions_are_those_of_the_engine() {
        let batch = sql_info(CommandGetSqlInfo { info: vec![509, 512] }, false).unwrap();
        let text = arrow::util::pretty::pretty_format_batches(&[batch]).unwrap().to_string();
        for name in ["sqrt", "date_bin", "time_bucket", "time_bucket_gapfill", "locf"] {
            assert!(text.contains(name), "{name}");
        }
    }
}
