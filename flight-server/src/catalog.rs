//! From the names a client uses (catalog, schema, table) to table-core tables; name folding.
