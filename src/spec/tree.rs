//! YAML (and so JSON) as a tree that remembers lines: what serde forgets and every message needs.
//!
//! Built from the parser's events, one document at a time, so that a syntax error costs its own document and no other.

use std::collections::{HashMap, HashSet};

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, ScanError, Span};

/// A node and where it begins. Lines and columns count from 1.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    /// In the order of the file, duplicates included: they are reported later, with their paths.
    Map(Vec<Entry>),
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) node: Node,
}

/// A scalar as written, and what Kubernetes would take it for.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    pub(crate) kind: ScalarKind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ScalarKind {
    Null,
    Bool,
    Number,
    Text,
}

/// Why a document cannot be read.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) message: String,
    pub(crate) cure: &'static str,
}

/// For what the parser finds; it says where it noticed, which is often a line late.
const LOOK_AROUND: &str =
    "look for a missing quote, bracket or colon, for tabs, and for indentation, here and in the line before";

/// Nodes of a file after aliases have been expanded, however short it is: a few kilobytes of aliases can stand for more
/// nodes than there is memory. A longer file may have one for each of its bytes, which is more than it can without
/// aliases: ten thousand autoscalers in one file are nothing to complain of. What an anchor keeps for its aliases counts
/// as well.
const MAX_NODES: usize = 200_000;

/// So many bytes of text count as a node more: a long text may have aliases, too.
const BYTES_A_NODE: usize = 64;

/// Blocks in blocks, aliases expanded: the parser's own limit counts none of these, and a stack is only so deep. Ours
/// are nine deep; other people's objects in the same file may be deeper.
const MAX_DEPTH: usize = 200;

impl Node {
    /// The entry's node, if this is a map that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// The text of a scalar that is not null.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(scalar) if scalar.kind != ScalarKind::Null => Some(&scalar.text),
            _ => None,
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.kind == ScalarKind::Null)
    }

    /// Where `path` is, or the deepest part of it that exists. `a.b[2].c`; a key with dots stands in brackets.
    pub(crate) fn place_of(&self, path: &str) -> (u32, u32) {
        let mut place = (self.line, self.column);
        let mut node = self;
        for step in steps(path) {
            let next = match &node.value {
                Value::List(items) => {
                    step.parse::<usize>().ok().and_then(|i| items.get(i)).map(|item| (item.line, item.column, item))
                }
                Value::Map(entries) => {
                    entries.iter().rfind(|entry| entry.key == step).map(|entry| (entry.line, entry.column, &entry.node))
                }
                Value::Scalar(_) => None,
            };
            let Some((line, column, child)) = next else { break };
            place = (line, column);
            node = child;
        }
        place
    }
}

/// Splits `a.b[2].c` into its steps.
fn steps(path: &str) -> Vec<&str> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            let (step, after) = inside.split_once(']').unwrap_or((inside, ""));
            steps.push(step);
            rest = after;
        } else {
            let rest_of_word = rest.strip_prefix('.').unwrap_or(rest);
            let end = rest_of_word.find(['.', '[']).unwrap_or(rest_of_word.len());
            let (step, after) = rest_of_word.split_at(end);
            if !step.is_empty() {
                steps.push(step);
            } else if after.is_empty() {
                break;
            }
            rest = after;
        }
    }
    steps
}

/// Every document of a file, or why it cannot be read. Empty documents are left out.
pub(crate) fn documents(text: &str) -> Documents<'_> {
    let builder = Builder {
        parser: Parser::new_from_str(text),
        anchors: HashMap::new(),
        nodes: 0,
        depth: 0,
        most: MAX_NODES.max(text.len()),
    };
    Documents { builder, state: State::Reading }
}

/// See [`documents`].
pub(crate) struct Documents<'a> {
    builder: Builder<'a>,
    state: State,
}

enum State {
    Reading,
    /// The last document broke off.
    Broken,
    Ended,
}

impl Iterator for Documents<'_> {
    type Item = Result<Node, SyntaxError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.state {
                State::Reading => match self.builder.document() {
                    Ok(Some(node)) if node.is_null() => {}
                    Ok(Some(node)) => return Some(Ok(node)),
                    Ok(None) => self.state = State::Ended,
                    Err(error) => {
                        self.state = State::Broken;
                        return Some(Err(error));
                    }
                },
                State::Broken => match self.builder.parser.proceed_next_document() {
                    Ok(true) => self.state = State::Reading,
                    Ok(false) => self.state = State::Ended,
                    Err(error) => {
                        self.state = State::Ended;
                        return Some(Err(syntax_error(&error)));
                    }
                },
                State::Ended => return None,
            }
        }
    }
}

struct Builder<'a> {
    parser: Parser<'a, serde_saphyr::granit_parser::StrInput<'a>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    /// Blocks around what is read now.
    depth: usize,
    /// How many nodes this file may have.
    most: usize,
}

impl<'a> Builder<'a> {
    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, SyntaxError> {
        loop {
            match self.parser.next_event() {
                None => return Ok(None),
                Some(Err(error)) => return Err(syntax_error(&error)),
                Some(Ok((Event::Comment(..), _))) => {}
                Some(Ok(event)) => return Ok(Some(event)),
            }
        }
    }

    /// The next document; `None` at the end of the file.
    fn document(&mut self) -> Result<Option<Node>, SyntaxError> {
        self.anchors.clear();
        self.depth = 0;
        while let Some((event, span)) = self.next()? {
            match event {
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                Event::StreamEnd => return Ok(None),
                event => return self.node(event, &span).map(Some),
            }
        }
        Ok(None)
    }

    fn node(&mut self, event: Event<'a>, span: &Span) -> Result<Node, SyntaxError> {
        let (line, column) = (number(span.start.line()), number(span.start.col() + 1));
        self.count(1, line, column)?;
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let forced_text = tag.is_some_and(|tag| tag.is_yaml_core_schema_tag("str"));
                let kind = if style == ScalarStyle::Plain && !forced_text { kind_of(&text) } else { ScalarKind::Text };
                (Value::Scalar(Scalar { text: text.into_owned(), kind }), anchor)
            }
            Event::SequenceStart(_, anchor, _) => {
                self.enter(1, line, column)?;
                let items = self.list()?;
                self.depth -= 1;
                (Value::List(items), anchor)
            }
            Event::MappingStart(_, anchor, _) => {
                self.enter(1, line, column)?;
                let entries = self.map()?;
                self.depth -= 1;
                (Value::Map(entries), anchor)
            }
            Event::Alias(anchor) => {
                // The alias' own place: that is where a user looks.
                let Some(target) = self.anchors.get(&anchor) else {
                    return Err(SyntaxError {
                        line,
                        column,
                        message: "an alias that contains itself".to_owned(),
                        cure: "write the value out",
                    });
                };
                let (size, depth, value) = (size(target), depth(target), target.value.clone());
                self.count(size, line, column)?;
                self.enter(depth, line, column)?;
                self.depth -= depth;
                (value, 0)
            }
            _ => {
                return Err(SyntaxError {
                    line,
                    column,
                    message: "a value is missing here".to_owned(),
                    cure: LOOK_AROUND,
                });
            }
        };
        let node = Node { value, line, column };
        if anchor != 0 {
            self.count(size(&node), line, column)?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self) -> Result<Vec<Node>, SyntaxError> {
        let mut items = Vec::new();
        while let Some((event, span)) = self.next()? {
            if event == Event::SequenceEnd {
                break;
            }
            items.push(self.node(event, &span)?);
        }
        Ok(items)
    }

    fn map(&mut self) -> Result<Vec<Entry>, SyntaxError> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut merged: Vec<Entry> = Vec::new();
        while let Some((event, span)) = self.next()? {
            if event == Event::MappingEnd {
                break;
            }
            let key = self.node(event, &span)?;
            let Value::Scalar(Scalar { text, .. }) = key.value else {
                let message = "a key must be a plain word, found a list or a map".to_owned();
                return Err(SyntaxError { line: key.line, column: key.column, message, cure: LOOK_AROUND });
            };
            let Some((event, span)) = self.next()? else { break };
            let node = self.node(event, &span)?;
            if text == "<<" {
                merge(node, &mut merged);
            } else {
                entries.push(Entry { key: text, line: key.line, column: key.column, node });
            }
        }
        if !merged.is_empty() {
            let own: HashSet<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
            merged.retain(|entry| !own.contains(entry.key.as_str()));
            // The first of several sources wins.
            let mut known = HashSet::new();
            merged.retain(|entry| known.insert(entry.key.clone()));
            entries.append(&mut merged);
        }
        Ok(entries)
    }

    fn enter(&mut self, blocks: usize, line: u32, column: u32) -> Result<(), SyntaxError> {
        self.depth = self.depth.saturating_add(blocks);
        if self.depth > MAX_DEPTH {
            let message = format!("more than {MAX_DEPTH} blocks in blocks");
            return Err(SyntaxError {
                line,
                column,
                message,
                cure: "write fewer aliases in aliases, or fewer brackets",
            });
        }
        Ok(())
    }

    fn count(&mut self, more: usize, line: u32, column: u32) -> Result<(), SyntaxError> {
        self.nodes = self.nodes.saturating_add(more);
        if self.nodes > self.most {
            return Err(SyntaxError {
                line,
                column,
                message: format!("more than {} values in one file", self.most),
                cure: "write fewer aliases, or split the file",
            });
        }
        Ok(())
    }
}

/// What YAML's merge key brings along, in its order.
fn merge(node: Node, merged: &mut Vec<Entry>) {
    match node.value {
        Value::Map(entries) => {
            merged.extend(entries);
        }
        Value::List(items) => items.into_iter().for_each(|item| merge(item, merged)),
        Value::Scalar(_) => {}
    }
}

fn size(node: &Node) -> usize {
    let text = |text: &str| 1 + text.len() / BYTES_A_NODE;
    match &node.value {
        Value::Scalar(scalar) => text(&scalar.text),
        Value::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Map(entries) => 1 + entries.iter().map(|entry| text(&entry.key) + size(&entry.node)).sum::<usize>(),
    }
}

fn depth(node: &Node) -> usize {
    match &node.value {
        Value::Scalar(_) => 0,
        Value::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Map(entries) => 1 + entries.iter().map(|entry| depth(&entry.node)).max().unwrap_or(0),
    }
}

/// YAML's core schema, as far as manifests need it.
fn kind_of(plain: &str) -> ScalarKind {
    match plain {
        "" | "~" | "null" | "Null" | "NULL" => return ScalarKind::Null,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => return ScalarKind::Bool,
        _ => {}
    }
    let digits = plain.strip_prefix(['+', '-']).unwrap_or(plain);
    let looks_like_one = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if looks_like_one && plain.parse::<f64>().is_ok() { ScalarKind::Number } else { ScalarKind::Text }
}

fn syntax_error(error: &ScanError) -> SyntaxError {
    let mark = error.marker();
    SyntaxError { line: number(mark.line()), column: number(mark.col() + 1), message: error.info(), cure: LOOK_AROUND }
}

fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
