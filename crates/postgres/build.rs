//! Tells the crate where the archive is that `scripts/fetch-postgres.sh` made, if it is there.
//! It never downloads anything: without the archive the crate builds and `start` says why it
//! cannot.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

const SCRIPT: &str = "scripts/fetch-postgres.sh";

fn main() {
    println!("cargo::rustc-check-cfg=cfg(archive)");
    if std::env::var_os("CARGO_FEATURE_EMBEDDED").is_none() {
        println!("cargo::rerun-if-changed=build.rs");
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    println!("cargo::rerun-if-changed={}", root.join(SCRIPT).display());
    let Some(version) = pinned_version(&root.join(SCRIPT)) else { return };
    let target = std::env::var("TARGET").expect("cargo sets TARGET for build scripts");
    let archive = root.join(format!(".cache/postgres-{version}-{target}.tar.xz"));
    println!("cargo::rerun-if-changed={}", archive.display());
    let Ok(bytes) = fs::read(&archive) else {
        // A file that never is there makes cargo ask again each time: an archive that comes out
        // of a cache may be older than this build, and would not be noticed.
        println!("cargo::rerun-if-changed={}", archive.with_extension("absent").display());
        return;
    };

    // Names the folder it is unpacked to: another archive, another folder.
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    println!("cargo::rustc-cfg=archive");
    println!("cargo::rustc-env=POSTGRES_ARCHIVE={}", archive.display());
    println!("cargo::rustc-env=POSTGRES_INSTALL={version}-{:08x}", hasher.finish() as u32);
}

/// The script is the one place that names the version.
fn pinned_version(script: &Path) -> Option<String> {
    let text = fs::read_to_string(script).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("version="))?;
    line.split_whitespace().next().map(str::to_owned)
}
