//! Transactions and savepoints: not supported, and said so in words.

const TRANSACTIONS: &str =
    "transactions are not supported; every append and every statement commits by itself";

/// Why an action of Flight SQL is refused, when it is one of these.
pub(super) fn refusal(name: &str) -> Option<&'static str> {
    match name {
        "BeginTransaction" | "EndTransaction" | "BeginSavepoint" | "EndSavepoint" => {
            Some(TRANSACTIONS)
        }
        _ => None,
    }
}
