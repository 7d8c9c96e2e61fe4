//! The values that a function may return instead, by its return type: those that cargo-mutants tries.

use quote::ToTokens;
use syn::{GenericArgument, PathArguments, ReturnType, Type};

/// The values, as source text.
pub fn values(output: &ReturnType) -> Vec<String> {
    match output {
        ReturnType::Default => vec!["()".into()],
        ReturnType::Type(_, of) => of_type(of),
    }
}

fn of_type(of: &Type) -> Vec<String> {
    match of {
        Type::Tuple(tuple) if tuple.elems.is_empty() => vec!["()".into()],
        Type::Tuple(tuple) => {
            let mut all = vec![String::new()];
            for element in &tuple.elems {
                let parts = of_type(element);
                all = all.iter().flat_map(|front| parts.iter().map(move |part| format!("{front}{part}, "))).collect();
            }
            all.into_iter().map(|parts| format!("({})", parts.trim_end())).collect()
        }
        Type::Array(array) => {
            let length = array.len.to_token_stream();
            of_type(&array.elem).into_iter().map(|value| format!("[{value}; {length}]")).collect()
        }
        Type::Reference(reference) => match &*reference.elem {
            Type::Path(path) if path.path.is_ident("str") => vec!["\"\"".into(), "\"xyzzy\"".into()],
            Type::Slice(_) if reference.mutability.is_some() => vec!["&mut []".into()],
            Type::Slice(_) => vec!["&[]".into()],
            _ => Vec::new(),
        },
        Type::Paren(inner) => of_type(&inner.elem),
        Type::Path(path) => of_path(path),
        _ => Vec::new(),
    }
}

fn of_path(path: &syn::TypePath) -> Vec<String> {
    let Some(last) = path.path.segments.last() else { return Vec::new() };
    let first = match &last.arguments {
        PathArguments::AngleBracketed(all) => all.args.iter().find_map(|one| match one {
            GenericArgument::Type(of) => Some(of),
            _ => None,
        }),
        _ => None,
    };
    let inner = || first.map_or_else(|| vec!["Default::default()".to_owned()], of_type);
    match last.ident.to_string().as_str() {
        "bool" => vec!["true".into(), "false".into()],
        "u8" | "u16" | "u32" | "u64" | "u128" | "usize" => vec!["0".into(), "1".into()],
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => vec!["0".into(), "1".into(), "-1".into()],
        "f32" | "f64" => vec!["0.0".into(), "1.0".into(), "-1.0".into()],
        "String" => vec!["String::new()".into(), "\"xyzzy\".into()".into()],
        "Option" => {
            std::iter::once("None".to_owned()).chain(inner().iter().map(|value| format!("Some({value})"))).collect()
        }
        "Result" => inner().iter().map(|value| format!("Ok({value})")).collect(),
        "Vec" => {
            std::iter::once("Vec::new()".to_owned()).chain(inner().iter().map(|one| format!("vec![{one}]"))).collect()
        }
        "Box" => inner().iter().map(|value| format!("Box::new({value})")).collect(),
        // A constructor that another value stands for is not a value of its own.
        _ => vec!["Default::default()".into()],
    }
}
