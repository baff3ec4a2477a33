//! Keys against the values they stand for, and batches against one row at a time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::Arc;

use proptest::prelude::*;

use super::*;

const TYPES: [EntityType; 5] =
    [EntityType::Utf8, EntityType::Int, EntityType::UInt, EntityType::Bool, EntityType::Date];

fn values() -> impl Strategy<Value = Vec<EntityValue>> {
    // Short strings of few letters, NUL and 0xff's neighbours: prefixes and equal values are common.
    let text = prop::collection::vec(
        prop::sample::select(vec!['\0', '\u{1}', 'a', 'é', '\u{10ffff}']),
        0..4,
    );
    (text, any::<i64>(), any::<u64>(), any::<bool>(), any::<i32>()).prop_map(
        |(text, a, b, c, d)| {
            vec![
                EntityValue::Utf8(text.into_iter().collect()),
                EntityValue::Int(a),
                EntityValue::UInt(b),
                EntityValue::Bool(c),
                EntityValue::Date(d),
            ]
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn keys_sort_like_values_and_decode(left in values(), right in values(), skip in 0_usize..5) {
        let (left, right, types) = (&left[skip..], &right[skip..], &TYPES[skip..]);
        let (left_key, right_key) = (EntityKey::encode(left), EntityKey::encode(right));
        prop_assert_eq!(left_key.cmp(&right_key), left.cmp(right));
        prop_assert_eq!(left_key.decode(types).unwrap(), left);
        let mut longer = left_key.0.to_vec();
        longer.push(0);
        prop_assert_eq!(EntityKey(longer.into()).decode(types), None);
        let shorter = &left_key.0[..left_key.0.len() - 1];
        prop_assert_eq!(EntityKey(shorter.into()).decode(types), None);
    }

    #[test]
    fn batches_encode_like_rows(rows in prop::collection::vec((0_usize..3, -2_i16..2), 0..60)) {
        let names = ["", "a\0b", "a"];
        let text: StringArray = rows.iter().map(|row| Some(names[row.0])).collect();
        let numbers: arrow::array::Int16Array = rows.iter().map(|row| Some(row.1)).collect();
        let columns: Vec<ArrayRef> = vec![Arc::new(text), Arc::new(numbers)];
        let (keys, positions) = encode_entities(&columns, rows.len()).unwrap();
        prop_assert_eq!(positions.len(), rows.len());
        for (row, position) in rows.iter().zip(&positions) {
            let values = [EntityValue::Utf8(names[row.0].to_owned()), EntityValue::Int(row.1.into())];
            prop_assert_eq!(&keys[*position as usize], &EntityKey::encode(&values));
        }
        let mut seen = 0;
        for position in positions {
            prop_assert!(position <= seen, "positions follow first appearance");
            seen = seen.max(position + 1);
        }
        prop_assert_eq!(seen as usize, keys.len());
    }
}

#[test]
fn a_table_without_entity_columns_has_one_empty_key() {
    let (keys, rows) = encode_entities(&[], 3).unwrap();
    assert_eq!((keys, rows), (vec![EntityKey::default()], vec![0, 0, 0]));
    assert_eq!(EntityKey::default().decode(&[]), Some(vec![]));
    assert_eq!(EntityKey::default().display(&[], &[]), "");
}

#[test]
fn nulls_and_foreign_types_are_refused() {
    let nulls: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None]));
    assert!(encode_entities(&[nulls], 2).unwrap_err().to_string().contains("nulls"));
    let floats: ArrayRef = Arc::new(arrow::array::Float64Array::from(vec![1.0]));
    assert!(encode_entities(&[floats], 1).unwrap_err().to_string().contains("Float64"));
}

#[test]
fn keys_print_with_their_columns() {
    let key = EntityKey::encode(&[EntityValue::Utf8("NV\"DA".to_owned()), EntityValue::Int(3)]);
    let columns = ["symbol".to_owned(), "venue".to_owned()];
    assert_eq!(
        key.display(&columns, &[EntityType::Utf8, EntityType::Int]),
        "symbol=\"NV\\\"DA\", venue=3"
    );
    assert_eq!(EntityKey(Box::new([1, 171])).display(&columns, &[EntityType::Bool]), "0x01ab");
}
