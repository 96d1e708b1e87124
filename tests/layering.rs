//! Who may import whom: reads `src/` and names every line that breaks a layer.
//!
//! The rules are the table in the documentation of `src/lib.rs`, and nowhere else. A path counts wherever it is
//! written: `use crate::{board, engine::Engine}`, `crate::board::Cell` in the middle of a line or of a macro,
//! `super::super::board` out of a room, `::metrics::counter!`, a library under its own name. Comments and strings do
//! not count. Neither does test code (`#[cfg(test)]` items, and the files of `#[cfg(test)] mod tests;`): the layers are
//! about what ships, and a test may meet its neighbours.
//!
//! What a reader of tokens cannot see: names that a macro makes up, and a thing of another room that is handed on by a
//! room that may be imported.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may break, and says what it found"
)]

#[path = "layering/imports.rs"]
mod imports;
#[path = "layering/rules.rs"]
mod rules;
#[path = "layering/tokens.rs"]
mod tokens;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rules::Rules;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Every `.rs` file below `src/`: its path from there, and its text.
fn house() -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let name = path.strip_prefix(root().join("src")).unwrap().display().to_string();
                files.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

/// The names under which code may reach a library: `std`, and what `Cargo.toml` lists.
fn libraries() -> BTreeSet<String> {
    let mut names = BTreeSet::from(["std".to_owned()]);
    let mut listed = false;
    for line in read("Cargo.toml").lines() {
        if line.starts_with('[') {
            listed = line.ends_with("dependencies]");
        } else if let Some((name, _)) = line.split_once('=').filter(|_| listed && !line.starts_with('#')) {
            names.insert(name.trim().replace('-', "_"));
        }
    }
    names
}

#[test]
fn the_house_keeps_its_layers() {
    let rules = Rules::parse(&read("src/lib.rs")).unwrap();
    let files = house();
    let libraries = libraries();
    assert!(files.len() > 50 && libraries.contains("metrics_exporter_prometheus"), "nothing was read");
    let broken = rules.broken_by(&files, &libraries);
    assert!(broken.is_empty(), "{} lines break a layer:\n{}", broken.len(), broken.join("\n"));
}

#[test]
fn every_room_has_a_row_and_every_row_a_room() {
    let lib = read("src/lib.rs");
    let rules = Rules::parse(&lib).unwrap();
    let mut rooms: BTreeSet<&str> = lib
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ").or(line.strip_prefix("mod "))?.strip_suffix(';'))
        .collect();
    rooms.insert("main");
    assert_eq!(rules.rooms(), rooms);
}

// === the test itself can fail ===

const TABLE: &str = "\
//! | room | may import | libraries |
//! |---|---|---|
//! | `model` | nothing | only `std`; never `std::time::Instant` |
//! | `spec` | `model` | only `std`, `serde`, `kube::CustomResource` |
//! | `engine` | `model`, `spec` | never `tokio`, `metrics`, `std::time::Instant`, `std::collections::HashMap` |
//! | `board` | `model` | |
//! | `cli` | everything | never `redis` |
//! | `app` | everything but `cli` | |
//! | `main` | `cli` | |
";

/// What the table above has to say about one made-up file.
fn complaints(file: &str, text: &str) -> Vec<String> {
    complaints_about(&[(file, text)])
}

fn complaints_about(files: &[(&str, &str)]) -> Vec<String> {
    let libraries = ["std", "serde", "kube", "tokio", "metrics", "redis"].map(str::to_owned).into();
    let files: Vec<(String, String)> =
        files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
    Rules::parse(TABLE).unwrap().broken_by(&files, &libraries)
}

#[test]
fn every_way_to_break_a_layer_is_seen() {
    let engine_board = |path: &str| format!("engine may not import board (crate::board{path})");
    for (file, text, line, complaint) in [
        // Rooms, however the path is written.
        ("engine/slot.rs", "use crate::board::Cell;", 1, engine_board("::Cell")),
        ("engine/slot.rs", "\n\nuse crate::{model::Tick,\n    board::{Board, Cell as C}};", 4, engine_board("::Board")),
        ("engine/slot.rs", "use crate::{model, board};", 1, engine_board("")),
        ("engine/slot.rs", "use crate::board::{self};", 1, engine_board("")),
        ("engine/slot.rs", "use crate::board::*;", 1, engine_board("::*")),
        ("engine/slot.rs", "use {crate::model::Tick, crate::board::Cell};", 1, engine_board("::Cell")),
        ("engine/slot.rs", "pub use crate::board::Cell;", 1, engine_board("::Cell")),
        ("engine/slot.rs", "fn f() {\n    let cell = crate::board::Cell::new();\n}", 2, engine_board("::Cell::new")),
        ("engine/slot.rs", "fn f(cell: &'static crate::board::Cell<'_>) {}", 1, engine_board("::Cell")),
        ("engine/slot.rs", "fn f() { select! { x = crate::board::next() => {} } }", 1, engine_board("::next")),
        ("engine/slot.rs", "macro_rules! m { () => { $crate::board::Cell } }", 1, engine_board("::Cell")),
        ("engine/slot.rs", "type C = <crate::board::Cell as Iterator>::Item;", 1, engine_board("::Cell")),
        ("engine/slot.rs", "use super::super::board::Cell;", 1, engine_board("::Cell")),
        ("engine/slot.rs", "use super::{super::board, slot};", 1, engine_board("")),
        ("engine/slot.rs", "fn f() { self::super::super::board::f() }", 1, engine_board("::f")),
        ("engine/mod.rs", "use super::board::Cell;", 1, engine_board("::Cell")),
        ("engine.rs", "mod a { use super::super::board::Cell; }", 1, engine_board("::Cell")),
        ("engine.rs", "mod a { mod b {} } fn f() {} use super::board;", 1, engine_board("")),
        ("engine/hpa/limits.rs", "use super::super::super::board;", 1, engine_board("")),
        ("engine/slot.rs", "use crate::r#board;", 1, engine_board("")),
        ("model.rs", "use crate::spec;", 1, "model may not import spec (crate::spec)".into()),
        ("app.rs", "use crate::cli::Cli;", 1, "app may not import cli (crate::cli::Cli)".into()),
        ("main.rs", "use tidegate::engine;", 1, "main may not import engine (crate::engine)".into()),
        ("engine/slot.rs", "use crate::*;", 1, "engine may not import the whole house; name what is needed".into()),
        ("engine/mod.rs", "use super::*;", 1, "engine may not import the whole house; name what is needed".into()),
        ("cli.rs", "use crate as house;", 1, "cli may not import the whole house; name what is needed".into()),
        ("cli.rs", "use crate::cellar;", 1, "crate::cellar: there is no room cellar".into()),
        ("cellar.rs", "", 1, "cellar has no row in the layer table of src/lib.rs".into()),
        // Libraries: what is forbidden.
        ("engine/slot.rs", "use tokio::sync::mpsc;", 1, "engine may not use tokio::sync::mpsc: tokio".into()),
        ("engine/slot.rs", "#[tokio::main]\nfn f() {}", 1, "engine may not use tokio::main: tokio".into()),
        (
            "engine/slot.rs",
            "fn f() { metrics::counter!(\"a\") }",
            1,
            "engine may not use metrics::counter: metrics".into(),
        ),
        ("engine/slot.rs", "mod metrics; use ::metrics::Key;", 1, "engine may not use metrics::Key: metrics".into()),
        ("engine/slot.rs", "extern crate metrics;", 1, "engine may not use metrics".into()),
        ("engine/slot.rs", "use metrics as m;", 1, "engine may not use metrics".into()),
        ("engine/slot.rs", "use std::time::{Duration, Instant};", 1, "engine may not use std::time::Instant".into()),
        ("engine/slot.rs", "use std::{fmt,\n time::Instant};", 2, "engine may not use std::time::Instant".into()),
        ("engine/slot.rs", "use std::time;", 1, "engine may not use std::time: std::time::Instant".into()),
        ("engine/slot.rs", "use std::time::{self};", 1, "engine may not use std::time: std::time::Instant".into()),
        ("engine/slot.rs", "use std::time::*;", 1, "engine may not use std::time::*: std::time::Instant".into()),
        (
            "engine/slot.rs",
            "fn f() { let now = ::std::time::Instant::now(); }",
            1,
            "engine may not use std::time::Instant::now: std::time::Instant".into(),
        ),
        (
            "engine/slot.rs",
            "fn f() { alloc::collections::HashMap::<u8, u8>::new(); }",
            1,
            "engine may not use std::collections::HashMap".into(),
        ),
        // Libraries: what is not allowed.
        ("model.rs", "use serde::Serialize;", 1, "model may not use serde::Serialize; only std".into()),
        (
            "model.rs",
            "#[derive(serde::Serialize)]\nstruct A;",
            1,
            "model may not use serde::Serialize; only std".into(),
        ),
        (
            "spec/mod.rs",
            "use kube::Client;",
            1,
            "spec may not use kube::Client; only std, serde, kube::CustomResource".into(),
        ),
        ("spec/mod.rs", "use kube::*;", 1, "spec may not use kube::*; only std, serde, kube::CustomResource".into()),
        // After what could hide it.
        ("engine/slot.rs", "// \"\n/* /* */ ' */ const C: char = '\"'; use crate::board;", 2, engine_board("")),
        (
            "engine/slot.rs",
            "const C: &[u8] = br#\"\"/*\"#; const D: char = '\\''; use crate::board;",
            1,
            engine_board(""),
        ),
        ("engine/slot.rs", "#[cfg(test)]\nfn f(a: [u8; 2]) -> u8 { 1 }\nuse crate::board;", 3, engine_board("")),
        ("engine/slot.rs", "#[cfg(test)] use crate::spec;\nuse crate::board;", 2, engine_board("")),
        ("engine/slot.rs", "#[cfg(not(test))]\nuse crate::board;", 2, engine_board("")),
    ] {
        let found = complaints(file, text);
        let expected = format!("src/{file}:{line}: {complaint}");
        assert!(found.contains(&expected), "{text}\nexpected {expected}\nfound {found:#?}");
    }
}

#[test]
fn what_keeps_the_layers_is_left_alone() {
    for (file, text) in [
        ("engine/slot.rs", "use crate::{model::Tick, spec::{Bounds, Pause}}; use crate::engine::window::Window;"),
        ("engine/hpa/limits.rs", "use super::super::direction; pub(in crate::engine) fn f() { super::super::g() }"),
        ("engine/slot.rs", "mod inner { use super::super::window; use super::Slot; }"),
        ("engine/slot.rs", "use std::time::Duration; use std::collections::{BTreeMap, VecDeque}; use std::fmt;"),
        ("engine/slot.rs", "fn f() { let time = std::time::Duration::ZERO; v.iter().collect::<Vec<_>>(); }"),
        // A module with the name of a library.
        ("engine/hpa/mod.rs", "mod metrics; use metrics::Reading; fn f() { metrics::read() }"),
        ("engine/hpa/limits.rs", "use super::metrics; fn f() { metrics::read() }"),
        ("model.rs", "fn f(redis: u8, tokio: u8) { let metrics = redis + tokio; }"),
        // Comments and strings.
        (
            "engine/slot.rs",
            "//! [`crate::board::Cell`]\n/// `tokio::spawn`\n// use crate::board;\n/* use /* x */ crate::board; */",
        ),
        ("engine/slot.rs", "const A: &str = \"use crate::board;\"; const B: &str = r##\"\"# use crate::board;\"##;"),
        (
            "engine/slot.rs",
            "#[expect(dead_code, reason = \"crate::board\")] const A: &str = \"\\\" crate::board::Cell\";",
        ),
        // Tests.
        (
            "engine/slot.rs",
            "#[cfg(test)]\nmod tests {\n    use crate::board::Cell;\n    fn f() { if true { tokio::spawn() } }\n}",
        ),
        ("engine/slot.rs", "#[cfg(test)]\n#[path = \"x.rs\"]\nuse crate::{board, app};"),
        ("engine/slot.rs", "#![cfg(test)]\nuse crate::board;"),
        ("spec/mod.rs", "use kube::CustomResource; #[derive(CustomResource)] #[kube(group = \"a\")] struct A;"),
        ("cli/run.rs", "use crate::{app, board, engine, spec};"),
        ("main.rs", "use tidegate::cli::Cli;"),
        ("lib.rs", "pub mod board; pub mod engine;"),
    ] {
        assert_eq!(complaints(file, text), Vec::<String>::new(), "{file}: {text}");
    }
    let parent = ("engine/keda.rs", "#[cfg(test)]\nmod tests;");
    let tests = ("engine/keda/tests.rs", "use crate::board::Cell;");
    assert_eq!(complaints_about(&[tests, parent]), Vec::<String>::new());
    assert_eq!(complaints_about(&[tests, ("engine/keda.rs", "mod tests;")]).len(), 1);
}

#[test]
fn a_table_that_says_nothing_is_refused() {
    let row =
        |row: &str| Rules::parse(&format!("//! | room | may import | libraries |\n//! |---|---|---|\n//! {row}\n"));
    for broken in [
        "| `a` | `b` | |",
        "| `a` | nothing |",
        "| a | nothing | |",
        "| `a` | whatever | |",
        "| `a` | nothing | `std` |",
    ] {
        assert!(row(broken).is_err(), "{broken}");
    }
    assert!(row("| `a` | nothing | only `std` |").is_ok());
    assert!(Rules::parse("//! no table").is_err());
}
