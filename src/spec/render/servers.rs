//! Connections to servers other than Redis, written back.

use super::connection;
use super::duration;
use crate::spec::manifest::{
    self, PasswordFrom, PostgresConnection, PrometheusConnection, ScrapeConnection, ScrapePods,
};
use crate::spec::{HttpServer, Login, PodPort, Pods, PostgresServer, ScrapeServer, Which};

pub(super) fn postgres(server: &PostgresServer, own_namespace: Option<&str>) -> PostgresConnection {
    let login =
        Login { username: server.username.as_ref(), password: server.password.as_ref(), tls: server.tls.as_ref() };
    let login = connection::written(login, own_namespace);
    PostgresConnection {
        address: some(&server.address),
        database: some(&server.database),
        url_from: server.url.as_ref().and_then(|url| connection::secret_from(url, own_namespace)),
        login,
        connect_timeout: duration(server.connect_timeout),
        response_timeout: duration(server.response_timeout),
    }
}

pub(super) fn prometheus(server: &HttpServer, own_namespace: Option<&str>) -> PrometheusConnection {
    let (login, bearer_token_from) = login(server, own_namespace);
    PrometheusConnection {
        url: Some(server.url.text()),
        login,
        bearer_token_from,
        headers: (!server.headers.is_empty()).then(|| server.headers.iter().cloned().collect()),
        connect_timeout: duration(server.connect_timeout),
        response_timeout: duration(server.response_timeout),
    }
}

pub(super) fn scrape(server: &ScrapeServer, own_namespace: Option<&str>) -> ScrapeConnection {
    let (login, bearer_token_from) = login(&server.http, own_namespace);
    ScrapeConnection {
        url: server.pods.is_none().then(|| server.http.url.text()),
        pods: server.pods.as_ref().map(|found| pods(found, &server.http.url.path, own_namespace)),
        login,
        bearer_token_from,
        connect_timeout: duration(server.http.connect_timeout),
        response_timeout: duration(server.http.response_timeout),
    }
}

fn pods(pods: &Pods, path: &str, own_namespace: Option<&str>) -> ScrapePods {
    let mut out = ScrapePods {
        namespace: own_namespace.is_none().then(|| pods.namespace.clone()),
        path: Some(if path.is_empty() { "/".to_owned() } else { path.to_owned() }),
        ..ScrapePods::default()
    };
    match &pods.which {
        Which::Service(name) => out.service = Some(name.clone()),
        Which::Selector(text) => out.selector = Some(text.clone()),
    }
    match &pods.port {
        PodPort::Number(port) => out.port = Some(i32::from(*port)),
        PodPort::Name(name) => out.port_name = Some(name.clone()),
    }
    out
}

/// The login, and the token where there is one instead.
fn login(server: &HttpServer, own_namespace: Option<&str>) -> (manifest::Login, Option<PasswordFrom>) {
    let token = server.password.as_ref().filter(|_| server.username.is_none());
    let password = if token.is_some() { None } else { server.password.as_ref() };
    let login = Login { username: server.username.as_ref(), password, tls: server.tls.as_ref() };
    let token = token.and_then(|token| connection::secret_from(token, own_namespace));
    (connection::written(login, own_namespace), token)
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
