//! What all plots of the page share: the paper, marks of policies, and labels that keep out of each other's way.

use std::fmt::Write as _;
use std::io;

use plotters::backend::SVGBackend;
use plotters::chart::{ChartBuilder, ChartContext, LabelAreaPosition};
use plotters::coord::Shift;
use plotters::coord::cartesian::Cartesian2d;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea};
use plotters::element::{Circle, PathElement, Polygon, Rectangle, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, IntoFont, RGBColor, TRANSPARENT, TextStyle};

use super::axis::Axis;
use super::ink::{Ink, classes, dress};
use super::text::{cut, escape, plain};

pub(super) mod bars;
pub(super) mod cost;
pub(super) mod sweep;
pub(super) mod tail;
pub(super) mod timeline;

/// Units of a picture to a pixel of the page at its full width: plotters knows whole ones only.
const UNITS: i32 = 4;

/// Widths in pixels: the whole of a card, and half of it.
const WHOLE: i32 = 1136;
const HALF: i32 = 556;

const fn px(pixels: i32) -> i32 {
    pixels * UNITS
}

type Drawn<T = ()> = Result<T, DrawingAreaErrorKind<io::Error>>;
type Chart<'a, 'b> = ChartContext<'b, SVGBackend<'a>, Cartesian2d<Axis, Axis>>;
type At = (i32, i32);

/// What is drawn on, and what lies over it for the pointer.
struct Paper<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
    over: String,
}

/// A picture of so many pixels; `about` is for who cannot see it.
fn picture(width: i32, height: i32, about: &str, draw: impl FnOnce(&mut Paper<'_>) -> Drawn) -> String {
    let size = (u32::try_from(px(width)).unwrap_or(1), u32::try_from(px(height)).unwrap_or(1));
    let mut raw = String::new();
    let (drawn, over) = {
        let area = SVGBackend::with_string(&mut raw, size).into_drawing_area();
        let mut paper = Paper { area, over: String::new() };
        let drawn = draw(&mut paper).and_then(|()| paper.area.present());
        (drawn, paper.over)
    };
    match drawn {
        Ok(()) => {
            let kind = if width > HALF { "plot wide" } else { "plot" };
            dress(&raw, &format!("class=\"{kind}\" role=\"img\" aria-label=\"{}\"", escape(about)), &over)
        }
        Err(error) => format!("<p class=\"soft\">This could not be drawn: {}</p>", escape(&error.to_string())),
    }
}

/// Room around a plot, in pixels.
#[derive(Clone, Copy)]
struct Room {
    left: i32,
    top: i32,
    right: i32,
    bottom: i32,
}

impl<'a> Paper<'a> {
    /// Axes with their ticks, on a part of the paper: its upper left and its size in pixels.
    fn chart<'b>(
        &self,
        part: &'b mut Option<DrawingArea<SVGBackend<'a>, Shift>>,
        (corner, size): (At, At),
        room: Room,
        (x, y): (Axis, Axis),
    ) -> Drawn<Chart<'a, 'b>>
    where
        'a: 'b,
    {
        let area = part.insert(self.area.clone().shrink((px(corner.0), px(corner.1)), (px(size.0), px(size.1))));
        let mut chart = ChartBuilder::on(area)
            .margin_top(px(room.top))
            .margin_right(px(room.right))
            .set_label_area_size(LabelAreaPosition::Left, px(room.left))
            .set_label_area_size(LabelAreaPosition::Bottom, px(room.bottom))
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .bold_line_style(Ink::Grid.plain())
            .light_line_style(TRANSPARENT)
            .axis_style(Ink::Axis.plain())
            .label_style(font(Ink::Tick.plain()))
            .set_all_tick_mark_size(px(3))
            .draw()?;
        Ok(chart)
    }

    fn text(&self, text: &str, (x, y): At, anchor: Anchor, ink: RGBColor) -> Drawn {
        let style = font(ink).pos(anchor.pos());
        self.area.draw(&Text::new(plain(text), (x, y), style))
    }

    fn line(&self, points: Vec<At>, ink: RGBColor) -> Drawn {
        self.area.draw(&PathElement::new(points, ink.stroke_width(1)))
    }

    fn shape(&self, points: Vec<At>, ink: RGBColor) -> Drawn {
        self.area.draw(&Polygon::new(points, ink.filled()))
    }

    fn block(&self, one: At, other: At, ink: RGBColor) -> Drawn {
        self.area.draw(&Rectangle::new([one, other], ink.filled()))
    }

    /// A policy's mark around a point.
    fn mark(&self, policy: usize, (x, y): At, radius: i32) -> Drawn {
        match outline(policy) {
            None => self.area.draw(&Circle::new((x, y), radius, Ink::Mark.of(policy).filled())),
            Some(outline) => {
                let points = outline.iter().map(|(dx, dy)| (x + dx * radius / 100, y + dy * radius / 100));
                self.shape(points.collect(), Ink::Mark.of(policy))
            }
        }
    }

    /// The same, but hollow.
    fn ring(&self, policy: usize, (x, y): At, radius: i32) -> Drawn {
        match outline(policy) {
            None => self.area.draw(&Circle::new((x, y), radius, Ink::Ring.of(policy).stroke_width(1))),
            Some(outline) => {
                let points = outline.iter().chain(outline.first());
                let points = points.map(|(dx, dy)| (x + dx * radius / 100, y + dy * radius / 100));
                self.line(points.collect(), Ink::Ring.of(policy))
            }
        }
    }

    /// Words for the pointer, around a point.
    fn hover(&mut self, (x, y): At, radius: i32, words: &str) {
        let words = escape(words);
        let _ = write!(
            self.over,
            "<circle class=\"hit\" cx=\"{x}\" cy=\"{y}\" r=\"{radius}\"><title>{words}</title></circle>"
        );
    }

    /// Words for the pointer, over a block.
    fn hover_block(&mut self, (x, y): At, (to_x, to_y): At, words: &str) {
        let (width, height, words) = ((to_x - x).max(1), (to_y - y).max(1), escape(words));
        let _ = write!(
            self.over,
            "<rect class=\"hit\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"><title>{words}</title></rect>"
        );
    }
}

fn font(ink: RGBColor) -> TextStyle<'static> {
    ("sans-serif", f64::from(px(14))).into_font().color(&ink)
}

/// Which point of a text is where it is said to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Anchor {
    Left,
    Right,
    Middle,
    TopLeft,
    TopRight,
    BottomRight,
    BottomLeft,
}

impl Anchor {
    const fn pos(self) -> Pos {
        let (h, v) = match self {
            Self::Left => (HPos::Left, VPos::Center),
            Self::Right => (HPos::Right, VPos::Center),
            Self::Middle => (HPos::Center, VPos::Center),
            Self::TopLeft => (HPos::Left, VPos::Top),
            Self::TopRight => (HPos::Right, VPos::Top),
            Self::BottomRight => (HPos::Right, VPos::Bottom),
            Self::BottomLeft => (HPos::Left, VPos::Bottom),
        };
        Pos { h_pos: h, v_pos: v }
    }
}

/// Corners of a mark in hundredths of its radius; `None` is a circle.
fn outline(policy: usize) -> Option<&'static [At]> {
    Some(match policy % 10 {
        1 => &[(-90, -90), (90, -90), (90, 90), (-90, 90)],
        2 => &[(0, -120), (112, 84), (-112, 84)],
        3 => &[(0, -128), (128, 0), (0, 128), (-128, 0)],
        4 => &[(0, 120), (112, -84), (-112, -84)],
        5 => &[
            (-38, -115),
            (38, -115),
            (38, -38),
            (115, -38),
            (115, 38),
            (38, 38),
            (38, 115),
            (-38, 115),
            (-38, 38),
            (-115, 38),
            (-115, -38),
            (-38, -38),
        ],
        6 => &[(-58, -100), (58, -100), (115, 0), (58, 100), (-58, 100), (-115, 0)],
        7 => &[(0, -140), (36, -36), (140, 0), (36, 36), (0, 140), (-36, 36), (-140, 0), (-36, -36)],
        8 => &[
            (-60, -114),
            (0, -54),
            (60, -114),
            (114, -60),
            (54, 0),
            (114, 60),
            (60, 114),
            (0, 54),
            (-60, 114),
            (-114, 60),
            (-54, 0),
            (-114, -60),
        ],
        9 => &[(-105, -105), (105, -105), (-105, 105), (105, 105)],
        _ => return None,
    })
}

/// A policy's mark among words.
pub(super) fn mark(policy: usize) -> String {
    let shape = match outline(policy) {
        None => "<circle r=\"40\" class=\"mark\"/>".to_owned(),
        Some(outline) => {
            let mut path = String::new();
            for (position, (x, y)) in outline.iter().enumerate() {
                let step = if position == 0 { 'M' } else { 'L' };
                let _ = write!(path, "{step}{} {}", x * 40 / 100, y * 40 / 100);
            }
            format!("<path d=\"{path}z\" class=\"mark\"/>")
        }
    };
    let classes = classes(policy);
    format!("<svg class=\"icon {classes}\" viewBox=\"-60 -60 120 120\" aria-hidden=\"true\">{shape}</svg>")
}

/// Number and name, as a label.
fn label(policy: usize, name: &str) -> String {
    format!("{} {}", policy + 1, cut(name, 24))
}

/// A point that wants a label, the longer one if there is room.
struct Wish {
    at: At,
    policy: usize,
    long: String,
}

/// A part of the picture that is taken.
#[derive(Clone, Copy, Debug)]
struct Taken {
    left: i32,
    top: i32,
    right: i32,
    bottom: i32,
}

impl Taken {
    const fn around((x, y): At, radius: i32) -> Self {
        Self { left: x - radius, top: y - radius, right: x + radius, bottom: y + radius }
    }

    fn text(text: &str, (x, y): At, anchor: Anchor) -> Self {
        let (width, height) = (width(text), px(14));
        let left = match anchor {
            Anchor::Left | Anchor::TopLeft | Anchor::BottomLeft => x,
            Anchor::Right | Anchor::TopRight | Anchor::BottomRight => x - width,
            Anchor::Middle => x - width / 2,
        };
        let top = match anchor {
            Anchor::TopLeft | Anchor::TopRight => y,
            Anchor::BottomRight | Anchor::BottomLeft => y - height,
            _ => y - height / 2,
        };
        Self { left, top, right: left + width, bottom: top + height }
    }

    fn shared(&self, other: &Self) -> i64 {
        let across = self.right.min(other.right) - self.left.max(other.left);
        let down = self.bottom.min(other.bottom) - self.top.max(other.top);
        if across > 0 && down > 0 { i64::from(across) * i64::from(down) } else { 0 }
    }

    const fn within(&self, bounds: &Self) -> bool {
        self.left >= bounds.left && self.right <= bounds.right && self.top >= bounds.top && self.bottom <= bounds.bottom
    }
}

/// About how wide a label is: the page's font is not known here, so rather too much.
fn width(text: &str) -> i32 {
    let count = i32::try_from(text.chars().count()).unwrap_or(i32::MAX / 64);
    count * px(7)
}

/// Writes labels next to their points, where they cover neither each other nor what is taken.
fn labels(paper: &Paper<'_>, wishes: &[Wish], bounds: &Taken, mut taken: Vec<Taken>) -> Drawn {
    taken.extend(wishes.iter().map(|wish| Taken::around(wish.at, px(6))));
    for wish in wishes {
        let number = (wish.policy + 1).to_string();
        let mut best: Option<(i64, Taken, At, Anchor, &str)> = None;
        'search: for (text, reach) in [(&wish.long, 3), (&number, 6)] {
            for ring in 0..reach {
                for (dx, dy, anchor) in [
                    (9, 0, Anchor::Left),
                    (-9, 0, Anchor::Right),
                    (6, -7, Anchor::BottomLeft),
                    (6, 7, Anchor::TopLeft),
                    (-6, -7, Anchor::BottomRight),
                    (-6, 7, Anchor::TopRight),
                ] {
                    let far = 2 + ring * 3;
                    let at = (wish.at.0 + px(dx) * far / 2, wish.at.1 + px(dy) * far / 2);
                    let spot = Taken::text(text, at, anchor);
                    let mut cost: i64 = taken.iter().map(|other| other.shared(&spot)).sum();
                    if !spot.within(bounds) {
                        cost += 1_000_000;
                    }
                    if best.as_ref().is_none_or(|(least, ..)| cost < *least) {
                        best = Some((cost, spot, at, anchor, text));
                    }
                    if cost == 0 {
                        break 'search;
                    }
                }
            }
        }
        if let Some((_, spot, at, anchor, text)) = best {
            if (at.0 - wish.at.0).abs().max((at.1 - wish.at.1).abs()) > px(12) {
                paper.line(vec![wish.at, at], Ink::Lead.of(wish.policy))?;
            }
            paper.text(text, at, anchor, Ink::Name.of(wish.policy))?;
            taken.push(spot);
        }
    }
    Ok(())
}

/// The plot's inside, in units of the picture.
fn inside(chart: &Chart<'_, '_>) -> Taken {
    let (x, y) = chart.plotting_area().get_pixel_range();
    Taken { left: x.start, top: y.start, right: x.end, bottom: y.end }
}
