//! The source of our packages, parsed: which files there are, and which module each of them is.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The source of one package.
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) files: Vec<SourceFile>,
}

/// One file of a package.
pub(crate) struct SourceFile {
    /// Where it stands in the package; empty for `lib.rs` and `main.rs`.
    pub(crate) module: Vec<String>,
    pub(crate) text: String,
    pub(crate) syntax: syn::File,
}

impl Package {
    /// Reads all that is in `<folder>/src`.
    pub(crate) fn read(name: &str, folder: &Path) -> Self {
        let src = folder.join("src");
        let files = rust_files(&src).into_iter().map(|path| {
            let inside = path.strip_prefix(&src).unwrap().with_extension("");
            SourceFile::parse(&inside, fs::read_to_string(&path).unwrap())
        });
        Self { name: name.to_owned(), files: files.collect() }
    }

    pub(crate) fn of_the_runtime() -> Vec<Self> {
        super::ARROWS
            .iter()
            .map(|(name, _)| Self::read(name, &root().join("crates").join(name)))
            .collect()
    }

    /// Those that measure and break the executable.
    pub(crate) fn beside_the_runtime() -> Vec<Self> {
        ["bench", "bench/memory", "chaos"].map(|name| Self::read(name, &root().join(name))).into()
    }
}

impl SourceFile {
    /// `path` is inside of `src`, without its ending.
    pub(crate) fn parse(path: &Path, text: String) -> Self {
        let parts = path.iter().map(|part| part.to_str().unwrap().to_owned());
        let module = parts.filter(|part| !["lib", "main"].contains(&part.as_str())).collect();
        let syntax =
            syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { module, text, syntax }
    }
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// All Rust files in a folder, those in its folders too.
pub(crate) fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
