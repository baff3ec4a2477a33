//! A physical rule: `ORDER BY index [DESC] LIMIT n` over plain segments reads the ends of as few segments as hold the answer.
//!
//! DataFusion reads the most promising row groups first and stops when the others cannot matter, but a row group is the
//! least that it reads. What the log knows says more: in a segment that is sorted by the index alone, the first or last `n`
//! rows are at its ends, and segments that begin behind the `n`-th row hold nothing of the answer. The sort stays where it
//! is, so this rule only ever leaves out rows that cannot be among its first `n`.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::{ParquetAccessPlan, RowGroupAccess};
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfigBuilder, FileSource, ParquetSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::physical_expr::expressions::{Column, DynamicFilterPhysicalExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, replace_children_if_necessary};
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};

use crate::segment::SegmentMeta;
use crate::segment::reader::ScanSegment;
use crate::types::IndexType;

/// Most rows that a sort may keep for this rule to apply: reading the ends is done in one partition, so for long answers it
/// would be slower than reading everything in parallel.
const FETCH_MAX: usize = 64 * 1024;

/// See the module.
#[derive(Debug, Default)]
pub struct ReadEnds;

impl PhysicalOptimizerRule for ReadEnds {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_down(|node| {
            let narrowed = match node.downcast_ref::<SortExec>() {
                Some(sort) => match Wanted::of(sort) {
                    Some(wanted) => wanted.narrow(sort.input())?,
                    None => None,
                },
                None => None,
            };
            match narrowed {
                Some(input) => {
                    Ok(Transformed::yes(replace_children_if_necessary(node, vec![input])?))
                }
                None => Ok(Transformed::no(node)),
            }
        })
        .map(|transformed| transformed.data)
    }

    fn name(&self) -> &'static str {
        "read_ends"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The rows that a sort keeps: the first `count` by one column.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    column: usize,
    descending: bool,
    count: usize,
}

impl Wanted {
    /// What a sort by one plain column keeps; `None` for any other, and for long answers.
    fn of(sort: &SortExec) -> Option<Self> {
        let count = sort.fetch().filter(|count| *count <= FETCH_MAX)?;
        // With a second key, all rows that share the last value of the first would be needed.
        let [key] = sort.expr().as_ref() else { return None };
        let column = key.expr.downcast_ref::<Column>()?.index();
        Some(Self { column, descending: key.options.descending, count })
    }

    /// `plan` without what cannot be among the wanted rows; `None` when there is nothing to leave out. Descends through
    /// operators that pass rows on as they are.
    fn narrow(self, plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if let Some(scan) = plan.downcast_ref::<DataSourceExec>() {
            return self.narrow_scan(scan);
        }
        let passes_on = plan.is::<UnionExec>()
            || plan.is::<RepartitionExec>()
            || plan.is::<CoalescePartitionsExec>()
            || plan.is::<CooperativeExec>();
        if !passes_on {
            return Ok(None);
        }
        let mut narrowed = false;
        let mut children = Vec::new();
        for child in plan.children() {
            let found = self.narrow(child)?;
            narrowed |= found.is_some();
            children.push(found.unwrap_or_else(|| Arc::clone(child)));
        }
        if !narrowed {
            return Ok(None);
        }
        replace_children_if_necessary(Arc::clone(plan), children).map(Some)
    }

    fn narrow_scan(self, scan: &DataSourceExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some((config, source)) = scan.downcast_to_file_source::<ParquetSource>() else {
            return Ok(None);
        };
        // Rows that a filter drops could let others in.
        if source.filter().is_some_and(|filter| !filter.is::<DynamicFilterPhysicalExpr>())
            || config.limit.is_some()
        {
            return Ok(None);
        }
        let Some(column) = self.column_in_file(source) else { return Ok(None) };
        let mut files: Vec<File<'_>> = Vec::new();
        for file in config.file_groups.iter().flat_map(FileGroup::iter) {
            let Some(found) = File::of(file, column, self.descending) else { return Ok(None) };
            // One file may be dealt out in several byte ranges.
            if files.iter().all(|known| known.segment.id != found.segment.id) {
                files.push(found);
            }
        }
        let files: Vec<PartitionedFile> =
            self.needed(files).into_iter().map(|file| self.ends(&file)).collect();
        // The operators above have been planned for as many partitions.
        let mut groups = vec![FileGroup::new(files)];
        groups.resize_with(config.file_groups.len(), || FileGroup::new(Vec::new()));
        let config = FileScanConfigBuilder::from(config.clone()).with_file_groups(groups).build();
        Ok(Some(DataSourceExec::from_data_source(config)))
    }

    /// The wanted column's name in the files, if the scan shows it as it is.
    fn column_in_file(self, source: &ParquetSource) -> Option<&str> {
        let shown = source.projection()?.iter().nth(self.column)?;
        shown.expr.downcast_ref::<Column>().map(Column::name)
    }

    /// The files that can hold wanted rows: those before the first that begins where enough rows have ended.
    fn needed<'a>(self, mut files: Vec<File<'a>>) -> Vec<File<'a>> {
        files.sort_by_key(|file| file.begin);
        let mut kept: Vec<File<'a>> = Vec::new();
        for file in files {
            let before: u64 = kept
                .iter()
                .filter(|kept| kept.end <= file.begin)
                .map(|kept| kept.segment.row_count)
                .fold(0, u64::saturating_add);
            if before >= self.count as u64 {
                break;
            }
            kept.push(file);
        }
        kept
    }

    /// A file of which only the wanted end is read.
    fn ends(self, file: &File<'_>) -> PartitionedFile {
        let mut groups = vec![RowGroupAccess::Skip; file.segment.row_groups.len()];
        let mut missing = self.count as u64;
        let mut take = |position: usize| {
            let rows = file.segment.row_groups[position].row_count;
            let taken = missing.min(rows);
            missing -= taken;
            let (Ok(rows), Ok(taken)) = (usize::try_from(rows), usize::try_from(taken)) else {
                groups[position] = RowGroupAccess::Scan;
                return;
            };
            groups[position] = match (taken, self.descending) {
                (0, _) => RowGroupAccess::Skip,
                (taken, _) if taken == rows => RowGroupAccess::Scan,
                (taken, true) => RowGroupAccess::Selection(RowSelection::from(vec![
                    RowSelector::skip(rows - taken),
                    RowSelector::select(taken),
                ])),
                (taken, false) => RowGroupAccess::Selection(RowSelection::from(vec![
                    RowSelector::select(taken),
                    RowSelector::skip(rows - taken),
                ])),
            };
        };
        let positions = 0..file.segment.row_groups.len();
        match self.descending {
            true => positions.rev().for_each(&mut take),
            false => positions.for_each(&mut take),
        }
        let mut whole = file.file.clone();
        whole.range = None;
        whole.with_extension(ParquetAccessPlan::new(groups))
    }
}

/// A file of a scan whose rows are sorted by the wanted column alone.
struct File<'a> {
    file: &'a PartitionedFile,
    segment: &'a SegmentMeta,
    /// Where its rows begin and end in the wanted order, as numbers that grow along it.
    begin: i128,
    end: i128,
}

impl<'a> File<'a> {
    /// `None` for files that are not sorted by `column` alone.
    fn of(file: &'a PartitionedFile, column: &str, descending: bool) -> Option<Self> {
        let ScanSegment { meta: segment, layout } = file.extension::<ScanSegment>()?;
        let one_entity = segment.entity_range.as_ref().is_none_or(|(first, last)| first == last);
        if !segment.sorted || !one_entity || layout.index_name() != Some(column) {
            return None;
        }
        let (first, last) = segment.index_range?;
        let number = |value: i64| match layout.index_type {
            Some(IndexType::UInt64) => i128::from(value.cast_unsigned()),
            _ => i128::from(value),
        };
        let (first, last) = (number(first), number(last));
        let (begin, end) = if descending { (-last, -first) } else { (first, last) };
        Some(Self { file, segment, begin, end })
    }
}
