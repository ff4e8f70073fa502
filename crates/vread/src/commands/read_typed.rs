//! `vread read` without a length: a value, as its type shows it.

use std::io::{self, Write};

use anyhow::{Context as _, bail};
use serde_json::{Map, Value as Json, json};
use vread_addr::VirtAddr;
use vread_linux::{
    Kernel,
    typed::{Expression, Label, Leaf, Piece, Shown, TypedError, Value},
};
use vread_targets::Target;
use vread_vmlinux::written_type;

use crate::{Outcome, arguments::ReadArguments, json, printable::Printable};

/// How far members are indented in one another.
const INDENT: usize = 4;

pub(super) fn run(
    target: &Target,
    arguments: &ReadArguments,
    out: &mut dyn Write,
) -> anyhow::Result<Outcome> {
    let path = arguments.at.path();
    let kernel = target.ask_kernel(Ok)?;
    let value = evaluate(kernel, &path, arguments.of.as_deref())?;
    let shown = kernel.show(&value)?;
    match arguments.json {
        true => {
            let at = shown.at.map(|at| format!("{at:#x}"));
            let value = to_json(&shown);
            let whole = json!({ "address": at, "type": shown.type_name, "value": value });
            json::write(out, &whole)?;
            writeln!(out)?;
        }
        false => print(out, &shown)?,
    }
    if shown.torn {
        tell!(
            "vread: the value{} changed at every try to read it, so that its parts may be of different moments; --pause holds it still",
            at(&shown)
        );
        return Ok(Outcome::SomeMissing);
    }
    Ok(Outcome::All)
}

/// Where the value lies that `path` leads to.
pub(super) fn address(
    target: &Target,
    path: &Expression,
    of: Option<&str>,
) -> anyhow::Result<VirtAddr> {
    let value = evaluate(target.ask_kernel(Ok)?, path, of)?;
    match value.address() {
        Some(addr) => Ok(addr),
        None => bail!("what the path leads to is an address and has none; put a `*` before it"),
    }
}

fn evaluate(kernel: &Kernel, path: &Expression, of: Option<&str>) -> anyhow::Result<Value> {
    let known = |name: &str| written_type(kernel.release(), name);
    match kernel.evaluate(path, of, known) {
        Err(TypedError::NeedsType { name }) if path.steps.is_empty() => {
            Err(TypedError::NeedsType { name })
                .context("give how many bytes to dump; or to show a value")
        }
        result => Ok(result?),
    }
}

fn at(shown: &Shown) -> String {
    match shown.at {
        Some(addr) => format!(" at {addr}"),
        None => String::new(),
    }
}

fn print(out: &mut dyn Write, shown: &Shown) -> io::Result<()> {
    let mut depth = 0_usize;
    for piece in &shown.pieces {
        if matches!(piece, Piece::Close) {
            depth = depth.saturating_sub(1);
        }
        write!(out, "{:width$}", "", width = depth.saturating_mul(INDENT))?;
        match piece {
            Piece::OpenStruct(label, of) => {
                writeln!(out, "{}({}){{", labelled(label), Printable(of))?;
                depth = depth.saturating_add(1);
            }
            Piece::OpenArray(label, of) => {
                writeln!(out, "{}({}){{", labelled(label), Printable(of))?;
                depth = depth.saturating_add(1);
            }
            Piece::Close => writeln!(out, "}}{}", comma(depth))?,
            Piece::Leaf(label, of, leaf) => {
                let (label, of, leaf) = (labelled(label), Printable(of), text(leaf));
                writeln!(out, "{label}({of}){}{}", Printable(&leaf), comma(depth))?;
            }
            Piece::More(count) => writeln!(out, "… and {count} more")?,
        }
    }
    Ok(())
}

fn comma(depth: usize) -> &'static str {
    if depth == 0 { "" } else { "," }
}

fn labelled(label: &Label) -> String {
    match label {
        Label::None => String::new(),
        Label::Member(name) if name.is_empty() => String::new(),
        Label::Member(name) => format!(".{} = ", Printable(name)),
        Label::Index(index) => format!("[{index}] = "),
    }
}

fn text(leaf: &Leaf) -> String {
    match leaf {
        Leaf::Integer(number) => number.to_string(),
        Leaf::Bool(value) => value.to_string(),
        Leaf::Text(text) => format!("{text:?}"),
        Leaf::Enumerator(Some(name), _) => name.clone(),
        Leaf::Enumerator(None, number) => number.to_string(),
        Leaf::Pointer(to, _) if to.get() == 0 => "NULL".to_owned(),
        Leaf::Pointer(to, None) => format!("{to:#x}"),
        Leaf::Pointer(to, Some(symbol)) => format!("{to:#x} <{symbol}>"),
        Leaf::Float(number) => number.to_string(),
        _ => "?".to_owned(),
    }
}

/// Structs are objects, arrays are arrays, pointers hexadecimal strings. Members of an anonymous struct stand
/// in the one around it.
fn to_json(shown: &Shown) -> Json {
    // The innermost that is open is last.
    let mut open: Vec<(Label, Json)> = vec![(Label::None, Json::Array(Vec::new()))];
    for piece in &shown.pieces {
        match piece {
            Piece::OpenStruct(label, _) => open.push((label.clone(), Json::Object(Map::new()))),
            Piece::OpenArray(label, _) => open.push((label.clone(), Json::Array(Vec::new()))),
            Piece::Close => {
                if let Some((label, value)) = open.pop() {
                    put(&mut open, &label, value);
                }
            }
            Piece::Leaf(label, _, leaf) => {
                let value = leaf_json(leaf);
                put(&mut open, label, value);
            }
            Piece::More(_) => {}
        }
    }
    match open.pop() {
        Some((_, Json::Array(mut values))) => values.pop().unwrap_or(Json::Null),
        _ => Json::Null,
    }
}

fn put(open: &mut [(Label, Json)], label: &Label, value: Json) {
    match (open.last_mut(), label, value) {
        (Some((_, Json::Array(values))), _, value) => values.push(value),
        (Some((_, Json::Object(members))), Label::Member(name), Json::Object(inner))
            if name.is_empty() =>
        {
            members.extend(inner);
        }
        (Some((_, Json::Object(members))), Label::Member(name), value) => {
            members.insert(name.clone(), value);
        }
        _ => {}
    }
}

fn leaf_json(leaf: &Leaf) -> Json {
    match leaf {
        Leaf::Integer(number) => match (u64::try_from(*number), i64::try_from(*number)) {
            (Ok(number), _) => json!(number),
            (_, Ok(number)) => json!(number),
            _ => Json::Null,
        },
        Leaf::Bool(value) => json!(value),
        Leaf::Text(text) => json!(text),
        Leaf::Enumerator(Some(name), _) => json!(name),
        Leaf::Enumerator(None, number) => json!(i64::try_from(*number).ok()),
        Leaf::Pointer(to, _) => json!(format!("{to:#x}")),
        Leaf::Float(number) => json!(number),
        _ => Json::Null,
    }
}
