//! Effects: a plain HTTP client of the API server, for what is asked too often to start kubectl each time.

use std::time::Duration;

use serde_json::Value;
use ureq::{
    Agent, Body,
    http::{Request, Response},
    tls::{Certificate, RootCerts, TlsConfig},
};

/// How long one request may take, on a loaded machine.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Speaks as an administrator.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    agent: Agent,
    url: String,
    token: Option<String>,
}

/// What the server said.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The body; its text where it is no JSON.
    pub(crate) body: Value,
}

impl Answer {
    /// The body of a 2xx; panics with the server's words otherwise.
    pub(crate) fn good(self) -> Value {
        assert!((200..300).contains(&self.status), "the API server answered {}: {}", self.status, self.body);
        self.body
    }
}

impl Client {
    /// For the server at `url`; TLS trusts `certificate` (PEM) alone.
    pub(crate) fn new(url: &str, certificate: Option<&str>, token: Option<&str>) -> Self {
        let roots: Vec<_> =
            certificate.iter().map(|pem| Certificate::from_pem(pem.as_bytes()).unwrap().to_owned()).collect();
        let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&roots)).build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .proxy(None)
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            .build();
        Self { agent: config.into(), url: url.to_owned(), token: token.map(str::to_owned) }
    }

    /// Where the server is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// GET.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "application/json", None).unwrap()
    }

    /// POST of an object.
    pub(crate) fn post(&self, path: &str, object: &Value) -> Answer {
        self.ask("POST", path, "application/json", Some(object)).unwrap()
    }

    /// JSON Merge Patch.
    pub(crate) fn merge(&self, path: &str, change: &Value) -> Answer {
        self.ask("PATCH", path, "application/merge-patch+json", Some(change)).unwrap()
    }

    /// DELETE.
    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.ask("DELETE", path, "application/json", None).unwrap()
    }

    /// Asks; an error where no answer came at all.
    pub(crate) fn ask(
        &self,
        method: &str,
        path: &str,
        content: &str,
        body: Option<&Value>,
    ) -> Result<Answer, ureq::Error> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let answer = match body {
            Some(body) => self.agent.run(request.header("content-type", content).body(body.to_string())?),
            None => self.agent.run(request.body(())?),
        };
        read(answer?)
    }
}

fn read(mut answer: Response<Body>) -> Result<Answer, ureq::Error> {
    let status = answer.status().as_u16();
    let text = answer.body_mut().read_to_string()?;
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Ok(Answer { status, body })
}
