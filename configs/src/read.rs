//! YAML text to tree. The only file that knows the YAML library.
//!
//! What settings need and no more: one document of sections, lists and words. Anchors, aliases and tags are refused,
//! and size and depth are bounded, so a hostile file costs no more than its own length.

use std::collections::HashSet;
use std::sync::Arc;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span};

use crate::error::Problem;
use crate::node::{Entry, Map, Node, Value};
use crate::scalar::Scalar;
use crate::source::{Place, Source};

/// Largest YAML text, in bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// Deepest nesting.
const MAX_DEPTH: usize = 24;
/// Most values and keys in one text.
const MAX_NODES: usize = 10_000;

/// Reads a whole file. An empty one is an empty section.
///
/// # Errors
/// A problem with its place: bad syntax, a duplicate key, or something that settings do not use.
pub fn read(source: &Arc<Source>) -> Result<Node, Problem> {
    read_part(source, &source.text, 0)
}

/// Reads a part of a source's first line that starts after `skipped_chars` characters.
///
/// # Errors
/// As for [`read`].
pub fn read_part(source: &Arc<Source>, text: &str, skipped_chars: usize) -> Result<Node, Problem> {
    let mut builder = Builder { source, skipped_chars, open: Vec::new(), root: None, num_nodes: 0 };
    if text.len() > MAX_BYTES {
        return Err(Problem::new(format!("{} is larger than {MAX_BYTES} bytes", source.kind)));
    }
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => builder.take(event, &span)?,
            Err(error) => {
                let mark = error.marker();
                let place = builder.place(mark.line(), mark.col(), 1);
                return Err(Problem::new(format!("not valid YAML: {}", error.info())).at(Some(&place)));
            }
        }
    }
    Ok(builder.root.unwrap_or_else(|| Node::map(Map::default(), None)))
}

struct Builder<'a> {
    source: &'a Arc<Source>,
    skipped_chars: usize,
    open: Vec<Open>,
    root: Option<Node>,
    num_nodes: usize,
}

/// A list or section whose end has not come yet.
enum Open {
    List { place: Place, items: Vec<Node> },
    Map { place: Place, map: Map, seen: HashSet<String>, key: Option<(String, Place)> },
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), Problem> {
        let place = self.span(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.check_node(anchor, tag.is_some(), &place)?;
                let scalar = Scalar { text: text.into_owned(), quoted: style != ScalarStyle::Plain };
                if let Some(Open::Map { seen, key: key @ None, .. }) = self.open.last_mut() {
                    if !seen.insert(scalar.text.clone()) {
                        let name = crate::source::printable(&scalar.text, 60);
                        return Err(Problem::new(format!("`{name}` is set twice in this section"))
                            .at(Some(&place))
                            .hint("keep one of the two"));
                    }
                    *key = Some((scalar.text, place));
                    return Ok(());
                }
                self.add(Node::scalar(scalar, Some(place)))
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.check_node(anchor, tag.is_some(), &place)?;
                self.start(Open::List { place, items: Vec::new() })
            }
            Event::MappingStart(_, anchor, tag) => {
                self.check_node(anchor, tag.is_some(), &place)?;
                self.start(Open::Map { place, map: Map::default(), seen: HashSet::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List { place, items }) => {
                    self.add(Node { value: Value::List(items), place: Some(place) })
                }
                Some(Open::Map { place, map, .. }) => self.add(Node::map(map, Some(place))),
                None => Ok(()),
            },
            Event::DocumentStart(..) if self.root.is_some() => {
                Err(Problem::new("more than one YAML document").at(Some(&place)))
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) | Event::Anchor(..) => Err(anchors(&place)),
            _ => Ok(()),
        }
    }

    fn check_node(&mut self, anchor: usize, tagged: bool, place: &Place) -> Result<(), Problem> {
        self.num_nodes += 1;
        if anchor != 0 {
            return Err(anchors(place));
        }
        if tagged {
            let problem = Problem::new("YAML tags (`!...`) are not used in settings");
            return Err(problem.at(Some(place)).hint("quote the text if it starts with `!`"));
        }
        if self.num_nodes > MAX_NODES {
            return Err(Problem::new(format!("more than {MAX_NODES} values")).at(Some(place)));
        }
        Ok(())
    }

    fn start(&mut self, open: Open) -> Result<(), Problem> {
        let place = match &open {
            Open::List { place, .. } | Open::Map { place, .. } => place,
        };
        if let Some(Open::Map { key: None, .. }) = self.open.last() {
            return Err(Problem::new("a list or section cannot be a key").at(Some(place)));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(Problem::new(format!("nested deeper than {MAX_DEPTH} levels")).at(Some(place)));
        }
        self.open.push(open);
        Ok(())
    }

    fn add(&mut self, node: Node) -> Result<(), Problem> {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { map, key, .. }) => {
                if let Some((key, key_place)) = key.take() {
                    map.entries.push(Entry { key, key_place: Some(key_place), node });
                }
            }
        }
        Ok(())
    }

    fn span(&self, span: &Span) -> Place {
        let width = if span.end.line() == span.start.line() {
            span.end.col().saturating_sub(span.start.col())
        } else {
            usize::MAX
        };
        self.place(span.start.line(), span.start.col(), width)
    }

    fn place(&self, line: usize, column: usize, width: usize) -> Place {
        let shift = if line <= 1 { self.skipped_chars } else { 0 };
        Place { source: self.source.clone(), line: line.max(1), column: column + shift + 1, width }
    }
}

fn anchors(place: &Place) -> Problem {
    Problem::new("YAML anchors and aliases are not used in settings")
        .at(Some(place))
        .hint("write the value out, or quote the text if it starts with `&` or `*`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceKind;
    use proptest::prelude::*;

    fn source(text: &str) -> Arc<Source> {
        Arc::new(Source { kind: SourceKind::File("test.yaml".into()), text: text.into() })
    }

    fn parse(text: &str) -> Result<Node, Problem> {
        read(&source(text))
    }

    #[test]
    fn every_value_and_key_knows_its_place() {
        let tree = parse("a: 1\nb:\n  c: [x, 'y z']\n  d: {e: 010}\n").unwrap();
        let at = |path: &[&str]| {
            let place = tree.get(path).unwrap().place.clone().unwrap();
            (place.line, place.column, place.width)
        };
        assert_eq!(at(&["a"]), (1, 4, 1));
        assert_eq!(at(&["b", "d", "e"]), (4, 10, 3));
        let Value::List(items) = &tree.get(&["b", "c"]).unwrap().value else { panic!() };
        assert_eq!(items[1].place.as_ref().map(|p| (p.column, p.width)), Some((10, 5)));
        let key = tree
            .get(&["b"])
            .and_then(Node::as_map)
            .and_then(|map| map.entry("d"))
            .unwrap()
            .key_place
            .clone()
            .unwrap();
        assert_eq!((key.line, key.column, key.width), (4, 3, 1));
        assert_eq!(tree.get(&["b", "d", "e"]).and_then(Node::as_text), Some("010"));
    }

    #[test]
    fn what_settings_do_not_use_is_refused() {
        for (text, message) in [
            ("a: 1\na: 2", "set twice"),
            ("a: &x 1", "anchors"),
            ("a: &x 1\nb: *x", "anchors"),
            ("a: !!python/object x", "tags"),
            ("[1]: 2", "key"),
            ("a: 1\n---\nb: 2", "more than one"),
            ("a: [1", "not valid YAML"),
            ("a: b: c", "not valid YAML"),
        ] {
            let problem = parse(text).unwrap_err();
            assert!(problem.message.contains(message), "{text:?}: {}", problem.message);
            assert!(!problem.places.is_empty());
        }
    }

    #[test]
    fn depth_and_size_are_bounded() {
        assert!(parse(&"[".repeat(1000)).is_err());
        assert!(parse(&format!("{}{}", "[".repeat(40), "]".repeat(40))).is_err());
        assert!(parse(&format!("[{}]", "1,".repeat(20_000))).is_err());
        assert!(parse(&" ".repeat(MAX_BYTES + 1)).is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,80}") {
            let _ = parse(&text);
        }

        #[test]
        fn no_yaml_like_text_panics(text in "[-a-c:,\\[\\]{}'\"#&*!|>%@ \\n\\t0-9.~?]{0,60}") {
            if let Err(problem) = parse(&text) {
                let _ = problem.to_string();
            }
        }
    }
}
