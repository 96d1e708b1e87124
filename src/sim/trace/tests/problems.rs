//! What is wrong is told with its place and its cure, all at once.

use std::path::Path;

use super::super::{Format, Options, Role, parse, read};
use super::{mapped, refused};

#[test]
fn every_wrong_row_at_once() {
    let text = "timestamp,depth,enqueued_total\n\
        1700000000,1,1\nyesterday,2,2\n1700000020,many,3\n1700000030,-4,4\n1700000040000,5,5\n300000000,6,6\n,7,7\n\
        1700000050,1e300,\n";
    assert_eq!(
        refused(text, &Options::default()).to_string(),
        "t:3 (timestamp): `yesterday` is no time; write seconds since 1970, or e.g. 2026-01-31T12:00:00Z\n\
         t:4 (depth): `many` is no number; write a number with a point, or leave the cell empty where nothing is known\n\
         t:5 (depth): `-4` is negative, and depth never is; leave the cell empty where nothing is known\n\
         t:6 (timestamp): `1700000040000` is milliseconds since 1970, but the first time is seconds since 1970 (line 2); \
         write all times of the column in one unit\n\
         t:7 (timestamp): `300000000` read as seconds since 1970 is outside of the years 1990 to 2100; \
         is this the column of the time?\n\
         t:8 (timestamp): the row has no time; each row needs one\n\
         t:9 (depth): `1e300` is too large for depth; is this the right column?"
    );
}

#[test]
fn a_thousand_times_the_same_is_told_five_times() {
    let text = format!("timestamp,depth,arrivals\n{}", "x,y,1\n".repeat(1000));
    let errors = refused(&text.replace(",y,", ",1,"), &Options::default());
    assert_eq!((errors.problems.len(), errors.more), (5, 995));
    assert!(errors.to_string().ends_with("\n... and 995 more like these"));
    let errors = refused("timestamp\n-5\n-6\n", &Options::default()).to_string();
    assert!(errors.contains("t:2 (timestamp): the time `-5` is negative"), "{errors}");
}

#[test]
fn columns_in_each_others_place() {
    for text in [
        "time,depth,arrivals\n5,1700000000,1\n3,1700000010,1\n4,1700000020,1\n",
        "time,depth,arrivals\n5,2026-01-31 12:00:00,1\n6,2026-01-31 12:01:00,1\n",
        "time,arrivals\n5,1700000000\n5,1700000010\n",
        "time,arrivals\n1,1700000000000\n2,1700000010000\n",
        "time,service\n0.5,1700000000\n0.2,1700000010\n",
    ] {
        let errors = refused(text, &Options::default()).to_string();
        assert!(errors.starts_with("t:2 (time): its values are no times"), "{errors}");
        assert!(errors.contains("and `time` stand in each other's place?"), "{errors}");
    }
    // A counter may be larger than an epoch.
    assert!(parse("t", b"time,enqueued_total\n1,1700000000\n2,1700000001\n", &Options::default()).is_ok());
}

#[test]
fn questions_are_asked() {
    for (text, part) in [
        (
            "timestamp,depth,backlog\n1,1,1\n",
            "t: columns `depth`, `backlog` could each be the depth; choose with --column, e.g. depth=depth",
        ),
        (
            "timestamp,foo,bar\n1,1,1\n",
            "t:1: what is counted in `foo`, `bar` is not told by the name; use --column: arrivals=foo",
        ),
        ("date,time,depth\n1,1,1\n", "t: columns `date`, `time` could each be the time"),
        (
            "zeit,depth\n1700000000,1\n",
            "t:1: no column is the time; there are `zeit`, `depth`; `zeit` looks like it: use --column: time=zeit",
        ),
        ("a,depth\nx,1\n", "name it `timestamp`, or use --column: time=COLUMN"),
        ("1700000000,5\n1700000010,6\n", "t:1: the first line has no names, it looks like a row: `1700000000`"),
        ("1700000000 5\n1700000010 6\n", "the first line has no names"),
        (
            "timestamp,arrivals\n1700000000,5\n",
            "t (arrivals): one row does not tell how long its bin is; tell it with --bin",
        ),
        ("timestamp,enqueued_total\n1700000000,5\n", "a counter of one sample"),
        ("timestamp,replicas\n1,1\n2,2\n", "t: nothing in it tells arrivals; it needs arrivals per bin"),
        ("timestamp,latency\n1,1\n2,2\n", "t:1: what is counted in `latency` is not told by the name"),
    ] {
        let errors = refused(text, &Options::default()).to_string();
        assert!(errors.contains(part), "{errors}");
    }
    let errors = refused("timestamp,a\n1,1\n", &mapped(&[(Role::Depth, "b")])).to_string();
    assert_eq!(errors, "t: there is no column `b`, which --column names for depth; its columns are `timestamp`, `a`");
}

#[test]
fn what_is_no_export() {
    for (text, part) in [
        (&b""[..], "t: it is empty"),
        (b" \n\n", "t: it is empty"),
        (b"\xef\xbb\xbf", "t: it is empty"),
        (b"timestamp,depth\n", "t: it has a header and no rows"),
        (b"# nothing\n", "its format is not known"),
        (b"upstream connect error, reset\n", "its format is not known"),
        (b"<html><body>502, Bad Gateway</body></html>", "it is HTML or XML"),
        (b"Dear Sir or Madam\n", "t: its format is not known; known are: CSV or TSV"),
        (b"\x1f\x8b\x08", "gunzip"),
        (b"PAR1\x00", "it is a Parquet file"),
        (b"\xff\xfet\x00", "UTF-16"),
        (b"a,b\x00", "it is not text"),
        (b"[{\"t\":1}]", "jq -c '.[]'"),
        (b"{\"t\":1,\n", "its first line is no JSON object"),
        (b"{\"Label\":\"x\",\"Datapoints\":[]}", "get-metric-data instead"),
        (b"; only a header\n", "there are no events in it"),
    ] {
        let errors = parse("t", text, &Options::default()).unwrap_err().to_string();
        assert!(errors.contains(part), "{errors}");
    }
}

#[test]
fn files_are_read_like_texts() {
    let path = std::env::temp_dir().join(format!("trace-test-{}.csv", std::process::id()));
    let text = "\u{feff}timestamp,arrivals\n1700000000,2\n1700000010,1\n";
    std::fs::write(&path, text).unwrap();
    let trace = read(&path, &Options::default()).unwrap();
    let same = parse(&trace.name, text.as_bytes(), &Options::default()).unwrap();
    let small = read(&path, &Options { max_bytes: 10, ..Options::default() }).unwrap_err().to_string();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(trace, same);
    assert!(small.ends_with("it is larger than 10 bytes; export a shorter time or fewer columns"));
    for path in ["/", "/no/such/file"] {
        let errors = read(Path::new(path), &Options::default()).unwrap_err().to_string();
        assert!(errors.contains("it cannot be read: "), "{errors}");
    }
}

#[test]
fn names_of_options_are_read_back() {
    assert!(Role::ALL.into_iter().all(|role| Role::named(role.name()) == Some(role)));
    assert!(Format::ALL.into_iter().all(|format| Format::named(format.name()) == Some(format)));
    assert_eq!((Role::named("x"), Format::named("x")), (None, None));
}
