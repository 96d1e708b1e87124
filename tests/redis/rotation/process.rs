//! The whole process: files as a manifest names them, its own pace of looks, and every door searched for the secrets.

use super::rig::{Mount, client};
use crate::support::redis::RedisProcess;
use crate::support::tidegate::{Tidegate, until};

const PLANTED: &str = "planted-secret-3e8a";

#[test]
fn a_rotation_reaches_the_running_process_and_no_secret_leaves_it() {
    let (old, new) = (format!("{PLANTED}-old"), format!("{PLANTED}-new"));
    let redis = RedisProcess::with(&[&format!("user app on >{old} ~* +llen +client|setname")]);
    let mut mount = Mount::new(&[("username", "app"), ("password", &old)]);
    let manifests = format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: Connection\nmetadata: {{ name: redis-main, namespace: pulse }}\n\
         spec:\n  redis:\n    address: \"{}\"\n    usernameFrom: {{ file: {} }}\n    passwordFrom: {{ file: {} }}\n---\n\
         apiVersion: tidegate.dev/v1alpha1\nkind: QueueAutoscaler\nmetadata: {{ name: mail, namespace: pulse }}\n\
         spec:\n  scaleTargetRef: {{ name: mail }}\n  pollingInterval: 50ms\n  triggers:\n  - connection: redis-main\n    \
         redisList: {{ keys: [mail] }}\n    policy: {{ backlogPerReplica: {{ target: 5 }} }}\n",
        redis.address(),
        mount.path("username").display(),
        mount.path("password").display(),
    );
    let mut tidegate = Tidegate::start(&manifests, &["--target", "memory", "--log", "trace"]);
    tidegate.until_ready();
    let id = client(&redis, "id");

    mount.swap(&[("username", "app"), ("password", &format!("{PLANTED}-ne"))]);
    tidegate.until_log("the old one stays");
    let _: String = redis.command(&["ACL", "SETUSER", "app", &format!(">{new}"), &format!("<{old}")]);
    mount.swap(&[("username", "app"), ("password", &new)]);
    let metrics = || tidegate.get("/metrics").body;
    let series = |name: &str, label: &str| {
        let text = metrics();
        let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum::<f64>()
    };
    until("the new password", || series("tidegate_credential_renewals_total{", "outcome=\"ok\"") >= 1.0);
    assert_ne!(client(&redis, "id"), id);
    assert!(series("tidegate_credential_renewals_total{", "outcome=\"error\"") >= 1.0);
    assert_eq!(series("tidegate_poll_failures_total{", ""), 0.0, "{}", metrics());
    assert_eq!(series("tidegate_poll_rounds_total{", "outcome=\"error\""), 0.0);

    let mut seen = String::new();
    for path in ["/", "/metrics", "/api/v1/autoscalers", "/api/v1/workloads", "/readyz?verbose"] {
        seen += &tidegate.get(path).body;
    }
    seen += &tidegate.detail("pulse", "mail").to_string();
    tidegate.signal("-TERM");
    assert!(tidegate.wait().success());
    seen += &tidegate.log();
    assert!(seen.contains("TRACE") && seen.contains("took over"), "the log is searched");
    assert!(!seen.contains(PLANTED), "{:?}", seen.find(PLANTED).map(|at| &seen[at.saturating_sub(300)..at]));
}
