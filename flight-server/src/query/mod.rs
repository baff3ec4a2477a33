//! SQL to record batches: gate, statement, prepared statements, DDL and DML, the result stream.
