//! Each route asks for the right that it needs, of callers whom the API server knows, and says what is missing.

use serde_json::{Value, json};

use crate::people::{AUDIENCE, Town, eventually};
use crate::support::controlplane::ControlPlane;
use crate::{ask, log, read, send};

const PROFILE: &str = "/v1/profiles/default/p";

fn on_profiles(verb: &str) -> Value {
    json!([{"apiGroups": ["activation.dev"], "resources": ["profiles"], "verbs": [verb]}])
}

fn on_path(verb: &str, path: &str) -> Value {
    json!([{"nonResourceURLs": [path], "verbs": [verb]}])
}

#[test]
fn each_route_takes_its_own_right_and_no_other() {
    let (town, data) = (Town::new(ControlPlane::shared()), tempfile::tempdir().unwrap());
    let server = town.serve(data.path());
    let address = server.address;
    let letters = format!("/v1/dead-letters/{}/vip", town.namespace);
    let other = format!("/v1/dead-letters/{}/other", town.namespace);
    // What is asked, and what comes of it where it is let in.
    let resend =
        |token: &str, letters: &str| ask(address, "POST", &format!("{letters}/resend"), token, "\"all\"").status;
    let routes = |token: &str| {
        [
            send(address, token).status,
            read(address, PROFILE, token).status,
            read(address, &letters, token).status,
            resend(token, &letters),
            ask(address, "POST", &format!("{letters}/drop"), token, "\"all\"").status,
            resend(token, &other),
            resend(token, "/v1/dead-letters/elsewhere/vip"),
            read(address, "/metrics", token).status,
            read(address, "/v1/log", token).status,
            ask(address, "PUT", "/v1/log", token, "{\"filter\": \"trace\"}").status,
        ]
    };
    let nobody = town.settle_with("nobody", &json!([]));
    assert_eq!(routes(&nobody), [403; 10]);
    let producer = town.settle_with("producer", &on_profiles("create"));
    assert_eq!(routes(&producer), [200, 403, 403, 403, 403, 403, 403, 403, 403, 403]);
    let reader = town.settle_with("reader", &on_profiles("get"));
    // There is no such dataflow; that is for the route to say.
    assert_eq!(routes(&reader), [403, 200, 404, 403, 403, 403, 403, 403, 403, 403]);
    let owner = town.settle_with(
        "owner",
        &json!([{"apiGroups": ["activation.dev"], "resources": ["audienceactivations"], "resourceNames": ["vip"],
            "verbs": ["update"]}]),
    );
    assert_eq!(routes(&owner), [403, 403, 403, 404, 404, 403, 403, 403, 403, 403]);
    let scraper = town.settle_with("scraper", &json!([]));
    town.grant_paths("scraper", &on_path("get", "/metrics"));
    assert_eq!(routes(&scraper), [403, 403, 403, 403, 403, 403, 403, 200, 403, 403]);
    let watcher = town.settle_with("watcher", &json!([]));
    town.grant_paths("watcher", &on_path("get", "/v1/log"));
    assert_eq!(routes(&watcher), [403, 403, 403, 403, 403, 403, 403, 403, 200, 403]);
    let admin = town.settle_with("admin", &json!([]));
    town.grant_paths("admin", &on_path("update", "/v1/log"));
    assert_eq!(routes(&admin), [403, 403, 403, 403, 403, 403, 403, 403, 403, 200]);
    assert_eq!(server.changes(), 1);
    log::assert_nothing_was_told();
    server.stop().unwrap();
}

#[test]
fn a_right_in_another_namespace_is_none_here() {
    let cluster = ControlPlane::shared();
    let (town, elsewhere, data) = (Town::new(cluster), Town::of_a_stranger(cluster), tempfile::tempdir().unwrap());
    let server = town.serve(data.path());
    let token = elsewhere.settle_with("producer", &on_profiles("create"));
    assert_eq!(send(server.address, &token).status, 403);
    server.stop().unwrap();
}

#[test]
fn a_refusal_says_which_right_is_missing_where_and_what_grants_it() {
    let (town, data) = (Town::new(ControlPlane::shared()), tempfile::tempdir().unwrap());
    let server = town.serve(data.path());
    let namespace = &town.namespace;
    let token = town.settle_with("nobody", &json!([]));
    let user = format!("system:serviceaccount:{namespace}:nobody");
    let letters = "/v1/dead-letters/shop/vip/resend";
    let answers = [
        (
            send(server.address, &token),
            format!(
                "{user} may not create profiles.activation.dev in namespace {namespace}: give it the chart's ClusterRole that ends in -ingest-profiles, or another that grants this, by a RoleBinding in namespace {namespace}"
            ),
        ),
        (
            ask(server.address, "POST", letters, &token, "\"all\""),
            format!(
                "{user} may not update audienceactivations.activation.dev \"vip\" in namespace shop: give it the chart's ClusterRole that ends in -activate-destinations, or another that grants this, by a RoleBinding in namespace shop"
            ),
        ),
        (
            read(server.address, "/metrics", &token),
            format!(
                "{user} may not get the path /metrics: give it the chart's ClusterRole that ends in -metrics, or another that grants this, by a ClusterRoleBinding"
            ),
        ),
    ];
    for (answer, message) in answers {
        assert_eq!((answer.status, answer.error()), (403, message));
    }
    let metrics = server.metrics.encode().unwrap();
    for line in [
        "activation_refused_requests_total{right=\"ingest\",reason=\"forbidden\"} 1\n",
        "activation_refused_requests_total{right=\"change_dead_letters\",reason=\"forbidden\"} 1\n",
        "activation_refused_requests_total{right=\"read_metrics\",reason=\"forbidden\"} 1\n",
        "activation_ingest_requests_total{code=\"403\"} 1\n",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    server.stop().unwrap();
}

#[test]
fn a_right_that_is_granted_counts_soon() {
    let (town, data) = (Town::new(ControlPlane::shared()), tempfile::tempdir().unwrap());
    let server = town.serve(data.path());
    town.settle("late");
    let token = town.token("late", Some(AUDIENCE));
    assert_eq!(send(server.address, &token).status, 403);
    town.grant("late", &on_profiles("create"));
    eventually("the granted right counts", || send(server.address, &token).status == 200);
    server.stop().unwrap();
}

#[test]
fn an_operator_that_may_not_ask_lets_nobody_in_and_says_what_it_lacks() {
    let (town, data) = (Town::of_a_stranger(ControlPlane::shared()), tempfile::tempdir().unwrap());
    let server = town.serve(data.path());
    let token = town.settle_with("producer", &on_profiles("create"));
    let answer = send(server.address, &token);
    assert_eq!((answer.status, answer.header("Retry-After")), (503, Some("5")), "{answer:?}");
    assert!(answer.error().contains("system:auth-delegator"), "{}", answer.error());
    assert_eq!(server.changes(), 0);
    server.stop().unwrap();
}
