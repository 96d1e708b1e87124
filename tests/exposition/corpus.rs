//! Pages of real exporters.

use tidegate::source::prometheus::exposition::{Broken, Format, Line, everything, picked};

use super::readings::{difference, ours, page, theirs};

const CORPUS: [(&str, Format, &str); 6] = [
    ("prometheus", Format::Text, include_str!("../corpus/exposition/prometheus.txt")),
    ("node", Format::Text, include_str!("../corpus/exposition/node.txt")),
    ("redis", Format::Text, include_str!("../corpus/exposition/redis.txt")),
    ("nginx", Format::Text, include_str!("../corpus/exposition/nginx.txt")),
    ("tidegate", Format::Text, include_str!("../corpus/exposition/tidegate.txt")),
    ("python", Format::OpenMetrics, include_str!("../corpus/exposition/python.openmetrics")),
];

#[test]
fn real_pages_are_read_alike() {
    for (name, format, text) in CORPUS {
        // The Redis exporter's summaries have quantiles in percent (50, 99, 99.9). That is odd, and no format forbids it;
        // the other reader does.
        let text = text.replace("quantile=\"99", "quantile=\"0.99").replace("quantile=\"50", "quantile=\"0.50");
        let text = text.replace("0.99.9", "0.999");
        // Nor does OpenMetrics forbid that a histogram has a unit, or that a summary has no quantiles.
        let text = text.replace("# UNIT job_seconds seconds\n", "");
        let text: String = text.split_inclusive('\n').filter(|line| !line.contains("job_size_bytes")).collect();
        let (ours, theirs) = (ours(&text, format), theirs(&text, format));
        assert!(ours.as_ref().is_ok_and(|numbers| numbers.len() > 5), "{name}: {ours:?}");
        println!("{name}: {} numbers", ours.as_ref().map_or(0, Vec::len));
        assert!(ours == theirs, "{name}: {}", difference(&ours, &theirs));
    }
}

/// The reader in the hot path finds of each metric what the one that reads all has of it.
#[test]
fn each_metric_of_real_pages_is_picked_whole() {
    for (name, format, text) in CORPUS {
        let lines = everything(page(text, format)).unwrap();
        let series =
            || lines.iter().filter_map(|line| if let Line::Series(series) = line { Some(series) } else { None });
        for one in series() {
            let all: Vec<u64> =
                series().filter(|other| other.name == one.name).map(|other| other.value.to_bits()).collect();
            let found = picked(page(text, format), &one.name, &[]).unwrap();
            assert_eq!(found.iter().map(|(value, _)| value.to_bits()).collect::<Vec<_>>(), all, "{name}: {}", one.name);
        }
    }
}

/// Wherever a page is cut off, half of it is not taken for the whole.
#[test]
fn a_real_page_that_is_cut_off_is_an_error() {
    let cut = |text: &str, format| picked(page(text, format), "job_seconds_count", &[]);
    for (_, format, text) in CORPUS {
        // Of 0.0.4, where a line ends a page may end: there it takes HTTP to know.
        for at in (0..text.len()).step_by(97).filter(|at| text.is_char_boundary(*at)) {
            let part = &text[..at];
            let half = !part.is_empty() && !part.ends_with('\n') || format == Format::OpenMetrics;
            assert_eq!(cut(part, format) == Err(Ok(Broken::Half)), half, "{:?}", part.lines().last());
        }
    }
}
