//! One type name, one thing: what one crate shows to others of our modules is called like nothing
//! that another shows. Private types may share a name, and so may those of tests.

use std::collections::BTreeMap;

use syn::visit::{self, Visit};

use crate::source::Package;

/// Names of two types, and why a reader does not take one for the other.
const SHARED: &[(&str, &str)] = &[];

#[test]
fn a_type_name_means_one_thing() {
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in Package::of_the_runtime() {
        for file in &package.files {
            let mut types = Types::default();
            types.visit_file(&file.syntax);
            let place = format!("{}::{}", package.name, file.module.join("::"));
            for name in types.0 {
                names.entry(name).or_default().push(place.clone());
            }
        }
    }
    names.retain(|_, places| places.len() > 1);
    for (name, why) in SHARED {
        assert!(names.remove(*name).is_some(), "`{name}` is one type; it was shared: {why}");
    }
    assert!(names.is_empty(), "these names stand for more than one type: {names:#?}");
}

/// The types that a file shows outside of its module.
#[derive(Default)]
struct Types(Vec<String>);

impl Types {
    fn add(&mut self, visibility: &syn::Visibility, name: &syn::Ident) {
        if !matches!(visibility, syn::Visibility::Inherited) {
            self.0.push(name.to_string());
        }
    }
}

impl<'ast> Visit<'ast> for Types {
    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.add(&item.vis, &item.ident);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.add(&item.vis, &item.ident);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.add(&item.vis, &item.ident);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.add(&item.vis, &item.ident);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.ident != "tests" {
            visit::visit_item_mod(self, item);
        }
    }
}
