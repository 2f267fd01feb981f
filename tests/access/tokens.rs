//! Which tokens count: those that the API server made for the hub, and that still hold.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, SigningKey as _};
use serde_json::{Value, json};

use crate::client::post;
use crate::people::{AUDIENCE, Town, eventually};
use crate::support::controlplane::ControlPlane;
use crate::{UPDATE, log, send};

/// How a token is got, which every refusal of one says.
const MEND: &str = "kubectl create token SERVICEACCOUNT --audience activation.dev";

fn producer(town: &Town<'_>) -> String {
    let rules = json!([{"apiGroups": ["activation.dev"], "resources": ["profiles"], "verbs": ["create"]}]);
    town.settle_with("producer", &rules)
}

/// The token with other claims, signed anew, as an API server would.
fn resigned(token: &str, key: &KeyPair, change: impl FnOnce(&mut Value)) -> String {
    let mut parts = token.split('.');
    let (header, claims) = (parts.next().unwrap(), URL_SAFE_NO_PAD.decode(parts.next().unwrap()).unwrap());
    let mut claims: Value = serde_json::from_slice(&claims).unwrap();
    change(&mut claims);
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = plain(&key.sign(signed.as_bytes()).unwrap());
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
    log::keep_secret(&token);
    token
}

/// An ECDSA signature as JWTs have it, of one in DER: a sequence of two numbers of up to 33 bytes.
fn plain(der: &[u8]) -> Vec<u8> {
    let (mut rest, mut out) = (&der[2..], Vec::new());
    while let [2, length, after @ ..] = rest {
        let (number, next) = after.split_at(usize::from(*length));
        let digits = &number[number.len().saturating_sub(32)..];
        out.extend(std::iter::repeat_n(0, 32 - digits.len()));
        out.extend(digits);
        rest = next;
    }
    assert_eq!(out.len(), 64);
    out
}

#[test]
fn a_token_counts_only_if_it_was_made_for_the_hub_by_this_cluster_and_still_holds() {
    let (town, data) = (Town::new(ControlPlane::shared()), tempfile::tempdir().unwrap());
    let server = town.serve(data.path());
    let good = producer(&town);
    let key = KeyPair::from_pem(&town.cluster.service_account_key()).unwrap();
    // That what follows is refused for what was changed.
    assert_eq!(send(server.address, &resigned(&good, &key, |_| ())).status, 200);
    let expired = resigned(&good, &key, |claims| {
        for (claim, earlier) in [("exp", 3600), ("iat", 7200), ("nbf", 7200)] {
            claims[claim] = json!(claims[claim].as_i64().unwrap() - earlier);
        }
    });
    let foreign = resigned(&good, &KeyPair::generate().unwrap(), |_| ());
    let promoted = {
        let parts: Vec<_> = good.split('.').collect();
        let claims = String::from_utf8(URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
        let claims = claims.replace("producer", "operator");
        format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(claims), parts[2])
    };
    let table = [
        (town.token("producer", None), "the token was not made for the audience activation.dev; "),
        (town.token("producer", Some("others.dev")), "the token was not made for the audience activation.dev; "),
        (expired, "the token has expired; "),
        (foreign, "the API server does not know the token; "),
        (promoted, "the API server does not know the token; "),
        ("not-a-token-of-any-kind".to_owned(), "the API server does not know the token; "),
        ("x".repeat(20_000), "the API server does not know the token; "),
    ];
    for (token, reason) in table {
        let answer = send(server.address, &token);
        assert_eq!(answer.status, 401, "{reason}: {answer:?}");
        assert_eq!(answer.header("WWW-Authenticate"), Some("Bearer error=\"invalid_token\""));
        assert!(answer.error().starts_with(reason) && answer.error().contains(MEND), "{}", answer.error());
    }
    let none = post(server.address, "", UPDATE);
    assert_eq!((none.status, none.header("WWW-Authenticate")), (401, Some("Bearer")));
    assert!(none.error().starts_with("no token: ") && none.error().contains(MEND), "{}", none.error());
    assert_eq!(send(server.address, &good).status, 200);
    let metrics = server.metrics.encode().unwrap();
    for line in ["reason=\"unauthenticated\"} 7\n", "reason=\"no_token\"} 1\n"] {
        let line = format!("activation_refused_requests_total{{right=\"ingest\",{line}");
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
    log::assert_nothing_was_told();
    server.stop().unwrap();
}

#[test]
fn a_token_of_an_account_that_was_deleted_counts_no_longer_than_the_answer_is_kept() {
    let (town, data) = (Town::new(ControlPlane::shared()), tempfile::tempdir().unwrap());
    let server = town.serve(data.path());
    let token = producer(&town);
    assert_eq!(send(server.address, &token).status, 200);
    let account = format!("/api/v1/namespaces/{}/serviceaccounts/producer", town.namespace);
    town.cluster.client().delete(&account).good();
    eventually("the token is refused", || send(server.address, &token).status == 401);
    // Another of the same name is another.
    town.settle("producer");
    assert_eq!(send(server.address, &token).status, 401);
    let fresh = town.token("producer", Some(AUDIENCE));
    eventually("the new account's token counts", || send(server.address, &fresh).status == 200);
    server.stop().unwrap();
}
