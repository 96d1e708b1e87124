//! From tokens to the paths that shipped code names, each resolved to a room or to a library.

use std::collections::BTreeSet;

use crate::tokens::{Token, tokens};

/// What a path leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// Counted from the root of the house: `["board", "Cell"]`. `*` for everything, empty for the root itself.
    House(Vec<String>),
    /// Counted from the library's name: `["std", "time", "Instant"]`. `core` and `alloc` are called `std`.
    Library(Vec<String>),
}

/// One path that a file names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Import {
    pub(crate) line: usize,
    pub(crate) place: Place,
    /// In a `use`, which brings in what lies below as well.
    pub(crate) in_use: bool,
}

/// One file's findings.
#[derive(Default, Debug)]
pub(crate) struct Imports {
    pub(crate) all: Vec<Import>,
    /// Modules of this file that are test code and have a file of their own: `["engine", "keda", "tests"]`.
    pub(crate) test_files: Vec<Vec<String>>,
}

/// The module of a file below `src/`: `engine/hpa/mod.rs` is `["engine", "hpa"]`, `lib.rs` is the root.
pub(crate) fn module_of(file: &str) -> Vec<String> {
    let mut module: Vec<String> = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|last| last == "mod") || module == ["lib"] {
        module.pop();
    }
    module
}

/// Every path that the shipped code of `source` names, the file being `module`; `libraries` are the names of crates.
pub(crate) fn imports(module: &[String], source: &str, libraries: &BTreeSet<String>) -> Imports {
    let tokens = tokens(source);
    let mut reader = Reader { tokens: &tokens, at: 0, module: module.to_vec(), open: Vec::new(), found: Vec::new() };
    let mut test_files = Vec::new();
    reader.file(&mut test_files);
    let Reader { found, .. } = reader;
    // A module of the house may have the name of a library: `mod metrics;`, `use super::metrics;`.
    let local: BTreeSet<&str> = found
        .iter()
        .filter(|named| named.declares || (named.in_use && is_own(&named.path)))
        .map(|named| named.name.as_str())
        .collect();
    let resolve = |named: &Named| {
        let (first, rest) = named.path.split_first()?;
        let place = match first.as_str() {
            _ if named.declares => return None,
            "crate" => Place::House(rest.to_vec()),
            "self" | "super" => Place::House(climb(&named.module, &named.path)),
            // The binary sees the library as anybody does.
            "tidegate" if module == ["main"] => Place::House(rest.to_vec()),
            "core" | "alloc" => Place::Library([&["std".to_owned()], rest].concat()),
            name if libraries.contains(name) && (named.absolute || !local.contains(name)) => {
                Place::Library(named.path.clone())
            }
            _ => return None,
        };
        Some(Import { line: named.line, place, in_use: named.in_use })
    };
    Imports { all: found.iter().filter_map(resolve).collect(), test_files }
}

fn is_own(path: &[String]) -> bool {
    path.first().is_some_and(|first| ["crate", "self", "super"].contains(&first.as_str()))
}

/// Where `self` and `super` lead from `module`.
fn climb(module: &[String], path: &[String]) -> Vec<String> {
    let mut place = module.to_vec();
    let mut rest = path;
    while let Some((first, more)) = rest.split_first() {
        match first.as_str() {
            "self" => {}
            "super" => drop(place.pop()),
            _ => break,
        }
        rest = more;
    }
    place.extend_from_slice(rest);
    place
}

/// A path as written, or the name of a module that is declared.
struct Named {
    line: usize,
    path: Vec<String>,
    /// What it is called from here on.
    name: String,
    /// The module that it stands in.
    module: Vec<String>,
    in_use: bool,
    declares: bool,
    /// Begins with `::`.
    absolute: bool,
}

struct Reader<'a> {
    tokens: &'a [Token<'a>],
    at: usize,
    /// Where we are; grows with `mod inner { … }`.
    module: Vec<String>,
    /// The braces that are open: whether each is a module's.
    open: Vec<bool>,
    found: Vec<Named>,
}

impl<'a> Reader<'a> {
    fn text(&self, ahead: usize) -> &'a str {
        self.tokens.get(self.at + ahead).map_or("", |token| token.text)
    }

    fn before(&self) -> &'a str {
        self.at.checked_sub(1).map_or("", |at| self.tokens[at].text)
    }

    fn line(&self) -> usize {
        self.tokens.get(self.at).map_or(0, |token| token.line)
    }

    fn at_word(&self) -> bool {
        self.tokens.get(self.at).is_some_and(Token::is_word)
    }

    fn sees(&self, texts: &[&str]) -> bool {
        texts.iter().enumerate().all(|(ahead, text)| self.text(ahead) == *text)
    }

    fn file(&mut self, test_files: &mut Vec<Vec<String>>) {
        const TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
        while self.at < self.tokens.len() {
            if self.sees(&["#", "!", "[", "cfg", "(", "test", ")", "]"]) {
                return self.found.clear();
            } else if self.sees(&TEST) {
                self.at += TEST.len();
                self.skip_item(test_files);
            } else if self.text(0) == "use" && self.text(1) != "<" {
                self.at += 1;
                self.use_tree(&[], false);
            } else if self.sees(&["extern", "crate"]) {
                self.at += 2;
                let path = vec![self.text(0).to_owned()];
                self.name(path, true, true);
                self.at += 1;
            } else if self.text(0) == "mod" && [";", "{"].contains(&self.text(2)) {
                self.module_begins();
            } else if self.at_word() || (self.text(0) == "::" && !self.goes_on()) {
                self.inline_path();
            } else {
                match self.text(0) {
                    "{" => self.open.push(false),
                    "}" if self.open.pop() == Some(true) => drop(self.module.pop()),
                    _ => {}
                }
                self.at += 1;
            }
        }
    }

    /// Whether a `::` here continues a path (`Vec::<u8>::new`) instead of beginning one.
    fn goes_on(&self) -> bool {
        self.before() == ">" || self.at.checked_sub(1).is_some_and(|at| self.tokens[at].is_word())
    }

    fn name(&mut self, path: Vec<String>, in_use: bool, absolute: bool) {
        let name = path.last().cloned().unwrap_or_default();
        let (line, module) = (self.line(), self.module.clone());
        self.found.push(Named { line, path, name, module, in_use, declares: false, absolute });
    }

    /// `mod name;` or `mod name {`.
    fn module_begins(&mut self) {
        let name = self.text(1).to_owned();
        let (line, module) = (self.line(), self.module.clone());
        let path = vec![name.clone()];
        self.found.push(Named {
            line,
            path,
            name: name.clone(),
            module,
            in_use: false,
            declares: true,
            absolute: false,
        });
        if self.text(2) == "{" {
            self.module.push(name);
            self.open.push(true);
        }
        self.at += 3;
    }

    /// `a::b::c` in the middle of something; a single word names nothing.
    fn inline_path(&mut self) {
        let absolute = self.text(0) == "::";
        self.at += usize::from(absolute);
        let first = self.at;
        let mut path = Vec::new();
        while self.at_word() {
            path.push(self.text(0).to_owned());
            self.at += 1;
            if self.text(0) != "::" {
                break;
            }
            self.at += 1;
        }
        let end = std::mem::replace(&mut self.at, first);
        if path.len() > 1 || (absolute && !path.is_empty()) {
            self.name(path, false, absolute);
        }
        self.at = end.max(first + usize::from(!absolute));
    }

    /// Everything after `use`, or after a `{` or `,` within it.
    fn use_tree(&mut self, prefix: &[String], mut absolute: bool) {
        let mut path = prefix.to_vec();
        loop {
            match self.text(0) {
                "::" => {
                    absolute |= path.is_empty();
                    self.at += 1;
                }
                "{" => {
                    self.at += 1;
                    while !["}", ""].contains(&self.text(0)) {
                        self.use_tree(&path, absolute);
                        self.at += usize::from(self.text(0) == ",");
                    }
                    self.at += 1;
                    return;
                }
                "as" => {
                    self.at += 2;
                    if let Some(last) = self.found.last_mut() {
                        last.name = self.tokens[self.at - 1].text.to_owned();
                    }
                    return;
                }
                "self" if !path.is_empty() => {
                    self.name(path.clone(), true, absolute);
                    self.at += 1;
                }
                "*" => {
                    path.push("*".to_owned());
                    self.name(path, true, absolute);
                    self.at += 1;
                    return;
                }
                _ if self.at_word() => {
                    path.push(self.text(0).to_owned());
                    if self.text(1) != "::" {
                        self.name(path.clone(), true, absolute);
                    }
                    self.at += 1;
                }
                // `$crate`
                "$" => self.at += 1,
                _ => return,
            }
        }
    }

    /// The item after `#[cfg(test)]`: to its `;`, or to the end of its block.
    fn skip_item(&mut self, test_files: &mut Vec<Vec<String>>) {
        let mut depth = 0_usize;
        while self.at < self.tokens.len() {
            if depth == 0 && self.text(0) == "mod" && self.text(2) == ";" {
                test_files.push([self.module.as_slice(), &[self.text(1).to_owned()]].concat());
            }
            let text = self.text(0);
            match text {
                "(" | "[" | "{" => depth += 1,
                // The end of what the item stands in: it was a field, or the last expression of a block.
                ")" | "]" | "}" if depth == 0 => return,
                ")" | "]" | "}" => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 && [";", "}"].contains(&text) {
                return;
            }
        }
    }
}
