//! What a Prometheus answers to a query, taken out of its JSON.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The whole answer. Fields that a later version adds harm nobody.
#[derive(Deserialize)]
pub(super) struct Answer<'j> {
    #[serde(borrow)]
    status: Cow<'j, str>,
    #[serde(borrow)]
    data: Option<Data<'j>>,
    #[serde(borrow, rename = "errorType")]
    error_type: Option<Cow<'j, str>>,
    #[serde(borrow)]
    error: Option<Cow<'j, str>>,
    #[serde(borrow, default)]
    pub(super) warnings: Vec<Cow<'j, str>>,
}

#[derive(Deserialize)]
struct Data<'j> {
    #[serde(borrow, rename = "resultType")]
    kind: Cow<'j, str>,
    #[serde(borrow)]
    result: Elements<'j>,
}

/// What was found.
pub(super) enum Found<'j> {
    Vector(Vec<Series<'j>>),
    Scalar(Point),
    /// A matrix, a string, or what is not known yet.
    Other(Cow<'j, str>),
}

/// A value, and the moment that the query was about.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Point {
    /// Seconds since the epoch, by the server's clock.
    pub(super) at: f64,
    pub(super) value: f64,
}

#[derive(Debug)]
pub(super) struct Series<'j> {
    pub(super) labels: Vec<(Cow<'j, str>, Cow<'j, str>)>,
    /// `None`: a histogram.
    pub(super) point: Option<Point>,
}

/// Why a query was not answered, in Prometheus' own words.
pub(super) struct Refusal<'j> {
    pub(super) kind: Cow<'j, str>,
    pub(super) words: Cow<'j, str>,
}

/// Why this is no answer of a Prometheus.
pub(super) struct NoAnswer(pub(super) String);

impl<'j> Answer<'j> {
    /// Reads a body.
    pub(super) fn read(body: &'j [u8]) -> Result<Self, NoAnswer> {
        serde_json::from_slice(body).map_err(|error| NoAnswer(error.to_string()))
    }

    /// What was found, or why nothing was; the outer error: it is no answer after all.
    pub(super) fn found(self) -> Result<Result<Found<'j>, Refusal<'j>>, NoAnswer> {
        if self.status != "success" {
            let kind = self.error_type.unwrap_or(Cow::Borrowed("no type"));
            return Ok(Err(Refusal { kind, words: self.error.unwrap_or(Cow::Borrowed("no reason")) }));
        }
        let Some(Data { kind, result }) = self.data else { return Err(NoAnswer("it has no data".to_owned())) };
        let found = match (kind.as_ref(), result) {
            ("vector", Elements::Series(series)) => Found::Vector(series),
            ("vector", Elements::None) => Found::Vector(Vec::new()),
            ("scalar", Elements::Pair(point)) => Found::Scalar(point),
            ("matrix" | "string" | "streams", _) => Found::Other(kind),
            _ => return Err(NoAnswer(format!("its result is no {kind}"))),
        };
        Ok(Ok(found))
    }
}

/// What stands in `result`, whose form depends on a field that may come after it.
enum Elements<'j> {
    None,
    Series(Vec<Series<'j>>),
    /// Time and value, of a scalar.
    Pair(Point),
    Unknown,
}

impl<'de: 'j, 'j> Deserialize<'de> for Elements<'j> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Elements<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a result")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Elements::None)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
                let mut series = Vec::new();
                let (mut time, mut text) = (None, None);
                let mut odd = false;
                while let Some(element) = elements.next_element::<Element<'de>>()? {
                    match element {
                        Element::Series(one) => series.push(one),
                        Element::Number(number) if time.is_none() => time = Some(number),
                        Element::Text(said) if text.is_none() => text = Some(said),
                        _ => odd = true,
                    }
                }
                Ok(match (series.is_empty(), time, text) {
                    _ if odd => Elements::Unknown,
                    (true, None, None) => Elements::None,
                    (true, Some(at), Some(text)) => {
                        number(&text).map_or(Elements::Unknown, |value| Elements::Pair(Point { at, value }))
                    }
                    (false, None, None) => Elements::Series(series),
                    _ => Elements::Unknown,
                })
            }
        }
        deserializer.deserialize_any(Any)
    }
}

enum Element<'j> {
    Series(Series<'j>),
    Number(f64),
    Text(Cow<'j, str>),
}

impl<'de: 'j, 'j> Deserialize<'de> for Element<'j> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Element<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a series, or a number and a text")
            }

            fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
                Ok(Element::Number(number))
            }

            #[expect(clippy::cast_precision_loss, reason = "seconds since the epoch")]
            fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Element::Number(number as f64))
            }

            #[expect(clippy::cast_precision_loss, reason = "seconds since the epoch")]
            fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
                Ok(Element::Number(number as f64))
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Element::Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Element::Text(Cow::Owned(text.to_owned())))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
                let mut series = Series { labels: Vec::new(), point: None };
                while let Some(field) = fields.next_key::<Text<'de>>()? {
                    match field.0.as_ref() {
                        "metric" => series.labels = fields.next_value::<Labels<'de>>()?.0,
                        "value" => {
                            let (at, Text(text)) = fields.next_value::<(f64, Text<'de>)>()?;
                            series.point = number(&text).map(|value| Point { at, value });
                        }
                        _ => drop(fields.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(Element::Series(series))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// Text that is borrowed where it can be: serde does not do so by itself below containers.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'j>(#[serde(borrow)] Cow<'j, str>);

struct Labels<'j>(Vec<(Cow<'j, str>, Cow<'j, str>)>);

impl<'de: 'j, 'j> Deserialize<'de> for Labels<'j> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Labels<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("labels")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Self::Value, A::Error> {
                let mut labels = Vec::with_capacity(pairs.size_hint().unwrap_or(4));
                while let Some((Text(name), Text(value))) = pairs.next_entry::<Text<'de>, Text<'de>>()? {
                    labels.push((name, value));
                }
                Ok(Labels(labels))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// As Prometheus writes numbers: `NaN`, `+Inf` and `-Inf` among them.
fn number(text: &str) -> Option<f64> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Result<Found<'_>, Refusal<'_>>, NoAnswer> {
        Answer::read(json.as_bytes())?.found()
    }

    fn vector(json: &str) -> Vec<Series<'_>> {
        match read(json) {
            Ok(Ok(Found::Vector(series))) => series,
            _ => panic!("{json}"),
        }
    }

    #[test]
    fn vectors_and_scalars_are_read() {
        let series = vector(
            r#"{"status":"success","data":{"resultType":"vector","result":[
                {"metric":{"__name__":"up","job":"a\"b"},"value":[1435781451.781,"1.5"]},
                {"metric":{},"value":[1435781451,"NaN"]},
                {"metric":{"h":"1"},"histogram":[1435781451,{"count":"1","sum":"2","buckets":[[0,"1","2","3"]]}]}]},
                "warnings":["careful"],"infos":["x"],"later":{"a":[1]}}"#,
        );
        let [first, second, third] = series.as_slice() else { panic!("{series:?}") };
        assert_eq!(first.point, Some(Point { at: 1_435_781_451.781, value: 1.5 }));
        assert_eq!(first.labels, [("__name__".into(), "up".into()), ("job".into(), Cow::Borrowed("a\"b"))]);
        assert!(second.labels.is_empty() && second.point.unwrap().value.is_nan());
        assert!(third.point.is_none());
        // The result may come before its type.
        let first = r#"{"data":{"result":[1,"+Inf"],"resultType":"scalar"},"status":"success"}"#;
        assert!(matches!(read(first), Ok(Ok(Found::Scalar(Point { at: 1.0, value: f64::INFINITY })))));
        for none in ["[]", "null"] {
            let json = format!(r#"{{"status":"success","data":{{"resultType":"vector","result":{none}}}}}"#);
            assert!(vector(&json).is_empty());
        }
    }

    #[test]
    fn other_answers_are_told_apart() {
        let matrix =
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"2"]]}]}}"#;
        assert!(matches!(read(matrix), Ok(Ok(Found::Other(kind))) if kind == "matrix"));
        let string = r#"{"status":"success","data":{"resultType":"string","result":[1,"text"]}}"#;
        assert!(matches!(read(string), Ok(Ok(Found::Other(kind))) if kind == "string"));
        let error = r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#;
        assert!(
            matches!(read(error), Ok(Err(Refusal { kind, words })) if kind == "bad_data" && words == "parse error")
        );
        for odd in [
            "",
            "<html>",
            "{}",
            "[]",
            r#"{"status":"success"}"#,
            r#"{"status":"success","data":{"resultType":"vector","result":[1,"2"]}}"#,
            r#"{"status":"success","data":{"resultType":"scalar","result":[1,"text"]}}"#,
            r#"{"status":"success","data":{"resultType":"scalar","result":[1,2]}}"#,
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,2]}]}}"#,
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"2"]}]"#,
        ] {
            assert!(read(odd).is_err(), "{odd}");
        }
    }
}
