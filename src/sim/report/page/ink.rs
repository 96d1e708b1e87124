//! Colours that plotters is given stand for classes of the style sheet, so that both themes and paper have their own.
//!
//! plotters writes a colour into every element. Here each is a number for a class, and [`dress`] puts the class in its
//! place; on the way paths become short, since a page holds dozens of them.

use std::fmt::Write as _;

use plotters::style::RGBColor;

/// What something is drawn with: a class of the style sheet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Ink {
    Grid,
    Axis,
    Tick,
    Note,
    Title,
    Name,
    Line,
    Whisker,
    Mark,
    Ring,
    Lead,
    Slo,
    SloText,
    Zone,
    Forbidden,
    Frontier,
    Arrivals,
    Depth,
    Oldest,
    Breach,
    Ready,
    Busy,
    Asked,
    Wanted,
    Best,
    Unavoidable,
    Own,
    Work,
    Idle,
    StartUp,
    Amount,
    Heat0,
    Heat1,
    Heat2,
    Heat3,
    Heat4,
    Heat5,
    Heat6,
    Hatch,
    Cell,
    CellHot,
    Front,
    FrontMark,
    Other,
    Miss,
}

/// In the order of [`Ink`].
const CLASSES: [&str; 45] = [
    "grid",
    "axis",
    "tick",
    "note",
    "title",
    "name",
    "line",
    "whisker",
    "mark",
    "ring",
    "lead",
    "slo",
    "slo-text",
    "zone",
    "forbidden",
    "frontier",
    "arrivals",
    "depth",
    "oldest",
    "breach",
    "ready",
    "busy",
    "asked",
    "wanted",
    "best",
    "unavoidable",
    "own",
    "work",
    "idle",
    "start-up",
    "amount",
    "heat0",
    "heat1",
    "heat2",
    "heat3",
    "heat4",
    "heat5",
    "heat6",
    "hatch",
    "cell",
    "cell-hot",
    "front",
    "front-mark",
    "other",
    "miss",
];

/// The blue of all of them.
const MARK: u8 = 0xD1;

/// Colours of policies, after which they start again with other numbers.
pub(super) const COLOURS: usize = 10;

impl Ink {
    pub(super) const HEAT: [Self; 7] =
        [Self::Heat0, Self::Heat1, Self::Heat2, Self::Heat3, Self::Heat4, Self::Heat5, Self::Heat6];

    /// Nobody's in particular.
    pub(super) const fn plain(self) -> RGBColor {
        RGBColor(self as u8, 0, MARK)
    }

    /// A policy's, by its place in the table.
    pub(super) fn of(self, policy: usize) -> RGBColor {
        RGBColor(self as u8, u8::try_from(policy).unwrap_or(u8::MAX - 1).saturating_add(1), MARK)
    }
}

/// Classes of what belongs to a policy: to be found by the script, and for its colour.
pub(super) fn classes(policy: usize) -> String {
    format!("po p{policy} c{}", policy % COLOURS)
}

fn class(colour: &str) -> Option<String> {
    let number = u32::from_str_radix(colour.strip_prefix('#')?, 16).ok()?;
    let [_, ink, policy, mark] = number.to_be_bytes();
    let name = CLASSES.get(usize::from(ink)).filter(|_| mark == MARK)?;
    let mut out = (*name).to_owned();
    if let Some(policy) = policy.checked_sub(1) {
        out.push(' ');
        out.push_str(&classes(usize::from(policy)));
    }
    Some(out)
}

/// Puts classes in the place of colours, and `over` on top of it all.
pub(super) fn dress(raw: &str, attributes: &str, over: &str) -> String {
    let mut out = String::with_capacity(raw.len() / 2 + over.len());
    let mut lines = Lines::default();
    let mut rest = raw;
    while let Some((_, after)) = rest.split_once('<') {
        let Some((tag, after)) = after.split_once('>') else { break };
        rest = after;
        let tag = Tag::new(tag);
        if let Some(points) = tag.line() {
            lines.add(&mut out, &tag.class(), &points);
            continue;
        }
        lines.end(&mut out);
        match tag.name {
            "svg" => {
                let size = tag.value("viewBox").unwrap_or_default();
                let _ = write!(out, "<svg viewBox=\"{size}\" {attributes}>");
            }
            "/svg" => {
                out.push_str(over);
                out.push_str("</svg>");
            }
            "text" => {
                let (text, after) = rest.split_once("</text>").unwrap_or((rest, ""));
                rest = after;
                if text.trim().is_empty() {
                    continue;
                }
                out.push_str("<text");
                tag.copy(&mut out, &["x", "y", "dy", "transform"]);
                if let Some(anchor) = tag.value("text-anchor").filter(|anchor| *anchor != "start") {
                    let _ = write!(out, " text-anchor=\"{anchor}\"");
                }
                let _ = write!(out, " class=\"{}\">{}</text>", tag.class(), text.trim());
            }
            "polygon" => {
                let _ = write!(out, "<path class=\"{}\" d=\"", tag.class());
                path(&mut out, &points(tag.value("points").unwrap_or_default()));
                out.push_str("z\"/>");
            }
            "rect" => {
                out.push_str("<rect");
                tag.copy(&mut out, &["x", "y", "width", "height"]);
                let _ = write!(out, " class=\"{}\"/>", tag.class());
            }
            "circle" => {
                out.push_str("<circle");
                tag.copy(&mut out, &["cx", "cy", "r"]);
                let _ = write!(out, " class=\"{}\"/>", tag.class());
            }
            _ => {}
        }
    }
    out
}

/// Lines of one class that follow each other make one path.
#[derive(Default)]
struct Lines {
    class: Option<String>,
}

impl Lines {
    fn add(&mut self, out: &mut String, class: &str, points: &[(i32, i32)]) {
        if self.class.as_deref() != Some(class) {
            self.end(out);
            let _ = write!(out, "<path class=\"{class}\" d=\"");
            self.class = Some(class.to_owned());
        }
        path(out, points);
    }

    fn end(&mut self, out: &mut String) {
        if self.class.take().is_some() {
            out.push_str("\"/>");
        }
    }
}

struct Tag<'a> {
    name: &'a str,
    attributes: Vec<(&'a str, &'a str)>,
}

impl<'a> Tag<'a> {
    fn new(tag: &'a str) -> Self {
        let (name, rest) = tag.split_once(' ').unwrap_or((tag, ""));
        let mut attributes = Vec::new();
        let mut parts = rest.split('"');
        while let (Some(key), Some(value)) = (parts.next(), parts.next()) {
            attributes.push((key.trim().trim_end_matches('='), value));
        }
        Self { name, attributes }
    }

    fn value(&self, key: &str) -> Option<&'a str> {
        self.attributes.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
    }

    fn whole(&self, key: &str) -> i32 {
        self.value(key).and_then(|value| value.parse().ok()).unwrap_or_default()
    }

    fn class(&self) -> String {
        ["stroke", "fill"].into_iter().filter_map(|key| self.value(key)).find_map(class).unwrap_or_default()
    }

    fn copy(&self, out: &mut String, keys: &[&str]) {
        for key in keys {
            if let Some(value) = self.value(key) {
                let _ = write!(out, " {key}=\"{value}\"");
            }
        }
    }

    fn line(&self) -> Option<Vec<(i32, i32)>> {
        match self.name {
            "line" => Some(vec![(self.whole("x1"), self.whole("y1")), (self.whole("x2"), self.whole("y2"))]),
            "polyline" => Some(points(self.value("points").unwrap_or_default())),
            _ => None,
        }
    }
}

fn points(text: &str) -> Vec<(i32, i32)> {
    text.split_whitespace()
        .filter_map(|pair| {
            let (x, y) = pair.split_once(',')?;
            Some((x.parse().ok()?, y.parse().ok()?))
        })
        .collect()
}

/// `d` of a path: steps from one to the next, straight ones joined.
fn path(out: &mut String, points: &[(i32, i32)]) {
    let mut points = points.iter();
    let Some(&(mut x, mut y)) = points.next() else { return };
    let _ = write!(out, "M{x} {y}");
    let mut run: (i32, i32) = (0, 0);
    for &(to_x, to_y) in points {
        let step: (i32, i32) = (to_x - x, to_y - y);
        (x, y) = (to_x, to_y);
        if step == (0, 0) {
            continue;
        }
        let along = step.1 == 0 && run.1 == 0 && step.0.signum() == run.0.signum();
        let upright = step.0 == 0 && run.0 == 0 && step.1.signum() == run.1.signum();
        if along || upright {
            run = (run.0 + step.0, run.1 + step.1);
        } else {
            go(out, run);
            run = step;
        }
    }
    go(out, run);
}

fn go(out: &mut String, (x, y): (i32, i32)) {
    let _ = match (x, y) {
        (0, 0) => Ok(()),
        (x, 0) => write!(out, "h{x}"),
        (0, y) => write!(out, "v{y}"),
        (x, y) if y < 0 => write!(out, "l{x}{y}"),
        (x, y) => write!(out, "l{x} {y}"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ink_has_its_class() {
        assert_eq!(CLASSES.len(), Ink::Miss as usize + 1);
        let colour = |ink: Ink| {
            let RGBColor(r, g, b) = ink.plain();
            format!("#{r:02X}{g:02X}{b:02X}")
        };
        for (ink, name) in [(Ink::Grid, "grid"), (Ink::Breach, "breach"), (Ink::Heat0, "heat0"), (Ink::Miss, "miss")] {
            assert_eq!(class(&colour(ink)).as_deref(), Some(name));
        }
        let RGBColor(r, g, b) = Ink::Mark.of(12);
        assert_eq!(class(&format!("#{r:02X}{g:02X}{b:02X}")).as_deref(), Some("mark po p12 c2"));
        assert_eq!(class("#000000"), None);
        assert_eq!(class("none"), None);
    }

    #[test]
    fn every_class_is_in_the_style_sheet() {
        let style = include_str!("style.css");
        for name in CLASSES {
            assert!(style.contains(&format!(".{name}")), "{name}");
        }
    }

    #[test]
    fn paths_are_short() {
        let mut out = String::new();
        path(&mut out, &[(1, 2), (3, 2), (5, 2), (5, 2), (5, 9), (4, 8), (6, 9)]);
        assert_eq!(out, "M1 2h4v7l-1-1l2 1");
    }
}
