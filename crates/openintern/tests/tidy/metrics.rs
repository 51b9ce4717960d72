//! Every metric is called after the product, and docs/operations.md says what it counts.

use std::fs;

use proc_macro2::TokenTree;
use syn::visit::{self, Visit};

use crate::source::{Package, root};

#[test]
fn metrics_begin_with_our_name_and_are_documented() {
    let mut named = Named::default();
    for package in Package::of_the_runtime() {
        package.files.iter().for_each(|file| named.visit_file(&file.syntax));
    }
    assert!(named.0.len() > 5, "metrics are looked for by their macros");
    let documented = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    for metric in named.0 {
        assert!(metric.starts_with("openintern_"), "`{metric}` could be anybody's");
        assert!(documented.contains(&format!("`{metric}`")), "`{metric}` is not documented");
    }
}

/// The names that the macros of `metrics` are given.
#[derive(Default)]
struct Named(Vec<String>);

impl<'ast> Visit<'ast> for Named {
    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let name = call.path.segments.last().map(|segment| segment.ident.to_string());
        if ["counter", "gauge", "histogram"].contains(&name.as_deref().unwrap_or_default())
            && let Some(TokenTree::Literal(metric)) = call.tokens.clone().into_iter().next()
        {
            self.0.push(metric.to_string().trim_matches('"').to_owned());
        }
        visit::visit_macro(self, call);
    }
}
