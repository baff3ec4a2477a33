//! [`Root`]: where a root lies, parsed once: a folder, or a prefix in an object store. Makes no system call; what is there
//! is found out by whoever opens it. Credentials are no part of it, so it can be shown and logged.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use object_store::path::Path as ObjectPath;

/// Kinds of object store that a root can lie in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectScheme {
    /// `s3://`: Amazon S3 and what speaks its protocol.
    S3,
    /// `gs://`: Google Cloud Storage.
    Google,
    /// `az://`: Azure Blob Storage.
    Azure,
}

impl ObjectScheme {
    /// As URLs begin.
    pub fn name(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Google => "gs",
            Self::Azure => "az",
        }
    }

    fn parse(scheme: &str) -> Option<Self> {
        [Self::S3, Self::Google, Self::Azure]
            .into_iter()
            .find(|known| scheme.eq_ignore_ascii_case(known.name()))
    }
}

/// A place in an object store.
///
/// The container is a plain name, never empty. The prefix has no empty, `.` or `..` step and no `/` at either end; it may be
/// empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ObjectRoot {
    scheme: ObjectScheme,
    container: String,
    prefix: ObjectPath,
}

impl ObjectRoot {
    /// Which kind of store.
    pub fn scheme(&self) -> ObjectScheme {
        self.scheme
    }

    /// What S3 and Google call a bucket, and Azure a container.
    pub fn container(&self) -> &str {
        &self.container
    }

    /// What every key of the root starts with.
    pub fn prefix(&self) -> &ObjectPath {
        &self.prefix
    }
}

impl fmt::Display for ObjectRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), self.container)?;
        if self.prefix.is_root() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

/// Where a root lies. Shown as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Root {
    /// A folder on a disk.
    Folder(PathBuf),
    /// A prefix in an object store.
    Objects(ObjectRoot),
}

/// Why a text names no root. The text itself is only shown where it cannot hold credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RootError {
    /// Nothing.
    #[error("a root must not be empty; name a folder, or s3://BUCKET/PREFIX")]
    Empty,
    /// Not one of ours.
    #[error(
        "\"{scheme}://\" is no kind of root; write a folder, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX"
    )]
    Scheme {
        /// What was written.
        scheme: String,
    },
    /// `s3:bucket`.
    #[error("a root in an object store is written with two slashes: {scheme}://BUCKET/PREFIX")]
    Slashes {
        /// The scheme.
        scheme: &'static str,
    },
    /// `s3:///prefix`.
    #[error("the root names no bucket; write {scheme}://BUCKET/PREFIX")]
    NoContainer {
        /// The scheme.
        scheme: &'static str,
    },
    /// Credentials in the URL end up in logs and lists of processes.
    #[error(
        "a root must not hold credentials; give them in the environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or what \
         your store uses)"
    )]
    Credentials,
    /// A bucket name with other characters.
    #[error(
        "\"{container}\" is no name of a bucket: letters, digits, '-', '_' and '.' make one (an endpoint goes into \
         AWS_ENDPOINT_URL)"
    )]
    Container {
        /// What was written.
        container: String,
    },
    /// A query, a fragment, an empty step, `.` or `..`.
    #[error("prefix \"{prefix}\" cannot be used: {reason}")]
    Prefix {
        /// What was written.
        prefix: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// `file://host/path`, or a relative one.
    #[error(
        "a file URL names an absolute path on this machine; write file:///PATH, or just the path"
    )]
    FileUrl,
}

impl Root {
    /// What an argument or a variable names. A text with `://` is a URL, any other a folder.
    ///
    /// # Errors
    /// See [`RootError`].
    pub fn parse(text: &OsStr) -> Result<Self, RootError> {
        if text.is_empty() {
            return Err(RootError::Empty);
        }
        // A path need not be UTF-8; a URL is.
        let Some(url) = text.to_str() else { return Ok(Self::Folder(PathBuf::from(text))) };
        let Some((scheme, rest)) = url.split_once("://") else {
            let scheme = url.split_once(':').and_then(|(scheme, _)| ObjectScheme::parse(scheme));
            return match scheme {
                Some(scheme) => Err(RootError::Slashes { scheme: scheme.name() }),
                None => Ok(Self::Folder(PathBuf::from(text))),
            };
        };
        if scheme.eq_ignore_ascii_case("file") {
            return file_url(rest);
        }
        let Some(known) = ObjectScheme::parse(scheme) else {
            let is_word = scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
            return match is_word {
                true => Err(RootError::Scheme { scheme: scheme.to_owned() }),
                false => Ok(Self::Folder(PathBuf::from(text))),
            };
        };
        object_url(known, rest).map(Self::Objects)
    }

    /// The folder, if it is one.
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Folder(folder) => Some(folder),
            Self::Objects(_) => None,
        }
    }
}

fn file_url(rest: &str) -> Result<Root, RootError> {
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    if !path.starts_with('/') || path.contains(['?', '#']) {
        return Err(RootError::FileUrl);
    }
    // Spaces and the like come encoded.
    let decoded =
        ObjectPath::from_url_path(path.trim_end_matches('/')).map_err(|_| RootError::FileUrl)?;
    Ok(Root::Folder(PathBuf::from(format!("/{decoded}"))))
}

fn object_url(scheme: ObjectScheme, rest: &str) -> Result<ObjectRoot, RootError> {
    let (container, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if container.contains('@') {
        return Err(RootError::Credentials);
    }
    if container.is_empty() {
        return Err(RootError::NoContainer { scheme: scheme.name() });
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !container.chars().all(is_name) || container.chars().all(|c| c == '.') {
        // A query behind the bucket may hold a signature.
        let shown = container.split(['?', '#']).next().unwrap_or_default();
        return Err(RootError::Container { container: shown.to_owned() });
    }
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    let shown = prefix.split(['?', '#']).next().unwrap_or_default();
    let refuse = |reason| Err(RootError::Prefix { prefix: shown.to_owned(), reason });
    if prefix.contains(['?', '#']) {
        return refuse("a root has no query and no fragment");
    }
    for step in prefix.split('/') {
        match step {
            ".." | "." => return refuse("it must not hold \".\" or \"..\" as a step"),
            "" if !prefix.is_empty() => return refuse("it must not hold \"//\""),
            _ => {}
        }
    }
    match ObjectPath::parse(prefix) {
        Ok(prefix) => Ok(ObjectRoot { scheme, container: container.to_owned(), prefix }),
        Err(_) => refuse("it holds characters that keys must not have"),
    }
}

impl FromStr for Root {
    type Err = RootError;

    fn from_str(text: &str) -> Result<Self, RootError> {
        Self::parse(OsStr::new(text))
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => folder.display().fmt(f),
            Self::Objects(objects) => objects.fmt(f),
        }
    }
}

/// Always a folder: a path is never taken for a URL.
impl<P: AsRef<Path> + ?Sized> From<&P> for Root {
    fn from(folder: &P) -> Self {
        Self::Folder(folder.as_ref().to_owned())
    }
}

impl From<PathBuf> for Root {
    fn from(folder: PathBuf) -> Self {
        Self::Folder(folder)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<String, RootError> {
        Root::from_str(text).map(|root| match &root {
            Root::Folder(_) => format!("folder {root}"),
            Root::Objects(_) => root.to_string(),
        })
    }

    #[test]
    fn folders_and_urls() {
        for (text, expected) in [
            ("data", "folder data"),
            ("./data:1/b", "folder ./data:1/b"),
            ("/data", "folder /data"),
            ("file:///data/a%20b/", "folder /data/a b"),
            ("file://localhost/data", "folder /data"),
            ("s3://lake", "s3://lake"),
            ("s3://lake/", "s3://lake"),
            ("s3://lake/prices", "s3://lake/prices"),
            ("S3://lake/a/b_c.d/", "s3://lake/a/b_c.d"),
            ("gs://lake/a", "gs://lake/a"),
            ("az://lake/a", "az://lake/a"),
            ("a b://c", "folder a b://c"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(expected), "{text}");
        }
        let Ok(Root::Objects(root)) = Root::from_str("s3://lake/a/b") else { panic!() };
        assert_eq!((root.container(), root.prefix().as_ref()), ("lake", "a/b"));
    }

    #[test]
    fn what_names_no_root_is_refused_by_its_reason() {
        for (text, expected) in [
            ("", "must not be empty"),
            ("ftp://lake/a", "\"ftp://\" is no kind of root"),
            ("https://s3.amazonaws.com/lake", "\"https://\" is no kind of root"),
            ("s3:lake/a", "s3://BUCKET/PREFIX"),
            ("s3:///a", "names no bucket"),
            ("s3://", "names no bucket"),
            ("s3://host:9000/lake", "AWS_ENDPOINT_URL"),
            ("s3://../a", "no name of a bucket"),
            ("s3://lake/a/../b", "\"a/../b\" cannot be used: it must not hold"),
            ("s3://lake/..", "must not hold \".\" or \"..\""),
            ("s3://lake/./a", "must not hold \".\" or \"..\""),
            ("s3://lake/a//b", "\"//\""),
            ("s3://lake//a", "\"//\""),
            ("s3://lake/a?b=c", "no query"),
            ("s3://lake/a\u{7}", "characters"),
            ("file://host/a", "file:///PATH"),
            ("file://a", "file:///PATH"),
            ("file:///a/../b", "file:///PATH"),
        ] {
            let error = shown(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn what_may_be_a_secret_is_not_repeated() {
        for text in [
            "s3://KEY:hunter2@lake/a",
            "s3://lake?signature=hunter2",
            "s3://lake/a?signature=hunter2",
            "s3://lake/../a?signature=hunter2",
        ] {
            let error = shown(text).expect_err(text).to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
