//! The schema's sources as a table of their comments: what `dtrain help` says of a setting is what stands above its field.

use std::path::{Path, PathBuf};

use syn::parse::ParseStream;
use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, ExprLit, Fields, GenericArgument, Item, Lit, PathArguments, Token, Type};

/// Rust source of the tables `STRUCTS` and `ENUMS`, as `src/help/comments.rs` declares them.
pub fn table(schema: &Path) -> Result<String, String> {
    let mut paths = Vec::new();
    sources(schema, &mut paths)?;
    paths.sort();
    let (mut structs, mut enums) = (String::new(), String::new());
    for path in paths {
        let named = |error: String| format!("{}: {error}", path.display());
        let text = std::fs::read_to_string(&path).map_err(|error| named(error.to_string()))?;
        let file = syn::parse_file(&text).map_err(|error| named(error.to_string()))?;
        for item in file.items {
            match item {
                Item::Struct(item) if is_read(&item.attrs) => structs += &of_struct(&item).map_err(named)?,
                Item::Enum(item) if is_read(&item.attrs) => enums += &of_enum(&item).map_err(named)?,
                Item::Macro(item) if item.mac.path.is_ident("tagged") => {
                    let item = item.mac.parse_body_with(tagged).map_err(|error| named(error.to_string()))?;
                    enums += &of_enum(&item).map_err(named)?;
                }
                _ => {}
            }
        }
    }
    Ok(format!(
        "pub(super) static STRUCTS: &[Struct] = &[{structs}];\npub(super) static ENUMS: &[Enum] = &[{enums}];\n"
    ))
}

/// All Rust files below a folder.
fn sources(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<(), String> {
    let named = |error: std::io::Error| format!("{}: {error}", folder.display());
    for entry in std::fs::read_dir(folder).map_err(named)? {
        let path = entry.map_err(named)?.path();
        if path.is_dir() {
            sources(&path, paths)?;
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            paths.push(path);
        }
    }
    Ok(())
}

/// The enum within `tagged!`.
fn tagged(input: ParseStream) -> syn::Result<syn::ItemEnum> {
    input.parse::<Token![dyn]>()?;
    input.parse::<syn::Path>()?;
    input.parse::<Token![;]>()?;
    input.parse()
}

/// Whether a type is read from a file of settings.
fn is_read(attributes: &[Attribute]) -> bool {
    attributes.iter().filter(|attribute| attribute.path().is_ident("derive")).any(|attribute| {
        attribute
            .parse_args_with(Punctuated::<syn::Path, Token![,]>::parse_terminated)
            .is_ok_and(|traits| traits.iter().any(|name| name.is_ident("Deserialize")))
    })
}

fn of_struct(item: &syn::ItemStruct) -> Result<String, String> {
    let mut fields = String::new();
    if let Fields::Named(named) = &item.fields {
        for field in &named.named {
            if has_serde_word(&field.attrs, "skip")? {
                continue;
            }
            let ident = field.ident.as_ref().map(ToString::to_string).unwrap_or_default();
            let key = serde_word(&field.attrs, "rename")?.unwrap_or(ident);
            let (form, of) = form(&field.ty).ok_or_else(|| format!("the type of `{key}` is not known"))?;
            let is_flat = has_serde_word(&field.attrs, "flatten")?;
            fields += &format!(
                "Field {{ key: {key:?}, form: Form::{form}, of: {of:?}, is_flat: {is_flat}, comment: {:?} }}, ",
                comment(&field.attrs)
            );
        }
    }
    let name = item.ident.to_string();
    Ok(format!("Struct {{ name: {name:?}, fields: &[{fields}] }},\n"))
}

fn of_enum(item: &syn::ItemEnum) -> Result<String, String> {
    let style = serde_word(&item.attrs, "rename_all")?.unwrap_or_default();
    let mut variants = String::new();
    for variant in &item.variants {
        let word = match (serde_word(&variant.attrs, "rename")?, &variant.discriminant) {
            (Some(word), _) => word,
            (None, Some((_, Expr::Lit(ExprLit { lit: Lit::Str(word), .. })))) => word.value(),
            (None, _) => in_style(&variant.ident.to_string(), &style)?,
        };
        let section = match &variant.fields {
            Fields::Unnamed(fields) => fields.unnamed.first().and_then(|field| last_name(&field.ty)),
            _ => None,
        };
        variants += &format!(
            "Variant {{ word: {word:?}, section: {section:?}, comment: {:?} }}, ",
            comment(&variant.attrs)
        );
    }
    let name = item.ident.to_string();
    Ok(format!("Enum {{ name: {name:?}, variants: &[{variants}] }},\n"))
}

/// The comment as one line for each paragraph; links to other items lose their brackets.
fn comment(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        syn::Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Str(text) => Some(text.value().trim().to_owned()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    });
    let text =
        lines.map(|line| if line.is_empty() { "\n".to_owned() } else { line }).collect::<Vec<_>>().join(" ");
    text.replace(" \n ", "\n").replace("[`", "`").replace("`]", "`")
}

/// The word behind `name = ` in serde's attributes.
fn serde_word(attributes: &[Attribute], name: &str) -> Result<Option<String>, String> {
    Ok(serde_attribute(attributes, name)?.flatten())
}

/// Whether serde's attributes have the word `name`.
fn has_serde_word(attributes: &[Attribute], name: &str) -> Result<bool, String> {
    Ok(serde_attribute(attributes, name)?.is_some())
}

/// `name` among serde's attributes, with the word behind `=` where there is one.
fn serde_attribute(attributes: &[Attribute], name: &str) -> Result<Option<Option<String>>, String> {
    let mut found = None;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
        attribute
            .parse_nested_meta(|meta| {
                let value = if meta.input.peek(Token![=]) {
                    Some(meta.value()?.parse::<syn::LitStr>()?)
                } else {
                    None
                };
                if meta.path.is_ident(name) {
                    found = Some(value.map(|value| value.value()));
                }
                Ok(())
            })
            .map_err(|error| error.to_string())?;
    }
    Ok(found)
}

/// As serde's `rename_all` writes a variant.
fn in_style(variant: &str, style: &str) -> Result<String, String> {
    let parted = |sign: char| {
        let mut word = String::new();
        for (index, letter) in variant.chars().enumerate() {
            if letter.is_uppercase() && index > 0 {
                word.push(sign);
            }
            word.extend(letter.to_lowercase());
        }
        word
    };
    match style {
        "lowercase" => Ok(variant.to_lowercase()),
        "snake_case" => Ok(parted('_')),
        "kebab-case" => Ok(parted('-')),
        "" => Ok(variant.to_owned()),
        other => Err(format!("`rename_all = \"{other}\"` is not known")),
    }
}

/// How a value is written around the type that it holds, and the name of that type.
fn form(ty: &Type) -> Option<(&'static str, String)> {
    if let Type::Array(array) = ty {
        return Some(("Pair", last_name(&array.elem)?));
    }
    let name = last_name(ty)?;
    let inner = |index: usize| argument(ty, index);
    Some(match name.as_str() {
        "Option" => match form(inner(0)?)? {
            ("One", of) => ("Optional", of),
            ("List", of) => ("OptionalList", of),
            ("Pair", of) => ("OptionalPair", of),
            ("Auto", of) => ("OptionalAuto", of),
            _ => return None,
        },
        "Auto" => ("Auto", last_name(inner(0)?)?),
        "Several" => ("Several", last_name(inner(0)?)?),
        "Vec" => ("List", last_name(inner(0)?)?),
        "BTreeMap" => ("Named", last_name(inner(1)?)?),
        _ => ("One", name),
    })
}

fn last_name(ty: &Type) -> Option<String> {
    match ty {
        Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()),
        _ => None,
    }
}

/// The type between the angle brackets.
fn argument(ty: &Type, index: usize) -> Option<&Type> {
    let Type::Path(path) = ty else { return None };
    let PathArguments::AngleBracketed(arguments) = &path.path.segments.last()?.arguments else { return None };
    match arguments.args.iter().nth(index)? {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    }
}
