//! The suite of `benches/scenarios`: every file can be simulated, and says what it is for.

use std::path::Path;

use tidegate::sim::contestant::Contestant;
use tidegate::sim::workload::Jobs;
use tidegate::spec::load::{SourceText, Terms, load, scenarios};

#[test]
fn every_scenario_of_the_suite_says_what_it_is_for_and_has_jobs_for_everybody_who_waits_for_some() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/scenarios");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 12, "{files:?}");
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let texts = [SourceText { file: path.display().to_string(), text }];
        let scenario = match scenarios(&texts).unwrap_or_else(|problems| panic!("{problems}")).as_slice() {
            [one] => one.clone(),
            other => panic!("{}: {} scenarios", path.display(), other.len()),
        };
        assert_eq!(path.file_stem().unwrap().to_str().unwrap(), scenario.name);
        assert!(scenario.about.len() > 80, "{}: {:?}", scenario.name, scenario.about);
        let loaded = load(&texts, &Terms::default()).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(loaded.autoscalers.len(), 1, "{}", scenario.name);
        Contestant::ours(&loaded.autoscalers[0], &scenario, "ours".to_owned())
            .unwrap_or_else(|error| panic!("{error}"));
        let jobs = Jobs::make(&scenario, 1, &[]).unwrap();
        assert!((500..1_000_000).contains(&jobs.len()), "{}: {} jobs", scenario.name, jobs.len());
        let streams = scenario.streams.len();
        assert!(
            jobs.mean_services(streams).iter().all(|service| !service.is_zero()),
            "{}: a stream is empty",
            scenario.name
        );
    }
}
