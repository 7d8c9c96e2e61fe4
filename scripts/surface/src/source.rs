//! The sources of a crate, as its modules: which file each is in, and which of them users can name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use syn::{Attribute, Item, ItemMod, Visibility};

/// A module with its own file.
pub struct Module {
    /// Path from the crate's root; empty for the root.
    pub path: Vec<String>,
    pub file: PathBuf,
    /// Whether it is public, and so are all that it is in.
    pub is_public: bool,
    pub items: Vec<Item>,
}

/// A crate without its tests.
pub struct Crate {
    pub name: String,
    pub modules: BTreeMap<Vec<String>, Module>,
}

impl Crate {
    /// Reads a crate from its root file.
    pub fn read(name: &str, root: &Path) -> Crate {
        let mut found = Crate { name: name.into(), modules: BTreeMap::new() };
        let folder = root.parent().expect("a file lies in a folder").to_owned();
        found.add(Vec::new(), root.to_owned(), &folder, true);
        found
    }

    fn add(&mut self, path: Vec<String>, file: PathBuf, folder: &Path, is_public: bool) {
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let items: Vec<Item> = parsed.items.into_iter().filter(|item| !is_test(attributes(item))).collect();
        for item in &items {
            let Item::Mod(ItemMod { ident, content: None, vis, attrs, .. }) = item else { continue };
            let name = ident.to_string();
            let inside = folder.join(&name);
            let child = given_path(attrs).map_or_else(
                || {
                    let beside = folder.join(format!("{name}.rs"));
                    if beside.exists() { beside } else { inside.join("mod.rs") }
                },
                |given| file.parent().expect("a file lies in a folder").join(given),
            );
            let path = path.iter().cloned().chain([name]).collect();
            self.add(path, child, &inside, is_public && matches!(vis, Visibility::Public(_)));
        }
        self.modules.insert(path.clone(), Module { path, file, is_public, items });
    }
}

fn given_path(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().filter(|attribute| attribute.path().is_ident("path")).find_map(|attribute| {
        let syn::Meta::NameValue(pair) = &attribute.meta else { return None };
        let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) = &pair.value else { return None };
        Some(text.value())
    })
}

/// Whether it is built for tests only.
pub fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg")
                && attribute.parse_args::<syn::Ident>().is_ok_and(|condition| condition == "test")
    })
}

pub fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// The name that an item defines, and whether it is public.
pub fn definition(item: &Item) -> Option<(String, bool)> {
    let (name, visibility) = match item {
        Item::Const(item) => (&item.ident, &item.vis),
        Item::Enum(item) => (&item.ident, &item.vis),
        Item::Fn(item) => (&item.sig.ident, &item.vis),
        Item::Mod(item) => (&item.ident, &item.vis),
        Item::Static(item) => (&item.ident, &item.vis),
        Item::Struct(item) => (&item.ident, &item.vis),
        Item::Trait(item) => (&item.ident, &item.vis),
        Item::Type(item) => (&item.ident, &item.vis),
        Item::Union(item) => (&item.ident, &item.vis),
        _ => return None,
    };
    Some((name.to_string(), matches!(visibility, Visibility::Public(_))))
}

/// Each name that a `use` brings, with its path; a glob brings `*`.
pub fn imports(tree: &syn::UseTree, before: &mut Vec<String>, found: &mut Vec<(String, Vec<String>)>) {
    match tree {
        syn::UseTree::Path(path) => {
            before.push(path.ident.to_string());
            imports(&path.tree, before, found);
            before.pop();
        }
        syn::UseTree::Name(name) => {
            let name = name.ident.to_string();
            if name == "self" {
                found.push((before.last().cloned().unwrap_or_default(), before.clone()));
            } else {
                found.push((name.clone(), before.iter().cloned().chain([name]).collect()));
            }
        }
        syn::UseTree::Rename(rename) => {
            let path = before.iter().cloned().chain([rename.ident.to_string()]).collect();
            found.push((rename.rename.to_string(), path));
        }
        syn::UseTree::Glob(_) => found.push(("*".into(), before.iter().cloned().chain(["*".into()]).collect())),
        syn::UseTree::Group(group) => group.items.iter().for_each(|tree| imports(tree, before, found)),
    }
}
