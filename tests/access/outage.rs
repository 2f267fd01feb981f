//! What is asked of the API server, and what happens while it is away.

use std::net::SocketAddr;
use std::sync::Barrier;
use std::thread;

use serde_json::json;

use crate::people::{AUDIENCE, Town, eventually};
use crate::support::controlplane::ControlPlane;
use crate::{log, send};

/// How many requests of a kind the API server has counted.
fn asked(cluster: &ControlPlane, resource: &str) -> u64 {
    let metrics = cluster.client().get("/metrics").body;
    let resource = format!("resource=\"{resource}\"");
    let counted = |line: &&str| line.starts_with("apiserver_request_total{") && line.contains(&resource);
    let lines = metrics.as_str().unwrap().lines().filter(counted);
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64).sum()
}

/// Statuses of so many requests at once.
fn burst(address: SocketAddr, token: &str, requests: usize) -> Vec<u16> {
    let together = Barrier::new(requests);
    thread::scope(|scope| {
        let one = || {
            together.wait();
            send(address, token).status
        };
        let all: Vec<_> = (0..requests).map(|_| scope.spawn(one)).collect();
        all.into_iter().map(|request| request.join().unwrap()).collect()
    })
}

#[test]
fn a_burst_asks_once_and_an_api_server_that_is_away_locks_out_strangers_alone() {
    let (cluster, data) = (ControlPlane::start(), tempfile::tempdir().unwrap());
    let town = Town::new(&cluster);
    let server = town.serve(data.path());
    let rules = json!([{"apiGroups": ["activation.dev"], "resources": ["profiles"], "verbs": ["create"]}]);
    let known = town.settle_with("producer", &rules);
    let stranger = town.token("producer", Some(AUDIENCE));

    let before = (asked(&cluster, "tokenreviews"), asked(&cluster, "subjectaccessreviews"));
    assert_eq!(burst(server.address, &known, 40), [200; 40]);
    assert_eq!(burst(server.address, "a-stranger-s-token-of-no-kind", 40), [401; 40]);
    let after = (asked(&cluster, "tokenreviews"), asked(&cluster, "subjectaccessreviews"));
    assert_eq!((after.0 - before.0, after.1 - before.1), (2, 1));

    // What it was asked just now still holds when it is away.
    let fresh = town.token("producer", Some(AUDIENCE));
    assert_eq!(send(server.address, &fresh).status, 200);
    cluster.stop_api_server();
    assert_eq!(send(server.address, &fresh).status, 200);
    let answer = send(server.address, &stranger);
    assert_eq!((answer.status, answer.header("Retry-After")), (503, Some("5")), "{answer:?}");
    assert!(answer.error().contains("send this request again in a moment"), "{}", answer.error());
    assert_eq!(burst(server.address, &stranger, 8), [503; 8]);
    assert_eq!(send(server.address, &fresh).status, 200);
    let metrics = server.metrics.encode().unwrap();
    let refused = "activation_refused_requests_total{right=\"ingest\",reason=\"unavailable\"} 9\n";
    assert!(metrics.contains(refused), "{metrics}");

    cluster.start_api_server();
    eventually("the stranger is known", || send(server.address, &stranger).status == 200);
    // Nine were turned away, and the log says so once.
    let of_the_outage = |line: &str| line.contains("are turned away") && !line.contains("auth-delegator");
    assert_eq!(log::count(of_the_outage), 1);
    log::assert_nothing_was_told();
    server.stop().unwrap();
}
