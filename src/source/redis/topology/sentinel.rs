//! Sentinels: who the master is, who its replicas are, and that it has changed.
//!
//! They are asked in turn, at every connect and twice a second in between. What one says is believed only if the server
//! itself agrees (`ROLE`): a sentinel may be cut off, and a master that was deposed still answers. It is asked, and not
//! subscribed to, because a question that is answered also proves that the way to the sentinel is open.

use redis::Value;

use super::guard::{self, LOOK_EVERY, One, Role, Unfit, Wanted};
use super::slots::{field, text};
use super::{first_of, patience, shown};
use crate::model::{FailureKind, ReadFailure};
use crate::source::redis::classify;
use crate::source::redis::connect::{Connector, Logins};
use crate::source::redis::wire::Wire;
use crate::spec::address;
use crate::spec::{ReadFrom, Sentinel};

/// So many looks the primary is read for want of a replica before another replica is tried: ten seconds.
const LOOKS_AT_PRIMARY: u32 = 20;

/// What a sentinel says.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Said {
    /// `host:port`.
    master: String,
    /// Replicas that it takes for healthy; asked for only where one is to be read.
    replicas: Vec<String>,
}

/// Connects to the server that is to be read.
pub(super) async fn open(connector: &Connector, sentinel: &Sentinel, logins: &Logins) -> Result<One, ReadFailure> {
    let ask = |i: usize| async move {
        let address = sentinel.addresses.get(i).map_or("", String::as_str);
        let (asked, said) = ask(connector, sentinel, logins, address).await?;
        let wire = connect(connector, logins, &said).await?;
        Ok((asked, wire))
    };
    let (asked, (wire, role)) = first_of(&sentinel.addresses, patience(connector), ask).await?;
    Ok(guarded(connector.clone(), sentinel.clone(), asked, wire, role))
}

/// Asks one sentinel over a new connection, which is returned as well.
async fn ask(
    connector: &Connector,
    sentinel: &Sentinel,
    logins: &Logins,
    address: &str,
) -> Result<(Wire, Said), ReadFailure> {
    let credentials = logins.sentinels.as_ref().unwrap_or(&logins.own);
    let opened = connector.open_sentinel(address, sentinel, credentials).await;
    let wire = opened.map_err(|failure| of_sentinel(&failure))?;
    let said = said(&wire, &sentinel.master, connector.server().read_from).await?;
    Ok((wire, said))
}

/// The server that `said` leads to, and what it is: a replica that agrees, or the master that agrees.
async fn connect(connector: &Connector, logins: &Logins, said: &Said) -> Result<(Wire, Role), ReadFailure> {
    for replica in &said.replicas {
        // One that does not answer must not keep us from the next: it has a share of what connecting may take.
        let trying = async {
            let wire = connector.open(replica, &logins.own, false).await?;
            let role = guard::role(&wire).await?;
            Ok::<_, ReadFailure>((wire, role))
        };
        if let Ok(Ok((wire, role @ Role::Replica { in_step: true }))) =
            tokio::time::timeout(patience(connector), trying).await
        {
            return Ok((wire, role));
        }
    }
    let wire = connector.open(&said.master, &logins.own, false).await?;
    match guard::role(&wire).await? {
        Role::Primary => Ok((wire, Role::Primary)),
        Role::Replica { .. } => Err(guard::deposed(&said.master)),
        Role::Other => Err(guard::no_server_for_keys(&said.master)),
    }
}

fn guarded(connector: Connector, sentinel: Sentinel, asked: Wire, wire: Wire, role: Role) -> One {
    let watched = wire.twin();
    let again = connector.clone();
    let look = async move { until_moved(&connector, &sentinel, asked, &watched, role).await };
    let find = async move {
        let link = Box::pin(again.connect()).await?;
        match link.servers {
            super::Servers::One(one) => Ok(one),
            super::Servers::Cluster(_) => Err(super::nobody()),
        }
    };
    let wanted = if role == Role::Primary { Wanted::Primary } else { Wanted::InStep };
    One::guarded(wire, wanted, look, find)
}

/// Returns when the server behind `wire`, which was a `role`, is no longer the one to be read.
async fn until_moved(connector: &Connector, sentinel: &Sentinel, asked: Wire, wire: &Wire, role: Role) -> Unfit {
    let mut asked = Some(asked);
    let mut looks = 0_u32;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        looks = looks.saturating_add(1);
        match guard::role(wire).await {
            Ok(Role::Primary) if role == Role::Primary => {}
            Ok(Role::Replica { in_step: true }) if role != Role::Primary => {}
            Ok(_) => return guard::deposed(wire.address()),
            // That it does not answer is for the rounds to find out, and a right that was taken away too.
            Err(_) => {}
        }
        // The sentinel that answered last is asked until it does not, then whoever answers first.
        let said = match &asked {
            Some(sentinels) => said(sentinels, &sentinel.master, connector.server().read_from).await,
            None => match find_sentinel(connector, sentinel).await {
                Ok((wire, said)) => {
                    asked = Some(wire);
                    Ok(said)
                }
                Err(failure) => Err(failure),
            },
        };
        match said {
            Ok(said) if is_right(&said, wire.address(), role, connector.server().read_from) => {}
            // A replica that the sentinels see and we do not is not tried all the time.
            Ok(said) if said.master == **wire.address() && looks < LOOKS_AT_PRIMARY => {}
            Ok(said) => return moved(wire.address(), &said.master),
            Err(_) => asked = None,
        }
    }
}

async fn find_sentinel(connector: &Connector, sentinel: &Sentinel) -> Result<(Wire, Said), ReadFailure> {
    let logins = connector.read_logins().await?;
    let logins = &logins;
    let ask = |i: usize| async move {
        let address = sentinel.addresses.get(i).map_or("", String::as_str);
        let asking = ask(connector, sentinel, logins, address);
        let bound = connector.server().connect_timeout;
        tokio::time::timeout(bound, asking)
            .await
            .unwrap_or_else(|_| Err(classify::timeout(address, "connectTimeout", bound)))
    };
    first_of(&sentinel.addresses, patience(connector), ask).await
}

/// Whether the server at `address`, which is a `role`, is still the one to be read.
fn is_right(said: &Said, address: &str, role: Role, read_from: ReadFrom) -> bool {
    match (role, read_from) {
        (Role::Primary, ReadFrom::Primary) => said.master == address,
        // The primary is read for want of a replica.
        (Role::Primary, ReadFrom::Replica) => said.master == address && said.replicas.is_empty(),
        _ => said.replicas.iter().any(|replica| replica == address),
    }
}

/// Asks a sentinel.
async fn said(wire: &Wire, master: &str, read_from: ReadFrom) -> Result<Said, ReadFailure> {
    let mut command = redis::cmd("SENTINEL");
    command.arg("get-master-addr-by-name").arg(master);
    let at = master_of(&answered(wire, &command).await?, wire.address(), master)?;
    let replicas = match read_from {
        ReadFrom::Primary => Vec::new(),
        ReadFrom::Replica => {
            let mut command = redis::cmd("SENTINEL");
            command.arg("replicas").arg(master);
            healthy(&answered(wire, &command).await?)
        }
    };
    Ok(Said { master: at, replicas })
}

async fn answered(wire: &Wire, command: &redis::Cmd) -> Result<Value, ReadFailure> {
    let address = wire.address();
    match wire.ask(command).await.map_err(|failure| of_sentinel(&failure))? {
        Value::ServerError(error) => Err(match error.code() {
            "NOPERM" => ReadFailure::new(
                FailureKind::PermissionDenied,
                format!(
                    "{address} is a sentinel that denies this user a command; it needs \
                     `+sentinel|get-master-addr-by-name`, and `+sentinel|replicas` to read from replicas"
                ),
            ),
            "ERR" if error.details().is_some_and(|text| text.contains("unknown command")) => ReadFailure::new(
                FailureKind::Configuration,
                format!("{address} is no sentinel; write its address into `address`, or the sentinels' (port 26379)"),
            ),
            _ => of_sentinel(&classify::server_failure(address, &error)),
        }),
        reply => Ok(reply),
    }
}

fn master_of(reply: &Value, asked: &str, master: &str) -> Result<String, ReadFailure> {
    let parts = match reply {
        Value::Array(parts) => parts.as_slice(),
        Value::Nil => {
            let sentence = format!("the sentinel {asked} knows no master {:?}; check `sentinel.master`", shown(master));
            return Err(ReadFailure::new(FailureKind::Configuration, sentence));
        }
        _ => &[],
    };
    let [host, port] = parts else { return Err(strange(asked)) };
    let port = text(port).and_then(|port| port.parse().ok());
    text(host).zip(port).and_then(|(host, port)| place(host, port)).ok_or_else(|| strange(asked))
}

/// The replicas that a sentinel takes for healthy. Whether they are in step it hears every ten seconds; they are asked
/// themselves.
fn healthy(reply: &Value) -> Vec<String> {
    const SICK: [&str; 4] = ["s_down", "o_down", "disconnected", "master"];
    let Value::Array(replicas) = reply else { return Vec::new() };
    let of = |replica: &Value| {
        let said = |name: &str| field(replica, name).and_then(text);
        let sick = said("flags")?.split(',').any(|flag| SICK.contains(&flag));
        let port = said("port")?.parse().ok()?;
        (!sick).then(|| place(said("ip")?, port)).flatten()
    };
    let mut replicas: Vec<String> = replicas.iter().filter_map(of).take(MOST_REPLICAS).collect();
    replicas.sort_unstable();
    replicas
}

/// Replicas to choose from; nobody tries more.
const MOST_REPLICAS: usize = 8;

fn place(host: &str, port: u16) -> Option<String> {
    let joined = address::join(host, port);
    address::split(&joined).is_some().then_some(joined)
}

fn strange(asked: &str) -> ReadFailure {
    let sentence = format!("the sentinel {asked} answered with something that is no address");
    ReadFailure::new(FailureKind::Protocol, sentence)
}

fn moved(from: &str, to: &str) -> ReadFailure {
    let sentence = format!("{from} is not to be read any more: its sentinels name {}", shown(to));
    ReadFailure::new(FailureKind::NotServing, sentence)
}

/// That it was a sentinel must be in the sentence: its cure is in another block of the manifest.
fn of_sentinel(failure: &ReadFailure) -> ReadFailure {
    ReadFailure::new(failure.kind, format!("(sentinel) {}", failure.message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn masters_are_read_and_strange_ones_are_not() {
        let of = |reply: Value| master_of(&reply, "s:26379", "mymaster");
        assert_eq!(of(Value::Array(vec![bulk("10.0.0.1"), bulk("6379")])).unwrap(), "10.0.0.1:6379");
        assert_eq!(of(Value::Array(vec![bulk("::1"), bulk("6379")])).unwrap(), "[::1]:6379");
        assert_eq!(of(Value::Nil).unwrap_err().kind, FailureKind::Configuration);
        for strange in [
            Value::Array(vec![bulk("a b"), bulk("1")]),
            Value::Array(vec![bulk("me@evil"), bulk("1")]),
            Value::Array(vec![bulk("a"), bulk("0")]),
            Value::Array(vec![bulk("a")]),
            Value::Int(1),
        ] {
            assert_eq!(of(strange).unwrap_err().kind, FailureKind::Protocol);
        }
    }

    #[test]
    fn sick_replicas_are_left_out() {
        let replica =
            |port: &str, flags: &str| Value::Array(["ip", "10.0.0.1", "port", port, "flags", flags].map(bulk).into());
        let reply = Value::Array(vec![
            replica("3", "slave"),
            replica("1", "slave"),
            replica("4", "s_down,slave"),
            replica("5", "slave,disconnected"),
        ]);
        assert_eq!(healthy(&reply), ["10.0.0.1:1", "10.0.0.1:3"]);
    }

    #[test]
    fn whom_to_read_follows_from_what_is_said() {
        let said = |replicas: &[&str]| Said {
            master: "m:1".into(),
            replicas: replicas.iter().map(ToString::to_string).collect(),
        };
        let replica = Role::Replica { in_step: true };
        assert!(is_right(&said(&[]), "m:1", Role::Primary, ReadFrom::Primary));
        assert!(!is_right(&said(&[]), "old:1", Role::Primary, ReadFrom::Primary));
        assert!(is_right(&said(&[]), "m:1", Role::Primary, ReadFrom::Replica));
        assert!(!is_right(&said(&["r:1"]), "m:1", Role::Primary, ReadFrom::Replica), "there is a replica again");
        assert!(is_right(&said(&["q:1", "r:1"]), "r:1", replica, ReadFrom::Replica));
        assert!(!is_right(&said(&["q:1"]), "r:1", replica, ReadFrom::Replica));
    }
}
