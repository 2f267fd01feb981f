//! The operator ends and comes back, and there is one of it.

use crate::support::operator::{condition, is_ready};
use crate::world::{KEY, World, entry, write};

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_positions_and_when_audiences_were_mapped() {
    let world = World::new().await;
    let mut operator = world.start(&[]);
    world.apply(&[&world.secret(KEY), &world.destination(), &world.activation("vip")]);
    operator.activation("vip", "Ready", is_ready);
    operator.send(&[entry("p", 0)]);
    operator.until_records(1);
    let before = operator.activation("vip", "the count", |status| status["dataflow"]["exported"] == 1);
    let created = before["audiences"][0]["mappingCreatedAt"].clone();
    assert!(!created.is_null());
    let (code, said) = operator.terminate();
    assert_eq!(code, Some(0), "{said}");
    // The last status was told before it ended, and nothing is made up while nobody looks.
    let at_rest = world.get("audienceactivations", "vip");
    assert_eq!(at_rest["status"]["dataflow"]["exported"], 1, "{at_rest}");

    let mut operator = world.start(&[]);
    operator.until_said("start");
    operator.send(&[write("p", 1)]);
    operator.until_records(2);
    let after = operator.activation("vip", "the count", |status| status["dataflow"]["exported"] == 2);
    assert_eq!(after["audiences"][0]["mappingCreatedAt"], created, "{after}");
    assert_eq!(world.told("p"), [0, 1]);
    world.apply(&[&world.activation("vip")]);
    let again = operator.activation("vip", "Ready", is_ready);
    assert_eq!(again["audiences"][0]["mappingCreatedAt"], created, "{again}");
    assert_eq!(condition(&again, "Ready").reason, "Succeeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_data_refuses_clearly() {
    let world = World::new().await;
    let mut first = world.start(&[]);
    first.url("updates");
    let mut second = world.start(&[]);
    let (code, said) = second.ended();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("in use by another process"), "{said}");
    assert_eq!(first.probe("/livez").0, 200);
}
