//! What all five RPCs answer over the life of a queue, of a Redis and of the process.

use tidegate::proto::externalscaler::GetMetricsRequest;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use super::support::redis::RedisProcess;
use super::support::tidegate::{Keda, Spec, Tidegate, until_along};
use super::{autoscaler, connection, is_silent, next};

fn push(redis: &RedisProcess, list: &str, items: usize) {
    let mut words = vec!["LPUSH", list];
    words.extend(std::iter::repeat_n("item", items));
    redis.command::<i64>(&words);
}

fn pop(redis: &RedisProcess, list: &str, items: usize) {
    redis.command::<redis::Value>(&["RPOP", list, &items.to_string()]);
}

async fn first_spec(keda: &mut Keda) -> Vec<Spec> {
    let mut stream = keda.client.stream_metric_spec(keda.object.clone()).await.unwrap().into_inner();
    let specs = next(&mut stream).await.unwrap().expect("specs at once").metric_specs;
    specs.into_iter().map(|spec| (spec.metric_name, spec.target_size, spec.target_size_float)).collect()
}

#[tokio::test]
async fn a_named_autoscaler_serves_its_backlog_and_its_replicas() {
    let redis = RedisProcess::start();
    let manifests = connection(&redis.address()) + &autoscaler("mail");
    let tidegate = Tidegate::start(&manifests, &["--target", "memory"]);
    tidegate.until_ready();
    let mut backlog = tidegate.keda("pulse", &[("autoscaler", "mail"), ("scalerAddress", "tidegate:6000")]).await;
    let mut replicas = tidegate.keda("pulse", &[("autoscaler", "mail"), ("serve", "replicas")]).await;

    let spec = vec![("redis-mail".to_owned(), 5, 5.0)];
    assert_eq!((backlog.specs().await.unwrap(), first_spec(&mut backlog).await), (spec.clone(), spec));
    let spec = vec![("tidegate-replicas".to_owned(), 1, 1.0)];
    assert_eq!((replicas.specs().await.unwrap(), first_spec(&mut replicas).await), (spec.clone(), spec));
    backlog.until_value(0.0).await;
    replicas.until_value(0.0).await;
    assert!(!backlog.active().await.unwrap() && !replicas.active().await.unwrap());

    push(&redis, "mail", 12);
    backlog.until_value(12.0).await;
    assert!(backlog.active().await.unwrap() && replicas.active().await.unwrap());
    assert_eq!(backlog.value("redis-mail").await.unwrap(), (12, 12.0));
    assert_eq!(backlog.value("s0-redis-mail").await.unwrap(), (12, 12.0), "KEDA before 2.7 leaves its prefix on");
    replicas.until_value(3.0).await;
    until_along("three replicas in memory", || tidegate.replicas("pulse", "mail") == 3).await;

    pop(&redis, "mail", 5);
    backlog.until_value(7.0).await;
    replicas.until_value(2.0).await;
    assert_eq!(replicas.value("tidegate-replicas").await.unwrap(), (2, 2.0));

    pop(&redis, "mail", 7);
    backlog.until_value(0.0).await;
    assert!(!backlog.active().await.unwrap());
    // One stays for the cooldown.
    replicas.until_value(1.0).await;

    let unknown = backlog.value("redis-male").await.unwrap_err();
    let message = "no metric \"redis-male\" here: this trigger yields redis-mail";
    assert_eq!((unknown.code(), unknown.message()), (Code::NotFound, message));
    let nobody = GetMetricsRequest { scaled_object_ref: None, metric_name: String::new() };
    let nobody = backlog.client.get_metrics(nobody).await.unwrap_err();
    assert_eq!((nobody.code(), nobody.message()), (Code::InvalidArgument, "the request names no ScaledObject"));
}

#[tokio::test]
async fn several_triggers_are_several_metrics_and_any_of_them_is_activity() {
    let redis = RedisProcess::start();
    let two = r"
apiVersion: tidegate.dev/v1alpha1
kind: QueueAutoscaler
metadata: { name: mail, namespace: pulse }
spec:
  scaleTargetRef: { name: mail }
  pollingInterval: 100ms
  triggers:
    - connection: redis-main
      redisList: { keys: [urgent, more-urgent] }
      policy: { backlogPerReplica: { target: 500m } }
    - connection: redis-main
      redisList: { keys: [bulk] }
      policy: { backlogPerReplica: { target: 100 } }
      activationThreshold: 10
";
    let tidegate = Tidegate::start(&(connection(&redis.address()) + two), &[]);
    tidegate.until_ready();
    let mut keda = tidegate.keda("pulse", &[("autoscaler", "mail")]).await;
    let specs = keda.specs().await.unwrap();
    assert_eq!(specs, [("redis-urgent-more-urgent".to_owned(), 1, 0.5), ("redis-bulk".to_owned(), 100, 100.0)]);
    push(&redis, "bulk", 10);
    until_value_of(&mut keda, "redis-bulk", 10.0).await;
    assert!(!keda.active().await.unwrap(), "ten are not above ten");
    push(&redis, "urgent", 1);
    push(&redis, "more-urgent", 2);
    until_value_of(&mut keda, "redis-urgent-more-urgent", 3.0).await;
    assert!(keda.active().await.unwrap());

    // Nobody holds its scale here, so that there are no replicas to serve; and the cure is said.
    let mut replicas = tidegate.keda("pulse", &[("autoscaler", "mail"), ("serve", "replicas")]).await;
    assert_eq!(replicas.specs().await.unwrap(), [("tidegate-replicas".to_owned(), 1, 1.0)]);
    let refused = replicas.value("").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("use `serve: backlog`"), "{refused}");
}

async fn until_value_of(keda: &mut Keda, metric: &str, wanted: f64) {
    for _ in 0..3_000 {
        if keda.value(metric).await.is_ok_and(|(_, value)| value == wanted) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{metric} never became {wanted}, but {:?}", keda.value(metric).await);
}

#[tokio::test]
async fn keda_s_own_metadata_is_served_without_any_manifest() {
    let redis = RedisProcess::start();
    let mut tidegate = Tidegate::start("", &["--allow-address", "127.0.0.1:*"]);
    tidegate.until_ready();
    let address = redis.address();
    let metadata = [
        ("scalerAddress", "tidegate:6000"),
        ("address", address.as_str()),
        ("listName", "mail"),
        ("listLength", "5"),
        ("pollingInterval", "100ms"),
    ];
    let mut keda = tidegate.keda("pulse", &metadata).await;
    // In KEDA's own order, with nothing in between: each may be the first that tidegate hears of this trigger.
    let spec = vec![("redis-mail".to_owned(), 5, 5.0)];
    assert_eq!(keda.specs().await.unwrap(), spec);
    keda.until_value(0.0).await;
    assert!(!keda.active().await.unwrap());
    assert_eq!(first_spec(&mut keda).await, spec);

    let mut specs = keda.client.stream_metric_spec(keda.object.clone()).await.unwrap().into_inner();
    assert_eq!(next(&mut specs).await.unwrap().expect("specs at once").metric_specs[0].target_size, 5);
    let mut activity = keda.client.stream_is_active(keda.object.clone()).await.unwrap().into_inner();
    assert!(is_silent(&mut activity).await, "nothing is active yet");

    push(&redis, "mail", 12);
    keda.until_value(12.0).await;
    assert!(keda.active().await.unwrap());
    assert!(next(&mut activity).await.unwrap().expect("an edge").result);
    pop(&redis, "mail", 5);
    keda.until_value(7.0).await;
    let list = tidegate.get("/api/v1/autoscalers").json();
    assert_eq!((&list["items"][0]["origin"], &list["items"][0]["backlog"]), (&"keda".into(), &7.0.into()));
    pop(&redis, "mail", 7);
    keda.until_value(0.0).await;
    assert!(!keda.active().await.unwrap());

    tidegate.signal("-TERM");
    // An error would make KEDA wait longer before each reconnect, for good.
    assert!(next(&mut activity).await.unwrap().is_none());
    assert!(next(&mut specs).await.unwrap().is_none());
    assert!(tidegate.wait_along().await.success());
    let log = tidegate.log();
    assert!(!log.contains("\"WARN\""), "nothing of this is unusual: {log}");
}

#[tokio::test]
async fn a_stream_tells_each_edge_once_over_a_whole_life() {
    let redis = RedisProcess::start();
    let mut tidegate = Tidegate::start(&(connection(&redis.address()) + &autoscaler("mail")), &["--target", "memory"]);
    tidegate.until_ready();
    let mut keda = tidegate.keda("pulse", &[("autoscaler", "mail")]).await;
    let mut stream = keda.client.stream_is_active(keda.object.clone()).await.unwrap().into_inner();
    assert!(is_silent(&mut stream).await, "inactive is not worth a message");

    for round in 0..2 {
        push(&redis, "mail", 3);
        assert!(next(&mut stream).await.unwrap().expect("an edge").result, "round {round}");
        push(&redis, "mail", 40);
        keda.until_value(43.0).await;
        assert!(is_silent(&mut stream).await, "more work is no edge");
        // Drained while KEDA's cooldown, and ours, still runs: no `false` is sent, and the next push is an edge again.
        pop(&redis, "mail", 43);
        keda.until_value(0.0).await;
        assert!(is_silent(&mut stream).await, "KEDA ignores `false`");
        assert!(tidegate.replicas("pulse", "mail") >= 1, "the cooldown runs");
    }

    // Whoever opens one while there is work is told at once.
    push(&redis, "mail", 1);
    assert!(next(&mut stream).await.unwrap().expect("a third edge").result);
    let mut late = keda.client.stream_is_active(keda.object.clone()).await.unwrap().into_inner();
    assert!(next(&mut late).await.unwrap().expect("at once").result);
    assert!(is_silent(&mut late).await && is_silent(&mut stream).await);

    tidegate.signal("-TERM");
    assert!(next(&mut stream).await.unwrap().is_none(), "the stream ends with OK");
    assert!(next(&mut late).await.unwrap().is_none());
    assert!(tidegate.wait_along().await.success());
}

#[tokio::test]
async fn keda_is_answered_before_redis_is_up() {
    let mut redis = RedisProcess::start();
    redis.kill();
    let address = redis.address();
    let tidegate = Tidegate::start(&(connection(&address) + &autoscaler("mail")), &["--allow-address", "127.0.0.1:*"]);
    // A dead Redis does not make the process unready: it answers for all the others.
    tidegate.until_ready();
    let metadata = [("address", address.as_str()), ("listName", "mail"), ("pollingInterval", "100ms")];
    for metadata in [[("autoscaler", "mail")].as_slice(), &metadata] {
        let mut keda = tidegate.keda("pulse", metadata).await;
        assert_eq!(keda.specs().await.unwrap(), [("redis-mail".to_owned(), 5, 5.0)]);
        let mut refused = keda.value("redis-mail").await.unwrap_err();
        while refused.message().ends_with("has not been read yet") {
            refused = keda.value("redis-mail").await.unwrap_err();
        }
        let message = format!(
            "no trustworthy value: trigger trigger-0 has never been read (unreachable: {address} refused the connection: \
             nothing listens there; check the address, and that the server runs)"
        );
        assert_eq!((refused.code(), refused.message()), (Code::Unavailable, message.as_str()));
        let refused = keda.active().await.unwrap_err();
        assert_eq!((refused.code(), refused.message()), (Code::Unavailable, message.as_str()));
        let mut stream = keda.client.stream_is_active(keda.object.clone()).await.unwrap().into_inner();
        assert!(is_silent(&mut stream).await, "not known is not active");
    }
    assert!(tidegate.is_ready());

    redis.restart();
    push(&redis, "mail", 4);
    for metadata in [[("autoscaler", "mail")].as_slice(), &metadata] {
        let mut keda = tidegate.keda("pulse", metadata).await;
        keda.until_value(4.0).await;
        assert!(keda.active().await.unwrap());
    }
}

#[tokio::test]
async fn health_says_serving_and_then_not_serving() {
    let redis = RedisProcess::start();
    let mut tidegate = Tidegate::start(&(connection(&redis.address()) + &autoscaler("mail")), &[]);
    let mut health = HealthClient::new(tidegate.channel().await);
    let mut watches = Vec::new();
    for service in ["", "externalscaler.ExternalScaler"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let mut watch = health.watch(request).await.unwrap().into_inner();
        while next(&mut watch).await.unwrap().expect("a status").status() != ServingStatus::Serving {}
        watches.push(watch);
    }
    assert!(tidegate.is_ready());
    tidegate.signal("-TERM");
    for watch in &mut watches {
        assert_eq!(next(watch).await.unwrap().expect("a change").status(), ServingStatus::NotServing);
    }
    assert!(!tidegate.is_ready());
    drop(watches);
    assert!(tidegate.wait_along().await.success());
}

/// What is needed of `google.protobuf.FileDescriptorProto`.
#[derive(Clone, PartialEq, prost::Message)]
struct FileDescriptor {
    #[prost(string, optional, tag = "2")]
    package: Option<String>,
    #[prost(message, repeated, tag = "6")]
    services: Vec<ServiceDescriptor>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ServiceDescriptor {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(message, repeated, tag = "2")]
    methods: Vec<MethodDescriptor>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct MethodDescriptor {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(string, optional, tag = "2")]
    input: Option<String>,
    #[prost(bool, optional, tag = "6")]
    answers_with_a_stream: Option<bool>,
}

#[tokio::test]
async fn reflection_lists_and_describes_the_services() {
    use prost::Message as _;

    let tidegate = Tidegate::start("", &[]);
    let ask = |request| ServerReflectionRequest { host: String::new(), message_request: Some(request) };
    let requests = [
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol("externalscaler.ExternalScaler".to_owned())),
        ask(MessageRequest::FileContainingSymbol("externalscaler.Nothing".to_owned())),
    ];
    let mut reflection = ServerReflectionClient::new(tidegate.channel().await);
    let mut answers = reflection.server_reflection_info(tokio_stream::iter(requests)).await.unwrap().into_inner();
    let mut answer = async || next(&mut answers).await.map(|answer| answer.unwrap().message_response.unwrap());

    let MessageResponse::ListServicesResponse(list) = answer().await.unwrap() else { panic!("no list") };
    let mut names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    names.sort();
    for service in ["externalscaler.ExternalScaler", "grpc.health.v1.Health"] {
        assert!(names.iter().any(|name| name == service), "{names:?}");
    }

    let MessageResponse::FileDescriptorResponse(files) = answer().await.unwrap() else { panic!("no file") };
    let file = FileDescriptor::decode(files.file_descriptor_proto[0].as_slice()).unwrap();
    assert_eq!(file.package(), "externalscaler");
    let methods: Vec<(&str, &str, bool)> = file.services[0]
        .methods
        .iter()
        .map(|method| (method.name(), method.input(), method.answers_with_a_stream()))
        .collect();
    let object = ".externalscaler.ScaledObjectRef";
    let expected = [
        ("IsActive", object, false),
        ("StreamIsActive", object, true),
        ("GetMetricSpec", object, false),
        ("GetMetrics", ".externalscaler.GetMetricsRequest", false),
        ("StreamMetricSpec", object, true),
    ];
    assert_eq!((file.services[0].name(), methods.as_slice()), ("ExternalScaler", expected.as_slice()));

    // One unknown symbol must not end the stream for the next question.
    match answer().await {
        Ok(MessageResponse::ErrorResponse(error)) => assert_eq!(error.error_code, Code::NotFound as i32),
        Err(status) => assert_eq!(status.code(), Code::NotFound),
        other => panic!("{other:?}"),
    }
}
