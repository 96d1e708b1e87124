//! What `-f` names: files, folders of manifests, standard input.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::spec::load::SourceText;

/// Endings of manifests in a folder. A file that is named itself may end as it likes.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// Standard input, as everywhere.
const STDIN: &str = "-";

/// Why a path could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    #[error("cannot read {path}: {cause}", path = path.display())]
    Read { path: PathBuf, cause: io::Error },
    #[error("{path} holds no .yaml, .yml or .json file", path = path.display())]
    EmptyFolder { path: PathBuf },
    #[error("cannot read standard input: {0}")]
    Stdin(io::Error),
    #[error("standard input can be read only once; name `-` once")]
    StdinTwice,
}

/// Reads everything that `paths` name: a folder's manifests in the order of their names (not those of folders within
/// it), a file that is named twice only once.
///
/// # Errors
///
/// Every path that could not be read.
pub fn read(paths: &[PathBuf]) -> Result<Vec<SourceText>, Vec<FilesError>> {
    let mut files: Vec<PathBuf> = Vec::new();
    let mut errors = Vec::new();
    for path in paths {
        match files_of(path) {
            Ok(found) => {
                for file in found {
                    if file.as_os_str() == STDIN && files.contains(&file) {
                        errors.push(FilesError::StdinTwice);
                    } else if !files.contains(&file) {
                        files.push(file);
                    }
                }
            }
            Err(error) => errors.push(error),
        }
    }
    let mut texts = Vec::with_capacity(files.len());
    for file in files {
        match text_of(&file) {
            Ok(text) => texts.push(text),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(texts) } else { Err(errors) }
}

/// The file itself, or the manifests of a folder.
fn files_of(path: &Path) -> Result<Vec<PathBuf>, FilesError> {
    if path.as_os_str() == STDIN || !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |cause| FilesError::Read { path: path.to_owned(), cause };
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        // Through links, because a mounted ConfigMap is nothing but links into a hidden folder, `..data`, which is
        // itself left out like everything hidden: its files would count twice.
        if !is_hidden(&file) && has_manifest_ending(&file) && file.is_file() {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(FilesError::EmptyFolder { path: path.to_owned() });
    }
    files.sort();
    Ok(files)
}

fn is_hidden(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

fn has_manifest_ending(file: &Path) -> bool {
    file.extension().is_some_and(|ending| ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known)))
}

fn text_of(file: &Path) -> Result<SourceText, FilesError> {
    if file.as_os_str() == STDIN {
        let mut text = String::new();
        io::stdin().lock().read_to_string(&mut text).map_err(FilesError::Stdin)?;
        return Ok(SourceText { file: "stdin".to_owned(), text });
    }
    let text = fs::read_to_string(file).map_err(|cause| FilesError::Read { path: file.to_owned(), cause })?;
    Ok(SourceText { file: file.display().to_string(), text })
}
