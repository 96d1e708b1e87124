//! The page of made-up reports, among them odd ones.
#![allow(clippy::indexing_slicing, reason = "a test may break")]

use super::made_up;
use super::model::{Action, Estimate, Least, Report, SCHEMA, Step, Timeline, Waits};
use super::page;

const MOST: usize = 1_000_000;

/// What any page must be.
fn check(report: &Report) -> String {
    let html = page(report);
    assert_eq!(html, page(report), "the same report makes the same page");
    assert!(html.len() < MOST, "{} bytes", html.len());
    let mut pictures = 0;
    let mut rest = html.as_str();
    while let Some(start) = rest.find("<svg") {
        let end = rest[start..].find("</svg>").expect("an svg ends") + start + "</svg>".len();
        let svg = &rest[start..end];
        if let Err(error) = roxmltree::Document::parse(svg) {
            panic!("{error}: {svg}");
        }
        for colour in ["=\"#", "rgb(", "D1\"", "font-family", "http"] {
            assert!(!svg.contains(colour), "{colour} in {svg}");
        }
        pictures += usize::from(svg.contains("class=\"plot"));
        rest = &rest[end..];
    }
    assert!(report.policies.is_empty() || pictures >= 4, "{pictures} plots");
    // The icon names a namespace, and nothing is asked of anybody.
    let without = html.replace("xmlns='http://www.w3.org/2000/svg'", "");
    for word in ["http:", "https:", "src=", "@import", "<link rel=\"stylesheet"] {
        assert!(!without.contains(word), "{word}");
    }
    let shown = html.split("<script>").next().expect("there is a page before its script");
    for word in ["NaN", "inf<", "inf ", "Infinity", "could not be drawn"] {
        assert!(!shown.contains(word), "{word}");
    }
    for (open, close) in
        [("<div", "</div>"), ("<section", "</section>"), ("<table", "</table>"), ("<tr", "</tr>"), ("<p", "</p>")]
    {
        let opened: usize = html.matches(&format!("{open} ")).count() + html.matches(&format!("{open}>")).count();
        assert_eq!(opened, html.matches(close).count(), "{open}");
    }
    for rows in html.split("<script type=\"application/json\">").skip(1) {
        let rows = rows.split("</script>").next().expect("a part");
        let columns: serde_json::Value = serde_json::from_str(rows).expect("rows are JSON");
        let count = columns["at"].as_array().expect("a column").len();
        assert!(
            columns.as_object().expect("columns").values().all(|column| column.as_array().map(Vec::len) == Some(count))
        );
    }
    html
}

/// Rows are in the order of cost; the differences are to the first manifest's policy, wherever that stands.
#[test]
fn the_reference_is_the_row_that_the_others_are_compared_with() {
    let report = made_up::report();
    let html = check(&report);
    let place = report.policies.iter().position(|policy| policy.cost_difference_percent.is_none()).unwrap();
    assert_ne!(place, 0, "or this shows nothing");
    let rows: Vec<&str> = html.split("data-policy=\"").skip(1).filter(|row| row.contains("class=\"place\"")).collect();
    let named: Vec<&&str> = rows.iter().filter(|row| row.contains(">reference</td>")).collect();
    assert_eq!(named.len(), 1);
    assert!(named[0].starts_with(&format!("{place}\"")) && named[0].contains(&report.policies[place].name));
}

#[test]
fn a_report_has_all_parts_in_order() {
    let report = made_up::report();
    let html = check(&report);
    let places: Vec<usize> = [
        "class=\"best\"",
        "id=\"table\"",
        "id=\"cost\"",
        "id=\"runs\"",
        "id=\"waits\"",
        "id=\"regret\"",
        "id=\"sweep\"",
        "id=\"origin\"",
    ]
    .iter()
    .map(|part| html.find(part).expect(part))
    .collect();
    assert!(places.is_sorted(), "{places:?}");
    assert_eq!(html.matches("<tr class=\"misses\" data-policy").count(), 1);
    assert!(html.contains("✗ misses the objective"));
    assert!(html.contains("Not recorded: static-mean."));
    assert_eq!(html.matches("class=\"tab sight\" checked").count(), 1);
    assert_eq!(html.matches("class=\"tab sight\"").count(), 8);
}

#[test]
fn the_heaviest_is_light_enough() {
    let report = made_up::heavy();
    assert_eq!(report.policies.len(), 10);
    let timelines = report.policies.iter().filter_map(|policy| policy.timeline.as_ref());
    assert!(timelines.clone().all(|timeline| timeline.at.len() > 780 && timeline.actions.len() == 1000));
    check(&report);
}

#[test]
fn a_sweep_of_many_points_is_light_enough() {
    let mut report = made_up::report();
    for count in [2, 3] {
        let mut tried = made_up::sweep(count);
        tried.points = tried.points.iter().cycle().take(3000).cloned().collect();
        report.sweep = Some(tried);
        let html = check(&report);
        assert!(html.contains("more, which the JSON has"));
    }
}

#[test]
fn many_policies_still_fit() {
    let mut report = made_up::heavy();
    let one = report.policies[0].clone();
    report.policies = (0..30).map(|_| one.clone()).collect();
    check(&report);
}

#[test]
fn names_are_text() {
    let evil = "<script>alert(1)</script>\"'&\u{0}\u{8}]]>";
    let mut report = made_up::report();
    report.verdict = evil.to_owned();
    report.feasibility = evil.to_owned();
    report.command = evil.to_owned();
    report.schema = evil.to_owned();
    report.tidegate = evil.to_owned();
    report.notes = vec![evil.to_owned()];
    let scenario = &mut report.scenario;
    (scenario.name, scenario.about, scenario.autoscaler) = (evil.to_owned(), evil.to_owned(), evil.to_owned());
    for input in &mut scenario.inputs {
        (input.name, input.hash) = (evil.to_owned(), evil.to_owned());
    }
    for policy in &mut report.policies {
        (policy.name, policy.setting) = (evil.to_owned(), evil.to_owned());
        for action in policy.timeline.iter_mut().flat_map(|timeline| &mut timeline.actions) {
            action.why = evil.to_owned();
        }
    }
    let tried = report.sweep.as_mut().expect("a sweep");
    for field in &mut tried.fields {
        field.path = evil.to_owned();
    }
    for point in &mut tried.points {
        point.values = vec![evil.to_owned(); 2];
    }
    let html = check(&report);
    assert!(!html.contains("<script>alert"));
    assert!(html.contains("&lt;script&gt;alert(1)"));
    assert!(!html.contains(['\u{0}', '\u{8}']));
}

#[test]
fn sweeps_of_any_number_of_fields() {
    let mut report = made_up::report();
    for count in 0..=3 {
        report.sweep = Some(made_up::sweep(count));
        let html = check(&report);
        assert!(html.contains("id=\"sweep\""));
    }
    let mut tried = made_up::sweep(2);
    tried.points.clear();
    report.sweep = Some(tried);
    assert!(check(&report).contains("No variant was tried"));
    report.sweep = None;
    assert!(!check(&report).contains("id=\"sweep\""));
}

#[test]
fn one_policy_and_nothing_else() {
    let mut report = made_up::report();
    report.policies.truncate(1);
    report.scenario.seeds.truncate(1);
    report.scenario.inputs.clear();
    report.notes.clear();
    report.feasibility.clear();
    report.scenario.about.clear();
    (report.frontier, report.hindsight, report.sweep) = (Vec::new(), Vec::new(), None);
    for policy in &mut report.policies {
        (policy.regret, policy.timeline) = (None, None);
        policy.longer_than.clear();
    }
    let html = check(&report);
    assert!(!html.contains("id=\"runs\""));
    assert!(!html.contains("impossible"));
    assert!(html.contains("One seed"));
    report.policies.clear();
    assert!(check(&report).contains("No policy is in this report"));
}

#[test]
fn no_jobs_at_all() {
    let mut report = made_up::report();
    let scenario = &mut report.scenario;
    (scenario.jobs, scenario.work_seconds, scenario.load, scenario.seconds) = (0.0, 0.0, 0.0, 0.0);
    scenario.slots_per_replica = 0;
    for policy in &mut report.policies {
        policy.on_time_percent = Estimate { mean: 100.0, low: 100.0, high: 100.0 };
        let nothing = Estimate::default();
        (policy.cost, policy.cost_over_work, policy.late_job_seconds) = (nothing, nothing, nothing);
        policy.waits = Waits::default();
        policy.longer_than = vec![(0.0, 0.0)];
        policy.timeline = Some(Timeline {
            at: vec![0.0, 1.0],
            arrived: vec![0, 0],
            waiting: vec![0, 0],
            oldest: vec![0.0, 0.0],
            wanted: vec![None, None],
            asked: vec![0, 0],
            ready: vec![0, 0],
            busy: vec![0.0, 0.0],
            actions: vec![],
        });
    }
    check(&report);
}

#[test]
fn everybody_is_late() {
    let mut report = made_up::report();
    for policy in &mut report.policies {
        policy.on_time_percent = Estimate { mean: 0.0, low: -3.0, high: 2.0 };
        policy.meets_slo = false;
        policy.longer_than = vec![(0.1, 1.0), (1e7, 1.0), (2e7, 0.0)];
        policy.waits = Waits { mean: 1e6, p50: 1e6, p95: 1e7, p99: 1e7, p999: 1e7, max: 2e7 };
    }
    let html = check(&report);
    assert_eq!(html.matches("<tr class=\"misses\" data-policy").count(), report.policies.len());
}

#[test]
fn numbers_that_are_none() {
    let mut report = made_up::report();
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.0, 1e300];
    for (place, policy) in report.policies.iter_mut().enumerate() {
        let value = odd[place % odd.len()];
        let estimate = Estimate { mean: value, low: value, high: f64::INFINITY };
        (policy.on_time_percent, policy.cost, policy.cost_over_work) = (estimate, estimate, estimate);
        (policy.late_job_seconds, policy.actions_per_hour) = (estimate, estimate);
        policy.cost_difference_percent = Some(estimate);
        policy.waits = Waits { mean: value, p50: value, p95: value, p99: value, p999: value, max: value };
        (policy.idle_percent, policy.start_up_percent, policy.left) = (value, value, value);
        policy.longest_breach_seconds = value;
        policy.longer_than.extend([(value, 0.5), (1.0, value)]);
        if let Some(regret) = &mut policy.regret {
            (regret.percent, regret.own_percent, regret.unavoidable_percent, regret.wait_seconds) =
                (value, value, value, value);
        }
        if let Some(timeline) = &mut policy.timeline {
            timeline.oldest[3] = value;
            timeline.busy[5] = value;
            timeline.at[7] = value;
            timeline.actions.push(Action { at: value, from: 1, to: 2, why: String::new() });
        }
    }
    for value in odd {
        report.frontier.push(Least { wait_seconds: value, cost: Some(1.0), cost_over_work: Some(1.0) });
        report.frontier.push(Least { wait_seconds: 1.0, cost: Some(value), cost_over_work: Some(value) });
        report.hindsight.push(Step { at: value, replicas: 3 });
        if let Some(tried) = &mut report.sweep {
            let mut point = tried.points[0].clone();
            (point.cost_over_work.mean, point.p99_wait_seconds, point.on_time_percent.mean) = (value, value, value);
            tried.points.push(point);
        }
    }
    for value in odd {
        report.scenario.slo_wait_seconds = value;
        report.scenario.slo_percent = value;
        report.scenario.work_seconds = value;
        check(&report);
    }
}

#[test]
fn a_report_as_json_makes_the_same_page() {
    let report = made_up::report();
    let json = serde_json::to_string(&report).expect("it can be written");
    let again: Report = serde_json::from_str(&json).expect("and read");
    assert_eq!(again.schema, SCHEMA);
    assert_eq!(page(&again), page(&report));
}
