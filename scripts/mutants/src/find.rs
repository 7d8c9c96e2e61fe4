//! The mutants of a source file: each with a name that stays when lines move, and the edits that make it.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use proc_macro2::Span;
use quote::ToTokens;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{BinOp, Expr, Stmt, Type, UnOp};

use crate::values::values;

/// One small change.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// File, function, kind and text: unique, and the same after lines have moved.
    pub key: String,
    /// Line and column of what is changed, from 1.
    pub place: (usize, usize),
    /// What is changed, in the words of cargo-mutants.
    pub what: String,
    /// The bytes to replace if the library is built with this mutant alone, and by what.
    pub alone: (Range<usize>, String),
    /// Whether a variable can switch it. The compiler itself runs constants, and functions that make them; and in some
    /// places the switch would have to be written twice.
    pub is_switchable: bool,
    /// Whether a compiler error in the switched form shows that the change itself does not build.
    pub is_same_when_switched: bool,
}

/// Text to insert, or to put in the place of an operator, so that mutants can be switched.
#[derive(Clone, Debug)]
pub struct Edit {
    /// The bytes of the whole expression or statement.
    pub around: Range<usize>,
    /// Put before it and behind it.
    pub frame: [String; 2],
    /// Something inside of it to replace.
    pub inner: Option<(Range<usize>, String)>,
    /// The mutants of the file, by index, that it switches.
    pub mutants: Vec<usize>,
}

/// All mutants of a file.
pub struct Found {
    pub mutants: Vec<Mutant>,
    pub edits: Vec<Edit>,
}

/// Placeholders for the number of a mutant in an edit, in this order.
pub const HERE: &str = "\u{1}";

/// Finds the mutants of a file at this path.
///
/// # Errors
///
/// The file is not Rust.
pub fn find(path: &str, text: &str) -> Result<Found, String> {
    let file = syn::parse_file(text).map_err(|error| format!("{path}:{}: {error}", error.span().start().line))?;
    let mut finder = Finder {
        path,
        text,
        scope: Vec::new(),
        const_depth: 0,
        units: BTreeSet::new(),
        leaving: BTreeSet::new(),
        seen: HashMap::new(),
        found: Found { mutants: Vec::new(), edits: Vec::new() },
    };
    finder.visit_file(&file);
    Ok(finder.found)
}

struct Finder<'a> {
    path: &'a str,
    text: &'a str,
    /// Modules, types and functions around.
    scope: Vec<String>,
    /// Above 0 where nothing can be switched.
    const_depth: usize,
    /// Where the last expression of a block is of type `()`, by the block's first byte.
    units: BTreeSet<usize>,
    /// Blocks behind `let ... else`; their last statement has to leave.
    leaving: BTreeSet<usize>,
    seen: HashMap<String, usize>,
    found: Found,
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let text = attribute.meta.to_token_stream().to_string().replace(' ', "");
        text == "test"
            || ["cfg(test", "cfg(all(test", "cfg(loom", "cfg(doctest"].iter().any(|cfg| text.starts_with(cfg))
    })
}

/// The source without line breaks and comments, cut where it is long.
fn shorten(text: &str) -> String {
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    let words: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
    let text = words.join(" ");
    match text.char_indices().nth(76) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

fn type_name(of: &Type) -> String {
    match of {
        Type::Path(path) => path.path.segments.last().map_or(String::new(), |segment| segment.ident.to_string()),
        other => other.to_token_stream().to_string().replace(' ', ""),
    }
}

/// A statement that is not left out: an assertion, without which nothing changes, or the definition of an item.
fn is_kept(mac: &syn::Macro) -> bool {
    let name = mac.path.segments.last().map_or(String::new(), |segment| segment.ident.to_string());
    name.contains("assert") || name == "unreachable" || name == "thread_local"
}

impl Finder<'_> {
    fn range(&self, span: Span) -> Range<usize> {
        span.byte_range()
    }

    fn add(&mut self, at: Span, what: &str, text: &str, alone: (Range<usize>, String), same: bool) -> usize {
        let function = self.scope.join("::");
        let mut key = format!("{}::{function}: {what}", self.path);
        if !text.is_empty() {
            key = format!("{key}: {}", shorten(text));
        }
        let count = self.seen.entry(key.clone()).or_default();
        *count += 1;
        if *count > 1 {
            key = format!("{key} ({count})");
        }
        let place = (at.start().line, at.start().column + 1);
        let what = what.to_owned();
        let is_switchable = self.const_depth == 0;
        let mutant = Mutant { key, place, what, alone, is_switchable, is_same_when_switched: same };
        self.found.mutants.push(mutant);
        self.found.mutants.len() - 1
    }

    fn edit(
        &mut self,
        around: Range<usize>,
        frame: [&str; 2],
        inner: Option<(Range<usize>, String)>,
        mutants: Vec<usize>,
    ) {
        let frame = frame.map(str::to_owned);
        self.found.edits.push(Edit { around, frame, inner, mutants });
    }

    fn inside(&mut self, name: String, is_const: bool, visit: impl FnOnce(&mut Self)) {
        self.scope.push(name);
        self.const_depth += usize::from(is_const);
        visit(self);
        self.const_depth -= usize::from(is_const);
        self.scope.pop();
    }

    fn function(&mut self, signature: &syn::Signature, block: &syn::Block, visit: impl FnOnce(&mut Self)) {
        if matches!(signature.output, syn::ReturnType::Default) {
            self.units.insert(self.range(block.span()).start);
        }
        self.inside(signature.ident.to_string(), signature.constness.is_some(), |this| {
            this.body(signature, block);
            visit(this);
        });
    }

    /// A function that returns at once.
    fn body(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let braces = self.range(block.brace_token.span.span());
        let inside = braces.start + 1..braces.end - 1;
        if self.text[inside.clone()].trim().is_empty() || signature.asyncness.is_some() {
            return;
        }
        for value in values(&signature.output) {
            if shorten(&self.text[inside.clone()]) == value {
                continue;
            }
            let what = format!("replace body with {value}");
            let mutant = self.add(block.span(), &what, "", (inside.clone(), value.clone()), true);
            let switch = format!(" if {HERE} {{ return {value}; }} ");
            self.edit(inside.clone(), [&switch, ""], None, vec![mutant]);
        }
    }

    /// Marks the blocks in this expression of type `()` that are of that type too.
    fn mark(&mut self, expression: &Expr) {
        match expression {
            Expr::If(one) => {
                self.units.insert(self.range(one.then_branch.span()).start);
                if let Some((_, other)) = &one.else_branch {
                    self.mark(other);
                }
            }
            Expr::Match(one) => {
                for arm in &one.arms {
                    match &*arm.body {
                        Expr::Block(_) | Expr::If(_) | Expr::Match(_) => self.mark(&arm.body),
                        Expr::Call(_) | Expr::MethodCall(_) | Expr::Assign(_) | Expr::Binary(_) => {
                            self.removable(arm.body.span(), false);
                        }
                        _ => {}
                    }
                }
            }
            Expr::Block(one) => drop(self.units.insert(self.range(one.block.span()).start)),
            Expr::Unsafe(one) => drop(self.units.insert(self.range(one.block.span()).start)),
            _ => {}
        }
    }

    /// A statement that can be left out.
    fn removable(&mut self, span: Span, is_statement: bool) {
        let range = self.range(span);
        let text = self.text[range.clone()].to_owned();
        let nothing = if is_statement { "" } else { "()" };
        let mutant = self.add(span, "remove statement", &text, (range.clone(), nothing.into()), true);
        self.edit(range, [&format!("if !{HERE} {{ "), " }"], None, vec![mutant]);
    }

    fn statement(&mut self, statement: &Stmt, is_last: bool, block_is_unit: bool) {
        match statement {
            Stmt::Expr(expression, semicolon) => {
                let is_unit = semicolon.is_some() || !is_last || block_is_unit;
                let is_block = matches!(expression, Expr::If(_) | Expr::Match(_) | Expr::Block(_) | Expr::Unsafe(_));
                let is_loop = matches!(expression, Expr::While(_) | Expr::ForLoop(_));
                let has_no_else = matches!(expression, Expr::If(one) if one.else_branch.is_none());
                if is_unit || is_loop || has_no_else {
                    self.removable(statement.span(), true);
                }
                if is_block && (is_unit && semicolon.is_none()) {
                    self.mark(expression);
                }
            }
            Stmt::Macro(one) if !is_kept(&one.mac) && (one.semi_token.is_some() || block_is_unit) => {
                self.removable(statement.span(), true);
            }
            _ => {}
        }
    }

    /// An operator in the place of another; `frame` computes the operands once and `inner` is put between them.
    fn operator(&mut self, binary: &syn::ExprBinary) {
        let (others, form) = alternatives(&binary.op);
        if others.is_empty() || has_let(&binary.left) || has_let(&binary.right) {
            return;
        }
        let around = self.range(binary.span());
        let operator = self.range(binary.op.span());
        let text = self.text[around.clone()].to_owned();
        let old = self.text[operator.clone()].to_owned();
        let mutants: Vec<usize> = others
            .iter()
            .map(|new| {
                let what = format!("replace {old} with {new}");
                self.add(binary.op.span(), &what, &text, (operator.clone(), (*new).into()), false)
            })
            .collect();
        let choose = |left: &str, right: &str| {
            let each = others.iter().map(|new| format!("if {HERE} {{ {left} {new} {right} }} else "));
            format!("{}{{ {left} {old} {right} }}", each.collect::<String>())
        };
        match form {
            Form::Compare => {
                let end = format!(")) {{ (l__, r__) => {} }})", choose("l__", "r__"));
                self.edit(around, ["(match (&(", &end], Some((operator, "), &(".into())), mutants);
            }
            Form::Compute => {
                let end = format!(")) {{ (l__, r__) => {} }})", choose("l__", "r__"));
                self.edit(around, ["(match ((", &end], Some((operator, "), (".into())), mutants);
            }
            Form::Lazy => {
                let test = if old == "&&" { "!=" } else { "==" };
                let inner = format!(") {{ l__ => if l__ {test} {HERE} {{ ");
                self.edit(around, ["(match (", " } else { l__ } })"], Some((operator, inner)), mutants);
            }
            Form::Assign => {
                let place = self.range(binary.left.span());
                let place = &self.text[place.start..place.end];
                let end = format!("; {} }}", choose(place, "r__"));
                let left = around.start..operator.end;
                self.edit(around, ["{ let r__ = ", &end], Some((left, String::new())), mutants);
            }
        }
    }

    fn arms(&mut self, expression: &syn::ExprMatch) {
        let has_rest = |arm: &syn::Arm| matches!(arm.pat, syn::Pat::Wild(_)) && arm.guard.is_none();
        let has_rest = expression.arms.iter().any(has_rest);
        for arm in &expression.arms {
            let pattern = self.range(arm.pat.span());
            let text = shorten(&self.text[pattern.clone()]);
            let mut numbers = Vec::new();
            let mut condition = String::new();
            if has_rest && !matches!(arm.pat, syn::Pat::Wild(_)) {
                let whole = self.range(arm.span());
                let what = format!("delete match arm {text}");
                numbers.push(self.add(arm.span(), &what, "", (whole, String::new()), false));
                condition = format!("!{HERE}");
            }
            match &arm.guard {
                Some((_, guard)) if !has_let(guard) => {
                    let range = self.range(guard.span());
                    let guarded = self.text[range.clone()].to_owned();
                    for value in ["true", "false"] {
                        let what = format!("replace match guard with {value}");
                        numbers.push(self.add(guard.span(), &what, &guarded, (range.clone(), value.into()), false));
                    }
                    let and = if condition.is_empty() { "" } else { " && " };
                    let start = format!("{condition}{and}({HERE} || (");
                    self.edit(range, [&start, &format!(")) && !{HERE}")], None, numbers);
                }
                Some(_) => {}
                None if !numbers.is_empty() => {
                    self.edit(pattern.clone(), ["", &format!(" if {condition}")], None, numbers);
                }
                None => {}
            }
        }
    }
}

enum Form {
    Compare,
    Compute,
    Lazy,
    Assign,
}

fn has_let(expression: &Expr) -> bool {
    match expression {
        Expr::Let(_) => true,
        Expr::Binary(one) => has_let(&one.left) || has_let(&one.right),
        Expr::Paren(one) => has_let(&one.expr),
        _ => false,
    }
}

/// The operators that cargo-mutants puts in the place of an operator.
fn alternatives(operator: &BinOp) -> (&'static [&'static str], Form) {
    match operator {
        BinOp::Eq(_) => (&["!="], Form::Compare),
        BinOp::Ne(_) => (&["=="], Form::Compare),
        BinOp::Lt(_) => (&["==", ">", "<="], Form::Compare),
        BinOp::Gt(_) => (&["==", "<", ">="], Form::Compare),
        BinOp::Le(_) => (&[">"], Form::Compare),
        BinOp::Ge(_) => (&["<"], Form::Compare),
        BinOp::And(_) => (&["||"], Form::Lazy),
        BinOp::Or(_) => (&["&&"], Form::Lazy),
        BinOp::Add(_) => (&["-", "*"], Form::Compute),
        BinOp::Sub(_) => (&["+", "/"], Form::Compute),
        BinOp::Mul(_) => (&["+", "/"], Form::Compute),
        BinOp::Div(_) => (&["%", "*"], Form::Compute),
        BinOp::Rem(_) => (&["/", "+"], Form::Compute),
        BinOp::Shl(_) => (&[">>"], Form::Compute),
        BinOp::Shr(_) => (&["<<"], Form::Compute),
        BinOp::BitAnd(_) => (&["|", "^"], Form::Compute),
        BinOp::BitOr(_) => (&["&", "^"], Form::Compute),
        BinOp::BitXor(_) => (&["|", "&"], Form::Compute),
        BinOp::AddAssign(_) => (&["-=", "*="], Form::Assign),
        BinOp::SubAssign(_) => (&["+=", "/="], Form::Assign),
        BinOp::MulAssign(_) => (&["+=", "/="], Form::Assign),
        BinOp::DivAssign(_) => (&["%=", "*="], Form::Assign),
        BinOp::RemAssign(_) => (&["/=", "+="], Form::Assign),
        BinOp::ShlAssign(_) => (&[">>="], Form::Assign),
        BinOp::ShrAssign(_) => (&["<<="], Form::Assign),
        BinOp::BitAndAssign(_) => (&["|=", "^="], Form::Assign),
        BinOp::BitOrAssign(_) => (&["&=", "^="], Form::Assign),
        BinOp::BitXorAssign(_) => (&["|=", "&="], Form::Assign),
        _ => (&[], Form::Compare),
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) {
            self.inside(item.ident.to_string(), false, |this| visit::visit_item_mod(this, item));
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if is_test(&item.attrs) {
            return;
        }
        let mut name = type_name(&item.self_ty);
        if let Some((_, path, _)) = &item.trait_ {
            let of = path.segments.last().map_or(String::new(), |segment| segment.ident.to_string());
            name = format!("<{of} for {name}>");
        }
        self.inside(name, false, |this| visit::visit_item_impl(this, item));
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.inside(item.ident.to_string(), false, |this| visit::visit_item_trait(this, item));
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !is_test(&item.attrs) {
            self.function(&item.sig, &item.block, |this| visit::visit_item_fn(this, item));
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_test(&item.attrs) {
            self.function(&item.sig, &item.block, |this| visit::visit_impl_item_fn(this, item));
        }
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        match &item.default {
            Some(block) => self.function(&item.sig, block, |this| visit::visit_trait_item_fn(this, item)),
            None => visit::visit_trait_item_fn(self, item),
        }
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        if !is_test(&item.attrs) {
            self.inside(item.ident.to_string(), true, |this| visit::visit_item_const(this, item));
        }
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        self.inside(item.ident.to_string(), true, |this| visit::visit_item_static(this, item));
    }

    fn visit_impl_item_const(&mut self, item: &'ast syn::ImplItemConst) {
        self.inside(item.ident.to_string(), true, |this| visit::visit_impl_item_const(this, item));
    }

    fn visit_variant(&mut self, item: &'ast syn::Variant) {
        self.inside(item.ident.to_string(), true, |this| visit::visit_variant(this, item));
    }

    fn visit_type_array(&mut self, item: &'ast syn::TypeArray) {
        self.const_depth += 1;
        visit::visit_type_array(self, item);
        self.const_depth -= 1;
    }

    fn visit_expr_const(&mut self, item: &'ast syn::ExprConst) {
        self.const_depth += 1;
        visit::visit_expr_const(self, item);
        self.const_depth -= 1;
    }

    fn visit_expr_repeat(&mut self, item: &'ast syn::ExprRepeat) {
        self.visit_expr(&item.expr);
        self.const_depth += 1;
        self.visit_expr(&item.len);
        self.const_depth -= 1;
    }

    fn visit_pat(&mut self, _: &'ast syn::Pat) {}

    fn visit_block(&mut self, block: &'ast syn::Block) {
        let is_unit = self.units.contains(&self.range(block.span()).start);
        let has_to_leave = self.leaving.contains(&self.range(block.span()).start);
        for (at, statement) in block.stmts.iter().enumerate() {
            let is_last = at + 1 == block.stmts.len();
            if !(is_last && has_to_leave) {
                self.statement(statement, is_last, is_unit);
            }
        }
        visit::visit_block(self, block);
    }

    fn visit_local_init(&mut self, item: &'ast syn::LocalInit) {
        if let Some((_, other)) = &item.diverge {
            self.leaving.insert(self.range(other.span()).start);
        }
        visit::visit_local_init(self, item);
    }

    fn visit_expr_if(&mut self, item: &'ast syn::ExprIf) {
        if item.else_branch.is_none() {
            self.units.insert(self.range(item.then_branch.span()).start);
        }
        visit::visit_expr_if(self, item);
    }

    fn visit_expr_while(&mut self, item: &'ast syn::ExprWhile) {
        self.units.insert(self.range(item.body.span()).start);
        visit::visit_expr_while(self, item);
    }

    fn visit_expr_for_loop(&mut self, item: &'ast syn::ExprForLoop) {
        self.units.insert(self.range(item.body.span()).start);
        visit::visit_expr_for_loop(self, item);
    }

    fn visit_expr_loop(&mut self, item: &'ast syn::ExprLoop) {
        self.units.insert(self.range(item.body.span()).start);
        visit::visit_expr_loop(self, item);
    }

    fn visit_expr_binary(&mut self, item: &'ast syn::ExprBinary) {
        self.operator(item);
        if matches!(alternatives(&item.op).1, Form::Assign) {
            // The place is written more than once, so that nothing in it can be switched.
            self.const_depth += 1;
            self.visit_expr(&item.left);
            self.const_depth -= 1;
            self.visit_expr(&item.right);
        } else {
            visit::visit_expr_binary(self, item);
        }
    }

    fn visit_expr_unary(&mut self, item: &'ast syn::ExprUnary) {
        let name = match item.op {
            UnOp::Not(_) => "!",
            UnOp::Neg(_) => "-",
            _ => return visit::visit_expr_unary(self, item),
        };
        let (around, operator) = (self.range(item.span()), self.range(item.op.span()));
        let text = self.text[around.clone()].to_owned();
        let what = format!("delete {name}");
        let mutant = self.add(item.op.span(), &what, &text, (operator.clone(), String::new()), false);
        let end = format!(") {{ v__ => if {HERE} {{ v__ }} else {{ {name}v__ }} }})");
        self.edit(around, ["", &end], Some((operator, "(match (".into())), vec![mutant]);
        visit::visit_expr_unary(self, item);
    }

    fn visit_expr_match(&mut self, item: &'ast syn::ExprMatch) {
        self.arms(item);
        visit::visit_expr_match(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::switch::{alone, switch};

    const SOURCE: &str = r"
        impl Table {
            fn close(&mut self, at: u32) -> Option<u32> {
                if !self.is_open && at + 1 < self.len { self.open -= 1; }
                match at { 0 => self.first(), _ if self.is_last(at) => self.last(), _ => {} }
                debug_assert!(self.open > 0);
                self.count(at * 2);
                self.next
            }
            const MASK: u32 = 1 | 2;
        }
        #[cfg(test)] mod tests { fn none() { one(); } }";

    fn keys(source: &str) -> Vec<String> {
        find("a.rs", source).expect("it is Rust").mutants.into_iter().map(|mutant| mutant.key).collect()
    }

    #[test]
    fn keys_name_function_kind_and_text() {
        let keys = keys(SOURCE);
        for expected in [
            "a.rs::Table::close: replace body with None",
            "a.rs::Table::close: replace body with Some(1)",
            "a.rs::Table::close: remove statement: if !self.is_open && at + 1 < self.len { self.open -= 1; }",
            "a.rs::Table::close: remove statement: self.open -= 1;",
            "a.rs::Table::close: remove statement: self.first()",
            "a.rs::Table::close: remove statement: self.count(at * 2);",
            "a.rs::Table::close: delete !: !self.is_open",
            "a.rs::Table::close: replace && with ||: !self.is_open && at + 1 < self.len",
            "a.rs::Table::close: replace < with <=: at + 1 < self.len",
            "a.rs::Table::close: replace + with *: at + 1",
            "a.rs::Table::close: replace -= with +=: self.open -= 1",
            "a.rs::Table::close: delete match arm 0",
            "a.rs::Table::close: replace match guard with false: self.is_last(at)",
            "a.rs::Table::MASK: replace | with &: 1 | 2",
        ] {
            assert!(keys.iter().any(|key| key == expected), "{expected} is not in {keys:#?}");
        }
        assert!(keys.iter().all(|key| !key.contains("tests") && !key.contains("assert")), "{keys:#?}");
    }

    #[test]
    fn keys_stay_when_lines_move_and_are_unique() {
        let moved = SOURCE.replace("{ self.open", "{\n // Why.\n self.open").replace("impl", "\n\n struct A;\n impl");
        assert_eq!(keys(SOURCE), keys(&moved));
        let twice = SOURCE.replace("self.count(at * 2);", "self.count(at * 2); self.count(at * 2);");
        let keys: Vec<String> = keys(&twice).into_iter().filter(|key| key.contains("statement: self.count")).collect();
        assert_eq!(keys.len(), 2);
        assert_eq!(format!("{} (2)", keys[0]), keys[1]);
    }

    #[test]
    fn switched_source_and_each_mutant_alone_are_rust() {
        let found = find("a.rs", SOURCE).expect("it is Rust");
        let all = switch(SOURCE, &found, |index| found.mutants[index].is_switchable.then_some(index as u32 + 1));
        syn::parse_file(&all.text).unwrap_or_else(|error| panic!("{error}: {}", all.text));
        for (index, mutant) in found.mutants.iter().enumerate() {
            let is_there = all.text.contains(&format!("is_on({})", index + 1));
            assert_eq!(is_there, mutant.is_switchable, "{}", mutant.key);
            let text = alone(SOURCE, mutant);
            assert!(syn::parse_file(&text).is_ok() && text != SOURCE, "{}: {text}", mutant.key);
        }
        let none = switch(SOURCE, &found, |_| None);
        assert_eq!(none.text, SOURCE);
    }
}
