//! Who may do what with the hub in a cluster: judged by a real API server, by its own roles and tokens.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, dead_code)]

#[path = "../ingest/client.rs"]
mod client;
mod log;
mod outage;
mod people;
mod rights;
#[path = "../ingest/server.rs"]
mod server;
#[path = "../support/mod.rs"]
mod support;
mod tokens;

use std::net::SocketAddr;

use client::{Answer, connect, exchange, get, post};

/// One small update.
pub(crate) const UPDATE: &[u8] = b"{\"header\":{\"profileId\":\"p\"},\"body\":{\"xdmEntity\":{\"name\":\"x\"}}}\n";

pub(crate) fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

pub(crate) fn send(address: SocketAddr, token: &str) -> Answer {
    checked(post(address, &bearer(token), UPDATE))
}

pub(crate) fn read(address: SocketAddr, path: &str, token: &str) -> Answer {
    checked(get(address, path, &bearer(token)))
}

/// With a JSON body.
pub(crate) fn ask(address: SocketAddr, method: &str, path: &str, token: &str, body: &str) -> Answer {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{}\r\n{body}",
        body.len(),
        bearer(token)
    );
    checked(exchange(connect(address), request.as_bytes()))
}

/// Whatever is answered, no token is in it.
fn checked(answer: Answer) -> Answer {
    log::assert_no_token(&answer.head);
    log::assert_no_token(&answer.text);
    answer
}
