//! Tables: all policies, and the front of the variants.

use std::fmt::Write as _;

use super::model::{Estimate, Kind, Policy, Report, Sweep};
use super::plots::mark;
use super::text::{compact, count, difference, escape, interval, number, on_time, seconds, together};

const HEAD: &str = "<thead><tr><th rowspan=\"2\" colspan=\"2\">Policy</th><th rowspan=\"2\" class=\"num\">On time<small>%</small></th>\
    <th colspan=\"2\" class=\"over\">Cost</th><th colspan=\"4\" class=\"over\">Waits</th>\
    <th rowspan=\"2\" class=\"num\">Late<small>job-s</small></th><th colspan=\"2\" class=\"over\">An hour</th>\
    <th colspan=\"2\" class=\"over\">A run</th><th rowspan=\"2\" class=\"num first\">Regret, %<small>unavoidable<br>+ own</small></th></tr>\
    <tr><th class=\"num first\">over work</th><th class=\"num\">to the<small>reference, %</small></th>\
    <th class=\"num first\">p50</th><th class=\"num\">p95</th><th class=\"num\">p99</th><th class=\"num\">max</th>\
    <th class=\"num first\">changes</th><th class=\"num\">reversals</th>\
    <th class=\"num first\">wasted<small>starts</small></th><th class=\"num\">lost /<small>redone</small></th></tr></thead>";

/// A row for each policy, in the report's order.
pub(super) fn league(report: &Report) -> String {
    let mut out = format!("<div class=\"scroll\"><table class=\"league\">{HEAD}<tbody>");
    for (place, policy) in report.policies.iter().enumerate() {
        row(&mut out, place, policy);
    }
    out.push_str("</tbody></table></div>");
    let several = report.scenario.seeds.len() > 1;
    let _ = write!(
        out,
        "<p class=\"soft small\">{}Reversals are changes of direction within ten minutes; a wasted start worked for less \
         time than it took; redone jobs were cut off and done again. Regret is in percent of the least that the same longest wait could have cost; what of it is unavoidable is an estimate.</p>",
        if several {
            "Small print under a number is its 95 % confidence interval over seeds. "
        } else {
            "One seed, hence no confidence intervals. "
        }
    );
    out
}

fn row(out: &mut String, place: usize, policy: &Policy) {
    let (class, verdict) =
        if policy.meets_slo { ("meets", "✓ meets the objective") } else { ("misses", "✗ misses the objective") };
    let _ = write!(
        out,
        "<tr class=\"{class}\" data-policy=\"{place}\"><td class=\"place\">{}<b>{}</b></td><td class=\"who\"><b>{}</b>\
         <div class=\"setting\"><span class=\"kind\">{}</span> {}</div><div class=\"chip\">{verdict}</div></td>",
        mark(place),
        place + 1,
        escape(&policy.name),
        kind(policy.kind),
        escape(&together(&policy.setting))
    );
    estimate(out, "", &policy.on_time_percent, on_time);
    estimate(out, " first", &policy.cost_over_work, number);
    match &policy.cost_difference_percent {
        Some(percent) => estimate(out, "", percent, difference),
        None => out.push_str("<td class=\"num soft\">reference</td>"),
    }
    let waits = policy.waits;
    for (class, wait) in [(" first", waits.p50), ("", waits.p95), ("", waits.p99), ("", waits.max)] {
        let _ = write!(out, "<td class=\"num wait{class}\">{}</td>", seconds(wait));
    }
    estimate(out, "", &policy.late_job_seconds, compact);
    estimate(out, " first", &policy.actions_per_hour, count);
    let _ = write!(
        out,
        "<td class=\"num\">{}</td><td class=\"num first\">{}</td><td class=\"num\">{} / {}",
        count(policy.reversals_per_hour),
        count(policy.wasted_starts),
        count(policy.lost),
        count(policy.redelivered)
    );
    if policy.left > 0.0 {
        let _ = write!(out, "<small class=\"bad\">{} undone</small>", count(policy.left));
    }
    out.push_str("</td>");
    match &policy.regret {
        Some(regret) => {
            let _ = write!(
                out,
                "<td class=\"num first\">{}<small>{} + {}</small></td>",
                count(regret.percent),
                count(regret.unavoidable_percent),
                count(regret.own_percent)
            );
        }
        None => out.push_str("<td class=\"num soft first\">–</td>"),
    }
    out.push_str("</tr>");
}

const fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Tidegate => "tidegate",
        Kind::Hpa => "HPA",
        Kind::Keda => "KEDA",
        Kind::Static => "static",
    }
}

fn estimate(out: &mut String, class: &str, estimate: &Estimate, say: impl Fn(f64) -> String) {
    let _ = write!(out, "<td class=\"num{class}\">{}", say(estimate.mean));
    if let Some(interval) = interval(estimate, say) {
        let _ = write!(out, "<small>{interval}</small>");
    }
    out.push_str("</td>");
}

/// Points of the front that are written out.
const FRONT: usize = 60;

/// Points of the front: those that meet the objective first, and the cheaper ones before the dearer.
pub(super) fn front(sweep: &Sweep) -> String {
    let mut points: Vec<_> = sweep.points.iter().filter(|point| point.on_front).collect();
    points.sort_by(|one, other| {
        let cost = one.cost_over_work.mean.total_cmp(&other.cost_over_work.mean);
        other.meets_slo.cmp(&one.meets_slo).then(cost)
    });
    if points.is_empty() {
        return String::new();
    }
    let mut out = String::from("<h3>The front</h3><div class=\"scroll\"><table class=\"front-table\"><thead><tr>");
    for field in &sweep.fields {
        let _ = write!(out, "<th><code>{}</code></th>", escape(&field.path));
    }
    out.push_str(
        "<th class=\"num\">on time, %</th><th class=\"num\">cost over work</th><th class=\"num\">p99 wait</th>\
         <th class=\"num\">changes an hour</th><th>objective</th></tr></thead><tbody>",
    );
    let more = points.len().saturating_sub(FRONT);
    for point in points.into_iter().take(FRONT) {
        let (class, verdict) = if point.meets_slo { ("meets", "✓ meets") } else { ("misses", "✗ misses") };
        let _ = write!(out, "<tr class=\"{class}\">");
        for value in &point.values {
            let _ = write!(out, "<td>{}</td>", escape(value));
        }
        estimate(&mut out, "", &point.on_time_percent, on_time);
        estimate(&mut out, "", &point.cost_over_work, number);
        let _ = write!(
            out,
            "<td class=\"num\">{}</td><td class=\"num\">{}</td><td><span class=\"chip\">{verdict}</span></td></tr>",
            seconds(point.p99_wait_seconds),
            count(point.actions_per_hour)
        );
    }
    out.push_str("</tbody></table></div>");
    if more > 0 {
        let _ = write!(out, "<p class=\"soft small\">And {more} more, which the JSON has.</p>");
    }
    out
}
