//! The table of `src/lib.rs`, and the judgement of a file by it.

use std::collections::{BTreeMap, BTreeSet};

use crate::imports::{Import, Imports, Place, imports, module_of};

/// What a room may name.
#[derive(Debug)]
struct Rule {
    rooms: Rooms,
    /// Where not empty: nothing else.
    only: Vec<Vec<String>>,
    never: Vec<Vec<String>>,
}

#[derive(Debug)]
enum Rooms {
    These(BTreeSet<String>),
    AllBut(BTreeSet<String>),
}

/// The layer table.
#[derive(Debug)]
pub(crate) struct Rules(BTreeMap<String, Rule>);

impl Rules {
    /// Reads the table out of the documentation of `lib.rs`: the rows below `| room | may import | libraries |`.
    ///
    /// Names stand in backticks. Rooms: `nothing`, `everything`, `everything but …`, or a list. Libraries: `only …`,
    /// `never …`, or both, with a semicolon between.
    pub(crate) fn parse(lib: &str) -> Result<Rules, String> {
        let mut rules = BTreeMap::new();
        let mut docs = lib.lines().filter_map(|line| line.strip_prefix("//!")).map(str::trim);
        docs.find(|line| *line == "| room | may import | libraries |").ok_or("lib.rs has no layer table")?;
        for line in docs.skip(1).take_while(|line| line.starts_with('|')) {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let &[room, rooms, libraries] = cells.as_slice() else {
                return Err(format!("three cells are needed: {line}"));
            };
            let [room] = names(room).try_into().map_err(|_| format!("one room a row: {line}"))?;
            let rooms = match rooms {
                "nothing" => Rooms::These(BTreeSet::new()),
                _ if rooms.starts_with("everything") => Rooms::AllBut(names(rooms).into_iter().collect()),
                _ if names(rooms).is_empty() => return Err(format!("which rooms? {line}")),
                _ => Rooms::These(names(rooms).into_iter().collect()),
            };
            let mut rule = Rule { rooms, only: Vec::new(), never: Vec::new() };
            for part in libraries.split(';').map(str::trim).filter(|part| !part.is_empty()) {
                let paths = names(part).iter().map(|name| path(name)).collect();
                match part.split(' ').next() {
                    Some("only") => rule.only = paths,
                    Some("never") => rule.never = paths,
                    _ => return Err(format!("`only` or `never`? {line}")),
                }
            }
            rules.insert(room, rule);
        }
        let known: BTreeSet<&String> = rules.keys().collect();
        for (room, rule) in &rules {
            let (Rooms::These(named) | Rooms::AllBut(named)) = &rule.rooms;
            if let Some(unknown) = named.iter().find(|name| !known.contains(name)) {
                return Err(format!("{room} names {unknown}, which has no row"));
            }
        }
        Ok(Rules(rules))
    }

    pub(crate) fn rooms(&self) -> BTreeSet<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    /// Every line of `files` (path below `src/`, text) that breaks a layer. `libraries` are the crates there are.
    pub(crate) fn broken_by(&self, files: &[(String, String)], libraries: &BTreeSet<String>) -> Vec<String> {
        let mut read: Vec<(&str, Vec<String>, Imports)> = Vec::new();
        for (file, text) in files {
            let module = module_of(file);
            let found = imports(&module, text, libraries);
            read.push((file, module, found));
        }
        let tests: Vec<Vec<String>> = read.iter().flat_map(|(.., found)| found.test_files.clone()).collect();
        let mut complaints = Vec::new();
        for (file, module, found) in &read {
            if tests.iter().any(|test| module.starts_with(test)) {
                continue;
            }
            // The root only says which rooms there are.
            let Some(room) = module.first() else { continue };
            let Some(rule) = self.0.get(room) else {
                complaints.push(format!("src/{file}:1: {room} has no row in the layer table of src/lib.rs"));
                continue;
            };
            for import in &found.all {
                if let Some(complaint) = self.judge(room, rule, import) {
                    complaints.push(format!("src/{file}:{}: {complaint}", import.line));
                }
            }
        }
        complaints
    }

    fn judge(&self, room: &str, rule: &Rule, import: &Import) -> Option<String> {
        match &import.place {
            Place::House(path) => {
                let Some(other) = path.first().filter(|first| *first != "*") else {
                    return Some(format!("{room} may not import the whole house; name what is needed"));
                };
                let allowed = match &rule.rooms {
                    Rooms::These(rooms) => rooms.contains(other),
                    Rooms::AllBut(rooms) => !rooms.contains(other),
                };
                let named = format!("crate::{}", path.join("::"));
                if other == room {
                    None
                } else if !self.0.contains_key(other) {
                    Some(format!("{named}: there is no room {other}"))
                } else if allowed {
                    None
                } else {
                    Some(format!("{room} may not import {other} ({named})"))
                }
            }
            Place::Library(path) => {
                let named = path.join("::");
                if !rule.only.is_empty() && !rule.only.iter().any(|allowed| path.starts_with(allowed)) {
                    return Some(format!("{room} may not use {named}; only {}", list(&rule.only)));
                }
                let whole = path.strip_suffix(&["*".to_owned()]).unwrap_or(path);
                let forbidden = rule.never.iter().find(|never| {
                    // `use std::time;` or `use std::time::*;` is as good as naming what lies below.
                    path.starts_with(never) || (import.in_use && never.starts_with(whole))
                })?;
                let forbidden = forbidden.join("::");
                Some(if forbidden == named {
                    format!("{room} may not use {named}")
                } else {
                    format!("{room} may not use {named}: {forbidden}")
                })
            }
        }
    }
}

/// What stands in backticks.
fn names(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn path(name: &str) -> Vec<String> {
    name.split("::").map(str::to_owned).collect()
}

fn list(paths: &[Vec<String>]) -> String {
    paths.iter().map(|path| path.join("::")).collect::<Vec<_>>().join(", ")
}
