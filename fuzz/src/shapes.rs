//! Inputs that can be made as large as one likes, each in a way that careless code takes badly.

use crate::targets::{Target, change_records, http_bodies, read_manifests, update_lines};

/// A kind of input.
pub struct Shape {
    /// What it is.
    pub name: &'static str,
    /// What takes it.
    pub target: Target,
    /// Makes one of a size.
    pub make: fn(usize) -> Vec<u8>,
    /// The size that is tried; and twice of it.
    pub size: usize,
}

const fn shape(name: &'static str, target: Target, size: usize, make: fn(usize) -> Vec<u8>) -> Shape {
    Shape { name, target, make, size }
}

/// All of them.
pub const SHAPES: [Shape; 27] = [
    shape("an update of many members", update_lines, 2000, |n| entity(&list(n, |i| format!("\"m{i}\":{i}")))),
    shape("an update of one member, many times over", update_lines, 2000, |n| {
        entity(&list(n, |i| format!("\"m\":{i}")))
    }),
    shape("an update of members in members", update_lines, 20, |n| {
        entity(&list(n, |i| format!("\"m{i}\":{}1{}", "{\"k\":".repeat(100), "}".repeat(100))))
    }),
    shape("an update of a long array", update_lines, 4000, |n| {
        entity(&format!("\"m\":[{}]", list(n, |i| i.to_string())))
    }),
    shape("an update of a long text with escapes", update_lines, 4000, |n| {
        entity(&format!("\"m\":\"{}\"", r"\u00fc\n".repeat(n)))
    }),
    shape("an update of long names with dots", update_lines, 200, |n| {
        entity(&list(n, |i| format!("\"{}{i}\":{{\"k\":1}}", r"a.b\\".repeat(10))))
    }),
    shape("an update of a long number", update_lines, 8000, |n| entity(&format!("\"m\":{}", "9".repeat(n)))),
    shape("an update of blanks", update_lines, 8000, |n| entity(&format!("\"m\":{}1", " ".repeat(n)))),
    shape("an update of many identities", update_lines, 1000, |n| {
        entity(&format!("\"identityMap\":{{\"email\":[{}]}}", list(n, |i| format!("{{\"id\":\"{i}\"}}"))))
    }),
    shape("an update of one identity, many times over", update_lines, 1000, |n| {
        entity(&format!("\"identityMap\":{{\"email\":[{}]}}", list(n, |_| "{\"id\":\"1\"}".to_owned())))
    }),
    shape("an update of many identity namespaces", update_lines, 1000, |n| {
        entity(&format!("\"identityMap\":{{{}}}", list(n, |i| format!("\"N{i}\":[{{\"id\":\"1\"}}]"))))
    }),
    shape("an update of one identity namespace in many cases", update_lines, 10, |n| {
        let cased = |i: usize| (0..12).map(|bit| if i >> bit & 1 == 0 { 'a' } else { 'A' }).collect::<String>();
        entity(&format!("\"identityMap\":{{{}}}", list(n * 100, |i| format!("\"{}\":[{{\"id\":\"1\"}}]", cased(i)))))
    }),
    shape("an update of many memberships", update_lines, 1000, |n| memberships(n, "realized")),
    shape("an update of many exits", update_lines, 1000, |n| memberships(n, "exited")),
    shape("many updates of the same member", update_lines, 500, |n| {
        (0..n).flat_map(|i| [entity(&format!("\"n\":{i}")), b"\n".to_vec()].concat()).collect()
    }),
    shape("many lines that are no updates", update_lines, 2000, |n| b"[1]\n".repeat(n)),
    shape("a line that never ends", update_lines, 8000, |n| b"{\"a\":[".repeat(n)),
    shape("a change of many paths", change_records, 1000, |n| {
        let paths = list(n, |i| format!("\"person.p{i}\""));
        let members = list(n, |i| format!("\"p{i}\":{i}"));
        change(&format!("\"attributes\":[{paths}],\"differing\":[{paths}]"), &format!("\"person\":{{{members}}}"))
    }),
    shape("a change of many audiences", change_records, 1000, |n| {
        let audiences =
            list(n, |i| format!("{{\"namespace\":\"ups\",\"id\":\"a{i}\",\"from\":null,\"to\":\"realized\"}}"));
        let status = "{\"status\":\"realized\",\"lastQualificationTime\":\"2026-01-02T03:04:05Z\"}";
        let members = list(n, |i| format!("\"a{i}\":{status}"));
        change(&format!("\"audiences\":[{audiences}]"), &format!("\"segmentMembership\":{{\"ups\":{{{members}}}}}"))
    }),
    shape("a manifest of many documents", read_manifests, 200, |n| yaml(&"a: 1\n---\n".repeat(n))),
    shape("a manifest of many members", read_manifests, 500, |n| {
        yaml(&format!("{HEAD}spec:\n{}", lines(n, |i| format!("  m{i}: 1"))))
    }),
    shape("a manifest of many audiences", read_manifests, 30, |n| {
        let audiences = lines(n, |i| format!("    - id: a{i}"));
        yaml(&format!("{ACTIVATION}  mappedAttributes: [{{path: n}}]\n  audiences:\n{audiences}"))
    }),
    shape("a manifest of many attributes", read_manifests, 12, |n| {
        yaml(&format!(
            "{ACTIVATION}  audiences: [{{id: a}}]\n  mappedAttributes:\n{}",
            lines(n, |i| format!("    - path: person.p{i}"))
        ))
    }),
    shape("a manifest of one attribute, many times over", read_manifests, 12, |n| {
        yaml(&format!(
            "{ACTIVATION}  audiences: [{{id: a}}]\n  mappedAttributes:\n{}",
            lines(n, |_| "    - path: person.p".to_owned())
        ))
    }),
    shape("a manifest of many aliases", read_manifests, 500, |n| {
        yaml(&format!("{HEAD}spec:\n  a: &a [1, 2, 3]\n  b: [{}]\n", list(n, |_| "*a".to_owned())))
    }),
    shape("a body of blank lines", http_bodies, 20_000, |n| [b"\x02".to_vec(), b"\n".repeat(n)].concat()),
    shape("a body of refused lines", http_bodies, 2000, |n| [b"\x00".to_vec(), b"{\"a\":\n".repeat(n)].concat()),
];

const HEAD: &str = "apiVersion: activation.dev/v1alpha1\nkind: AudienceActivation\nmetadata: {name: a, namespace: n}\n";

/// One that is good, so that its rules are asked, too: up to 250 audiences and 100 attributes.
const ACTIVATION: &str = "apiVersion: activation.dev/v1alpha1\nkind: AudienceActivation\nmetadata: {name: a, namespace: n}\n\
     spec:\n  destinationRef: {name: d}\n";

fn list(n: usize, item: impl Fn(usize) -> String) -> String {
    (0..n).map(item).collect::<Vec<_>>().join(",")
}

fn lines(n: usize, line: impl Fn(usize) -> String) -> String {
    (0..n).map(line).collect::<Vec<_>>().join("\n") + "\n"
}

fn entity(members: &str) -> Vec<u8> {
    format!("{{\"header\":{{\"profileId\":\"p\"}},\"body\":{{\"xdmEntity\":{{{members}}}}}}}").into_bytes()
}

fn memberships(n: usize, status: &str) -> Vec<u8> {
    entity(&format!(
        "\"segmentMembership\":{{\"ups\":{{{}}}}}",
        list(n, |i| format!("\"a{i}\":{{\"status\":\"{status}\"}}"))
    ))
}

fn change(changed: &str, profile: &str) -> Vec<u8> {
    format!(
        "{{\"profileId\":\"p\",\"mergePolicyId\":\"default\",\"version\":7,\"time\":\"2026-01-02T03:04:05Z\",\"changed\":{{{changed}}},\"profile\":{{{profile}}},\"deleted\":false}}"
    )
    .into_bytes()
}

fn yaml(text: &str) -> Vec<u8> {
    [b"\x00", text.as_bytes()].concat()
}
