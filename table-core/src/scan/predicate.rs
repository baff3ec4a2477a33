//! What a filter says about one column, as far as it is sound to conclude.
