#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::json;

use super::*;

const OURS: &str = "shop";

fn key(name: &str) -> ObjectKey {
    ObjectKey::new(OURS, name)
}

fn destination(name: &str, secret: &str, key: &str) -> KinesisDestination {
    serde_json::from_value(json!({
        "apiVersion": "activation.dev/v1alpha1", "kind": "KinesisDestination",
        "metadata": {"name": name, "namespace": OURS, "uid": name},
        "spec": {"region": "eu-west-1", "stream": {"name": "s"},
            "credentials": {"secretRef": {"name": secret, "accessKeyIdKey": key}}},
    }))
    .unwrap()
}

fn activation(name: &str, destination: &str) -> AudienceActivation {
    serde_json::from_value(json!({
        "apiVersion": "activation.dev/v1alpha1", "kind": "AudienceActivation",
        "metadata": {"name": name, "namespace": OURS, "uid": name},
        "spec": {"destinationRef": {"name": destination}, "audiences": [{"id": "a"}]},
    }))
    .unwrap()
}

fn there(destinations: &[&str], activations: &[&str]) -> Presence {
    let of = |about, names: &[&str]| -> Vec<(Named, String)> {
        names.iter().map(|name| ((about, key(name)), (*name).to_owned())).collect()
    };
    of(About::Destination, destinations).into_iter().chain(of(About::Activation, activations)).collect()
}

fn secret(version: &str) -> FoundSecret {
    let data = ["id", "secretAccessKey", "other", "second"].map(|key| (key.to_owned(), version.as_bytes().to_vec()));
    FoundSecret::Present(Secret { data: data.into(), resource_version: version.to_owned() })
}

fn bring<K: Kind>(stock: &mut Stock, object: K, found: Vec<(&str, u64, FoundSecret)>) {
    stock.names((K::ABOUT, ObjectKey::of(&object)), object.secrets());
    stock.bring(object, found.into_iter().map(|(name, ticket, found)| (name.to_owned(), ticket, found)).collect());
}

fn refusal(uid: &str) -> Refusal {
    Refusal {
        uid: uid.to_owned(),
        generation: Some(1),
        reason: Reason::InvalidSpec,
        message: "mend it".to_owned(),
        status: None,
    }
}

fn keys(seen: &Seen, name: &str) -> Vec<String> {
    seen.inventory.secrets[&key(name)].data.keys().cloned().collect()
}

#[test]
fn of_a_secret_the_named_keys_alone_are_kept_for_all_that_name_it() {
    let mut stock = Stock::default();
    bring(&mut stock, destination("one", "aws", "id"), vec![("aws", 1, secret("v1"))]);
    let seen = stock.take_stock(&there(&["one"], &[]), &Inventory::default()).unwrap();
    assert_eq!(keys(&seen, "aws"), ["id", "secretAccessKey"]);
    bring(&mut stock, destination("two", "aws", "second"), vec![("aws", 2, secret("v1"))]);
    let seen = stock.take_stock(&there(&["one", "two"], &[]), &Inventory::default()).unwrap();
    assert_eq!(keys(&seen, "aws"), ["id", "second", "secretAccessKey"]);
}

#[test]
fn a_look_that_began_earlier_does_not_undo_a_later_one() {
    let mut stock = Stock::default();
    let (early, late) = (stock.ticket(), stock.ticket());
    bring(&mut stock, destination("one", "aws", "id"), vec![("aws", late, secret("v2"))]);
    bring(&mut stock, destination("two", "aws", "id"), vec![("aws", early, secret("v1"))]);
    let seen = stock.take_stock(&there(&["one", "two"], &[]), &Inventory::default()).unwrap();
    assert_eq!(seen.inventory.secrets[&key("aws")].resource_version, "v2");
    let later = stock.ticket();
    bring(&mut stock, destination("two", "aws", "id"), vec![("aws", later, FoundSecret::Forbidden)]);
    let seen = stock.take_stock(&there(&["one", "two"], &[]), &seen.inventory).unwrap();
    assert!(seen.inventory.secrets.is_empty() && seen.inventory.forbidden_secrets.contains(&key("aws")));
}

#[test]
fn what_is_gone_leaves_with_the_secrets_that_nobody_names_any_more() {
    let mut stock = Stock::default();
    bring(&mut stock, destination("one", "aws", "id"), vec![("aws", 1, secret("v1"))]);
    bring(&mut stock, destination("two", "gcp", "id"), vec![("gcp", 2, FoundSecret::Forbidden)]);
    bring(&mut stock, activation("vip", "one"), vec![]);
    assert_eq!(stock.who_names(&key("aws")), [(About::Destination, key("one"))]);
    assert_eq!(stock.who_names_any(|namespace| namespace == OURS).len(), 2);
    let seen = stock.take_stock(&there(&["one"], &[]), &Inventory::default()).unwrap();
    assert_eq!(seen.inventory.destinations.keys().collect::<Vec<_>>(), [&key("one")]);
    assert!(seen.inventory.activations.is_empty() && seen.inventory.forbidden_secrets.is_empty());
    let seen = stock.take_stock(&there(&[], &[]), &seen.inventory).unwrap();
    assert_eq!(seen.inventory, Inventory::default());
    assert_eq!(stock.who_names(&key("aws")), []);
}

#[test]
fn a_secret_that_changes_while_it_is_looked_for_is_not_missed() {
    let mut stock = Stock::default();
    stock.names((About::Destination, key("one")), destination("one", "aws", "id").secrets());
    assert_eq!(stock.who_names(&key("aws")), [(About::Destination, key("one"))]);
    assert_eq!(stock.who_names(&ObjectKey::new("elsewhere", "aws")), []);
}

#[test]
fn the_world_is_whole_once_everything_that_is_there_was_tried() {
    let mut stock = Stock::default();
    let present = there(&["one", "two"], &["vip"]);
    bring(&mut stock, activation("vip", "one"), vec![]);
    bring(&mut stock, destination("one", "aws", "id"), vec![]);
    assert!(!stock.take_stock(&present, &Inventory::default()).unwrap().is_whole);
    stock.fail((About::Destination, key("two")));
    assert!(stock.take_stock(&present, &Inventory::default()).unwrap().is_whole);
    stock.refuse((About::Destination, key("two")), refusal("two"));
    assert!(stock.take_stock(&present, &Inventory::default()).unwrap().is_whole);
}

#[test]
fn nobody_is_told_that_a_destination_does_not_exist_which_is_not_read_yet() {
    let mut stock = Stock::default();
    bring(&mut stock, activation("vip", "one"), vec![]);
    let present = there(&["one"], &["vip"]);
    let seen = stock.take_stock(&present, &Inventory::default()).unwrap();
    assert!(seen.inventory.activations.is_empty(), "it waits");
    bring(&mut stock, destination("one", "aws", "id"), vec![]);
    let seen = stock.take_stock(&present, &seen.inventory).unwrap();
    assert_eq!(seen.inventory.activations.len(), 1);

    // What runs goes on as it was while the destination that it names by now is not read yet.
    bring(&mut stock, activation("vip", "two"), vec![]);
    let present = there(&["one", "two"], &["vip"]);
    let seen = stock.take_stock(&present, &seen.inventory).unwrap();
    assert_eq!(seen.inventory.activations[&key("vip")].spec.destination_ref.name, "one");
    // One that does not exist is told so at once.
    let seen = stock.take_stock(&there(&["one"], &["vip"]), &seen.inventory).unwrap();
    assert_eq!(seen.inventory.activations[&key("vip")].spec.destination_ref.name, "two");
}

#[test]
fn nobody_is_refused_for_labels_that_are_not_known_yet() {
    let mut stock = Stock::default();
    let mut shared = destination("one", "aws", "id");
    shared.spec.allowed_namespaces.from = NamespacesFrom::Selector;
    bring(&mut stock, shared, vec![]);
    let mut foreign = activation("vip", "one");
    foreign.metadata.namespace = Some("crm".to_owned());
    foreign.spec.destination_ref.namespace = Some(OURS.to_owned());
    let foreign_key = ObjectKey::of(&foreign);
    bring(&mut stock, foreign, vec![]);
    let mut present = there(&["one"], &[]);
    present.insert((About::Activation, foreign_key.clone()), "vip".to_owned());
    let shown = |seen: &Seen| seen.inventory.activations.contains_key(&foreign_key);
    let seen = stock.take_stock(&present, &Inventory::default()).unwrap();
    assert!(!shown(&seen) && seen.is_whole);
    stock.label("crm", Some(&BTreeMap::new()));
    let seen = stock.take_stock(&present, &seen.inventory).unwrap();
    assert!(shown(&seen));
    stock.label("crm", None);
    stock.forbid_labels("crm");
    assert!(shown(&stock.take_stock(&present, &Inventory::default()).unwrap()));
}

#[test]
fn a_refusal_keeps_what_was_known_and_ends_with_the_next_good_look_or_with_its_object() {
    let mut stock = Stock::default();
    let present = there(&["one"], &["vip"]);
    bring(&mut stock, destination("one", "aws", "id"), vec![]);
    bring(&mut stock, activation("vip", "one"), vec![]);
    stock.refuse((About::Destination, key("one")), refusal("one"));
    let seen = stock.take_stock(&present, &Inventory::default()).unwrap();
    assert_eq!((seen.refused.len(), seen.inventory.destinations.len()), (1, 1));
    bring(&mut stock, destination("one", "aws", "id"), vec![]);
    assert!(stock.take_stock(&present, &seen.inventory).unwrap().refused.is_empty());
    stock.refuse((About::Destination, key("one")), refusal("an earlier one of that name"));
    assert!(stock.take_stock(&present, &seen.inventory).unwrap().refused.is_empty());
}

#[test]
fn an_activation_of_a_destination_that_was_never_readable_says_so() {
    let mut stock = Stock::default();
    bring(&mut stock, activation("vip", "one"), vec![]);
    stock.refuse((About::Destination, key("one")), refusal("one"));
    let seen = stock.take_stock(&there(&["one"], &["vip"]), &Inventory::default()).unwrap();
    assert_eq!(seen.refused[&(About::Activation, key("vip"))].reason, Reason::DestinationNotReady);
    assert!(seen.is_whole);
}

#[test]
fn nothing_new_is_nothing_to_see() {
    let mut stock = Stock::default();
    let present = there(&["one"], &[]);
    bring(&mut stock, destination("one", "aws", "id"), vec![]);
    let seen = stock.take_stock(&present, &Inventory::default()).unwrap();
    assert_eq!(stock.take_stock(&present, &seen.inventory), None);
    let labels = [("team".to_owned(), "crm".to_owned())].into();
    assert!(stock.label("shop", Some(&labels)));
    let seen = stock.take_stock(&present, &seen.inventory).unwrap();
    assert_eq!(seen.inventory.namespaces["shop"]["team"], "crm");
    assert!(!stock.label("shop", Some(&labels)));
    assert!(stock.drained("u") && !stock.drained("u") && stock.is_drained("u"));
}

#[test]
fn what_has_left_is_let_go_of_once_stopped_and_not_where_it_has_come_back() {
    let mut stock = Stock::default();
    stock.leave(key("vip"), "vip".to_owned());
    stock.leave(key("back"), "back".to_owned());
    stock.take_stock(&there(&[], &["back"]), &Inventory::default());
    assert_eq!(stock.take_left(|_| false), []);
    assert_eq!(stock.take_left(|_| true), [(key("vip"), "vip".to_owned())]);
    assert_eq!(stock.take_left(|_| true), []);
}
