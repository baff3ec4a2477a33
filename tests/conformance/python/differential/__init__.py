"""Random tables, random queries over them in the dialects of Coverline and of DuckDB, and the comparison of their answers."""
