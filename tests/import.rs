//! `tidegate import`: what comes of ScaledObjects and HPAs, and what is said of the rest.
//!
//! The messages are half of the product: the snapshots are for reading.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

#[path = "crds/walker.rs"]
mod walker;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tidegate::cluster::crd::{self, Kind};
use tidegate::spec::import::{Imported, Options, import};
use tidegate::spec::load::{Loaded, SourceText, Terms, load};

fn input(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import").join(name)
}

fn imported(name: &str, options: Options) -> Imported {
    let text = fs::read_to_string(input(name)).unwrap();
    import(&[SourceText { file: name.to_owned(), text }], options)
}

fn text(imported: &Imported) -> String {
    let notes: String = imported.notes.iter().map(|note| format!("note: {note}\n")).collect();
    format!("{notes}\n{}", imported.yaml().unwrap())
}

fn understood(imported: &Imported) -> Loaded {
    let source = SourceText { file: "result.yaml".to_owned(), text: imported.yaml().unwrap() };
    load(&[source], &Terms::default()).unwrap_or_else(|problems| panic!("{problems}\n{}", text(imported)))
}

#[test]
fn scaled_objects_and_their_authentications_are_carried_over() {
    insta::assert_snapshot!("keda", text(&imported("keda.yaml", Options::default())));
}

#[test]
fn clusters_sentinels_and_streams_are_carried_over() {
    let imported = imported("topologies.yaml", Options::default());
    let text = text(&imported);
    assert!(!text.contains("planted"), "{text}");
    insta::assert_snapshot!("topologies", text);
    assert_eq!(understood(&imported).autoscalers.len(), 2);
}

#[test]
fn horizontal_pod_autoscalers_of_queues_are_carried_over() {
    insta::assert_snapshot!("hpa", text(&imported("hpa.yaml", Options::default())));
}

#[test]
fn the_ramp_of_an_hpa_is_written_out_where_it_is_wanted() {
    let imported = imported("keda.yaml", Options { hpa_ramp: true });
    let loaded = understood(&imported);
    let limits: Vec<usize> = loaded
        .autoscalers
        .iter()
        .map(|spec| match &spec.behavior {
            tidegate::spec::Behavior::Rules { up, down } => {
                assert!((up.tolerance - 0.1).abs() < 1e-9 && (down.tolerance - 0.1).abs() < 1e-9);
                up.policies.len()
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(limits, [2; 4], "4 pods and 100 %");
}

#[test]
fn the_result_is_accepted_by_validation_and_by_the_api_server() {
    for name in ["keda.yaml", "hpa.yaml"] {
        let imported = imported(name, Options::default());
        assert!(!understood(&imported).autoscalers.is_empty());
        let documents: Vec<Value> = serde_saphyr::from_multiple(&imported.yaml().unwrap()).unwrap();
        for mut object in documents {
            let kind = Kind::ALL.into_iter().find(|kind| object["kind"] == kind.as_str()).unwrap();
            let schema = crd::schema_of(kind);
            walker::fill_defaults(&schema, &mut object);
            assert_eq!(walker::misfits(&schema, &object, ""), [""; 0], "{object}");
        }
    }
}

#[test]
fn a_password_is_repeated_nowhere() {
    let imported = imported("keda.yaml", Options::default());
    assert!(!format!("{}{imported:?}", text(&imported)).contains("planted-secret"));
}

#[test]
fn a_hostile_object_cannot_write_lines_of_its_own() {
    let name = "evil\\napiVersion: v1\\nkind: Secret";
    let text = format!(
        "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {{ name: a, annotations: {{ \"keda.sh/{name}\": x }} }}\n\
         spec:\n  scaleTargetRef: {{ name: a }}\n  triggers:\n    - type: redis\n      metadata: {{ address: \"a.b:6379\", listName: \"l\\n---\\nx\" }}\n    - type: \"{name}\"\n"
    );
    let imported = import(&[SourceText { file: "evil.yaml".to_owned(), text }], Options::default());
    for line in imported.yaml().unwrap().lines() {
        assert!(!line.starts_with("kind: Secret") && line != "---\nx", "{line}");
    }
    assert_eq!(understood(&imported).autoscalers.len(), 1);
    assert!(imported.notes.iter().all(|note| note.to_string().lines().count() == 1));
}

fn tidegate(arguments: &[&str], stdin: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stdin).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn the_commands_fit_together() {
    let keda = input("keda.yaml");
    let output = tidegate(&["import", "-f", keda.to_str().unwrap()], b"");
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("note: keda.yaml:") || !output.stderr.is_empty());
    let checked = tidegate(&["check", "-f", "-"], &output.stdout);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));

    let nothing = tidegate(&["import", "-f", "-"], b"apiVersion: v1\nkind: ConfigMap\nmetadata: { name: a }\n");
    assert_eq!(nothing.status.code(), Some(1), "nothing was understood");
    assert!(nothing.stdout.is_empty());
    let nothing = tidegate(&["import", "-f", "-"], b"kind: [unclosed");
    assert_eq!(nothing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("cannot be read from here on"));
}

/// What is said of a ScaledObject with these lines in its spec, and with this metadata of a stream.
fn said_of(spec: &str, metadata: &str) -> (Imported, String) {
    let text = format!(
        "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {{ name: mail, namespace: shop }}\nspec:\n  \
         scaleTargetRef: {{ name: mail }}\n{spec}  triggers:\n    - type: redis-streams\n      \
         metadata: {{ address: \"redis:6379\", stream: mail, consumerGroup: senders, {metadata} }}\n"
    );
    let imported = import(&[SourceText { file: "mail.yaml".to_owned(), text }], Options::default());
    let notes: Vec<String> = imported.notes.iter().map(ToString::to_string).collect();
    (imported, notes.join("\n"))
}

fn with_behavior(behavior: &str) -> String {
    said_of(
        &format!("  advanced: {{ horizontalPodAutoscalerConfig: {{ behavior: {behavior} }} }}\n"),
        "pendingEntriesCount: \"5\"",
    )
    .1
}

#[test]
fn a_dead_band_that_is_left_out_is_said_whatever_the_policies_are() {
    const RAMP: &str = "its ramp upwards";
    const BAND: &str = "its dead band";
    let policies = "policies: [{ type: Pods, value: 4, periodSeconds: 15 }]";
    let limited = with_behavior(&format!("{{ scaleUp: {{ {policies} }} }}"));
    assert!(!limited.contains(RAMP) && limited.contains("is left out: its dead band of 10 %; --hpa-ramp"), "{limited}");
    let half = with_behavior("{ scaleUp: { tolerance: \"0.2\" } }");
    assert!(half.contains(RAMP) && half.contains("and its dead band of 10 % downwards;"), "{half}");
    let both = format!("{{ scaleUp: {{ tolerance: \"0.2\", {policies} }}, scaleDown: {{ tolerance: \"0.1\" }} }}");
    let whole = with_behavior(&both);
    assert!(!whole.contains(RAMP) && !whole.contains(BAND), "{whole}");
}

#[test]
fn what_holds_on_the_way_to_zero_is_said() {
    let disabled = with_behavior("{ scaleDown: { selectPolicy: Disabled } }");
    assert!(disabled.contains("here nothing ever goes down; take selectPolicy out"), "{disabled}");
    let slow = with_behavior("{ scaleDown: { policies: [{ type: Pods, value: 1, periodSeconds: 300 }] } }");
    assert!(slow.contains("which KEDA takes in one step after its cooldown"), "{slow}");
    let plain = with_behavior("{ scaleDown: { stabilizationWindowSeconds: 60 } }");
    assert!(!plain.contains("in one step") && !plain.contains("nothing ever goes down"), "{plain}");
    let floor = said_of(
        "  minReplicaCount: 1\n  advanced: { horizontalPodAutoscalerConfig: { behavior: { scaleDown: { selectPolicy: Disabled } } } }\n",
        "pendingEntriesCount: \"5\"",
    );
    assert!(!floor.1.contains("nothing ever goes down"), "there is no way to zero: {}", floor.1);
}

#[test]
fn a_count_of_lag_that_a_variable_has_is_one_of_lag() {
    let (imported, said) = said_of("", "lagCountFromEnv: LAG");
    assert!(said.contains("its lagCount is in LAG of the container"), "{said}");
    assert!(imported.yaml().unwrap().contains("backlog: lag"), "{}", imported.yaml().unwrap());
    assert!(said_of("", "pendingEntriesCount: \"5\"").0.yaml().unwrap().contains("backlog: pending"));
}
