//! What the reader of pages promises, line by line.

use super::*;
use crate::spec::{LabelMatcher, MatchOp};

fn matcher(name: &str, op: MatchOp, value: &str) -> LabelMatcher {
    LabelMatcher { name: name.into(), op, value: value.into() }
}

fn page(text: &str, format: Format) -> Page<'_> {
    Page { body: text.as_bytes(), format, whole: false }
}

/// And its time.
type Value = (f64, Option<f64>);

/// Values and times of the series of `metric`, and how many others of its name there are.
fn pick(text: &str, format: Format, metric: &str, matchers: &[LabelMatcher]) -> Result<(Vec<Value>, usize), Broken> {
    let picks = Picks::new(vec![Pick::new(metric, matchers).unwrap()]);
    let (mut points, mut others) = (Vec::new(), 0);
    read(page(text, format), &picks, |position, series| {
        assert_eq!(position, 0);
        match series {
            Some(series) => points.push((series.value, series.time)),
            None => others += 1,
        }
    })?;
    Ok((points, others))
}

fn values(text: &str, metric: &str, matchers: &[LabelMatcher]) -> Vec<f64> {
    pick(text, Format::Text, metric, matchers).unwrap().0.into_iter().map(|(value, _)| value).collect()
}

const JOBS: &str = "\
# HELP jobs Waiting.
# TYPE jobs gauge
jobs{queue=\"a\",shard=\"0\"} 1
jobs{queue=\"a\",shard=\"1\"} 2 1395066363000
jobs{queue=\"b\"} 4
jobs_total 100
jobs 8
a_jobs 200
{\"jobs\",queue=\"quoted\"} 16
{\"jobs\"} 32
";

#[test]
fn series_are_picked_by_name_and_labels() {
    use MatchOp::{Equal, NotEqual, NotRegex, Regex};
    assert_eq!(values(JOBS, "jobs", &[]), [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]);
    let of = |name: &str, op, value: &str| values(JOBS, "jobs", &[matcher(name, op, value)]);
    assert_eq!(of("queue", Equal, "a"), [1.0, 2.0]);
    assert_eq!(of("queue", Equal, ""), [8.0, 32.0]);
    assert_eq!(of("queue", NotEqual, "a"), [4.0, 8.0, 16.0, 32.0]);
    assert_eq!(of("queue", NotEqual, ""), [1.0, 2.0, 4.0, 16.0]);
    assert_eq!(of("queue", Regex, "a|b"), [1.0, 2.0, 4.0]);
    assert!(of("queue", Regex, "quo").is_empty());
    assert_eq!(of("queue", Regex, ".*"), [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]);
    assert_eq!(of("queue", Regex, ".+"), [1.0, 2.0, 4.0, 16.0]);
    assert_eq!(of("queue", NotRegex, "a|q.*"), [4.0, 8.0, 32.0]);
    let both = [matcher("queue", Equal, "a"), matcher("shard", NotEqual, "0")];
    assert_eq!(pick(JOBS, Format::Text, "jobs", &both).unwrap(), (vec![(2.0, Some(1_395_066_363.0))], 5));
    assert_eq!(values(JOBS, "jobs_total", &[]), [100.0]);
    assert!(values(JOBS, "job", &[]).is_empty());
}

#[test]
fn an_expression_that_is_none_says_so() {
    for (text, reason) in
        [("a(", "unclosed group"), ("a)|(b", "unopened group"), ("[", "unclosed"), ("(a{999}){999}", "too large")]
    {
        let problem = Pick::new("jobs", &[matcher("q", MatchOp::Regex, text)]).map(|_| ()).unwrap_err();
        assert!(problem.contains(reason) && problem.lines().count() == 1, "{text}: {problem}");
    }
}

#[test]
fn labels_are_read_with_their_escapes() {
    let text = "jobs{path=\"C:\\\\DIR\\\\FILE.TXT\",error=\"Cannot find file:\\n\\\"FILE.TXT\\\"\"} 1.458255915e9\n";
    assert_eq!(values(text, "jobs", &[matcher("path", MatchOp::Equal, "C:\\DIR\\FILE.TXT")]), [1.458255915e9]);
    assert_eq!(values(text, "jobs", &[matcher("error", MatchOp::Regex, "Cannot.*\"FILE.TXT\"")]).len(), 1);
    let braces = "jobs{a=\"}\",b=\"{,=\",} 7\n";
    assert_eq!(values(braces, "jobs", &[matcher("b", MatchOp::Equal, "{,=")]), [7.0]);
}

#[test]
fn blanks_stand_where_they_may() {
    let text = " \t jobs \t { queue = \"a\" , shard=\"1\" , }\t 3   1000 \n\n   # HELP jobs text\njobs{}4\n";
    assert_eq!(pick(text, Format::Text, "jobs", &[]).unwrap().0, [(3.0, Some(1.0)), (4.0, None)]);
}

#[test]
fn utf8_names_are_in_quotes() {
    let text = "# TYPE \"http.requests\" gauge\n{\"http.requests\",\"k8s.pod\"=\"a b\"} 3\n{\"caf\\\"é\"} 4\nother 1\n";
    assert_eq!(values(text, "http.requests", &[matcher("k8s.pod", MatchOp::Equal, "a b")]), [3.0]);
    assert_eq!(values(text, "caf\"é", &[]), [4.0]);
}

#[test]
fn openmetrics_has_seconds_exemplars_and_an_end() {
    let text = "\
# TYPE foo histogram
# UNIT foo seconds
foo_bucket{le=\"0.1\"} 8 # {} 0.054
foo_bucket{le=\"1\"} 11 1520879607.789 # {trace_id=\"KOO5S4vxi0o\"} 0.67
foo_bucket{le=\"+Inf\"} 17 # {trace_id=\"oHg5SJ#YRHA0\"} 9.8 1520879607.789
# EOF
";
    let points = pick(text, Format::OpenMetrics, "foo_bucket", &[]).unwrap().0;
    assert_eq!(points, [(8.0, None), (11.0, Some(1_520_879_607.789)), (17.0, None)]);
    assert!(pick(text.trim_end(), Format::OpenMetrics, "foo_bucket", &[]).is_ok());
    let cut = text.strip_suffix("# EOF\n").unwrap();
    assert_eq!(pick(cut, Format::OpenMetrics, "foo_bucket", &[]), Err(Broken::Half));
    assert_eq!(pick("", Format::OpenMetrics, "foo_bucket", &[]), Err(Broken::Half));
    let on = format!("{text}foo_bucket 3\n");
    assert_eq!(pick(&on, Format::OpenMetrics, "foo_bucket", &[]), Err(Broken::BeyondTheEnd(7)));
    let found = everything(page(text, Format::OpenMetrics)).unwrap();
    let Some(Line::Series(last)) = found.get(2) else { panic!("{found:?}") };
    assert_eq!(last.exemplar.as_ref().unwrap().labels, [("trace_id".to_owned(), "oHg5SJ#YRHA0".to_owned())]);
    assert!(found.contains(&Line::Unit { metric: "foo".to_owned(), unit: "seconds".to_owned() }));
}

#[test]
fn a_broken_line_of_the_metric_is_said_and_one_of_another_is_not() {
    let fault = |line: &str| pick(&format!("other 1\n{line}\n"), Format::Text, "jobs", &[]).unwrap_err().to_string();
    for (line, reason) in [
        ("jobs", "neither labels nor a value"),
        ("jobs-1", "neither labels nor a value"),
        ("jobs.5 1", "neither labels nor a value"),
        ("jobs ", "there is no value"),
        ("jobs 0x10", "no number"),
        ("jobs 1,5", "no number"),
        ("jobs 1 now", "no time"),
        ("jobs 1 1.5", "no time"),
        ("jobs 1 2 3", "something follows"),
        ("jobs{a=\"1\" 2", "no comma"),
        ("jobs{a=\"1} 2", "not closed"),
        ("jobs{a=1} 2", "not in quotes"),
        ("jobs{a} 2", "no value"),
        ("jobs{a:b=\"1\"} 2", "colon"),
        ("jobs{=\"1\"} 2", "no name"),
        ("jobs{a=\"1\"b=\"2\"} 2", "no comma"),
        ("jobs{a=\"1\"}", "there is no value"),
        ("{a=\"1\"} 2", "no name"),
        ("{\"jobs\"=\"1\"} 2", "no name"),
        ("{\"jobs\",a=\"1\" 2", "no comma"),
        ("-5", "neither a name"),
        ("\u{feff}jobs 1", "neither a name"),
        ("\rjobs 1", "neither a name"),
    ] {
        let sentence = fault(line);
        assert!(sentence.starts_with("line 2 ") && sentence.contains(reason), "{line}: {sentence}");
    }
    for other in ["other{a=\"1 2", "other", "jobs_of_others ?", "# TYPE jobs nonsense"] {
        assert_eq!(values(&format!("{other}\njobs 1\n"), "jobs", &[]), [1.0], "{other}");
    }
    // What does not match need not have a value, but must be known not to match.
    let a = [matcher("a", MatchOp::Equal, "1")];
    assert_eq!(values("jobs{a=\"1\"} 5\njobs{a=\"2\"} ?\n", "jobs", &a), [5.0]);
    assert!(pick("jobs{a=\"1\"} 5\njobs{a=\"2} ?\n", Format::Text, "jobs", &a).is_err());
}

#[test]
fn a_page_that_may_have_lost_its_end_is_an_error() {
    assert_eq!(pick("jobs 1\njobs 23", Format::Text, "jobs", &[]), Err(Broken::Half));
    assert_eq!(pick("jobs 1\nother 2", Format::Text, "jobs", &[]), Err(Broken::Half));
    let picks = Picks::new(vec![Pick::new("jobs", &[]).unwrap()]);
    let mut sum = 0.0;
    let whole = Page { whole: true, ..page("jobs 1\njobs 23", Format::Text) };
    read(whole, &picks, |_, series| sum += series.unwrap().value).unwrap();
    assert_eq!(sum, 24.0);
}

#[test]
fn a_web_page_is_called_one() {
    let html = "\n  <!DOCTYPE html><html><body>404</body></html>\n";
    assert_eq!(pick(html, Format::Text, "jobs", &[]), Err(Broken::Html));
    assert_eq!(Format::of(Some("text/html; charset=utf-8")), Err(Broken::Html));
    assert_eq!(Format::of(Some("text/plain; version=0.0.4; charset=utf-8")), Ok(Format::Text));
    assert_eq!(Format::of(Some("application/openmetrics-text; version=1.0.0")), Ok(Format::OpenMetrics));
    assert_eq!(Format::of(None), Ok(Format::Text));
}

#[test]
fn several_picks_share_one_walk() {
    let wanted = [("jobs", Some("a")), ("jobs", Some("b")), ("jobs_total", None), ("jobs", None)];
    let picks = wanted.map(|(name, queue)| {
        let matchers = queue.map(|queue| matcher("queue", MatchOp::Equal, queue));
        Pick::new(name, matchers.as_slice()).unwrap()
    });
    let picks = Picks::new(picks.into());
    let mut sums = [0.0; 4];
    read(page(JOBS, Format::Text), &picks, |pick, series| {
        if let (Some(sum), Some(series)) = (sums.get_mut(pick), series) {
            *sum += series.value;
        }
    })
    .unwrap();
    assert_eq!(sums, [3.0, 4.0, 100.0, 63.0]);
}

#[test]
fn many_names_that_begin_alike_are_found_among_each_other() {
    let names: Vec<String> = (0..20).map(|number| format!("jobs_{number}")).collect();
    let picks = Picks::new(names.iter().map(|name| Pick::new(name, &[]).unwrap()).collect());
    let text: String =
        (0..40).map(|number| format!("jobs_{number} {number}\njobs_{number}_x 1000\njobs 1000\n")).collect();
    let mut found = Vec::new();
    read(page(&text, Format::Text), &picks, |pick, series| found.push((pick, series.unwrap().value))).unwrap();
    let expected: Vec<(usize, f64)> = (0_u8..20).map(|number| (usize::from(number), f64::from(number))).collect();
    assert_eq!(found, expected);
    let broken = read(page("jobs_3-1\n", Format::Text), &picks, |_, _| {});
    assert!(matches!(broken, Err(Broken::Line(1, _))), "{broken:?}");
}

#[test]
fn names_like_the_one_that_is_missing_are_found() {
    let text =
        "jobs_waiting 1\njobs_wating{a=\"1\"} 2\nqueue_jobs_waiting_total 3\ngo_goroutines 4\n{\"jobs.waiting\"} 1\n";
    assert_eq!(near(page(text, Format::Text), "jobs_waiting"), ["jobs_waiting", "jobs.waiting", "jobs_wating"]);
    assert_eq!(
        near(page(text, Format::Text), "waiting_jobs"),
        ["jobs.waiting", "jobs_waiting", "queue_jobs_waiting_total"]
    );
    assert!(near(page(text, Format::Text), "http_requests_total").is_empty());
}

#[test]
fn a_page_that_is_read_in_turns_is_the_same_page() {
    for format in [Format::Text, Format::OpenMetrics] {
        let text =
            format!("{}{}", JOBS.replace(" 1395066363000", ""), if format == Format::Text { "" } else { "# EOF\n" });
        let picks = Picks::new(vec![Pick::new("jobs", &[]).unwrap()]);
        for bytes in 1..text.len() {
            let mut walk = Walk::new(page(&text, format));
            let (mut sum, mut turns) = (0.0, 1);
            while !walk.read(bytes, &picks, |_, series| sum += series.unwrap().value).unwrap() {
                turns += 1;
            }
            assert_eq!(sum, 63.0, "{bytes}");
            assert!(turns <= text.lines().count(), "{bytes}: {turns}");
        }
    }
}
