#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tempfile::TempDir;

use super::*;

const DESTINATION_YAML: &str = "\
apiVersion: activation.dev/v1alpha1
kind: KinesisDestination
metadata: {name: events, namespace: marketing}
spec:
  region: eu-west-1
  stream: {name: profiles}
  credentials: {secretRef: {name: aws}}
";

fn activation(name: &str) -> String {
    format!(
        "apiVersion: activation.dev/v1alpha1\nkind: AudienceActivation\nmetadata: {{name: {name}, namespace: marketing}}\n\
         spec: {{destinationRef: {{name: events}}, audiences: [{{id: a1}}]}}\n"
    )
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn read_all(files: &[(&str, &str)]) -> ManifestSet {
    read(folder(files).path())
}

/// The only problem of one file's text, without the folder in front.
fn problem(text: &str) -> ManifestProblem {
    let folder = folder(&[("m.yaml", text)]);
    let mut set = read(folder.path());
    assert_eq!(set.problems.len(), 1, "{:?}", set.problems);
    let mut problem = set.problems.remove(0);
    problem.place = problem.place.replace(&format!("{}/", folder.path().display()), "");
    problem
}

#[test]
fn a_folder_is_read_by_name_with_many_documents_a_file() {
    let two = format!("{DESTINATION_YAML}---\n{}---\n{}", activation("b2"), activation("b1"));
    let first = activation("z");
    let set = read_all(&[
        ("b.yml", &two),
        ("a.yaml", &first),
        ("c.JSON", r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"crm","labels":{"team":"x"}}}"#),
        (".hidden.yaml", "{"),
        ("notes.txt", "{"),
        ("a.yaml~", "{"),
    ]);
    assert_eq!(set.problems, []);
    let order: Vec<_> = set.order.iter().map(ToString::to_string).collect();
    assert_eq!(order, ["marketing/z", "marketing/b2", "marketing/b1"]);
    assert_eq!(set.inventory.destinations.len(), 1);
    let labels = &set.inventory.namespaces["crm"];
    assert_eq!((labels["team"].as_str(), labels["kubernetes.io/metadata.name"].as_str()), ("x", "crm"));
}

#[test]
fn folders_inside_are_not_read() {
    let folder = folder(&[("a.yaml", DESTINATION_YAML)]);
    fs::create_dir(folder.path().join("inside.yaml")).unwrap();
    fs::write(folder.path().join("inside.yaml/b.yaml"), "{").unwrap();
    let set = read(folder.path());
    assert_eq!((set.problems, set.inventory.destinations.len()), (vec![], 1));
}

#[test]
fn one_file_may_have_any_name() {
    let folder = folder(&[("manifests", DESTINATION_YAML)]);
    assert_eq!(read(&folder.path().join("manifests")).inventory.destinations.len(), 1);
}

#[test]
fn a_list_is_its_items() {
    let set = read_all(&[(
        "list.json",
        r#"{"apiVersion":"v1","kind":"List","items":[
            {"apiVersion":"v1","kind":"Secret","metadata":{"name":"aws"},"stringData":{"accessKeyId":"x"}},
            {"apiVersion":"activation.dev/v1alpha1","kind":"AudienceActivation","metadata":{"name":"vip"},
             "spec":{"destinationRef":{"name":"events"},"audiences":[{"id":"a1"}]}}]}"#,
    )]);
    assert_eq!(set.problems, []);
    assert_eq!(set.inventory.secrets[&ObjectKey::new("default", "aws")].data["accessKeyId"], b"x");
    let key = ObjectKey::new("default", "vip");
    assert_eq!(set.inventory.activations[&key].metadata.namespace.as_deref(), Some("default"));
    let nested = "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: List, items: []}]\n";
    let problem = problem(nested);
    assert_eq!(problem.place, "m.yaml, document 1, item 1");
    assert!(problem.message.starts_with("a List inside a List"), "{problem}");
}

#[test]
fn each_refusal_names_the_place_and_the_mend() {
    let table = [
        ("- a\n", "m.yaml, document 1", "must be a mapping with apiVersion and kind, but is an array"),
        ("text\n", "m.yaml, document 1", "must be a mapping with apiVersion and kind, but is a string"),
        ("kind: AudienceActivation\n", "m.yaml, document 1", "apiVersion or kind is missing"),
        ("{apiVersion: v1, kind: 7}\n", "m.yaml, document 1", "apiVersion or kind is missing"),
        (
            "{apiVersion: activation.dev/v1, kind: AudienceActivation}\n",
            "m.yaml, document 1",
            "apiVersion \"activation.dev/v1\" is not known for kind AudienceActivation: write apiVersion: activation.dev/v1alpha1",
        ),
        (
            "{apiVersion: v1, kind: KinesisDestination}\n",
            "m.yaml, document 1",
            "apiVersion \"v1\" is not known for kind KinesisDestination",
        ),
        (
            "{apiVersion: activation.dev/v1alpha1, kind: Destination}\n",
            "m.yaml, document 1",
            "kind \"Destination\" is not known in activation.dev: it knows KinesisDestination and AudienceActivation",
        ),
        ("{apiVersion: v1, kind: List}\n", "m.yaml, document 1", "items is missing"),
        (
            "{apiVersion: v1, kind: Secret, metadata: {namespace: x}}\n",
            "m.yaml, document 1, Secret",
            "metadata.name is missing",
        ),
        (
            "{apiVersion: v1, kind: Secret, metadata: {name: a, namespace: 7}}\n",
            "m.yaml, document 1, Secret",
            "metadata.namespace is empty or no text",
        ),
        (
            "{apiVersion: v1, kind: Secret, metadata: {name: a}, data: {k: '!'}}\n",
            "m.yaml, document 1, Secret default/a",
            "data: the value of \"k\" is not base64",
        ),
        (
            "{apiVersion: v1, kind: Namespace, metadata: {name: a, labels: {k: 1}}}\n",
            "m.yaml, document 1, Namespace a",
            "metadata.labels: the value of \"k\" is no text",
        ),
        ("a: [\n", "m.yaml, document 1", "is not valid YAML"),
    ];
    for (text, place, message) in table {
        let problem = problem(text);
        assert_eq!((problem.place.as_str(), problem.ignored), (place, false), "{text}");
        assert!(problem.message.starts_with(message), "{text}: {problem}");
    }
}

#[test]
fn one_of_ours_that_its_rules_refuse_is_told_with_the_field() {
    let problem = problem(
        "apiVersion: activation.dev/v1alpha1\nkind: AudienceActivation\nmetadata: {name: vip}\nspec: {destinationRef: {name: events}, audiences: [{id: 7}]}\n",
    );
    assert_eq!(problem.place, "m.yaml, document 1, AudienceActivation default/vip");
    assert!(problem.message.starts_with("spec"), "{problem}");
}

#[test]
fn a_foreign_kind_is_passed_over_and_told() {
    let set = read_all(&[(
        "k.yaml",
        &format!("{{apiVersion: kustomize.config.k8s.io/v1beta1, kind: Kustomization}}\n---\n{DESTINATION_YAML}"),
    )]);
    assert!(set.problems[0].ignored && !set.has_refusal(), "{:?}", set.problems);
    assert!(set.problems[0].message.contains("not one of ours"));
    assert_eq!(set.inventory.destinations.len(), 1);
}

#[test]
fn the_second_of_one_name_is_refused_and_says_where_the_first_is() {
    let changed = DESTINATION_YAML.replace("eu-west-1", "us-east-2");
    let folder = folder(&[("a.yaml", DESTINATION_YAML), ("b.yaml", &changed)]);
    let set = read(folder.path());
    assert_eq!(set.problems.len(), 1);
    assert!(set.problems[0].place.ends_with("b.yaml, document 1, KinesisDestination marketing/events"));
    assert!(set.problems[0].message.contains("a.yaml, document 1"), "{}", set.problems[0]);
    assert_eq!(set.inventory.destinations[&ObjectKey::new("marketing", "events")].spec.region, "eu-west-1");
}

#[test]
fn a_refused_document_leaves_those_around_it() {
    let set = read_all(&[("a.yaml", &format!("{DESTINATION_YAML}---\n- x\n---\n{}", activation("vip")))]);
    assert!(set.has_refusal());
    assert_eq!((set.inventory.destinations.len(), set.order.len()), (1, 1));
}

#[test]
fn a_file_over_16_mebibytes_is_refused() {
    let folder = folder(&[]);
    let file = File::create(folder.path().join("a.yaml")).unwrap();
    file.set_len(MAX_FILE_BYTES + 1).unwrap();
    let set = read(folder.path());
    assert!(set.problems[0].message.starts_with("is over 16 MiB"), "{:?}", set.problems);
}

#[test]
fn what_is_no_utf_8_is_refused_with_its_place() {
    let folder = folder(&[]);
    fs::write(folder.path().join("a.yaml"), b"a: \xff").unwrap();
    assert!(read(folder.path()).problems[0].message.contains("UTF-8 at column 4"));
}

#[test]
fn a_path_that_is_not_there_and_an_empty_folder_are_told() {
    assert!(read(Path::new("/nowhere/at/all")).has_refusal());
    let set = read_all(&[]);
    assert!(set.problems.len() == 1 && !set.has_refusal(), "{:?}", set.problems);
}

#[test]
fn no_value_of_a_secret_is_ever_in_a_message() {
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: aws}\n";
    let bodies = [
        "stringData:\n  secretAccessKey: hunter2\n hunter2: x\n",
        "stringData: {a: [hunter2]}\n",
        "data: {a: hunter2, b: 'hunter2='}\n",
        "data: hunter2\n",
        "stringData:\n  a: 'hunter2\n",
        "stringData:\n  a: hunter2\n  a: hunter2\n",
        "stringData:\n  a: *hunter2\n",
    ];
    for body in bodies {
        let set = read_all(&[("s.yaml", &format!("{secret}{body}"))]);
        assert!(set.has_refusal(), "{body}");
        let told = format!("{set:?}{}", set.problems.iter().map(ToString::to_string).collect::<String>());
        assert!(!told.contains("hunter2"), "{body}: {told}");
    }
}
