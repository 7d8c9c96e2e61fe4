//! Counts of the items of a crate.

use crate::source::{Crate, attributes, definition, imports, is_test};
use std::collections::{BTreeMap, BTreeSet};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Block, Expr, FnArg, ImplItem, Item, Pat, Signature, Stmt, Visibility};

/// The counts of all crates together.
#[derive(Default)]
pub struct Counts {
    pub public_modules: usize,
    pub public_types: usize,
    pub public_functions: usize,
    pub public_methods: usize,
    pub public_constants: usize,
    pub exported: BTreeSet<String>,
    /// Public fields of each structure of the configuration, and of what is reported.
    pub configurations: BTreeMap<String, usize>,
    pub statistics: BTreeMap<String, usize>,
    pub functions: Vec<Function>,
    pub unsafe_blocks: usize,
    pub unsafe_functions: usize,
    pub unsafe_impls: usize,
}

/// A function with a body.
pub struct Function {
    pub place: String,
    pub lines: usize,
    pub body: Body,
}

/// The form of a function's body.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// One call, with the function's own parameters in their order.
    Forwards,
    /// One call, of whatever.
    OneCall,
    /// One macro.
    OneMacro,
    Other,
}

const CONFIGURATIONS: [&str; 4] = ["config", "policy", "request", "share"];
const STATISTICS: [&str; 4] = ["stats", "info", "counters", "counts"];

impl Counts {
    pub fn add(&mut self, of: &Crate) {
        let named = reexported(of);
        let mut public_types = BTreeSet::new();
        for module in of.modules.values() {
            for item in &module.items {
                let Some((name, true)) = definition(item) else { continue };
                // C users see the header.
                let is_nameable = (module.is_public || named.contains(&name)) && !is_c(&module.path, &name, of);
                match item {
                    _ if !is_nameable => {}
                    Item::Mod(_) => self.public_modules += usize::from(module.is_public),
                    Item::Fn(_) => self.public_functions += 1,
                    Item::Const(_) | Item::Static(_) => self.public_constants += 1,
                    _ => {
                        public_types.insert(name);
                    }
                }
            }
        }
        self.public_types += public_types.len();
        for module in of.modules.values() {
            let mut visitor =
                Visitor { counts: self, public_types: &public_types, file: module.file.display().to_string() };
            module.items.iter().for_each(|item| visitor.visit_item(item));
        }
    }
}

/// Names that a public module brings by `pub use`: what they name is taken for public, wherever it is defined.
fn reexported(of: &Crate) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for module in of.modules.values().filter(|module| module.is_public) {
        for item in &module.items {
            let Item::Use(syn::ItemUse { vis: Visibility::Public(_), tree, .. }) = item else { continue };
            let mut names = Vec::new();
            imports(tree, &mut Vec::new(), &mut names);
            found.extend(names.into_iter().filter_map(|(_, path)| path.last().cloned()));
        }
    }
    found
}

fn is_c(module: &[String], name: &str, of: &Crate) -> bool {
    module.first().is_some_and(|first| first == "ffi")
        || of.name != "demuxbuf"
        || name.to_lowercase().starts_with("demuxbuf_")
}

struct Visitor<'a> {
    counts: &'a mut Counts,
    public_types: &'a BTreeSet<String>,
    file: String,
}

impl Visitor<'_> {
    fn function(&mut self, attributes: &[Attribute], signature: &Signature, block: &Block) {
        let is_exported = attributes.iter().any(|attribute| {
            attribute.path().is_ident("no_mangle")
                || attribute.path().is_ident("unsafe")
                    && attribute.parse_args::<syn::Ident>().is_ok_and(|name| name == "no_mangle")
        });
        if is_exported {
            self.counts.exported.insert(signature.ident.to_string());
        }
        self.counts.unsafe_functions += usize::from(signature.unsafety.is_some() && !is_exported);
        let (begin, end) = (signature.span().start().line, block.span().end().line);
        let place = format!("{}:{begin} {}", self.file, signature.ident);
        self.counts.functions.push(Function { place, lines: end - begin + 1, body: body_of(signature, block) });
    }
}

impl<'a> Visit<'a> for Visitor<'_> {
    fn visit_item(&mut self, item: &'a Item) {
        if !is_test(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
        self.function(&item.attrs, &item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'a syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.function(&item.attrs, &item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_impl(&mut self, item: &'a syn::ItemImpl) {
        self.counts.unsafe_impls += usize::from(item.unsafety.is_some());
        let is_public = item.trait_.is_none()
            && matches!(&*item.self_ty, syn::Type::Path(path) if path.path.segments.last().is_some_and(|last| {
                self.public_types.contains(&last.ident.to_string())
            }));
        for inner in &item.items {
            match inner {
                ImplItem::Fn(function) => {
                    self.counts.public_methods +=
                        usize::from(is_public && matches!(function.vis, Visibility::Public(_)));
                    self.function(&function.attrs, &function.sig, &function.block);
                }
                ImplItem::Const(constant) => {
                    self.counts.public_constants +=
                        usize::from(is_public && matches!(constant.vis, Visibility::Public(_)));
                }
                _ => {}
            }
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_item_struct(&mut self, item: &'a syn::ItemStruct) {
        let name = item.ident.to_string();
        let lower = name.to_lowercase();
        let fields = item.fields.iter().filter(|field| matches!(field.vis, Visibility::Public(_))).count();
        let is_public = matches!(item.vis, Visibility::Public(_)) && fields > 0;
        if is_public && CONFIGURATIONS.iter().any(|end| lower.ends_with(end)) {
            self.counts.configurations.insert(name, fields);
        } else if is_public && STATISTICS.iter().any(|end| lower.ends_with(end)) {
            self.counts.statistics.insert(name, fields);
        }
    }

    fn visit_expr_unsafe(&mut self, expression: &'a syn::ExprUnsafe) {
        self.counts.unsafe_blocks += 1;
        visit::visit_expr_unsafe(self, expression);
    }
}

fn body_of(signature: &Signature, block: &Block) -> Body {
    let [statement] = block.stmts.as_slice() else { return Body::Other };
    let expression = match statement {
        Stmt::Expr(expression, _) => bare(expression),
        Stmt::Macro(_) => return Body::OneMacro,
        _ => return Body::Other,
    };
    let parameters: Vec<String> = signature.inputs.iter().filter_map(parameter).collect();
    let has_self = signature.receiver().is_some();
    let (arguments, is_through_self) = match expression {
        Expr::Macro(_) => return Body::OneMacro,
        Expr::Call(call) => (call.args.iter().collect::<Vec<_>>(), false),
        Expr::MethodCall(call) if is_place(&call.receiver) => (call.args.iter().collect(), has_self),
        _ => return Body::Other,
    };
    let mut passed: Vec<String> = arguments.iter().filter_map(|argument| name_of(argument)).collect();
    if has_self && !is_through_self && passed.first().is_some_and(|first| first == "self") {
        passed.remove(0);
    }
    let is_same = passed.len() == arguments.len() && passed == parameters;
    // A function of nothing that calls one is a default, not a layer.
    if is_same && (has_self || !parameters.is_empty()) { Body::Forwards } else { Body::OneCall }
}

/// Without what changes nothing about the call: `unsafe`, `?`, parentheses.
fn bare(expression: &Expr) -> &Expr {
    match expression {
        Expr::Paren(inner) => bare(&inner.expr),
        Expr::Try(inner) => bare(&inner.expr),
        Expr::Unsafe(inner) => match inner.block.stmts.as_slice() {
            [Stmt::Expr(expression, _)] => bare(expression),
            _ => expression,
        },
        _ => expression,
    }
}

fn parameter(input: &FnArg) -> Option<String> {
    let FnArg::Typed(typed) = input else { return None };
    let Pat::Ident(name) = &*typed.pat else { return Some("_".into()) };
    Some(name.ident.to_string())
}

/// A variable, or a field of one.
fn is_place(expression: &Expr) -> bool {
    match expression {
        Expr::Path(_) => true,
        Expr::Field(field) => is_place(&field.base),
        Expr::Reference(reference) => is_place(&reference.expr),
        Expr::Paren(inner) => is_place(&inner.expr),
        _ => false,
    }
}

fn name_of(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Path(path) => path.path.get_ident().map(ToString::to_string),
        Expr::Reference(reference) => name_of(&reference.expr),
        _ => None,
    }
}
