//! What exporters may write and a Prometheus may answer: right pages and bodies, mutated.
//!
//! Whatever a page is, reading it ends, and finds numbers or a sentence. Where all of a page is right, the reader in the
//! hot path finds what the one of everything finds; what it refuses is a line of the metric that was wanted, or no page.

use tidegate::source::prometheus::exposition::{Broken, Format, Line, Page, everything, picked};
use tidegate::source::prometheus::judge;
use tidegate::spec::{Freshness, LabelMatcher, MatchOp, PrometheusQuery};

use super::drive::{Target, drive};
use super::mutate::{self, Dictionary, Rng};

#[test]
fn pages() {
    drive("pages", Pages::new, &["picked", "nothing", "refused", "all right"]);
}

#[test]
fn queries() {
    drive("queries", Queries::new, &["found", "failed", "aged"]);
}

/// A failure is a sentence or two.
const LONGEST_FAILURE: usize = 2_000;

const PAGES: [&str; 6] = [
    "# HELP jobs Waiting.\n# TYPE jobs gauge\njobs{queue=\"a\"} 1\njobs{queue=\"b\"} 2 1395066363000\njobs 3\n",
    "# TYPE jobs gauge\njobs{queue=\"a\"} 3 1795705000.5 # {trace_id=\"x\"} 1\njobs 4\n# EOF\n",
    "{\"jobs\",queue=\"a\"} 5\n{\"jobs.ü\",\"k8s.pod\"=\"b\"} 6\njobs{queue=\"C:\\\\\\\\DIR\\\\n\\\"x\\\"\"} 7\n",
    "jobs_bucket{le=\"0.1\"} 1\njobs_bucket{le=\"+Inf\"} 2\njobs_sum 0.5\njobs_count 2\njobs NaN\n",
    "  jobs \t { queue = \"a\" , } \t 8   1000 \n\njobs +Inf\njobs -1\njobs 1e400\n",
    "<!DOCTYPE html>\n<html><body>jobs 1</body></html>\n",
];

const TOKENS: [&str; 20] = [
    "jobs",
    "jobs{",
    "jobs{queue=\"",
    "\"}",
    "} 1\n",
    "# EOF\n",
    "# EOF",
    "# TYPE jobs gauge\n",
    "\\\"",
    "\\\\",
    "\n",
    "\r\n",
    " ",
    "\t",
    "{\"jobs\"",
    ",queue=\"a\"",
    "NaN",
    "-Inf",
    "1795705000000",
    "# {",
];

struct Pages {
    dictionary: Dictionary,
}

impl Pages {
    fn new() -> Self {
        Pages { dictionary: Dictionary::of(&TOKENS, &PAGES.map(str::to_owned)) }
    }
}

impl Target for Pages {
    type Input = (Vec<u8>, bool, bool, usize);

    fn input(&self, rng: &mut Rng) -> Self::Input {
        let mut text = (*rng.pick(&PAGES)).to_owned();
        for _ in 0..rng.below(5) {
            let other = (*rng.pick(&PAGES)).to_owned();
            mutate::text(rng, &mut text, &other, &self.dictionary);
        }
        let mut body = text.into_bytes();
        if rng.once_in(10) {
            mutate::bytes(rng, &mut body);
        }
        (body, rng.once_in(3), rng.once_in(2), rng.below(5))
    }

    fn check(&mut self, (body, openmetrics, whole, matcher): &Self::Input) -> Result<&'static str, String> {
        let format = if *openmetrics { Format::OpenMetrics } else { Format::Text };
        let page = Page { body, format, whole: *whole };
        let matchers = match matcher {
            0 => vec![(MatchOp::Equal, "a")],
            1 => vec![(MatchOp::NotEqual, "a")],
            2 => vec![(MatchOp::Regex, "a|b.*")],
            3 => vec![(MatchOp::NotRegex, ".+")],
            _ => Vec::new(),
        };
        let matchers: Vec<LabelMatcher> = matchers
            .into_iter()
            .map(|(op, value)| LabelMatcher { name: "queue".into(), op, value: value.into() })
            .collect();
        let found = picked(page, "jobs", &matchers);
        let all = everything(page);
        if let Err(broken) = &found {
            let sentence = broken.as_ref().map_or_else(Clone::clone, Broken::to_string);
            if sentence.len() > LONGEST_FAILURE || sentence.contains(char::is_control) {
                return Err(format!("a failure of {} bytes: {sentence:?}", sentence.len()));
            }
        }
        match (found, all) {
            (Err(broken), Ok(_)) => Err(format!("all of it is right, and refused: {broken:?}")),
            (Ok(found), Ok(lines)) if matchers.is_empty() => {
                let all: Vec<u64> = lines
                    .iter()
                    .filter_map(|line| match line {
                        Line::Series(series) if series.name == "jobs" => Some(series.value.to_bits()),
                        _ => None,
                    })
                    .collect();
                let found: Vec<u64> = found.iter().map(|(value, _)| value.to_bits()).collect();
                if found == all { Ok("all right") } else { Err(format!("found {found:?} of {all:?}")) }
            }
            (Ok(found), _) if found.is_empty() => Ok("nothing"),
            (Ok(_), _) => Ok("picked"),
            (Err(_), Err(_)) => Ok("refused"),
        }
    }

    fn literal(&self, input: &Self::Input) -> String {
        format!("{input:?}: {}", String::from_utf8_lossy(&input.0))
    }
}

const BODIES: [&str; 7] = [
    r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"jobs","queue":"a"},"value":[1795705000.781,"4"]}]}}"#,
    r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"queue":"a"},"value":[1795705000,"1795704990"]},{"metric":{"queue":"b"},"value":[1795705000,"NaN"]}]},"warnings":["w"]}"#,
    r#"{"status":"success","data":{"resultType":"scalar","result":[1795705000,"1795704000.5"]}}"#,
    r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"2"]]}]}}"#,
    r#"{"status":"success","data":{"result":[1,"text"],"resultType":"string"}}"#,
    r#"{"status":"error","errorType":"bad_data","error":"1:4: parse error: unclosed left parenthesis"}"#,
    r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"histogram":[1,{"count":"1"}]}]}}"#,
];

const WORDS: [&str; 16] = [
    "\"value\":",
    "\"metric\":",
    "\"result\":",
    "\"resultType\":",
    "\"status\":",
    "null",
    "[",
    "]",
    "{",
    "}",
    "\"-1\"",
    "1e999",
    "\"+Inf\"",
    "\\ud800",
    "\\u0000",
    "\"9007199254740993\"",
];

struct Queries {
    dictionary: Dictionary,
    wanted: Vec<PrometheusQuery>,
}

impl Queries {
    fn new() -> Self {
        let labels = || vec![("queue".into(), "a".into())];
        let wanted = [
            (Vec::new(), Freshness::Unknown, false),
            (labels(), Freshness::OfSamples, false),
            (Vec::new(), Freshness::OfSamples, true),
            (labels(), Freshness::Query("min(timestamp(jobs))".into()), false),
        ];
        let wanted = wanted.map(|(labels, freshness, ignore_null_values)| PrometheusQuery {
            query: "jobs".into(),
            labels,
            freshness,
            ignore_null_values,
        });
        let dictionary = Dictionary::of(&WORDS, &BODIES.map(str::to_owned));
        Queries { dictionary, wanted: wanted.into() }
    }
}

impl Target for Queries {
    type Input = (Vec<u8>, usize);

    fn input(&self, rng: &mut Rng) -> Self::Input {
        let mut text = (*rng.pick(&BODIES)).to_owned();
        for _ in 0..rng.below(4) {
            let other = (*rng.pick(&BODIES)).to_owned();
            mutate::text(rng, &mut text, &other, &self.dictionary);
        }
        let mut body = text.into_bytes();
        if rng.once_in(10) {
            mutate::bytes(rng, &mut body);
        }
        (body, rng.below(self.wanted.len()))
    }

    fn check(&mut self, (body, wanted): &Self::Input) -> Result<&'static str, String> {
        match judge(&self.wanted[*wanted], body) {
            Ok(found) => {
                let age = found.age.get();
                let sound = (0.0..9_007_199_254_740_992.0).contains(&found.backlog) && age.is_none_or(f64::is_finite);
                match (sound, age) {
                    (false, _) => Err(format!("no such numbers: {found:?}")),
                    (true, Some(_)) => Ok("aged"),
                    (true, None) => Ok("found"),
                }
            }
            Err(failure) => {
                let text = &failure.message;
                if text.is_empty() || text.len() > LONGEST_FAILURE || text.contains(char::is_control) {
                    return Err(format!("a failure of {} bytes: {text:?}", text.len()));
                }
                Ok("failed")
            }
        }
    }

    fn literal(&self, input: &Self::Input) -> String {
        format!("{input:?}: {}", String::from_utf8_lossy(&input.0))
    }
}
