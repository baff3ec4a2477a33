//! Progress bars. They draw themselves on stderr, and only when that is a terminal.

use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over the bytes of all files, each of which is read so many times.
pub(crate) fn bytes(files: &[PathBuf], passes: u64) -> ProgressBar {
    let sizes = files.iter().filter_map(|path| path.metadata().ok()).map(|file| file.len());
    ProgressBar::new(passes * sizes.sum::<u64>())
        .with_style(style("  {bar:32} {percent:>3} %  {bytes_per_sec}  {wide_msg}"))
}

/// A count of bytes whose total is not known.
pub(crate) fn bytes_read() -> ProgressBar {
    ProgressBar::no_length().with_style(style("  {spinner} {bytes}  {bytes_per_sec}"))
}

/// A bar over the number of files.
pub(crate) fn files(count: usize) -> ProgressBar {
    ProgressBar::new(count as u64).with_style(style("   {bar:32} {pos}/{len}  {eta}  {wide_msg}"))
}

/// What a bar calls a file.
pub(crate) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants; a bad one shows as the default look, which the test below would notice.
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸─")
}
