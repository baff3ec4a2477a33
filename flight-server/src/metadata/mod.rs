//! Catalogs, schemas, tables, table types, type info, keys and SqlInfo, as Flight SQL wants them.
