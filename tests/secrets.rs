//! The planted password: the real binary with everything that it can be told, and a search through all that it says.
//!
//! * `planted`: passwords in manifests, in the environment, in files, at servers that refuse them, and in metadata,
//!   under the keys where people put them; none of them may come out at any door. Beside each stands a word that may,
//!   and must: the search finds what is there.
//! * `reach`: metadata must not make the process connect where the operator did not allow, nor read a file or a
//!   variable of its environment. Here too the counterpart is shown: what the operator says does all three.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test"
)]

mod support;

#[path = "secrets/planted.rs"]
mod planted;
#[path = "secrets/reach.rs"]
mod reach;

use std::time::Duration;

use futures_util::{StreamExt, stream};
use tidegate::proto::externalscaler::external_scaler_client::ExternalScalerClient;
use tidegate::proto::externalscaler::{GetMetricsRequest, ScaledObjectRef};
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use support::tidegate::Tidegate;

/// Metadata, and the name of the ScaledObject that has it.
type Trigger = (String, Vec<(String, String)>);

fn map(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// What all five RPCs say to each of these triggers of a namespace, errors included; of a stream, what comes in a
/// moment. Several are asked for at a time, over one connection, as KEDA does.
async fn everything_said(tidegate: &Tidegate, namespace: &str, triggers: &[Trigger]) -> Vec<String> {
    const AT_A_TIME: usize = 32;
    let client = &tidegate.client().await;
    let asking = triggers.iter().map(|(name, map)| {
        let scaler_metadata = map.iter().cloned().collect();
        let object = ScaledObjectRef { name: name.clone(), namespace: namespace.to_owned(), scaler_metadata };
        all_five(client.clone(), object)
    });
    stream::iter(asking).buffered(AT_A_TIME).collect().await
}

async fn all_five(client: ExternalScalerClient<Channel>, object: ScaledObjectRef) -> String {
    let metrics = GetMetricsRequest { scaled_object_ref: Some(object.clone()), metric_name: String::new() };
    let [mut a, mut b, mut c, mut d, mut e] = [client.clone(), client.clone(), client.clone(), client.clone(), client];
    let (specs, value, active, stream_active, stream_specs) = tokio::join!(
        a.get_metric_spec(object.clone()),
        b.get_metrics(metrics),
        c.is_active(object.clone()),
        d.stream_is_active(object.clone()),
        e.stream_metric_spec(object.clone()),
    );
    let streamed = tokio::join!(
        first_of(stream_active.map(tonic::Response::into_inner)),
        first_of(stream_specs.map(tonic::Response::into_inner)),
    );
    format!("{specs:?}\n{value:?}\n{active:?}\n{streamed:?}\n")
}

async fn first_of<T: std::fmt::Debug>(stream: Result<Streaming<T>, Status>) -> String {
    const MOMENT: Duration = Duration::from_millis(5);
    match stream {
        Err(status) => format!("{status:?}"),
        Ok(mut stream) => format!("{:?}", timeout(MOMENT, stream.message()).await),
    }
}
