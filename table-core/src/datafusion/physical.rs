//! From a logical to a physical plan: DataFusion's planner, and the operators that it does not have.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::error::Result;
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};

use super::asof::AsofPlanner;
use super::gapfill::GapFillPlanner;
use super::lossy;

/// Plans what the logical rules and functions of this module put into a plan, marks what [`OneWayFilters`](super::OneWayFilters)
/// hides, and leaves everything else to DataFusion.
#[derive(Debug)]
pub struct PhysicalPlans;

#[async_trait]
impl QueryPlanner for PhysicalPlans {
    async fn create_physical_plan(
        &self,
        logical_plan: &LogicalPlan,
        session: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let operators: Vec<Arc<dyn ExtensionPlanner + Send + Sync>> =
            vec![Arc::new(AsofPlanner), Arc::new(GapFillPlanner)];
        let planner = DefaultPhysicalPlanner::with_extension_planners(operators);
        planner.create_physical_plan(&lossy::mark(logical_plan.clone())?, session).await
    }
}
