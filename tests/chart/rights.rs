//! What the operator's account may do, asked of the API server: what it must, and nothing beyond.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    NAMESPACE, RELEASE, cluster,
    helm::{CHART, Helm},
    namespace,
};

/// `verb group/resource`, for each that an account may do in a namespace, beyond what every account may.
fn granted(account: &str, within: &str) -> BTreeSet<String> {
    let ask = |user: &str| {
        let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": within}});
        let told = cluster()
            .kubectl_good(&["create", "--validate=false", "--as", user, "-o", "json", "-f", "-"], &review.to_string());
        let told: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(told["status"]["incomplete"], false, "{told}");
        let mut found = BTreeSet::new();
        let texts = |value: &Value| -> Vec<String> { serde_json::from_value(value.clone()).unwrap_or_default() };
        for rule in told["status"]["resourceRules"].as_array().unwrap() {
            let names =
                if rule["resourceNames"].is_null() { String::new() } else { format!(" {}", rule["resourceNames"]) };
            for verb in texts(&rule["verbs"]) {
                for group in texts(&rule["apiGroups"]) {
                    found.extend(
                        texts(&rule["resources"]).iter().map(|resource| format!("{verb} {group}/{resource}{names}")),
                    );
                }
            }
        }
        for rule in told["status"]["nonResourceRules"].as_array().unwrap() {
            for verb in texts(&rule["verbs"]) {
                found.extend(texts(&rule["nonResourceURLs"]).iter().map(|url| format!("{verb} {url}")));
            }
        }
        found
    };
    let everybody = ask(&format!("system:serviceaccount:{NAMESPACE}:default"));
    ask(account).difference(&everybody).cloned().collect()
}

fn set(rights: &[&str]) -> BTreeSet<String> {
    rights.iter().map(|&right| right.to_owned()).collect()
}

/// In each namespace of its own.
const RESOURCES: [&str; 14] = [
    "get activation.dev/kinesisdestinations",
    "list activation.dev/kinesisdestinations",
    "watch activation.dev/kinesisdestinations",
    "patch activation.dev/kinesisdestinations",
    "update activation.dev/kinesisdestinations",
    "get activation.dev/audienceactivations",
    "list activation.dev/audienceactivations",
    "watch activation.dev/audienceactivations",
    "patch activation.dev/audienceactivations",
    "update activation.dev/audienceactivations",
    "patch activation.dev/kinesisdestinations/status",
    "patch activation.dev/audienceactivations/status",
    "update activation.dev/kinesisdestinations/finalizers",
    "update activation.dev/audienceactivations/finalizers",
];
const EVENTS: [&str; 2] = ["create events.k8s.io/events", "patch events.k8s.io/events"];
const SECRETS: [&str; 3] = ["get /secrets", "list /secrets", "watch /secrets"];
const NAMESPACES: [&str; 3] = ["get /namespaces", "list /namespaces", "watch /namespaces"];
/// Anywhere: who a caller is, and what it may.
const REVIEWS: [&str; 2] =
    ["create authentication.k8s.io/tokenreviews", "create authorization.k8s.io/subjectaccessreviews"];

#[test]
fn cluster_wide_it_may_do_what_it_must_and_nothing_beyond() {
    namespace(cluster(), "anywhere");
    let wanted = set(&[&RESOURCES[..], &EVENTS, &SECRETS, &NAMESPACES, &REVIEWS].concat());
    for within in ["anywhere", NAMESPACE] {
        assert_eq!(granted(&format!("system:serviceaccount:{NAMESPACE}:{RELEASE}"), within), wanted, "in {within}");
    }
}

#[test]
fn in_named_namespaces_it_may_do_nothing_elsewhere() {
    for name in ["narrow-system", "narrow-a", "narrow-b", "narrow-c"] {
        namespace(cluster(), name);
    }
    let values = |watch: bool| {
        json!({"scope": "Namespaces", "namespaces": ["narrow-a", "narrow-b"], "secrets": {"watch": watch}, "crds": {"enabled": false},
            "userRoles": {"create": false}})
    };
    let account = "system:serviceaccount:narrow-system:narrow-activation-operator";
    let command = ["upgrade", "--install", "narrow", CHART, "-n", "narrow-system", "--wait=false"];
    let helm = Helm::of(cluster());

    helm.good_with(&command, &values(false));
    let within = set(&[&RESOURCES[..], &EVENTS, &REVIEWS, &["get /secrets", "get /namespaces"]].concat());
    assert_eq!(granted(account, "narrow-a"), within);
    assert_eq!(granted(account, "narrow-b"), within);
    for elsewhere in ["narrow-c", "narrow-system", "default", "kube-system"] {
        assert_eq!(granted(account, elsewhere), set(&REVIEWS), "in {elsewhere}");
    }

    helm.good_with(&command, &values(true));
    let within = set(&[&RESOURCES[..], &EVENTS, &SECRETS, &REVIEWS, &["get /namespaces"]].concat());
    assert_eq!(granted(account, "narrow-a"), within);
    assert_eq!(granted(account, "narrow-c"), set(&REVIEWS));
    // Of a namespace, its own role lets it read the namespace itself.
    let read = |name: &str| {
        let output = cluster().kubectl(&["get", "namespace", name, "--as", account], "");
        output.status.success()
    };
    assert!(read("narrow-a") && !read("narrow-c"));
}

/// Asked in the words of an admin.
#[test]
fn can_i_says_the_same() {
    namespace(cluster(), "asked");
    let account = format!("system:serviceaccount:{NAMESPACE}:{RELEASE}");
    let can = |verb: &str, what: &[&str]| {
        let command = [&["auth", "can-i", "-n", "asked", "--as", &account, verb], what].concat();
        let told = cluster().kubectl(&command, "");
        match String::from_utf8_lossy(&told.stdout).trim() {
            "yes" => true,
            "no" => false,
            other => panic!("{other}{}", String::from_utf8_lossy(&told.stderr)),
        }
    };
    for (verb, what) in [
        ("watch", &["kinesisdestinations.activation.dev"][..]),
        ("patch", &["audienceactivations.activation.dev", "--subresource=status"]),
        ("get", &["secrets"]),
        ("create", &["tokenreviews.authentication.k8s.io"]),
        ("create", &["subjectaccessreviews.authorization.k8s.io"]),
        ("create", &["events.events.k8s.io"]),
    ] {
        assert!(can(verb, what), "it may not {verb} {what:?}");
    }
    for (verb, what) in [
        ("create", &["kinesisdestinations.activation.dev"][..]),
        ("delete", &["audienceactivations.activation.dev"]),
        ("activate", &["kinesisdestinations.activation.dev"]),
        ("get", &["profiles.activation.dev"]),
        ("patch", &["secrets"]),
        ("create", &["secrets"]),
        ("get", &["configmaps"]),
        ("create", &["pods"]),
        ("create", &["clusterrolebindings.rbac.authorization.k8s.io"]),
        ("impersonate", &["users"]),
        ("get", &["/metrics"]),
    ] {
        assert!(!can(verb, what), "it may {verb} {what:?}");
    }
}

#[test]
fn destinations_are_in_view_and_edit_and_activating_is_in_neither() {
    let rights = |role: &str| {
        let rules = cluster().client().get(&format!("/apis/rbac.authorization.k8s.io/v1/clusterroles/{role}")).good();
        let rules = rules["rules"].as_array().cloned().unwrap_or_default();
        let ours = rules.into_iter().filter(|rule| rule["apiGroups"] == json!(["activation.dev"]));
        let mut found = BTreeSet::new();
        for rule in ours {
            for resource in rule["resources"].as_array().unwrap() {
                for verb in rule["verbs"].as_array().unwrap() {
                    found.insert(format!("{} {}", verb.as_str().unwrap(), resource.as_str().unwrap()));
                }
            }
        }
        found
    };
    let all =
        |verbs: &[&str], resource: &str| verbs.iter().map(|verb| format!("{verb} {resource}")).collect::<BTreeSet<_>>();
    let (read, write) = (["get", "list", "watch"], ["create", "update", "patch", "delete", "deletecollection"]);
    let (view, manage) = (all(&read, "kinesisdestinations"), all(&[&read[..], &write].concat(), "kinesisdestinations"));
    for (role, wanted) in [("view", &view), ("edit", &manage), ("admin", &manage)] {
        cluster().wait_for("the aggregated role", || rights(role) == *wanted);
    }
    let activate = all(&["activate"], "kinesisdestinations");
    let activations = all(&[&read[..], &write].concat(), "audienceactivations");
    let five = [
        ("view-destinations", view),
        ("manage-destinations", manage),
        ("activate-destinations", activate.union(&activations).cloned().collect()),
        ("view-profiles", all(&["get"], "profiles")),
        ("view-segments", all(&["get"], "segments")),
    ];
    for (role, wanted) in five {
        assert_eq!(rights(&format!("{RELEASE}-{role}")), wanted, "{role}");
    }
}

/// What refusals of the hub tell a caller to ask for.
#[test]
fn programs_have_roles_too() {
    let rules = |role: &str| {
        let path = format!("/apis/rbac.authorization.k8s.io/v1/clusterroles/{RELEASE}-{role}");
        cluster().client().get(&path).good()["rules"].clone()
    };
    let ingest = json!([{"apiGroups": ["activation.dev"], "resources": ["profiles"], "verbs": ["create"]}]);
    assert_eq!(rules("ingest-profiles"), ingest);
    assert_eq!(rules("metrics"), json!([{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]));
    assert_eq!(rules("change-log"), json!([{"nonResourceURLs": ["/v1/log"], "verbs": ["get", "update"]}]));
}
