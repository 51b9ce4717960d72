//! Modules of one crate do not import each other in a circle: neither the top-level ones, nor those
//! that stand beside each other in a folder, by whatever words they name each other. `lib.rs` is a
//! module like the others, so that nothing comes back through it.
//!
//! A module and those inside of it are one thing here: they may name each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

use crate::source::{Package, SourceFile};

/// What `lib.rs` or `main.rs` is called beside the modules.
const ROOT: &str = "lib.rs";

/// Which modules of a folder name which others of it.
type Knows = BTreeMap<String, BTreeSet<String>>;

#[test]
fn modules_of_a_crate_do_not_go_round_in_circles() {
    let packages = Package::of_the_runtime().into_iter().chain(Package::beside_the_runtime());
    let circles: Vec<_> = packages
        .map(|package| (circles(&package), package.name))
        .filter(|(circles, _)| !circles.is_empty())
        .map(|(circles, name)| format!("{name}: {circles:?}"))
        .collect();
    assert!(circles.is_empty(), "modules know each other in circles: {circles:#?}");
}

#[test]
fn a_circle_is_seen_by_whatever_words_it_is_made() {
    let check = |files: &[(&str, &str)], expected: &[&str]| {
        let parsed = files
            .iter()
            .map(|(path, text)| SourceFile::parse(Path::new(path), (*text).to_owned()))
            .collect();
        let package = Package { name: "sample".into(), files: parsed };
        assert_eq!(circles(&package), expected, "{files:?}");
    };
    let a_to_b = ("a", "use crate::b::B; pub struct A;");
    check(&[("lib", ""), a_to_b, ("b", "pub struct B;")], &[]);
    check(&[("lib", ""), a_to_b, ("b", "use crate::{a::A, c};"), ("c", "")], &["a → b, b → a"]);
    check(&[("lib", ""), a_to_b, ("b", "fn f() { super::a::g() }")], &["a → b, b → a"]);
    check(&[("lib", ""), a_to_b, ("b", "fn f() { x!(1, crate::a::g()) }")], &["a → b, b → a"]);
    check(
        &[("lib", "pub use a::A;"), ("a", "use crate::b::B;"), ("b", "use crate::A;")],
        &["a → b, b → lib.rs, lib.rs → a"],
    );
    check(
        &[("lib", ""), ("a", ""), ("a/x", "use super::y::Y;"), ("a/y", "use crate::a::x::X;")],
        &["a: x → y, y → x"],
    );
    check(&[("lib", ""), ("a", "use self::x::X; struct A;"), ("a/x", "use super::A;")], &[]);
    check(&[("lib", "mod a;"), ("a", "pub(crate) fn f() {} mod tests { use super::*; }")], &[]);
}

/// The circles of a package: for each folder the arrows that one can come back from.
fn circles(package: &Package) -> Vec<String> {
    let modules: BTreeSet<&[String]> = package.files.iter().map(|file| &file.module[..]).collect();
    let mut folders: BTreeMap<Vec<String>, Knows> = BTreeMap::new();
    for file in &package.files {
        for path in named_paths(file, &modules) {
            if let Some((folder, from, to)) = arrow(&file.module, &path, &modules) {
                folders.entry(folder).or_default().entry(from).or_default().insert(to);
            }
        }
    }
    let named = folders.iter().filter_map(|(folder, knows)| {
        let arrows = knows.iter().flat_map(|(from, whom)| whom.iter().map(move |to| (from, to)));
        let circle: Vec<_> = arrows
            .filter(|(from, to)| leads(to, from, knows))
            .map(|(from, to)| format!("{from} → {to}"))
            .collect();
        let place = if folder.is_empty() { String::new() } else { folder.join("::") + ": " };
        (!circle.is_empty()).then(|| place + &circle.join(", "))
    });
    named.collect()
}

/// Which two modules of which folder a path connects; none where it stays inside of a module.
fn arrow(
    from: &[String],
    path: &[String],
    modules: &BTreeSet<&[String]>,
) -> Option<(Vec<String>, String, String)> {
    let length = (0..=path.len()).rev().find(|length| modules.contains(&path[..*length]))?;
    let to = &path[..length];
    let shared = from.iter().zip(to).take_while(|(a, b)| a == b).count();
    let name = |module: &[String]| match module.get(shared) {
        Some(part) => Some(part.clone()),
        None => (shared == 0).then(|| ROOT.to_owned()),
    };
    let (from_name, to_name) = (name(from)?, name(to)?);
    (from_name != to_name).then(|| (from[..shared].to_vec(), from_name, to_name))
}

/// Whether there is a way from one module to another.
fn leads(from: &str, to: &str, knows: &Knows) -> bool {
    let (mut seen, mut ahead) = (BTreeSet::new(), vec![from]);
    while let Some(module) = ahead.pop() {
        if module == to {
            return true;
        }
        if seen.insert(module) {
            ahead.extend(knows.get(module).into_iter().flatten().map(String::as_str));
        }
    }
    false
}

/// The paths that a file names, from the root of its crate.
fn named_paths(file: &SourceFile, modules: &BTreeSet<&[String]>) -> Vec<Vec<String>> {
    let mut paths = Paths { here: file.module.clone(), modules, found: Vec::new() };
    paths.visit_file(&file.syntax);
    paths.found
}

struct Paths<'a> {
    /// The module that is read, inline ones included.
    here: Vec<String>,
    modules: &'a BTreeSet<&'a [String]>,
    found: Vec<Vec<String>>,
}

impl Paths<'_> {
    /// Notes a path unless it leads out of the crate.
    fn add(&mut self, path: &[String]) {
        let mut at = match path.first().map(String::as_str) {
            Some("crate") => Vec::new(),
            Some("self" | "super") => self.here.clone(),
            Some(first) => {
                let child = [&self.here[..], &[first.to_owned()]].concat();
                if !self.modules.contains(&child[..]) {
                    return;
                }
                self.here.clone()
            }
            None => return,
        };
        let mut names_something = false;
        for part in path {
            match part.as_str() {
                "crate" | "self" => {}
                "super" => drop(at.pop()),
                name => {
                    names_something = true;
                    at.push(name.to_owned());
                }
            }
        }
        if names_something {
            self.found.push(at);
        }
    }

    fn add_tree(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |ident: &syn::Ident| [before, &[ident.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.add_tree(&with(&path.ident), &path.tree),
            syn::UseTree::Name(name) => self.add(&with(&name.ident)),
            syn::UseTree::Rename(rename) => self.add(&with(&rename.ident)),
            syn::UseTree::Glob(_) => self.add(&[before, &["*".to_owned()]].concat()),
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.add_tree(before, tree));
            }
        }
    }

    /// Macros are given tokens: what looks like a path there is one.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match &token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.add(&std::mem::take(&mut path));
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Punct(_) | TokenTree::Literal(_) => {
                    self.add(&std::mem::take(&mut path));
                    colons = 0;
                }
                TokenTree::Group(group) => {
                    self.add(&std::mem::take(&mut path));
                    colons = 0;
                    self.add_tokens(group.stream());
                }
            }
        }
        self.add(&path);
    }
}

impl<'ast> Visit<'ast> for Paths<'_> {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_tree(&[], &item.tree);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.here.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.here.pop();
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if parts.len() > 1 {
            self.add(&parts);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        self.add_tokens(call.tokens.clone());
    }

    /// `pub(super)` names nobody.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}
}
