//! Keeps the shape of the tree true: arrows between crates, no circles within them, the code map,
//! and a head on every file.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

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
fn modules_of_a_crate_do_not_go_round_in_circles() {
    let mut circles = Vec::new();
    for (name, _) in ARROWS {
        let modules = modules(name);
        let mut knows: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (module, text) in &modules {
            let imported = imports(text);
            let others = modules.keys().filter(|other| *other != module);
            let known = others.filter(|other| imported.contains(*other)).map(String::as_str);
            knows.insert(module, known.collect());
        }
        // Take away whoever knows nobody, until nobody is left, or only circles are.
        loop {
            let done: Vec<_> =
                knows.iter().filter(|(_, whom)| whom.is_empty()).map(|(one, _)| *one).collect();
            if done.is_empty() {
                break;
            }
            knows.retain(|one, _| !done.contains(one));
            knows.values_mut().for_each(|whom| whom.retain(|one| !done.contains(one)));
        }
        if !knows.is_empty() {
            circles.push(format!("{name}: {knows:?}"));
        }
    }
    assert!(circles.is_empty(), "modules know each other in circles: {circles:#?}");
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
    let real: BTreeMap<String, BTreeSet<String>> = ARROWS
        .iter()
        .map(|(name, _)| ((*name).to_owned(), modules(name).into_keys().collect()))
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
    for (name, _) in ARROWS {
        // `postgres` makes the role and the database that the store then finds.
        if ["store", "postgres"].contains(name) {
            continue;
        }
        for (module, text) in modules(name) {
            assert!(!text.contains("sqlx::"), "`{name}::{module}` speaks SQL");
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
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

/// The top-level modules of a crate with all their text.
fn modules(name: &str) -> BTreeMap<String, String> {
    let src = root().join("crates").join(name).join("src");
    let mut modules = BTreeMap::<String, String>::new();
    for file in rust_files(&src) {
        let inside = file.strip_prefix(&src).unwrap();
        let first = inside.iter().next().unwrap().to_str().unwrap();
        let module = first.trim_end_matches(".rs");
        if !["lib", "main"].contains(&module) {
            *modules.entry(module.to_owned()).or_default() += &fs::read_to_string(&file).unwrap();
        }
    }
    modules
}

/// The modules that a text names behind `crate::`, alone or in braces.
fn imports(text: &str) -> BTreeSet<String> {
    let word = |text: &str| -> String {
        text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let mut found = BTreeSet::new();
    for (at, prefix) in text.match_indices("crate::") {
        let rest = &text[at + prefix.len()..];
        let Some(list) = rest.strip_prefix('{') else {
            found.insert(word(rest));
            continue;
        };
        let (mut depth, mut at_start) = (0, true);
        for (place, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => at_start = true,
                c if c.is_whitespace() => {}
                _ if at_start => {
                    found.insert(word(&list[place..]));
                    at_start = false;
                }
                _ => {}
            }
        }
    }
    found
}
