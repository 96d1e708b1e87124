//! Connections to a PostgreSQL, to a Prometheus, and to pages of metrics.

use std::collections::BTreeMap;
use std::time::Duration;

use super::connection::{Declarer, timeout};
use super::topology::reached_from;
use super::{secrets, values};
use crate::spec::address;
use crate::spec::manifest::{DurationText, PostgresConnection, PrometheusConnection, ScrapeConnection, ScrapePods};
use crate::spec::report::{Report, join};
use crate::spec::{ClientTls, HttpServer, HttpUrl, PodPort, Pods, PostgresServer, ScrapeServer, Which};

const SECOND: Duration = Duration::from_secs(1);
/// KEDA's own, for HTTP: a query may have to read hours of samples.
const QUERY_TIMEOUT: Duration = Duration::from_secs(3);
const PAGE: &str = "/metrics";

pub(super) fn postgres(
    declarer: Declarer<'_>,
    written: &PostgresConnection,
    report: &mut Report<'_>,
) -> PostgresServer {
    const AT: &str = "spec.postgres";
    let login = secrets::login(declarer, AT, &written.login, report);
    let url = written.url_from.as_ref().and_then(|from| {
        let path = join(AT, "urlFrom");
        let others = [
            ("address", written.address.is_some()),
            ("database", written.database.is_some()),
            ("username", written.login.username.is_some() || written.login.username_from.is_some()),
            ("password", written.login.password.is_some() || written.login.password_from.is_some()),
        ];
        for (field, _) in others.into_iter().filter(|(_, is_written)| *is_written) {
            report.problem(&join(AT, field), "the URL of urlFrom says it", format!("take {field} or urlFrom out"));
        }
        secrets::secret_from(declarer, from, &path, "URL", "url", report)
    });
    let (mut address, mut database) = (String::new(), String::new());
    if written.url_from.is_none() {
        let path = join(AT, "address");
        let example = "address: postgres:5432";
        let text = values::text(written.address.as_deref(), &path, example, report);
        address = with_port(declarer, &text, 5432, &path, report);
        database = values::text(written.database.as_deref(), &join(AT, "database"), "database: app", report);
        if login.username.is_none() {
            let cure = "e.g. username: tidegate";
            report.problem(&join(AT, "username"), "missing: the user to log in as", cure);
        }
    }
    PostgresServer {
        address,
        database,
        username: login.username,
        password: login.password,
        url,
        tls: login.tls,
        connect_timeout: timeout(&written.connect_timeout, &join(AT, "connectTimeout"), SECOND, report),
        response_timeout: timeout(&written.response_timeout, &join(AT, "responseTimeout"), SECOND, report),
    }
}

pub(super) fn prometheus(
    declarer: Declarer<'_>,
    written: &PrometheusConnection,
    report: &mut Report<'_>,
) -> HttpServer {
    const AT: &str = "spec.prometheus";
    let path = join(AT, "url");
    let text = values::text(written.url.as_deref(), &path, "url: http://prometheus:9090", report);
    let url = url(declarer, &text, "http://prometheus:9090", &path, report);
    let asked = Asked {
        login: secrets::login(declarer, AT, &written.login, report),
        token: written.bearer_token_from.as_ref(),
        headers: written.headers.as_ref(),
        timeouts: (&written.connect_timeout, &written.response_timeout, QUERY_TIMEOUT),
    };
    http(declarer, AT, url, asked, report)
}

pub(super) fn scrape(declarer: Declarer<'_>, written: &ScrapeConnection, report: &mut Report<'_>) -> ScrapeServer {
    const AT: &str = "spec.scrape";
    let path = join(AT, "url");
    report.exactly_one(
        AT,
        "place of the pages",
        &[("url", written.url.is_some()), ("pods", written.pods.is_some())],
        "url: http://exporter:9121/metrics",
    );
    let example = "http://exporter:9121/metrics";
    let mut found = match &written.url {
        Some(text) => url(declarer, text, example, &path, report),
        None => HttpUrl { encrypted: written.login.tls.is_some(), address: String::new(), path: String::new() },
    };
    let pods = written.pods.as_ref().map(|pods| {
        found.path = page(pods, report);
        found.address.clear();
        self::pods(declarer, pods, report)
    });
    let asked = Asked {
        login: secrets::login(declarer, AT, &written.login, report),
        token: written.bearer_token_from.as_ref(),
        headers: None,
        timeouts: (&written.connect_timeout, &written.response_timeout, SECOND),
    };
    ScrapeServer { http: http(declarer, AT, found, asked, report), pods }
}

/// What stands in both blocks.
struct Asked<'a> {
    login: secrets::Login,
    token: Option<&'a crate::spec::manifest::PasswordFrom>,
    headers: Option<&'a BTreeMap<String, String>>,
    timeouts: (&'a Option<DurationText>, &'a Option<DurationText>, Duration),
}

fn http(declarer: Declarer<'_>, at: &str, url: HttpUrl, asked: Asked<'_>, report: &mut Report<'_>) -> HttpServer {
    let secrets::Login { username, mut password, tls } = asked.login;
    if let Some(from) = asked.token {
        let path = join(at, "bearerTokenFrom");
        if username.is_some() || password.is_some() {
            report.problem(&path, "a token goes without user and password", "keep one of the two");
        }
        password = secrets::secret_from(declarer, from, &path, "token", "token", report);
    } else if username.is_some() != password.is_some() {
        let (missing, there) =
            if username.is_some() { ("passwordFrom", "username") } else { ("username", "passwordFrom") };
        let cure = format!("write {missing}, or take {there} out; a token belongs into bearerTokenFrom");
        report.problem(&join(at, missing), format!("missing: {there} is written"), cure);
    }
    check_tls(&url, tls.as_ref(), at, report);
    let (connect, response, default) = asked.timeouts;
    HttpServer {
        url,
        username,
        password,
        headers: headers(asked.headers, &join(at, "headers"), report),
        tls,
        connect_timeout: timeout(connect, &join(at, "connectTimeout"), SECOND, report),
        response_timeout: timeout(response, &join(at, "responseTimeout"), default, report),
    }
}

fn check_tls(url: &HttpUrl, tls: Option<&ClientTls>, at: &str, report: &mut Report<'_>) {
    let path = join(at, "tls");
    match (url.encrypted, tls) {
        (true, None) => {
            let cure = "write tls: { caFrom: ... } (or caFile), with the authority that signed its certificate";
            report.problem(&path, "missing: https, and no authority whose certificates are to be trusted", cure);
        }
        (false, Some(_)) => report.problem(&path, "nothing is encrypted with http", "write https, or take tls out"),
        (true, Some(_)) | (false, None) => {}
    }
}

/// Names and values as HTTP has them. Values are shown in outputs: nothing secret belongs here.
fn headers(written: Option<&BTreeMap<String, String>>, path: &str, report: &mut Report<'_>) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    for (name, value) in written.into_iter().flatten() {
        let here = format!("{path}.{name}");
        let reserved = ["authorization", "host", "content-length", "content-type", "connection", "accept-encoding"];
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let is_header = !name.is_empty() && name.chars().all(token);
        let fits = value.chars().all(|c| c == ' ' || c.is_ascii_graphic()) && value.trim() == value;
        if !is_header || !fits {
            report.problem(&here, "not a header", "names are letters, digits and dashes; values are one line of ASCII");
        } else if reserved.contains(&name.to_ascii_lowercase().as_str()) {
            let cure = "credentials go into passwordFrom or bearerTokenFrom; take the line out";
            report.problem(&here, "this header is tidegate's own", cure);
        }
        headers.push((name.clone(), value.clone()));
    }
    headers
}

fn url(declarer: Declarer<'_>, text: &str, example: &str, path: &str, report: &mut Report<'_>) -> HttpUrl {
    let nothing = HttpUrl { encrypted: false, address: String::new(), path: String::new() };
    if text.is_empty() {
        return nothing;
    }
    let Some(url) = HttpUrl::parse(text) else {
        let cure = format!("write a URL such as {example}");
        if text.contains('@') {
            let cure = format!("{cure}; user and password belong into username and passwordFrom");
            report.problem(path, "a URL has no user or password in it here", cure);
        } else if text.contains("://") {
            report.problem(path, format!("`{text}` is not a URL that can be asked"), cure);
        } else {
            report.problem(path, format!("`{text}` has no http:// or https:// in front"), cure);
        }
        return nothing;
    };
    let address = reached_from(declarer, &url.address, path, report);
    HttpUrl { address, ..url }
}

/// An address whose port may be left out.
fn with_port(declarer: Declarer<'_>, text: &str, port: u16, path: &str, report: &mut Report<'_>) -> String {
    if text.is_empty() {
        return String::new();
    }
    let joined = format!("{text}:{port}");
    let address =
        if address::split(text).is_none() && address::split(&joined).is_some() { joined } else { text.into() };
    if address::split(&address).is_none() {
        let (message, _) = address::complaint(text);
        report.problem(path, message, format!("write host:port, such as postgres:{port}"));
    }
    reached_from(declarer, &address, path, report)
}

fn page(written: &ScrapePods, report: &mut Report<'_>) -> String {
    let path = written.path.as_deref().unwrap_or(PAGE);
    match HttpUrl::parse(&format!("http://pod{path}")) {
        Some(url) if path.starts_with('/') => url.path,
        _ => {
            report.problem("spec.scrape.pods.path", format!("`{path}` is not a path"), "e.g. path: /metrics");
            String::new()
        }
    }
}

fn pods(declarer: Declarer<'_>, written: &ScrapePods, report: &mut Report<'_>) -> Pods {
    const AT: &str = "spec.scrape.pods";
    report.exactly_one(
        AT,
        "way to find pods",
        &[("service", written.service.is_some()), ("selector", written.selector.is_some())],
        "service: workers",
    );
    report.exactly_one(
        AT,
        "port",
        &[("port", written.port.is_some()), ("portName", written.port_name.is_some())],
        "port: 9090",
    );
    let path = join(AT, "namespace");
    let namespace = match (declarer.namespace, written.namespace.as_deref()) {
        (Some(own), Some(other)) if own != other => {
            let message = format!("a Connection reads pods of its own namespace, `{own}`, only");
            report.problem(&path, message, "take namespace out, or declare a ClusterConnection");
            own.to_owned()
        }
        (Some(own), _) => own.to_owned(),
        (None, other) => values::text(other, &path, "namespace: shop, the pods' own", report),
    };
    let which = match (&written.service, &written.selector) {
        (Some(service), _) => {
            Which::Service(values::text(Some(service), &join(AT, "service"), "service: workers", report))
        }
        (None, selector) => {
            let selector = selector.as_deref().unwrap_or("app=worker");
            Which::Selector(values::text(Some(selector), &join(AT, "selector"), "selector: app=worker", report))
        }
    };
    let port = match (written.port.and_then(|port| u16::try_from(port).ok()), &written.port_name) {
        (Some(port), _) => PodPort::Number(port),
        (None, Some(name)) => {
            PodPort::Name(values::text(Some(name), &join(AT, "portName"), "portName: metrics", report))
        }
        (None, None) => PodPort::Number(9090),
    };
    Pods { namespace, which, port }
}
