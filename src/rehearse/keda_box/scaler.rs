//! One trigger of a ScaledObject as KEDA 2.20 asks for it: which calls, in which order, asked again how often, and what
//! it makes of the answers. Measured with the real one; where it is odd, this is odd.

use std::collections::HashMap;
use std::time::Duration;

use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::clock::Clock;
use crate::model::{AutoscalerId, Tick};
use crate::proto::externalscaler::external_scaler_client::ExternalScalerClient;
use crate::proto::externalscaler::{GetMetricsRequest, ScaledObjectRef};
use crate::spec::MilliValue;

/// Who asks, which decides how long an answer is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Patience {
    /// The scale loop puts no deadline on its calls: a scaler that hangs stops the object's loop.
    Endless,
    /// Queries on behalf of the HPA carry the API server's.
    Until(Tick),
}

/// One metric that a trigger yields.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Metric {
    /// As the scaler calls it, without KEDA's `sN-` prefix.
    pub(super) name: String,
    /// AverageValue target of the HPA.
    pub(super) target: MilliValue,
}

/// One good answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Reading {
    /// Milli-units, in the order in which they came.
    pub(super) series: Vec<i64>,
    pub(super) active: bool,
}

pub(super) struct Scaler {
    pub(super) client: ExternalScalerClient<Channel>,
    reference: ScaledObjectRef,
    clock: Clock,
}

impl Scaler {
    pub(super) fn new(id: &AutoscalerId, metadata: &HashMap<String, String>, channel: Channel, clock: Clock) -> Self {
        let reference = ScaledObjectRef {
            name: id.name.to_string(),
            namespace: id.namespace.to_string(),
            scaler_metadata: metadata.clone(),
        };
        Scaler { client: ExternalScalerClient::new(channel), reference, clock }
    }

    /// For logs.
    pub(super) fn object(&self) -> String {
        format!("{}/{}", self.reference.namespace, self.reference.name)
    }

    pub(super) fn reference(&self) -> ScaledObjectRef {
        self.reference.clone()
    }

    /// One GetMetricSpec, as a reconcile asks: not asked again, and an empty answer is no failure by itself.
    pub(super) async fn specs_once(&self, patience: Patience) -> Result<Vec<Metric>, Status> {
        let response = self.client.clone().get_metric_spec(self.request(self.reference(), patience)).await?;
        let metrics = response.into_inner().metric_specs.into_iter();
        Ok(metrics
            .map(|spec| Metric {
                name: spec.metric_name,
                target: MilliValue(milli(spec.target_size, spec.target_size_float)),
            })
            .collect())
    }

    /// GetMetricSpec as the loop and the HPA's queries ask it: an error or an empty answer is asked again, once.
    pub(super) async fn specs(&self, patience: Patience) -> Result<Vec<Metric>, Status> {
        match self.specs_once(patience).await {
            Ok(metrics) if !metrics.is_empty() => return Ok(metrics),
            Ok(_) => tracing::debug!(object = self.object(), "empty metric spec, asking again"),
            Err(status) => tracing::debug!(object = self.object(), %status, "GetMetricSpec failed, asking again"),
        }
        match self.specs_once(patience).await? {
            metrics if metrics.is_empty() => Err(Status::not_found("the scaler names no metric")),
            metrics => Ok(metrics),
        }
    }

    /// GetMetrics, then IsActive. If either fails, both are asked again, once; a good value is thrown away when
    /// IsActive fails.
    pub(super) async fn read(&self, metric: &Metric, patience: Patience) -> Result<Reading, Status> {
        match self.read_once(metric, patience).await {
            Ok(reading) => Ok(reading),
            Err(status) => {
                tracing::debug!(object = self.object(), %status, "reading a metric failed, asking again");
                self.read_once(metric, patience).await
            }
        }
    }

    async fn read_once(&self, metric: &Metric, patience: Patience) -> Result<Reading, Status> {
        let mut client = self.client.clone();
        let question =
            GetMetricsRequest { scaled_object_ref: Some(self.reference()), metric_name: metric.name.clone() };
        let values = client.get_metrics(self.request(question, patience)).await?.into_inner().metric_values;
        let active = client.is_active(self.request(self.reference(), patience)).await?.into_inner().result;
        let series = values.iter().map(|value| milli(value.metric_value, value.metric_value_float)).collect();
        Ok(Reading { series, active })
    }

    fn request<M>(&self, message: M, patience: Patience) -> Request<M> {
        let mut request = Request::new(message);
        if let Patience::Until(deadline) = patience {
            // A deadline in the past still goes out, as it does from Go: the call fails by itself.
            request.set_timeout(deadline.since(self.clock.now()).max(Duration::from_millis(1)));
        }
        request
    }
}

/// The float counts if it is greater than zero, the integer otherwise; kept to thousandths. What thousandths cannot
/// hold reads as zero, and a negative integer stays negative, which the HPA takes for endless load.
fn milli(int: i64, float: f64) -> i64 {
    if float > 0.0 {
        let scaled = (float * 1000.0).round_ties_even();
        #[expect(clippy::cast_possible_truncation, reason = "checked")]
        if scaled < i64::MAX as f64 { scaled as i64 } else { 0 }
    } else {
        int.checked_mul(1000).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::milli;

    #[test]
    fn values_are_read_as_measured() {
        assert_eq!(milli(3, 3.7), 3700);
        assert_eq!(milli(3, 0.0), 3000);
        assert_eq!(milli(0, 0.4), 400);
        assert_eq!(milli(0, 0.0004), 0);
        assert_eq!(milli(-2, 0.0), -2000);
        assert_eq!(milli(0, -2.0), 0);
        assert_eq!(milli(0, 1e15), 1_000_000_000_000_000_000);
        assert_eq!(milli(0, 1e16), 0);
        assert_eq!(milli(i64::MAX, 0.0), 0);
        assert_eq!(milli(7, f64::NAN), 7000);
        assert_eq!(milli(7, f64::INFINITY), 0);
    }
}
