//! Addresses of servers: `host:port` as people write it, and when two of them mean the same server.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Host (without the brackets of an IPv6 literal) and port.
pub(crate) fn split(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(inside) => inside.strip_suffix(']').filter(|inside| inside.parse::<Ipv6Addr>().is_ok())?,
        None if host.contains(':') => return None,
        None => host,
    };
    let strange = |c: char| c.is_whitespace() || c.is_control() || "/@?#\\\"'[],*".contains(c);
    if host.is_empty() || host.contains(strange) || !port.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((host, port.parse().ok().filter(|port| *port != 0)?))
}

/// Joins what [`split`] took apart.
pub(crate) fn join(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// What is wrong with an address, and the cure. Never repeats what stands before an `@`: that is where URLs have their
/// passwords.
pub(crate) fn complaint(address: &str) -> (String, String) {
    let cure = "write host:port, such as redis-service:6379".to_owned();
    if address.contains('@') {
        let cure = format!("{cure}; the password belongs into a Connection's passwordFrom");
        return ("an address has no user or password in it".to_owned(), cure);
    }
    if address.is_empty() {
        return ("empty".to_owned(), cure);
    }
    if let Some((scheme, _)) = address.split_once("://") {
        return (format!("`{address}` is a URL; an address has no `{scheme}://`"), cure);
    }
    if split(&format!("{address}:6379")).is_some() {
        return (format!("`{address}` has no port"), format!("write {address}:6379"));
    }
    (format!("`{address}` is not an address"), cure)
}

/// The address of the Service that a host without a dot means in `namespace`; any other address unchanged. `localhost`
/// and IP literals are no Services.
pub(crate) fn expand_service(address: &str, namespace: &str) -> String {
    match split(address) {
        Some((host, port)) if is_service(host) => join(&format!("{host}.{namespace}.svc"), port),
        _ => address.to_owned(),
    }
}

/// Whether it is a Service only if somebody says in which namespace.
pub(crate) fn names_a_service(address: &str) -> bool {
    split(address).is_some_and(|(host, _)| is_service(host))
}

fn is_service(host: &str) -> bool {
    !host.contains('.') && !host.eq_ignore_ascii_case("localhost") && host.parse::<IpAddr>().is_err()
}

/// Whether `declared` (by an object of `declared_in`, if that has a namespace) is the server that `asked` means in
/// `namespace`. Both are compared as written and as Services; the cluster's own suffix makes no difference.
pub(crate) fn same_server(declared: &str, declared_in: Option<&str>, asked: &str, namespace: &str) -> bool {
    let asked_forms = [plain(asked), plain(&expand_service(asked, namespace))];
    // Without a namespace of its own, a bare name means what it means to tidegate, and no Service of anybody else's.
    let as_service = declared_in.map(|declared_in| plain(&expand_service(declared, declared_in)));
    asked_forms.contains(&plain(declared)) || as_service.is_some_and(|form| asked_forms.contains(&form))
}

/// Lower case, without the suffix that every cluster adds by itself; IPv6 literals in their one canonical spelling.
fn plain(address: &str) -> String {
    let lower = address.to_ascii_lowercase();
    match split(&lower) {
        Some((host, port)) if host.contains(':') => {
            join(&host.parse::<Ipv6Addr>().map_or_else(|_| host.to_owned(), |ip| ip.to_string()), port)
        }
        Some((host, port)) => {
            let host = host.strip_suffix('.').unwrap_or(host);
            let host = host.strip_suffix(".cluster.local").filter(|rest| rest.ends_with(".svc")).unwrap_or(host);
            join(host, port)
        }
        None => lower,
    }
}

/// Whether `pattern` (`host:port`, `*` for any run of characters) covers `address`.
///
/// A pattern of numbers covers IP addresses alone: whoever writes `10.0.*:6379` means a network, and not the name
/// `10.0.example.com`, which its owner may point anywhere.
pub(crate) fn covers(pattern: &str, address: &str) -> bool {
    let address = if address.starts_with('[') { plain(address) } else { address.to_owned() };
    let host_pattern = pattern.rsplit_once(':').map_or(pattern, |(host, _)| host);
    let of_numbers = host_pattern.contains(|c: char| c.is_ascii_digit())
        && host_pattern.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '*'));
    let is_ip = || split(&address).is_some_and(|(host, _)| host.parse::<Ipv4Addr>().is_ok());
    // An IPv6 literal without a star has one canonical spelling, too.
    let pattern = if pattern.starts_with('[') { plain(pattern) } else { pattern.to_owned() };
    matches(&pattern, &address) && (!of_numbers || is_ip())
}

/// Whether `text` matches `pattern`, in which `*` stands for any run of characters. Case does not count.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let pattern = pattern.to_ascii_lowercase();
    let text = text.to_ascii_lowercase();
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut last = None;
    for part in parts {
        // The part before this one is now known not to be the last: its earliest place leaves the most to the rest.
        if let Some(middle) = last.replace(part) {
            let Some((_, after)) = rest.split_once(middle) else { return false };
            rest = after;
        }
    }
    last.map_or(rest.is_empty(), |last| rest.ends_with(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_split_or_refused() {
        assert_eq!(split("redis:6379"), Some(("redis", 6379)));
        assert_eq!(split("[::1]:6379"), Some(("::1", 6379)));
        for wrong in [
            "redis",
            "redis:",
            ":6379",
            "redis:0",
            "redis:70000",
            "::1:6379",
            "u:p@redis:6379",
            "a b:1",
            "*:1",
            "[redis:1]:2",
        ] {
            assert_eq!(split(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_bare_host_is_a_service_of_the_namespace() {
        assert_eq!(expand_service("redis:6379", "pulse"), "redis.pulse.svc:6379");
        for unchanged in ["localhost:6379", "10.0.0.1:6379", "[::1]:6379", "redis.example.com:6379"] {
            assert_eq!(expand_service(unchanged, "pulse"), unchanged);
        }
    }

    #[test]
    fn the_same_server_is_recognised_in_every_spelling() {
        for asked in ["redis:6379", "redis.pulse.svc:6379", "Redis.pulse.svc.cluster.local:6379"] {
            assert!(same_server("redis:6379", Some("pulse"), asked, "pulse"), "{asked}");
            assert!(same_server("redis.pulse.svc:6379", Some("pulse"), asked, "pulse"), "{asked}");
        }
        assert!(!same_server("redis:6379", Some("pulse"), "redis.other.svc:6379", "pulse"));
        assert!(same_server("redis:6379", None, "redis:6379", "pulse"));
        assert!(!same_server("redis:6379", None, "redis.pulse.svc:6379", "pulse"));
        assert!(!same_server("redis:6379", Some("pulse"), "redis:6380", "pulse"));
    }

    #[test]
    fn patterns_of_numbers_cover_numbers_alone() {
        for (pattern, address) in [
            ("10.0.*:6379", "10.0.7.1:6379"),
            ("*:6379", "10.0.7.1:6379"),
            ("*:6379", "anything.example.com:6379"),
            ("*:*", "[::1]:6379"),
            ("[::1]:6379", "[0:0:0:0:0:0:0:1]:6379"),
            ("[0::1]:6379", "[::1]:6379"),
            ("[fd00::*]:6379", "[FD00::2]:6379"),
            ("redis-1.*:6379", "redis-1.shop.svc:6379"),
        ] {
            assert!(covers(pattern, address), "{pattern} {address}");
        }
        for (pattern, address) in [
            ("10.0.*:6379", "10.0.example.com:6379"),
            ("10.0.*:6379", "10.0.1:6379"),
            ("10.*:*", "10.16777217:6379"),
            ("127.0.0.1*:6379", "127.0.0.1.evil.example:6379"),
            ("[::1]:6379", "[::ffff:127.0.0.1]:6379"),
            ("redis:6379", "redis.:6379"),
            ("redis:6379", "redis:63790"),
            ("*.shop.svc:6379", "redis.shop.svc.evil.example:6379"),
        ] {
            assert!(!covers(pattern, address), "{pattern} {address}");
        }
    }

    #[test]
    fn stars_stand_for_any_run_of_characters() {
        for (pattern, text) in [
            ("*", "a:1"),
            ("redis:6379", "REDIS:6379"),
            ("*.svc:6379", "a.b.svc:6379"),
            ("a*b*c", "axbxbc"),
            ("a*", "a"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("redis:6379", "redis:63790"), ("*.svc:6379", "a.svc:6380"), ("a*b*b", "ab"), ("ab*ba", "aba")]
        {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
