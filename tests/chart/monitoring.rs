//! Alert rules, dashboard and scraping: they name metrics that there are, and each alert leads to its runbook.

use std::{collections::BTreeSet, fs, path::Path};

use activation_operator::api::alerts::AlertType;
use serde_json::{Value, json};

use crate::{helm::render, the};

/// Of Kubernetes' own, for the volume: what the kubelet tells of every claim.
const OF_THE_KUBELET: [&str; 2] = ["kubelet_volume_stats_available_bytes", "kubelet_volume_stats_capacity_bytes"];

fn docs(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)).unwrap()
}

/// Name, labels and allowed values of `reason` of every documented metric.
fn documented() -> Vec<(String, BTreeSet<String>)> {
    let page = docs("metrics.md");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let found: Vec<_> = rows
        .map(|row| {
            let mut cells = row.trim_matches('|').split('|').map(str::trim);
            let name = cells.next().unwrap().trim_matches('`').to_owned();
            let labels = cells.nth(1).unwrap().split(", ").map(|label| label.trim_matches('`').to_owned());
            (name, labels.filter(|label| !label.is_empty()).collect())
        })
        .collect();
    assert!(found.len() > 20, "{found:?}");
    found
}

/// The metrics that an expression names, each with the labels by which it is selected.
fn named(expression: &str) -> Vec<(String, BTreeSet<String>)> {
    let mut found = Vec::new();
    let mut quoted = false;
    let plain: String = expression
        .chars()
        .map(|character| {
            if character == '"' {
                quoted = !quoted;
            }
            if quoted && character != '"' { '_' } else { character }
        })
        .collect();
    let is_word = |character: char| character.is_ascii_alphanumeric() || character == '_' || character == ':';
    for (start, _) in plain.match_indices(|character: char| is_word(character)) {
        let begins = start == 0 || !plain[..start].ends_with(is_word);
        let word: String = plain[start..].chars().take_while(|&character| is_word(character)).collect();
        if !begins || !["activation_", "kubelet_", "controller_"].iter().any(|prefix| word.starts_with(prefix)) {
            continue;
        }
        let rest = &plain[start + word.len()..];
        let selector =
            rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(selector, _)| selector);
        let labels =
            selector.split(',').filter_map(|part| part.split(['=', '!']).next()).map(|label| label.trim().to_owned());
        found.push((word, labels.filter(|label| !label.is_empty()).collect()));
    }
    found
}

/// What is wrong with the metrics of an expression.
fn judge(expression: &str) -> Vec<String> {
    let documented = documented();
    let named = named(expression);
    let mut wrong = Vec::new();
    if named.is_empty() {
        wrong.push(format!("no metric: {expression}"));
    }
    for (metric, labels) in named {
        if OF_THE_KUBELET.contains(&metric.as_str()) {
            continue;
        }
        let Some((_, known)) = documented.iter().find(|(name, _)| *name == metric) else {
            wrong.push(format!("docs/metrics.md does not list {metric}"));
            continue;
        };
        let strange = labels.iter().filter(|label| *label != "job" && !known.contains(*label));
        wrong.extend(strange.map(|label| format!("{metric} has no label {label}")));
    }
    wrong
}

/// The anchors of the headings of a page, as forges make them.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    headings
        .map(|heading| heading.to_lowercase().replace(' ', "-").replace(|c: char| !c.is_alphanumeric() && c != '-', ""))
        .collect()
}

fn monitored() -> Vec<Value> {
    render(
        &json!({"metrics": {"serviceMonitor": {"enabled": true}, "prometheusRule": {"enabled": true}, "dashboard": {"enabled": true}}}),
    )
}

fn rules(objects: &[Value]) -> Vec<Value> {
    let groups = the(objects, "PrometheusRule")["spec"]["groups"].as_array().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

#[test]
fn every_alert_watches_metrics_that_there_are_and_leads_to_its_runbook() {
    let rules = rules(&monitored());
    assert!(rules.len() >= 10, "{rules:?}");
    let page = docs("runbook.md");
    let anchors = anchors(&page);
    for rule in &rules {
        let alert = rule["alert"].as_str().unwrap();
        assert_eq!(judge(rule["expr"].as_str().unwrap()), Vec::<String>::new(), "{alert}");
        let runbook = rule["annotations"]["runbook_url"].as_str().unwrap();
        let (file, anchor) = runbook.split_once('#').unwrap();
        assert_eq!(file, "docs/runbook.md");
        assert!(anchors.contains(anchor), "docs/runbook.md has no heading for {alert}");
        assert!(rule["annotations"]["summary"].as_str().is_some_and(|summary| summary.ends_with('.')), "{rule}");
        assert!(["critical", "warning"].contains(&rule["labels"]["severity"].as_str().unwrap()), "{rule}");
        for place in ["JOB", "NAMESPACE", "CLAIM"] {
            assert!(!rule["expr"].as_str().unwrap().contains(place), "{rule}");
        }
    }
    for alert in AlertType::ALL {
        assert!(
            anchors.contains(&alert.as_str().to_lowercase()),
            "docs/runbook.md has no heading for {}",
            alert.as_str()
        );
    }
}

#[test]
fn a_rule_that_names_what_is_not_there_is_noticed() {
    assert_eq!(judge("rate(activation_exported[5m]) > 0"), ["docs/metrics.md does not list activation_exported"]);
    assert_eq!(judge("activation_lag_seconds{pod=\"a\"} > 1"), ["activation_lag_seconds has no label pod"]);
    assert_eq!(judge("up == 0").len(), 1);
    assert!(judge("max by (namespace) (activation_lag_seconds{namespace=~\"activation_nothing|a,b\"}) > 1").is_empty());
}

#[test]
fn rules_can_be_left_out_and_labelled() {
    let metrics = json!({"prometheusRule": {"enabled": true, "disabled": ["ActivationThrottled"], "alertLabels": {"team": "crm"},
        "labels": {"release": "prometheus"}, "runbookUrl": "https://wiki.example.com/activation"}});
    let objects = render(&json!({"metrics": metrics}));
    assert_eq!(the(&objects, "PrometheusRule")["metadata"]["labels"]["release"], "prometheus");
    let left = rules(&objects);
    assert_eq!(left.len() + 1, rules(&monitored()).len());
    assert!(
        left.iter().all(|rule| rule["labels"]["team"] == "crm" && rule["alert"] != "ActivationThrottled"),
        "{left:?}"
    );
    assert!(
        left[0]["annotations"]["runbook_url"].as_str().unwrap().starts_with("https://wiki.example.com/activation#")
    );
}

#[test]
fn the_dashboard_shows_metrics_that_there_are() {
    let objects = monitored();
    let maps = crate::of_kind(&objects, "ConfigMap");
    assert_eq!(maps[0]["metadata"]["labels"]["grafana_dashboard"], "1");
    let dashboard: Value = serde_json::from_str(maps[0]["data"]["activation-operator.json"].as_str().unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut shown = BTreeSet::new();
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert!(panel["description"].as_str().is_some_and(|text| !text.is_empty()), "{panel}");
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            assert_eq!(judge(expression), Vec::<String>::new(), "{}", panel["title"]);
            shown.extend(named(expression).into_iter().map(|(metric, _)| metric));
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if let Some(query) = variable["query"]["query"].as_str() {
            assert_eq!(judge(query), Vec::<String>::new());
        }
    }
    assert!(shown.len() >= 18, "{shown:?}");
}

#[test]
fn prometheus_speaks_tls_shows_a_token_and_keeps_the_activation_s_namespace() {
    let objects = monitored();
    let monitor = &the(&objects, "ServiceMonitor")["spec"];
    let endpoint = &monitor["endpoints"][0];
    assert_eq!(endpoint["scheme"], "https");
    assert_eq!(endpoint["path"], "/metrics");
    assert_eq!(endpoint["honorLabels"], true);
    assert_eq!(endpoint["bearerTokenFile"], "/var/run/secrets/activation.dev/token");
    let tls = json!({"ca": {"secret": {"name": "matrix-activation-operator-tls", "key": "ca.crt"}},
        "serverName": "matrix-activation-operator-headless.matrix.svc"});
    assert_eq!(endpoint["tlsConfig"], tls);
    // It finds one Service, by labels and by the name of its port, and that is whom the rules call the job.
    let wanted = monitor["selector"]["matchLabels"].as_object().unwrap();
    let services = crate::of_kind(&objects, "Service");
    let found: Vec<_> = services
        .iter()
        .filter(|service| wanted.iter().all(|(name, value)| service["metadata"]["labels"][name] == *value))
        .collect();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["spec"]["ports"][0]["name"], endpoint["port"]);
    let job = format!("job=\"{}\"", found[0]["metadata"]["name"].as_str().unwrap());
    let rules = rules(&objects);
    let ours =
        rules.iter().map(|rule| rule["expr"].as_str().unwrap()).filter(|expression| expression.contains("activation_"));
    assert!(ours.into_iter().all(|expression| expression.contains(&job) || expression.contains("kubelet_")));
    let given = json!({"serviceMonitor": {"enabled": true, "authorization": {"credentials": {"name": "scrape", "key": "token"}}}});
    let objects = render(&json!({"metrics": given}));
    let endpoint = &the(&objects, "ServiceMonitor")["spec"]["endpoints"][0];
    assert_eq!(endpoint["authorization"]["credentials"]["name"], "scrape");
    assert!(endpoint["bearerTokenFile"].is_null());
}
