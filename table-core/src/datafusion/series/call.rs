//! What the aggregate functions of time series refuse in a call. Pure.

use datafusion::error::Result;
use datafusion::logical_expr::function::AccumulatorArgs;

use super::refused;

/// Refuses clauses in a call that would change nothing.
pub(super) fn plain(name: &str, args: &AccumulatorArgs) -> Result<()> {
    if !args.order_bys.is_empty() {
        return Err(refused(format!(
            "{name} does not depend on the order of rows; leave ORDER BY out of {name}(...)"
        )));
    }
    if args.is_distinct {
        return Err(refused(format!(
            "{name} takes every row; leave DISTINCT out of {name}(...), or select distinct rows in a subquery"
        )));
    }
    Ok(())
}
