//! The report as a page: one file without anything from elsewhere, to be read on a screen, in the dark and on paper.
//!
//! It is whole without its script, which only says more under the pointer.

use std::fmt::Write as _;

use self::plots::{bars, cost, mark, sweep, tail, timeline};
use super as model;
use super::text::{self, bytes, escape, number, plural, seconds, short};

use model::{About, Policy, Report, Sweep};

mod axis;
mod ink;
#[cfg(test)]
mod made_up;
mod plots;
mod table;
#[cfg(test)]
mod tests;

const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/script.js");

/// What the page may do: run and style itself, and ask nobody for anything.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E\
                    %3Cpath d='M1 10q3.5-4 7 0t7 0v5H1z' fill='%230d7a8c'/%3E%3C/svg%3E";

const WAVES: &str = "<svg viewBox=\"0 0 24 24\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"2\" \
                     stroke-linecap=\"round\" aria-hidden=\"true\"><path d=\"M3 9q4.5-4.5 9 0t9 0M3 15q4.5-4.5 9 0t9 0\"/></svg>";

/// Patterns that the style sheet fills with.
const PATTERNS: &str = "<svg class=\"patterns\" width=\"0\" height=\"0\" aria-hidden=\"true\"><defs>\
    <pattern id=\"hatch\" width=\"28\" height=\"28\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
    <path d=\"M0 0v28\" class=\"hatch-line\"/></pattern>\
    <pattern id=\"hatch-soft\" width=\"36\" height=\"36\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(-45)\">\
    <path d=\"M0 0v36\" class=\"hatch-soft-line\"/></pattern></defs></svg>";

/// The whole page.
pub fn page(report: &Report) -> String {
    let mut out = String::with_capacity(512 * 1024);
    let name = escape(&report.scenario.name);
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <title>{name} – tidegate simulate</title>\n<link rel=\"icon\" href=\"{ICON}\">\n<style>\n{STYLE}</style>\n</head>\n\
         <body>\n{PATTERNS}\n<header><h1>{WAVES} {name}</h1><nav>"
    );
    let parts = parts(report);
    for part in &parts {
        let _ = write!(out, "<a href=\"#{}\">{}</a>", part.id, part.title);
    }
    out.push_str("</nav></header>\n<main>\n");
    head(&mut out, report);
    for Part { id, title, body } in parts {
        let _ = write!(out, "<section class=\"card\" id=\"{id}\"><h2>{title}</h2>\n{body}</section>\n");
    }
    let _ = write!(out, "</main>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n");
    out
}

struct Part {
    id: &'static str,
    title: &'static str,
    body: String,
}

fn parts(report: &Report) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut add = |id, title, body| parts.push(Part { id, title, body });
    if report.policies.is_empty() {
        add("table", "Policies", "<p class=\"soft\">No policy is in this report.</p>".to_owned());
    } else {
        add("table", "Policies", table::league(report));
        add("cost", "Cost against lateness", costs(report));
        if let Some(body) = runs(report) {
            add("runs", "Moment by moment", body);
        }
        add("waits", "Waits", waits(report));
        add("regret", "Where the cost goes", shares(report));
    }
    if let Some(tried) = &report.sweep {
        add("sweep", "Variants", variants(tried, report.scenario.slo_percent));
    }
    add("origin", "Where this comes from", origin(report));
    parts
}

/// Who is best, whether it can be done at all, and what was simulated.
fn head(out: &mut String, report: &Report) {
    let _ = write!(out, "<section class=\"card verdict\"><p class=\"best\">{}</p>", escape(&report.verdict));
    if !report.feasibility.is_empty() {
        let _ = write!(out, "<p class=\"feasible\">{}</p>", escape(&report.feasibility));
    }
    if !report.notes.is_empty() {
        out.push_str("<ul class=\"notes\">");
        for note in &report.notes {
            let _ = write!(out, "<li>{}</li>", escape(note));
        }
        out.push_str("</ul>");
    }
    let About { about, autoscaler, seeds, .. } = &report.scenario;
    let scenario = &report.scenario;
    out.push_str("<p class=\"facts\">");
    fact(out, "objective", &objective(scenario));
    fact(out, "autoscaler", autoscaler);
    fact(out, "jobs arrive for", &seconds(scenario.seconds));
    fact(out, "jobs", &number(scenario.jobs.round()));
    fact(out, "work", &format!("{} slot-hours", number(scenario.work_seconds / 3600.0)));
    fact(out, "busy on average", &format!("{} slots", number(scenario.load)));
    fact(out, "slots of a replica", &scenario.slots_per_replica.to_string());
    fact(out, "a pod starts in", &seconds(scenario.start_up_seconds));
    fact(out, "repeated with", &plural(seeds.len(), "seed", "seeds"));
    out.push_str("</p>");
    if !about.is_empty() {
        let _ = write!(out, "<p class=\"soft about\">{}</p>", escape(about));
    }
    out.push_str("</section>\n");
}

fn objective(scenario: &About) -> String {
    format!("{} % within {}", short(scenario.slo_percent), seconds(scenario.slo_wait_seconds))
}

fn fact(out: &mut String, word: &str, value: &str) {
    let _ = write!(out, "<span>{word} <b>{}</b></span> ", escape(value));
}

/// All policies by their marks.
fn legend(policies: &[Policy]) -> String {
    let mut out = String::from("<p class=\"legend policies\">");
    for (place, policy) in policies.iter().enumerate() {
        let _ = write!(
            out,
            "<span data-policy=\"{place}\">{}<b>{}</b> {}</span> ",
            mark(place),
            place + 1,
            escape(&policy.name)
        );
    }
    out.push_str("</p>");
    out
}

/// What colours stand for: classes of swatches, and words.
fn key(entries: &[(&str, &str)]) -> String {
    let mut out = String::from("<p class=\"legend\">");
    for (class, words) in entries {
        let _ = write!(out, "<span><i class=\"swatch {class}\"></i>{words}</span> ");
    }
    out.push_str("</p>");
    out
}

fn costs(report: &Report) -> String {
    let several = report.scenario.seeds.len() > 1;
    let mut out = String::from(
        "<p class=\"lead\">Further left is cheaper, further down is more punctual. \
         Cost over work is what was paid over what the jobs need by themselves: 1 is perfect.",
    );
    if several {
        out.push_str(" Crosses are 95 % confidence intervals.");
    }
    out.push_str("</p>");
    out.push_str(&legend(&report.policies));
    let _ = write!(out, "<div class=\"pair\">{}{}</div>", cost::late_jobs(report), cost::longest_waits(report));
    let mut entries = vec![("slo", "objective"), ("zone", "misses it")];
    if !report.frontier.is_empty() {
        entries.push((
            "forbidden",
            "impossible: knowing every job beforehand, nobody is both so cheap and so punctual (first seed)",
        ));
    }
    out.push_str(&key(&entries));
    out
}

fn runs(report: &Report) -> Option<String> {
    let runs = timeline::runs(report);
    let first = runs.iter().position(Option::is_some)?;
    let mut out = String::from(
        "<p class=\"lead\">The first seed. Vertical scales are the same for all, except where one would flatten another.</p>\
         <input type=\"checkbox\" id=\"near\" class=\"sight\"><label for=\"near\" class=\"switch\">\
         <span>Whole run</span><span>Worst stretch</span></label>",
    );
    let mut entries = vec![
        ("ready", "ready"),
        ("busy", "busy"),
        ("asked", "asked for"),
        ("wanted", "wanted, before limits and windows"),
    ];
    if !report.hindsight.is_empty() {
        entries.push(("best", "what hindsight would have run"));
    }
    entries.extend([("up", "scaled up"), ("down", "scaled down"), ("breach", "the oldest is late")]);
    out.push_str(&key(&entries));
    out.push_str("<div class=\"tabs\">");
    for (place, (run, policy)) in runs.iter().zip(&report.policies).enumerate() {
        let Some(run) = run else { continue };
        let checked = if place == first { " checked" } else { "" };
        let name = escape(&policy.name);
        let only = if run.worst.is_none() { " only" } else { "" };
        let _ = write!(
            out,
            "<input type=\"radio\" name=\"run\" id=\"run{place}\" class=\"tab sight\"{checked}>\
             <label for=\"run{place}\">{}{} {name}</label><div class=\"pane{only}\"><h3>{} {name}</h3>",
            mark(place),
            place + 1,
            place + 1,
        );
        out.push_str(&pane(policy));
        let _ = write!(out, "<div class=\"whole\">{}</div>", run.whole);
        if let Some((from, to, near)) = &run.worst {
            let words = timeline::stretch(*from, *to);
            let _ =
                write!(out, "<div class=\"near\"><p class=\"soft\">The worst stretch of it: {words}</p>{near}</div>");
        }
        let _ = write!(out, "<script type=\"application/json\">{}</script></div>", run.rows);
    }
    out.push_str("</div>");
    let without: Vec<String> = runs
        .iter()
        .zip(&report.policies)
        .filter(|(run, _)| run.is_none())
        .map(|(_, policy)| escape(&policy.name))
        .collect();
    if !without.is_empty() {
        let _ = write!(out, "<p class=\"soft\">Not recorded: {}.</p>", without.join(", "));
    }
    Some(out)
}

fn pane(policy: &Policy) -> String {
    let mut out = String::from("<p class=\"facts\">");
    fact(&mut out, "somebody was late for at most", &seconds(policy.longest_breach_seconds));
    fact(&mut out, "99.9 % waited at most", &seconds(policy.waits.p999));
    fact(
        &mut out,
        "at most",
        &plural(usize::try_from(policy.peak_replicas).unwrap_or(usize::MAX), "replica", "replicas"),
    );
    fact(&mut out, "mean wait", &seconds(policy.waits.mean));
    out.push_str("</p>");
    out
}

fn waits(report: &Report) -> String {
    format!(
        "<p class=\"lead\">How many jobs waited for longer than a time, all seeds together; both axes are logarithmic. \
         The lower and the further left a line, the better.</p>{}{}",
        legend(&report.policies),
        tail::tail(report)
    )
}

fn shares(report: &Report) -> String {
    let key = key(&[
        ("unavoidable", "regret of seeing each job only when it has come (an estimate)"),
        ("own", "the policy's own regret"),
        ("start-up", "starting"),
        ("idle", "nothing to do"),
        ("work", "at work"),
    ]);
    format!(
        "<p class=\"lead\">Regret compares with what hindsight would have run to leave nobody waiting for longer than \
         this policy did: one that lets jobs wait is held against a cheaper best.</p>{key}{}",
        bars::bars(report)
    )
}

fn variants(tried: &Sweep, slo_percent: f64) -> String {
    if tried.points.is_empty() || !sweep::drawable(tried) {
        return "<p class=\"soft\">No variant was tried.</p>".to_owned();
    }
    let names: Vec<String> = tried.fields.iter().map(|field| format!("<code>{}</code>", escape(&field.path))).collect();
    let mut out =
        format!("<p class=\"lead\">{} of {}.", plural(tried.points.len(), "variant", "variants"), names.join(", "));
    let (picture, words) = match tried.fields.as_slice() {
        [along] => (sweep::line(tried, along, slo_percent), ""),
        [down, across] => (sweep::map(tried, down, across), " A star in the map is a point of the front."),
        _ => (String::new(), ""),
    };
    let _ = write!(out, "{words}</p><div class=\"pair\">{picture}{}</div>", sweep::front(tried, slo_percent));
    if let (true, Some((low, high))) = (tried.fields.len() == 2, sweep::range(tried)) {
        let _ = write!(out, "<p class=\"legend\"><span>cost over work {} ", number(low));
        for place in 0..7 {
            let _ = write!(out, "<i class=\"swatch heat{place}\"></i>");
        }
        let _ =
            write!(out, " {}</span> <span><i class=\"swatch hatch\"></i>misses the objective</span></p>", number(high));
    }
    out.push_str(&key(&[
        ("front-mark", "on the front: no other is cheaper and at least as punctual"),
        ("other", "behind it"),
        ("miss", "misses the objective"),
    ]));
    out.push_str(&table::front(tried));
    out
}

fn origin(report: &Report) -> String {
    let mut out = format!(
        "<dl><dt>Run it again</dt><dd><code class=\"command\">{}</code></dd><dt>tidegate</dt><dd>{}</dd>\
         <dt>Seeds</dt><dd>{}</dd>",
        escape(&report.command),
        escape(&report.tidegate),
        seeds(&report.scenario.seeds)
    );
    if !report.scenario.inputs.is_empty() {
        out.push_str("<dt>Made of</dt><dd><div class=\"scroll\"><table class=\"inputs\"><thead><tr><th>file</th><th class=\"num\">size</th><th>FNV-1a</th></tr></thead><tbody>");
        for input in &report.scenario.inputs {
            let _ = write!(
                out,
                "<tr><td>{}</td><td class=\"num\">{}</td><td><code>{}</code></td></tr>",
                escape(&input.name),
                bytes(input.bytes),
                escape(&input.hash)
            );
        }
        out.push_str("</tbody></table></div></dd>");
    }
    let _ = write!(out, "<dt>Schema</dt><dd><code>{}</code></dd></dl>", escape(&report.schema));
    out
}

/// Runs of them as such: `1 to 20, 42`.
fn seeds(seeds: &[u64]) -> String {
    let runs = seeds.chunk_by(|one, other| one.checked_add(1) == Some(*other));
    let words: Vec<String> = runs
        .filter_map(|run| match run {
            [] => None,
            [only] => Some(only.to_string()),
            [one, other] => Some(format!("{one}, {other}")),
            [first, .., last] => Some(format!("{first} to {last}")),
        })
        .collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}
