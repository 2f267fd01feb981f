//! Values that people set, rendered and shown to the API server.

use activation_operator::cli::Arguments;
use clap::Parser as _;
use serde_json::{Value, json};

use crate::{
    cluster,
    helm::{CHART, Helm, render},
    namespace, the,
};

/// Kinds of others, which this control plane does not serve: what they look like is asserted in `monitoring`, and the Certificate below.
const OF_OTHERS: [&str; 2] = ["monitoring.coreos.com/v1", "cert-manager.io/v1"];

/// Each with what it is for.
fn matrix() -> Vec<(&'static str, Value)> {
    let mut rows = vec![
        ("as it comes", json!({})),
        (
            "named namespaces, no watch of Secrets",
            json!({
                "scope": "Namespaces", "namespaces": ["team-a", "team-b"], "secrets": {"watch": false},
                "ambient": {"namespaces": ["team-a"]},
            }),
        ),
        (
            "everything for Prometheus and Grafana",
            json!({
                "metrics": {"serviceMonitor": {"enabled": true, "serviceAccount": {"name": "prometheus", "namespace": "monitoring"}},
                    "prometheusRule": {"enabled": true, "alertLabels": {"team": "crm"}, "disabled": ["ActivationThrottled"]},
                    "dashboard": {"enabled": true, "annotations": {"folder": "activation"}}},
            }),
        ),
        (
            "a Secret of cert-manager",
            json!({"tls": {"certManager": {"enabled": true, "issuerRef": {"name": "ca", "kind": "ClusterIssuer"}}}}),
        ),
        ("a Secret that is there", json!({"tls": {"secretName": "wildcard"}})),
        (
            "pinned by digest, from a private registry",
            json!({
                "image": {"registry": "registry.example.com", "digest": format!("sha256:{}", "a".repeat(64)), "pullPolicy": "Always"},
                "imagePullSecrets": [{"name": "registry"}],
            }),
        ),
        (
            "IRSA, through a proxy and a VPC endpoint",
            json!({
                "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/activation"}},
                "policy": {"sourceVpce": ["vpce-0a1b2c3d"]},
                "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy.example.com:3128"}, {"name": "NO_PROXY", "value": "10.0.0.0/8,.svc"}],
                "extraEnvFrom": [{"configMapRef": {"name": "environment", "optional": true}}],
            }),
        ),
        (
            "an account, roles and policy of others",
            json!({
                "serviceAccount": {"create": false, "name": "given"}, "rbac": {"create": false}, "userRoles": {"create": false},
                "admissionPolicy": {"enabled": false}, "crds": {"enabled": false}, "metrics": {"serviceMonitor": {"enabled": true, "serviceAccount": {"name": "prometheus"}}},
            }),
        ),
    ];
    rows.extend(of_pod_and_network());
    rows
}

/// Further rows.
fn of_pod_and_network() -> Vec<(&'static str, Value)> {
    vec![
        (
            "another class of volume",
            json!({"persistence": {"size": "200Gi", "storageClassName": "fast", "accessMode": "ReadWriteOnce",
            "whenDeleted": "Delete", "annotations": {"backup": "daily"}}}),
        ),
        ("a restored volume", json!({"persistence": {"existingClaim": "restored"}})),
        (
            "everything that places a pod",
            json!({
                "nodeSelector": {"kubernetes.io/arch": "amd64"}, "priorityClassName": "system-cluster-critical",
                "tolerations": [{"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}],
                "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms":
                    [{"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}]}}},
                "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": {"matchLabels": {"team": "crm"}}}],
                "resources": {"requests": {"cpu": 2, "memory": "4Gi"}, "limits": {"memory": "4Gi"}},
                "podLabels": {"team": "crm"}, "podAnnotations": {"a": "b"}, "commonLabels": {"cost": "crm"},
                "statefulSet": {"podManagementPolicy": "OrderedReady", "updateStrategy": {"type": "OnDelete"}, "terminationGracePeriodSeconds": 120,
                    "annotations": {"reloader": "true"}},
            }),
        ),
        (
            "a network that says who may talk",
            json!({
                "networkPolicy": {"ingressFrom": [{"namespaceSelector": {"matchLabels": {"team": "crm"}}}],
                    "egress": {"enabled": true, "rules": [{"to": [{"ipBlock": {"cidr": "10.0.0.1/32"}}], "ports": [{"port": 6443}]},
                        {"ports": [{"port": 443, "protocol": "TCP"}]}]}},
            }),
        ),
        (
            "no ingest, IPv6, an emulator, plain logs",
            json!({
                "ingest": {"enabled": false}, "bindAddress": "[::]", "ports": {"data": 9443, "probe": 9081}, "endpoints": {"allowInternal": true},
                "selector": "team in (crm, web),!legacy", "log": {"format": "text", "level": "info,fjall=warn"},
                "policy": {"sourceIp": ["203.0.113.0/24", "2001:db8::/32"]}, "networkPolicy": {"enabled": false},
            }),
        ),
        (
            "a load balancer",
            json!({"service": {"type": "LoadBalancer", "port": 443, "loadBalancerClass": "service.k8s.aws/nlb",
            "loadBalancerSourceRanges": ["10.0.0.0/8"], "annotations": {"a": "b"}}}),
        ),
        ("long names", json!({"fullnameOverride": "a".repeat(63), "nameOverride": "b".repeat(63)})),
        (
            "volumes and arguments beside the chart's",
            json!({
                "extraVolumes": [{"name": "authorities", "configMap": {"name": "authorities"}}],
                "extraVolumeMounts": [{"name": "authorities", "mountPath": "/etc/authorities", "readOnly": true}],
                "extraEnv": [{"name": "SSL_CERT_FILE", "value": "/etc/authorities/ca.pem"}], "extraArgs": ["--operator-namespace=matrix"],
            }),
        ),
        (
            "a trial of the policy, in an umbrella chart",
            json!({"admissionPolicy": {"validationActions": ["Warn", "Audit"]},
            "global": {"anything": {"goes": 1}}, "enabled": true, "x-anchor": {"a": 1}}),
        ),
    ]
}

/// A pod as the controller of a `StatefulSet` would make it.
fn pod(stateful_set: &Value) -> Value {
    let mut pod = stateful_set["spec"]["template"].clone();
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!("matrix-0");
    pod["metadata"]["namespace"] = json!("matrix");
    // The chart's own does not exist where nothing is stored, and a pod is refused without its account.
    pod["spec"]["serviceAccountName"] = json!("default");
    let volumes = pod["spec"]["volumes"].as_array_mut().unwrap();
    if volumes.iter().all(|volume| volume["name"] != "data") {
        volumes.push(json!({"name": "data", "persistentVolumeClaim": {"claimName": "data-matrix-0"}}));
    }
    pod
}

#[test]
fn the_api_server_accepts_every_object_of_every_row() {
    for name in ["matrix", "team-a", "team-b"] {
        namespace(cluster(), name);
    }
    for (purpose, values) in matrix() {
        let mut objects = render(&values);
        objects.push(pod(the(&objects, "StatefulSet")));
        let count = objects.len();
        objects.retain(|object| !OF_OTHERS.contains(&object["apiVersion"].as_str().unwrap()));
        assert!(count - objects.len() <= 2, "{purpose}: only so few kinds are others'");
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
        let apply = ["apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", "-"];
        let output = cluster().kubectl(&apply, &list);
        let told = String::from_utf8_lossy(&output.stderr);
        // Pod Security warns of a StatefulSet, and refuses a pod.
        assert!(output.status.success() && told.is_empty(), "{purpose}: {told}");
        let accepted = String::from_utf8_lossy(&output.stdout).lines().count();
        assert_eq!(accepted, objects.len(), "{purpose}");
    }
}

#[test]
fn lint_finds_nothing_in_any_row() {
    for (purpose, values) in matrix() {
        let told = Helm::alone().good_with(&["lint", "--strict", CHART], &values);
        assert!(told.contains("0 chart(s) failed") && !told.contains("[WARNING]"), "{purpose}: {told}");
    }
}

/// The arguments of the operator's container.
fn arguments(objects: &[Value]) -> Vec<String> {
    let container = &the(objects, "StatefulSet")["spec"]["template"]["spec"]["containers"][0];
    serde_json::from_value(container["args"].clone()).unwrap()
}

#[test]
fn the_program_takes_the_arguments_of_every_row() {
    let parsed = |arguments: Vec<String>| {
        let program = ["activation-operator".to_owned()].into_iter();
        Arguments::try_parse_from(program.chain(arguments)).map_err(|error| error.to_string())
    };
    for (purpose, values) in matrix() {
        if let Err(refused) = parsed(arguments(&render(&values))) {
            panic!("{purpose}: {refused}");
        }
    }
    let unknown = parsed(arguments(&render(&json!({"extraArgs": ["--replicas=2"]}))));
    assert!(unknown.unwrap_err().contains("--replicas"));
}

#[test]
fn values_reach_where_they_belong() {
    let rendered = |purpose: &str| {
        let (_, values) = matrix().into_iter().find(|(name, _)| *name == purpose).unwrap();
        render(&values)
    };
    let plain = rendered("as it comes");
    assert_eq!(
        arguments(&plain),
        [
            "run",
            "--data-dir=/var/lib/activation-operator",
            "--listen=0.0.0.0:8443",
            "--probe-listen=0.0.0.0:8081",
            "--tls-cert=/etc/activation-operator/tls/tls.crt",
            "--tls-key=/etc/activation-operator/tls/tls.key",
            "--watch-secrets=true",
            "--retention-max-age=168h",
            "--retention-max-bytes=20000Mi",
            "--on-position-lost=resync",
            "--log-format=json",
        ]
    );
    let other = arguments(&rendered("no ingest, IPv6, an emulator, plain logs"));
    for wanted in [
        "--listen=[::]:9443",
        "--probe-listen=[::]:9081",
        "--allow-internal-endpoints",
        "--selector=team in (crm, web),!legacy",
        "--log-format=text",
        "--log=info,fjall=warn",
        "--policy-source-ip=203.0.113.0/24",
        "--policy-source-ip=2001:db8::/32",
    ] {
        assert!(other.iter().any(|argument| argument == wanted), "{wanted}: {other:?}");
    }
    let named = arguments(&rendered("named namespaces, no watch of Secrets"));
    for wanted in ["--namespaces=team-a,team-b", "--watch-secrets=false", "--ambient-namespaces=team-a"] {
        assert!(named.iter().any(|argument| argument == wanted), "{wanted}: {named:?}");
    }
    let pinned = rendered("pinned by digest, from a private registry");
    let image = the(&pinned, "StatefulSet")["spec"]["template"]["spec"]["containers"][0]["image"].clone();
    assert_eq!(image, json!(format!("registry.example.com/activation-operator@sha256:{}", "a".repeat(64))));
    let claim = &the(&plain, "StatefulSet")["spec"]["volumeClaimTemplates"][0]["spec"];
    assert_eq!(claim, &json!({"accessModes": ["ReadWriteOncePod"], "resources": {"requests": {"storage": "64Gi"}}}));
    let certificate = rendered("a Secret of cert-manager");
    let certificate = &the(&certificate, "Certificate")["spec"];
    assert_eq!(certificate["issuerRef"], json!({"name": "ca", "kind": "ClusterIssuer", "group": "cert-manager.io"}));
    assert_eq!(certificate["secretName"], "matrix-activation-operator-tls");
    let hosts = certificate["dnsNames"].as_array().unwrap();
    assert!(hosts.contains(&json!("matrix-activation-operator.matrix.svc")), "{hosts:?}");
    // Nothing disrupts a StatefulSet of one but a drain, which a budget would hold up for ever.
    assert!(plain.iter().all(|object| object["kind"] != "PodDisruptionBudget"));
}
