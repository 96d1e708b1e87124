//! The tables at the end of the stacks' READMEs: for each thing that the team's document asks for, the file and the line
//! where it is, and what stands there.

use std::fs;

use super::tools;

const HEADING: &str = "## What the team's document asks for, and where it is";

#[test]
fn each_line_of_each_table_says_what_stands_there() {
    let mut wrong = Vec::new();
    for stack in ["parkshare", "jewelry-shop", "example-service", "projections", "pulse"] {
        let folder = tools::deploy().join("stacks").join(stack);
        let readme = fs::read_to_string(folder.join("README.md")).unwrap();
        let (_, table) = readme.split_once(HEADING).unwrap_or_else(|| panic!("{stack}: no `{HEADING}`"));
        let rows: Vec<Vec<&str>> = table
            .lines()
            .filter(|line| line.starts_with("| "))
            // A bar in a command is written as \|.
            .map(|line| line.split(" | ").map(|cell| cell.trim_matches(|c| c == '|' || c == ' ')).collect())
            .collect();
        let mut checked = 0;
        for row in rows.iter().skip(1) {
            let &[what, place, stands] = row.as_slice() else {
                wrong.push(format!("{stack}: not three columns: {row:?}"));
                continue;
            };
            if place == "(application)" {
                continue;
            }
            let Some((file, line)) = place.trim_matches('`').rsplit_once(':') else {
                wrong.push(format!("{stack}: {what}: no FILE:LINE in {place}"));
                continue;
            };
            let stands = stands.trim_matches('`').replace("\\|", "|");
            let text = fs::read_to_string(folder.join(file)).unwrap_or_default();
            let found = line.parse().ok().and_then(|line: usize| text.lines().nth(line.checked_sub(1)?)).unwrap_or("");
            if stands.is_empty() || !found.contains(&*stands) {
                wrong.push(format!("{stack}: {what}: {file}:{line} is `{}`, not `{stands}`", found.trim()));
            }
            checked += 1;
        }
        assert!(checked >= 20, "{stack}: {checked} rows");
    }
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}
