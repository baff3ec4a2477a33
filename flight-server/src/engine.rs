//! The query engine of one root: catalog, DataFusion runtime and session settings.
