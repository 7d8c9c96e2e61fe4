//! Which file uses which, by the paths that it names, and which files use each other in a circle.

use crate::source::{Crate, Module, attributes, definition, imports, is_test};
use std::collections::{BTreeMap, BTreeSet};
use syn::visit::{self, Visit};
use syn::{Item, ItemMod, ItemUse};

type Path = Vec<String>;

/// The circles: files that each use, directly or through one another, all files of the circle. A file and those of the
/// modules inside of it belong together, so what passes between them counts in neither direction.
pub fn circles(of: &Crate) -> Vec<Vec<String>> {
    let edges = edges(of);
    let reach: BTreeMap<&Path, BTreeSet<&Path>> = edges.keys().map(|from| (from, reachable(&edges, from))).collect();
    let mut circles = BTreeSet::new();
    for (from, reached) in &reach {
        let circle: Vec<String> = reached
            .iter()
            .filter(|to| reach.get(*to).is_some_and(|back| back.contains(from)))
            .map(|path| of.modules[*path].file.display().to_string())
            .collect();
        if circle.len() > 1 {
            circles.insert(circle);
        }
    }
    circles.into_iter().collect()
}

fn reachable<'a>(edges: &'a BTreeMap<Path, BTreeSet<Path>>, from: &'a Path) -> BTreeSet<&'a Path> {
    let mut found = BTreeSet::new();
    let mut next = vec![from];
    while let Some(path) = next.pop() {
        for to in edges.get(path).into_iter().flatten() {
            if found.insert(to) {
                next.push(to);
            }
        }
    }
    found
}

fn edges(of: &Crate) -> BTreeMap<Path, BTreeSet<Path>> {
    let mut edges = BTreeMap::new();
    for module in of.modules.values() {
        let mut named = Named::default();
        module.items.iter().for_each(|item| named.visit_item(item));
        let to: BTreeSet<Path> = named
            .paths
            .iter()
            .filter_map(|path| resolve(of, &module.path, path, 8))
            .filter(|to| !to.starts_with(&module.path) && !module.path.starts_with(to))
            .collect();
        edges.insert(module.path.clone(), to);
    }
    edges
}

/// The paths that a file names.
#[derive(Default)]
struct Named {
    paths: Vec<Path>,
}

impl<'a> Visit<'a> for Named {
    fn visit_item_use(&mut self, item: &'a ItemUse) {
        let mut found = Vec::new();
        imports(&item.tree, &mut Vec::new(), &mut found);
        self.paths.extend(found.into_iter().map(|(_, path)| path));
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        // A single name was imported, or is of this file.
        if path.segments.len() > 1 {
            self.paths.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        visit::visit_path(self, path);
    }

    fn visit_item_mod(&mut self, item: &'a ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item(&mut self, item: &'a Item) {
        if !is_test(attributes(item)) {
            visit::visit_item(self, item);
        }
    }
}

/// The module of the file that defines what this path names, as it is seen from a module; through at most this many
/// re-exports.
fn resolve(of: &Crate, from: &Path, path: &[String], depth: u32) -> Option<Path> {
    let mut at = from.clone();
    let mut rest = path;
    match rest.first()?.as_str() {
        "crate" => {
            at.clear();
            rest = &rest[1..];
        }
        "self" => rest = &rest[1..],
        "super" => {
            while rest.first().is_some_and(|name| name == "super") {
                at.pop()?;
                rest = &rest[1..];
            }
        }
        // A module inside of this one, or a name that was imported.
        _ => {}
    }
    while let Some(name) = rest.first() {
        let inside: Path = at.iter().cloned().chain([name.clone()]).collect();
        if of.modules.contains_key(&inside) {
            at = inside;
            rest = &rest[1..];
        } else {
            return defining(of, &of.modules[&at], rest, depth).or(if path.len() > rest.len() {
                Some(at)
            } else {
                None
            });
        }
    }
    Some(at)
}

/// The module that defines a name which is used in this one.
fn defining(of: &Crate, module: &Module, rest: &[String], depth: u32) -> Option<Path> {
    let name = rest.first()?;
    if module.items.iter().filter_map(definition).any(|(defined, _)| defined == *name) {
        return Some(module.path.clone());
    }
    if depth == 0 {
        return None;
    }
    for item in &module.items {
        let Item::Use(item) = item else { continue };
        let mut found = Vec::new();
        imports(&item.tree, &mut Vec::new(), &mut found);
        for (brought, path) in found {
            if brought == *name {
                let path: Path = path.into_iter().chain(rest[1..].iter().cloned()).collect();
                return resolve(of, &module.path, &path, depth - 1);
            }
            if brought == "*" {
                let inside = &path[..path.len() - 1];
                let Some(glob) = resolve(of, &module.path, inside, depth - 1) else { continue };
                let is_there =
                    of.modules[&glob].items.iter().filter_map(definition).any(|(defined, _)| defined == *name);
                if is_there {
                    return Some(glob);
                }
            }
        }
    }
    None
}
