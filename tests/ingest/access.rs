//! Who is let in, by which certificate, and what stands beside ingest: reading, probes, metrics, wrong paths.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use activation_operator::runtime::http::{self, Probes, TlsFiles};
use activation_operator::telemetry::clock;
use activation_operator::telemetry::health::{Heartbeats, Readiness};
use rustls::pki_types::CertificateDer;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::client::{connect, connect_tls, exchange, get, get_request, post, request};
use crate::server::{Options, Server};
use crate::update;

/// Waits until it holds.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_mins(1), "never: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn without_a_known_token_nothing_but_the_probes_answers() {
    let (data, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, "secret-1\nsecret-2\n").unwrap();
    let server = Server::start_with(data.path(), Options { token_file: Some(&tokens), ..Options::default() });
    let body = update("p", "x");
    for (headers, challenge) in [
        ("", "Bearer"),
        ("Authorization: Bearer wrong\r\n", "Bearer error=\"invalid_token\""),
        ("Authorization: Bearer \r\n", "Bearer error=\"invalid_token\""),
        ("Authorization: Basic secret-1\r\n", "Bearer error=\"invalid_token\""),
    ] {
        for answer in
            [post(server.address, headers, body.as_bytes()), get(server.address, "/v1/profiles/default/p", headers)]
        {
            assert_eq!((answer.status, answer.header("WWW-Authenticate")), (401, Some(challenge)), "{headers}");
            assert!(answer.error().contains("Authorization: Bearer TOKEN"), "{}", answer.error());
            assert!(!answer.text.contains("secret"), "{}", answer.text);
        }
    }
    assert_eq!(server.changes(), 0);
    for token in ["secret-1", "secret-2"] {
        let headers = format!("Authorization: bearer {token}\r\n");
        assert_eq!(post(server.address, &headers, body.as_bytes()).status, 200);
    }
    for open in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(get(server.address, open, "").status, 200, "{open}");
    }
    let refused = "activation_ingest_requests_total{code=\"401\"} 4\n";
    assert!(get(server.address, "/metrics", "").text.contains(refused));

    std::fs::write(&tokens, "secret-3\n").unwrap();
    let with = |token| post(server.address, &format!("Authorization: Bearer {token}\r\n"), body.as_bytes()).status;
    eventually("the new token is known", || with("secret-3") == 200);
    assert_eq!(with("secret-1"), 401);
    server.stop().unwrap();
}

#[test]
fn a_large_body_with_a_wrong_token_gets_to_read_why() {
    let (data, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, "secret\n").unwrap();
    let server = Server::start_with(data.path(), Options { token_file: Some(&tokens), ..Options::default() });
    assert_eq!(post(server.address, "", &vec![b'x'; 8 << 20]).status, 401);
    server.stop().unwrap();
}

#[test]
fn off_loopback_the_metrics_take_a_token_and_the_probes_do_not() {
    let (data, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, "secret").unwrap();
    let options = Options { token_file: Some(&tokens), network: true, ..Options::default() };
    let server = Server::start_with(data.path(), options);
    assert_eq!(get(server.address, "/metrics", "").status, 401);
    assert_eq!(get(server.address, "/metrics", "Authorization: Bearer secret\r\n").status, 200);
    assert_eq!(get(server.address, "/livez", "").status, 200);
    assert_eq!(get(server.address, "/readyz", "").status, 200);
    server.stop().unwrap();
}

fn write_certificate(files: &TlsFiles) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(&files.certificate, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

fn files_in(folder: &Path) -> TlsFiles {
    TlsFiles { certificate: folder.join("tls.crt"), key: folder.join("tls.key") }
}

#[test]
fn tls_is_spoken_and_a_changed_certificate_taken_up() {
    let (data, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let files = files_in(folder.path());
    let first = write_certificate(&files);
    let options = Options { tls: Some(files.clone()), ..Options::default() };
    let server = Server::start_with(data.path(), options);
    let trusting =
        |certificate: &CertificateDer<'static>| connect_tls(server.address, std::slice::from_ref(certificate));
    let answer = exchange(trusting(&first).unwrap(), &request("", update("p", "x").as_bytes()));
    assert_eq!(answer.json()["accepted"], 1);

    // Half a change: the key alone is already another. The pair that goes together stays.
    let other = tempfile::tempdir().unwrap();
    let next = files_in(other.path());
    let second = write_certificate(&next);
    std::fs::copy(&next.key, &files.key).unwrap();
    std::thread::sleep(Duration::from_secs(3));
    assert!(trusting(&first).is_ok());

    std::fs::copy(&next.certificate, &files.certificate).unwrap();
    eventually("the new certificate is in use", || trusting(&second).is_ok());
    assert!(trusting(&first).is_err());
    assert_eq!(exchange(trusting(&second).unwrap(), get_request("/livez", "").as_bytes()).status, 200);
    server.stop().unwrap();
}

#[test]
fn a_certificate_that_cannot_be_used_is_named_and_nothing_is_served() {
    let (data, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let files = files_in(folder.path());
    let other = files_in(data.path());
    write_certificate(&files);
    write_certificate(&other);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let refusal = |tls: TlsFiles| {
        let listener = activation_operator::runtime::http::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let serving = activation_operator::runtime::http::serve(
            listener,
            axum::Router::new(),
            Some(tls),
            tokio_util::sync::CancellationToken::new(),
        );
        runtime.block_on(serving).unwrap_err().to_string()
    };
    let missing = TlsFiles { key: folder.path().join("none"), ..files.clone() };
    assert!(refusal(missing).contains("none cannot be read"));
    let swapped = TlsFiles { certificate: files.key.clone(), key: files.certificate.clone() };
    assert!(refusal(swapped).contains("tls.key holds no certificate"));
    let no_key = TlsFiles { key: files.certificate.clone(), ..files.clone() };
    assert!(refusal(no_key).contains("tls.crt holds no private key"));
    let mismatch = TlsFiles { key: other.key, ..files };
    assert!(refusal(mismatch).contains("cannot be used together"));
}

#[test]
fn a_profile_is_read_by_its_ids_whatever_characters_they_have() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let body =
        "{\"header\":{\"profileId\":\"a/b \u{fc}%\",\"mergePolicyId\":\"m?1\"},\"body\":{\"xdmEntity\":{\"n\":1.50}}}";
    assert_eq!(post(server.address, "", body.as_bytes()).status, 200);
    let answer = get(server.address, "/v1/profiles/m%3F1/a%2Fb%20%C3%BC%25", "");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.text.contains("\"profile\":{\"n\":1.50}"), "{}", answer.text);
    let json = answer.json();
    assert_eq!(
        (&json["profileId"], &json["mergePolicyId"], &json["version"]),
        (&json!("a/b \u{fc}%"), &json!("m?1"), &json!(1))
    );
    assert!(json["time"].as_str().unwrap().ends_with('Z'));
    let missing = get(server.address, "/v1/profiles/default/a", "");
    assert_eq!(missing.status, 404);
    assert!(missing.error().starts_with("there is no such profile"), "{}", missing.error());
    assert_eq!(get(server.address, "/v1/profiles/default/%FF", "").status, 400);
    server.stop().unwrap();
}

#[test]
fn a_wrong_path_or_method_says_what_there_is() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let nothing = get(server.address, "/v2/profiles", "");
    assert_eq!(nothing.status, 404);
    assert!(nothing.error().contains("POST /v1/profiles"), "{}", nothing.error());
    let method = get(server.address, "/v1/profiles", "");
    assert_eq!(method.status, 405);
    assert_eq!(method.header("Allow"), Some("POST"));
    method.error();
    server.stop().unwrap();
}

#[test]
fn the_probes_say_which_loop_stands_still_and_what_is_missing() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let stuck = server.heartbeats.watch("dataflow shop/vip", Duration::ZERO, clock::monotonic());
    std::thread::sleep(Duration::from_millis(5));
    let live = get(server.address, "/livez", "");
    assert_eq!(live.status, 503);
    assert!(live.error().contains("dataflow shop/vip stands still"), "{}", live.error());
    drop(stuck);
    assert_eq!(get(server.address, "/livez", "").status, 200);
    server.readiness.shut("manifests", "not read yet");
    let ready = get(server.address, "/readyz", "");
    assert_eq!((ready.status, ready.error().as_str()), (503, "not ready: manifests: not read yet"));
    server.readiness.open("manifests");
    assert_eq!(get(server.address, "/readyz", "").status, 200);
    server.stop().unwrap();
}

#[test]
fn the_metrics_tell_of_ingest_log_and_store() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    post(server.address, "", (update("p", "x") + &update("p", "y") + "[]").as_bytes());
    post(server.address, "", b"");
    let metrics = get(server.address, "/metrics", "");
    assert!(metrics.header("Content-Type").unwrap().starts_with("application/openmetrics-text"));
    for line in [
        "activation_ingest_requests_total{code=\"200\"} 1\n",
        "activation_ingest_requests_total{code=\"400\"} 1\n",
        "activation_ingest_lines_total{outcome=\"accepted\"} 2\n",
        "activation_ingest_lines_total{outcome=\"rejected\"} 1\n",
        "activation_log_first 1\n",
        "activation_log_head 3\n",
        "activation_hub_queued_bytes 0\n",
    ] {
        assert!(metrics.text.contains(line), "{line} in {}", metrics.text);
    }
    assert!(metrics.text.ends_with("# EOF\n"));
    server.stop().unwrap();
}

#[test]
fn a_head_that_never_ends_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let large = format!("X-Large: {}\r\n", "x".repeat(400 << 10));
    let mut stream = connect(server.address);
    // The server stops reading and closes, so sending may fail, and the answer may be lost with the rest.
    let _ = stream.write_all(get_request("/livez", &large).as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431 "), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(get(server.address, "/livez", "").status, 200);
    server.stop().unwrap();
}

#[test]
fn the_probes_have_a_listener_of_their_own_where_nothing_else_is() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let readiness = Readiness::default();
    let routes = http::probes(Probes { heartbeats: Heartbeats::default(), readiness: readiness.clone(), hub: None });
    let listener = http::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let serving = runtime.spawn(http::serve(listener, routes, None, shutdown.clone()));
    readiness.shut("watches", "not synced yet");
    assert_eq!((get(address, "/livez", "").status, get(address, "/readyz", "").status), (200, 503));
    readiness.open("watches");
    assert_eq!(get(address, "/readyz", "").status, 200);
    for elsewhere in ["/metrics", "/v1/profiles/default/p", "/v1/log"] {
        assert_eq!(get(address, elsewhere, "").status, 404, "{elsewhere}");
    }
    assert_eq!(post(address, "", b"{}").status, 404);
    shutdown.cancel();
    runtime.block_on(serving).unwrap().unwrap();
}
