//! From a logical to a physical plan: DataFusion's planner, and the operators that it does not have.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::error::Result as DfResult;
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};
use table_core::datafusion::AsofPlanner;

/// See the module.
#[derive(Debug)]
pub(crate) struct PhysicalPlans;

#[async_trait]
impl QueryPlanner for PhysicalPlans {
    async fn create_physical_plan(
        &self,
        logical_plan: &LogicalPlan,
        session: &dyn Session,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let operators: Vec<Arc<dyn ExtensionPlanner + Send + Sync>> = vec![Arc::new(AsofPlanner)];
        let planner = DefaultPhysicalPlanner::with_extension_planners(operators);
        planner.create_physical_plan(logical_plan, session).await
    }
}
