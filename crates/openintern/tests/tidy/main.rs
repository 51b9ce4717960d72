//! Keeps the shape of the tree true: arrows between crates, no circles within them, the code map,
//! and a head on every file.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice
)]

mod circles;
mod metrics;
mod source;
mod type_names;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

use crate::source::{Package, root, rust_files};

/// Whom each crate may know.
const ARROWS: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("postgres", &[]),
    ("e5", &[]),
    ("store", &["protocol"]),
    ("workspaces", &["protocol"]),
    ("model", &["e5", "protocol"]),
    ("mcp", &["protocol"]),
    ("memory", &["model", "protocol", "store"]),
    ("agent", &["mcp", "memory", "model", "protocol", "store", "workspaces"]),
    ("server", &["memory", "protocol", "store", "workspaces"]),
    ("openintern", &["agent", "mcp", "memory", "model", "postgres", "protocol", "server", "store"]),
];

#[test]
fn crates_know_only_whom_they_may() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let arrows: BTreeMap<_, BTreeSet<_>> =
        ARROWS.iter().map(|(name, whom)| (*name, whom.iter().copied().collect())).collect();
    let mut seen = BTreeSet::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        if !package["manifest_path"].as_str().unwrap().contains("/crates/") {
            continue; // Benchmarks and faults stand outside and speak to the executable only.
        }
        let allowed = arrows.get(name).unwrap_or_else(|| panic!("`{name}` has no arrows here"));
        for dependency in package["dependencies"].as_array().unwrap() {
            let is_ours = dependency["path"].is_string() && dependency["kind"].is_null();
            let whom = dependency["name"].as_str().unwrap();
            assert!(!is_ours || allowed.contains(whom), "`{name}` must not know `{whom}`");
        }
        seen.insert(name);
    }
    assert_eq!(seen, arrows.keys().copied().collect());
}

#[test]
fn the_code_map_names_every_crate_and_module_and_nothing_else() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let map = text.split("\n## ").find(|part| part.starts_with("Code map")).expect("a code map");
    let mut mapped: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut current = None;
    for line in map.lines() {
        if let Some(heading) = line.strip_prefix("### ") {
            let name = heading.trim().trim_matches('`').trim_start_matches("crates/");
            mapped.insert(name.to_owned(), BTreeSet::new());
            current = Some(name.to_owned());
        } else if let (Some(item), Some(name)) = (line.strip_prefix("- `"), &current) {
            let module = item.split('`').next().unwrap();
            mapped.get_mut(name).unwrap().insert(module.to_owned());
        }
    }
    let modules = |package: &Package| {
        package.files.iter().filter_map(|file| file.module.first().cloned()).collect()
    };
    let real: BTreeMap<String, BTreeSet<String>> = Package::of_the_runtime()
        .iter()
        .map(|package| (package.name.clone(), modules(package)))
        .collect();
    assert_eq!(mapped, real);
}

#[test]
fn every_file_begins_with_what_it_is_for() {
    for folder in ["crates", "bench", "chaos"] {
        for file in rust_files(&root().join(folder)) {
            let text = fs::read_to_string(&file).unwrap();
            assert!(text.starts_with("//! "), "{} has no head", file.display());
        }
    }
}

#[test]
fn only_the_store_speaks_sql() {
    for Package { name, files } in Package::of_the_runtime() {
        // `postgres` makes the role and the database that the store then finds.
        if ["store", "postgres"].contains(&name.as_str()) {
            continue;
        }
        for file in files {
            let module = file.module.join("::");
            assert!(!file.text.contains("sqlx::"), "`{name}::{module}` speaks SQL");
        }
    }
}
