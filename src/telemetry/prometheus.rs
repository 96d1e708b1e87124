//! The recorder behind the `metrics` macros, rendered for Prometheus.

use std::time::Duration;

use metrics::{describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};

use super::names::{self, Kind, Unit};

/// Upper bounds of every histogram, seconds. An RPC answered from the board takes tens of microseconds and a round to
/// a Redis nearby a fraction of a millisecond, so half of the buckets lie below one; ten seconds is beyond every
/// timeout of ours.
const BUCKETS: [f64; 17] = [
    0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
    2.5, 10.0,
];

/// How often the histograms' fresh values are folded into their buckets. Without it they pile up until a scrape, or
/// for good where nobody scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
#[error("the metrics recorder cannot be installed")]
pub struct InstallError(#[from] BuildError);

/// The installed recorder. Cheap to clone.
#[derive(Clone)]
pub struct Prometheus {
    handle: PrometheusHandle,
}

impl std::fmt::Debug for Prometheus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Prometheus")
    }
}

impl Prometheus {
    /// Installs the recorder of this process and describes every metric. Before whoever makes metric handles.
    ///
    /// # Errors
    /// A recorder is installed already.
    pub fn install() -> Result<Self, InstallError> {
        // `build_recorder` and not `install_recorder`: that one starts a thread for the upkeep, which `keep_up` spares.
        let recorder = PrometheusBuilder::new().set_buckets(&BUCKETS)?.build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).map_err(BuildError::from)?;
        describe();
        gauge!(names::BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        Ok(Prometheus { handle })
    }

    /// Everything recorded, in the text exposition format. What is per autoscaler is not in here: it is read from the
    /// board when scraped.
    #[must_use]
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Keeps the histograms small. Never returns; drop it to stop.
    pub async fn keep_up(&self) {
        loop {
            tokio::time::sleep(UPKEEP).await;
            self.handle.run_upkeep();
        }
    }
}

fn describe() {
    for metric in names::ALL {
        let unit = match metric.unit {
            Unit::Count => metrics::Unit::Count,
            Unit::Seconds => metrics::Unit::Seconds,
            Unit::Bytes => metrics::Unit::Bytes,
        };
        match metric.kind {
            Kind::Counter => describe_counter!(metric.name, unit, metric.help),
            Kind::Gauge => describe_gauge!(metric.name, unit, metric.help),
            Kind::Histogram => describe_histogram!(metric.name, unit, metric.help),
        }
    }
}
