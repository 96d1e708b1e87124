//! Selectors of lists and watches.

use serde_json::Value;

use super::errors::Refusal;
use super::store::Key;

#[derive(Clone, Default, Debug)]
pub struct Selector {
    labels: Vec<(String, Test)>,
    /// `metadata.name` and `metadata.namespace`.
    name: Option<String>,
    namespace: Option<String>,
}

#[derive(Clone, Debug)]
enum Test {
    Is(String),
    IsNot(String),
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Missing,
}

impl Selector {
    pub fn parse(labels: &str, fields: &str) -> Result<Self, Refusal> {
        let mut selector = Selector::default();
        for part in split(labels) {
            let read = || -> Option<(String, Test)> {
                if let Some(key) = part.strip_prefix('!') {
                    return Some((key.trim().to_owned(), Test::Missing));
                }
                if let Some((key, values)) = part.split_once('(') {
                    let values = values.strip_suffix(')')?.split(',').map(|text| text.trim().to_owned()).collect();
                    let (key, operator) = key.trim().rsplit_once(' ')?;
                    let test = if operator == "in" { Test::In(values) } else { Test::NotIn(values) };
                    return Some((key.trim().to_owned(), test));
                }
                if let Some((key, value)) = part.split_once("!=") {
                    return Some((key.to_owned(), Test::IsNot(value.to_owned())));
                }
                match part.split_once('=') {
                    Some((key, value)) => Some((key.to_owned(), Test::Is(value.trim_start_matches('=').to_owned()))),
                    None => Some((part.clone(), Test::Exists)),
                }
            };
            let test = read().ok_or_else(|| Refusal::bad_request(&format!("unable to parse requirement: {part}")))?;
            selector.labels.push(test);
        }
        for part in fields.split(',').filter(|part| !part.is_empty()) {
            match part.split_once('=').map(|(field, value)| (field, value.trim_start_matches('='))) {
                Some(("metadata.name", value)) => selector.name = Some(value.to_owned()),
                Some(("metadata.namespace", value)) => selector.namespace = Some(value.to_owned()),
                other => {
                    let field = other.map_or(part, |(field, _)| field);
                    let known = "only \"metadata.name\", \"metadata.namespace\"";
                    let message = format!("\"{field}\" is not a known field selector: {known}");
                    return Err(Refusal::bad_request(&message));
                }
            }
        }
        Ok(selector)
    }

    /// The one name it lets through.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub fn matches(&self, key: &Key, value: &Value) -> bool {
        if self.name.as_ref().is_some_and(|name| *name != key.1)
            || self.namespace.as_ref().is_some_and(|namespace| *namespace != key.0)
        {
            return false;
        }
        let labels = &value["metadata"]["labels"];
        self.labels.iter().all(|(label, test)| {
            let value = labels[label].as_str();
            match test {
                Test::Is(wanted) => value == Some(wanted),
                Test::IsNot(wanted) => value != Some(wanted),
                Test::In(wanted) => value.is_some_and(|value| wanted.iter().any(|wanted| wanted == value)),
                Test::NotIn(wanted) => !value.is_some_and(|value| wanted.iter().any(|wanted| wanted == value)),
                Test::Exists => value.is_some(),
                Test::Missing => value.is_none(),
            }
        })
    }
}

/// At the commas that are in no parentheses.
fn split(text: &str) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for letter in text.chars() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().unwrap().push(letter);
    }
    parts.into_iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}
