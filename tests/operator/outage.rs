//! The API server goes away, and an object that cannot be read: dataflows go on.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::controlplane::ControlPlane;
use crate::support::operator::{condition, is_ready};
use crate::world::{KEY, World, entry, write};

/// How long the API server is away.
const AWAY: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn dataflows_go_on_without_an_api_server_and_statuses_catch_up() {
    let cluster = ControlPlane::start();
    cluster.install_definitions();
    let world = World::of(&cluster).await;
    let mut operator = world.start(&[]);
    world.apply(&[&world.secret(KEY), &world.destination(), &world.activation("vip")]);
    operator.activation("vip", "Ready", is_ready);
    operator.send(&[entry("p", 0)]);
    operator.until_records(1);

    cluster.stop_api_server();
    let stopped = Instant::now();
    let mut sent = 1;
    while stopped.elapsed() < AWAY {
        operator.send(&(sent..sent + 10).map(|n| write("p", n)).collect::<Vec<_>>());
        sent += 10;
        operator.until_records(usize::try_from(sent).unwrap());
        std::thread::sleep(Duration::from_secs(1));
    }
    operator.until_said("the API server cannot be");
    assert_eq!(operator.probe("/readyz").0, 200, "what runs does not depend on it");
    assert_eq!(operator.probe("/livez").0, 200);
    cluster.start_api_server();
    let status = operator.activation("vip", "the count", |status| status["dataflow"]["exported"] == sent);
    assert!(is_ready(&status), "{status}");
    assert_eq!(world.told("p"), (0..sent).collect::<Vec<_>>());

    // A definition that lets through what this version cannot read.
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/crds/kinesisdestinations.yaml");
    let mut definition: serde_json::Value = serde_saphyr::from_str(&fs::read_to_string(folder).unwrap()).unwrap();
    let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/displayName";
    *definition.pointer_mut(spec).unwrap() = json!({"x-kubernetes-preserve-unknown-fields": true});
    cluster.kubectl_good(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &definition.to_string());
    let unreadable = json!({"spec": {"displayName": {"a": 1}}});
    let path = world.path("kinesisdestinations", "events");
    operator.wait("the new definition", || (cluster.client().merge(&path, &unreadable).status == 200).then_some(()));
    let status = operator.destination("the refusal", |status| condition(status, "Stalled").status == "True");
    let told = condition(&status, "Ready");
    assert_eq!((told.status.as_str(), told.reason.as_str()), ("False", "InvalidSpec"), "{told:?}");
    assert!(told.message.contains("cannot read the resource") && told.message.contains("goes on"), "{told:?}");
    assert_eq!(condition(&status, "CredentialsValid").status, "True", "what was known of it is still told");
    operator.send(&[write("p", sent)]);
    operator.until_records(usize::try_from(sent + 1).unwrap());
    let mended = r#"{"spec":{"displayName":"Events"}}"#;
    world.kubectl(&["patch", "kdest/events", "--type=merge", "-p", mended], "");
    operator.destination("Ready", is_ready);
    let (code, said) = operator.terminate();
    assert_eq!(code, Some(0), "{said}");
}
