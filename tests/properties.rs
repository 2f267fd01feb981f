//! What holds for every history of updates and every mapping, judged against the rules written down a second time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use activation_operator::export::mapping::{MappedAttribute, MappedAudience, MappingSpec, Scope, TriggerSwitches};
use activation_operator::export::projection::{self, Projected};
use activation_operator::export::{Export, Mapping};
use activation_operator::profile::apply::{self, Applied};
use activation_operator::profile::change::{AudienceChange, Change, Changed};
use activation_operator::profile::entity::Status;
use activation_operator::profile::path::Path;
use activation_operator::profile::strings::Strings;
use activation_operator::profile::time;
use activation_operator::profile::update::Update;
use jiff::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value, json};

#[path = "support/reference.rs"]
#[allow(dead_code, reason = "shared with the other tests")]
mod reference;

use reference::{Mapped, Profile};

const PROFILES: [&str; 2] = ["p-1", "p-2"];
const POLICIES: [&str; 2] = ["default", "strict"];
const AUDIENCES: [(&str, &str); 4] = [("ups", "a1"), ("ups", "a2"), ("ups", "z"), ("uploaded", "a1")];

/// An update and when it was received.
#[derive(Debug, Clone)]
struct Received {
    update: Value,
    now: Timestamp,
}

impl Received {
    fn key(&self) -> (String, String) {
        let header = &self.update["header"];
        let policy = header["mergePolicyId"].as_str().unwrap_or("default");
        (policy.to_owned(), header["profileId"].as_str().unwrap().to_owned())
    }
}

fn attribute_name() -> impl Strategy<Value = String> {
    select(vec!["a", "b", "c", "d.e", r"f\", "ü"]).prop_map(str::to_owned)
}

fn attribute_value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        3 => Just(Value::Null),
        3 => (0..3).prop_map(|number| json!(number)),
        2 => select(vec!["x", "y \" \\ \n", ""]).prop_map(|text| json!(text)),
        1 => Just(json!(true)),
        1 => Just(json!({})),
        1 => Just(json!([])),
        1 => Just(json!([null, {"k": null}, 1])),
    ];
    scalar.prop_recursive(3, 12, 3, |inner| {
        prop::collection::btree_map(attribute_name(), inner, 0..3)
            .prop_map(|members| Value::Object(members.into_iter().collect()))
    })
}

fn attributes() -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::btree_map(attribute_name(), attribute_value(), 0..4)
        .prop_map(|members| members.into_iter().collect())
}

fn identities() -> impl Strategy<Value = Value> {
    let id = select(vec!["1", "2", "3"]).prop_map(|id| json!({"id": id, "primary": true, "authenticatedState": "x"}));
    let list = prop_oneof![1 => Just(Value::Null), 4 => vec(id, 0..3).prop_map(Value::Array)];
    let namespace = move |spellings: [&'static str; 2]| {
        (any::<bool>(), list.clone()).prop_map(move |(upper, list)| (spellings[usize::from(upper)].to_owned(), list))
    };
    subsequence(vec![["ecid", "ECID"], ["email", "Email"]], 0..=2)
        .prop_flat_map(move |chosen| chosen.into_iter().map(namespace.clone()).collect::<Vec<_>>())
        .prop_map(|members| Value::Object(members.into_iter().collect()))
}

fn moment() -> impl Strategy<Value = Timestamp> {
    (1_760_000_000_i64..1_770_000_000).prop_map(|second| Timestamp::from_second(second).unwrap())
}

fn memberships() -> impl Strategy<Value = Value> {
    let told =
        (select(vec!["realized", "existing", "exited"]), prop::option::of(moment())).prop_map(|(status, last)| {
            let mut told = json!({ "status": status });
            if let Some(last) = last {
                told["lastQualificationTime"] = json!(last.to_string());
            }
            told
        });
    vec((select(AUDIENCES.to_vec()), told), 0..4).prop_map(|list| {
        let mut namespaces = json!({});
        for ((namespace, id), told) in list {
            namespaces[namespace][id] = told;
        }
        namespaces
    })
}

fn update() -> impl Strategy<Value = Value> {
    let operation = prop_oneof![8 => Just("merge"), 2 => Just("replace"), 1 => Just("delete")];
    let header = (select(PROFILES.to_vec()), select(POLICIES.to_vec()), operation, prop::option::of(moment()));
    (header, attributes(), identities(), memberships()).prop_map(|(header, mut entity, identities, memberships)| {
        let (profile, policy, operation, time) = header;
        entity.insert("identityMap".to_owned(), identities);
        entity.insert("segmentMembership".to_owned(), memberships);
        let mut header = json!({"profileId": profile, "mergePolicyId": policy, "operation": operation});
        if let Some(time) = time {
            header["time"] = json!(time.to_string());
        }
        json!({"header": header, "body": {"xdmEntity": entity}})
    })
}

/// A history: from one update to the next pass a moment, some days, or exactly thirty of them.
fn history() -> impl Strategy<Value = Vec<Received>> {
    let day = 86_400;
    let pause = prop_oneof![4 => 0..3_i64, 2 => (1..20_i64).prop_map(move |days| days * day), 1 => Just(30 * day), 1 => Just(30 * day - 1)];
    vec((update(), pause), 1..12).prop_map(|updates| {
        let mut second = 1_770_000_000;
        updates
            .into_iter()
            .map(|(update, pause)| {
                second += pause;
                Received { update, now: Timestamp::from_second(second).unwrap() }
            })
            .collect()
    })
}

const MAPPABLE: [&str; 10] = ["a", "a.b", "a.b.c", "b", "b.a", "c.a.b", "c.b", r"d\.e", r"d\.e.a", r"f\\.ü"];

fn mapped() -> impl Strategy<Value = Mapped> {
    let audiences = subsequence(AUDIENCES.to_vec(), 1..=3).prop_flat_map(|chosen| {
        vec(select(POLICIES.to_vec()), chosen.len()).prop_map(move |policies| {
            let mapped = chosen.iter().zip(policies);
            mapped.map(|((ns, id), policy)| ((*ns).to_owned(), (*id).to_owned(), policy.to_owned())).collect::<Vec<_>>()
        })
    });
    let attributes = subsequence(MAPPABLE.to_vec(), 0..=5).prop_shuffle().prop_map(|paths| {
        let mut kept: Vec<Vec<String>> = Vec::new();
        for path in paths {
            let names = Path::parse(path).unwrap().names().to_vec();
            if !kept.iter().any(|other| other.iter().zip(&names).all(|(a, b)| a == b)) {
                kept.push(names);
            }
        }
        kept
    });
    let often = || prop::bool::weighted(0.8);
    (audiences, attributes, [often(), often(), often()], any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(audiences, attributes, on, suppress_unchanged, without_unmapped, exit_on_delete)| Mapped {
            audiences,
            attributes,
            on,
            suppress_unchanged,
            without_unmapped,
            exit_on_delete,
        },
    )
}

fn compile(mapped: &Mapped) -> Mapping {
    let escaped = |names: &[String]| {
        let names = names.iter().map(|name| name.replace('\\', r"\\").replace('.', r"\.")).collect::<Vec<_>>();
        names.join(".")
    };
    Mapping::compile(MappingSpec {
        activation: "marketing/vip".to_owned(),
        audiences: mapped
            .audiences
            .iter()
            .map(|(namespace, id, merge_policy_id)| MappedAudience {
                namespace: namespace.clone(),
                id: id.clone(),
                merge_policy_id: merge_policy_id.clone(),
                name: None,
                description: None,
                created_at: None,
                updated_at: None,
                mapping_created_at: None,
                mapping_updated_at: None,
            })
            .collect(),
        attributes: mapped
            .attributes
            .iter()
            .map(|names| MappedAttribute { path: escaped(names), required: false })
            .collect(),
        triggers: TriggerSwitches {
            audiences: mapped.on[0],
            attributes: mapped.on[1],
            identities: mapped.on[2],
            suppress_unchanged: mapped.suppress_unchanged,
        },
        scope: if mapped.without_unmapped { Scope::Mapped } else { Scope::SameMergePolicy },
        include_segment_names: false,
        include_segment_timestamps: false,
        metadata: false,
        exit_on_delete: mapped.exit_on_delete,
        partition_key_namespace: None,
    })
    .unwrap()
}

/// The hub in a map, by the library.
#[derive(Default)]
struct Hub {
    profiles: HashMap<(String, String), String>,
    version: u64,
}

impl Hub {
    fn take(&mut self, line: &str, now: Timestamp) -> Option<Applied> {
        let update = Update::parse(line.as_bytes()).unwrap();
        let key = (update.merge_policy_id.to_string(), update.profile_id.to_string());
        let before = self.profiles.get(&key).map(String::as_str);
        let applied = apply::apply(before, update, self.version + 1, now).unwrap()?;
        self.version += 1;
        if applied.deleted {
            self.profiles.remove(&key);
        } else {
            self.profiles.insert(key, String::from_utf8(applied.entity.clone()).unwrap());
        }
        Some(applied)
    }
}

fn export(mapping: &Mapping, change: &Change<'_>) -> Option<Export> {
    match projection::live(mapping, change, change.time).unwrap() {
        Projected::Export(export) => Some(export),
        Projected::Nothing => None,
        Projected::Excluded => panic!("nothing is required"),
    }
}

fn paths(paths: &Strings<'_>) -> BTreeSet<Vec<String>> {
    paths.iter().map(|path| Path::parse(&path).unwrap().names().to_vec()).collect()
}

fn audiences(changed: &Changed<'_>, to: Status) -> BTreeSet<(String, String)> {
    let list = changed.audiences.iter().filter(|audience| audience.to == to);
    list.map(|audience| (audience.namespace.to_string(), audience.id.to_string())).collect()
}

/// A number in one of its many spellings.
fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,4})?",
        select(vec!["1.0e-7", "1E+400", "-0", "-0.0", "1e5", "100000000000000000000000000", "0.10", "2.50E-0007"])
            .prop_map(str::to_owned),
    ]
}

/// A string with its quotes, as somebody may write it: any character, some behind escapes.
fn text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "[ -!#-\\[\\]-~]{0,6}",
        any::<char>().prop_map(|character| {
            let quoted = serde_json::to_string(&character).unwrap();
            quoted[1..quoted.len() - 1].to_owned()
        }),
        select(vec![r"\u00e9", r"\ud83d\uDE00", r"\/", r"\u0000", r"\\", r#"\""#, r"\n", "é", "😀", "\u{2028}"])
            .prop_map(str::to_owned),
    ];
    vec(part, 0..5).prop_map(|parts| format!("\"{}\"", parts.concat()))
}

/// A leaf as it may be written, and as it comes out: the same without white space between its tokens.
fn leaf() -> impl Strategy<Value = (String, String)> {
    let scalar = prop_oneof![number(), text(), select(vec!["true", "false"]).prop_map(str::to_owned)];
    scalar.prop_map(|text| (text.clone(), text)).prop_recursive(2, 8, 3, |inner| {
        (vec(inner, 0..4), select(vec!["", " ", "\t", " \r "])).prop_map(|(elements, space)| {
            let join = |separator: &str, pick: fn(&(String, String)) -> &String| {
                elements.iter().map(pick).cloned().collect::<Vec<_>>().join(separator)
            };
            let written = join(&format!("{space},{space}"), |(written, _)| written);
            (format!("[{space}{written}{space}]"), format!("[{}]", join(",", |(_, compact)| compact)))
        })
    })
}

fn status() -> impl Strategy<Value = Status> {
    select(vec![Status::Realized, Status::Exited])
}

/// `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: usual.cases.max(1024), failure_persistence: None, ..usual }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn merge_is_what_rfc_7396_says(patches in vec(attributes(), 1..6)) {
        let mut hub = Hub::default();
        let mut expected = json!({});
        for patch in patches {
            let patch = Value::Object(patch);
            expected = reference::merge_patch(expected, &patch);
            let line = json!({"header": {"profileId": "p"}, "body": {"xdmEntity": patch}}).to_string();
            let applied = hub.take(&line, Timestamp::UNIX_EPOCH).unwrap();
            prop_assert_eq!(&serde_json::from_slice::<Value>(&applied.entity).unwrap(), &expected);
        }
    }

    #[test]
    fn replaying_a_history_gives_the_same_changes_byte_for_byte(history in history(), mapped in mapped()) {
        let mapping = compile(&mapped);
        let run = || {
            let mut hub = Hub::default();
            let applied = history.iter().filter_map(|received| hub.take(&received.update.to_string(), received.now));
            applied
                .map(|applied| {
                    let record = export(&mapping, &Change::parse(&applied.change).unwrap());
                    (applied, record)
                })
                .collect::<Vec<_>>()
        };
        prop_assert_eq!(run(), run());
    }

    #[test]
    fn what_changed_what_it_triggers_and_the_record_are_what_the_rules_say(history in history(), mapped in mapped()) {
        let mapping = compile(&mapped);
        let mut hub = Hub::default();
        let mut profiles: BTreeMap<(String, String), Profile> = BTreeMap::new();
        for received in &history {
            let key = received.key();
            let before = profiles.get(&key).cloned();
            let applied = hub.take(&received.update.to_string(), received.now);
            let deletes = received.update["header"]["operation"] == "delete";
            if deletes && before.is_none() {
                prop_assert_eq!(applied, None);
                continue;
            }
            let (after, expected) = reference::apply(before.as_ref(), &received.update, received.now);
            let applied = applied.unwrap();
            let change = Change::parse(&applied.change).unwrap();
            prop_assert_eq!(change.deleted, after.is_none());
            prop_assert_eq!(paths(&change.changed.attributes), expected.written.clone(), "written");
            prop_assert_eq!(paths(&change.changed.differing), expected.differing.clone(), "differing");
            prop_assert_eq!(change.changed.identities, expected.identities);
            prop_assert_eq!(audiences(&change.changed, Status::Realized), expected.entered.clone());
            prop_assert_eq!(audiences(&change.changed, Status::Exited), expected.left.clone());

            let triggers = reference::triggers(&mapped, &key.0, after.as_ref(), &expected);
            let found = export(&mapping, &change);
            let names: Vec<_> = found.iter().flat_map(|export| export.triggers.names()).collect();
            prop_assert_eq!(&names, &triggers);
            if let Some(export) = found {
                let shown = after.as_ref().or(before.as_ref()).unwrap();
                let record = reference::record(&mapped, &key.0, shown, after.is_none(), received.now);
                prop_assert_eq!(serde_json::from_slice::<Value>(&export.record).unwrap(), record);
                prop_assert_eq!(export.partition_key, key.1.clone());
            }
            match after {
                Some(profile) => profiles.insert(key, profile),
                None => profiles.remove(&key),
            };
        }
    }

    #[test]
    fn a_record_holds_no_unmapped_attribute(history in history(), mapped in mapped()) {
        let mapping = compile(&mapped);
        let mut hub = Hub::default();
        for received in &history {
            let Some(applied) = hub.take(&received.update.to_string(), received.now) else { continue };
            let change = Change::parse(&applied.change).unwrap();
            let Some(export) = export(&mapping, &change) else { continue };
            let mut record: Map<String, Value> = serde_json::from_slice(&export.record).unwrap();
            prop_assert!(record.remove("segmentMembership").is_some() && record.remove("identityMap").is_some());
            for (path, _) in reference::leaves(&record) {
                prop_assert!(mapped.attributes.iter().any(|mapped| path.starts_with(mapped)), "{path:?}");
            }
        }
    }

    #[test]
    fn numbers_and_text_survive_to_the_digit_and_the_character((written, compact) in leaf(), id in text()) {
        // An id is never empty.
        let id = format!("\"i{}", &id[1..]);
        let mapping = compile(&Mapped {
            audiences: vec![("ups".to_owned(), "a1".to_owned(), "default".to_owned())],
            attributes: vec![vec!["a".to_owned(), "b".to_owned()]],
            on: [true; 3],
            suppress_unchanged: false,
            without_unmapped: false,
            exit_on_delete: false,
        });
        let mut hub = Hub::default();
        let entity = |member: &str| format!("{{\"header\":{{\"profileId\":\"p\"}},\"body\":{{\"xdmEntity\":{{{member}}}}}}}");
        let first = entity(&format!(
            "\"a\": {{ \"b\" : {written} }}, \"identityMap\":{{\"n\":[{{ \"id\" : {id} }}]}},\
             \"segmentMembership\":{{\"ups\":{{\"a1\":{{\"status\":\"realized\",\"lastQualificationTime\":\"2026-01-02T03:04:05Z\"}}}}}}"
        ));
        // Kept, read back and written again, it is still the same.
        for line in [first, entity("\"a\":{\"c\":1}"), entity("\"a\":{\"b\":{\"x\":1},\"c\":null}"), entity(&format!("\"a\":{{\"b\":{written}}}"))] {
            let applied = hub.take(&line, Timestamp::UNIX_EPOCH).unwrap();
            let change = Change::parse(&applied.change).unwrap();
            let Some(export) = export(&mapping, &change) else { continue };
            let record = String::from_utf8(export.record).unwrap();
            if !line.contains("\"x\":1") {
                let expected = format!(
                    "{{\"a\":{{\"b\":{compact}}},\"segmentMembership\":{{\"ups\":{{\"a1\":{{\"lastQualificationTime\":\"2026-01-02T03:04:05Z\",\"status\":\"realized\"}}}}}},\"identityMap\":{{\"n\":[{{\"id\":{id}}}]}}}}"
                );
                prop_assert_eq!(record, expected);
            }
        }
        prop_assert_eq!(hub.version, 4);
    }

    #[test]
    fn a_change_reads_back_as_it_was_written(
        (profile_id, merge_policy_id) in (".{1,12}", ".{0,12}"),
        version in any::<u64>(),
        micros in -62_135_596_800_000_000_i64..253_402_207_200_000_000,
        (attributes, differing) in (vec(".{0,12}", 0..4), vec(".{0,12}", 0..4)),
        (identities, deleted) in any::<(bool, bool)>(),
        audiences in vec((".{0,8}", ".{0,8}", prop::option::of(status()), status()), 0..4),
        profile in attributes(),
    ) {
        let profile = Value::Object(profile).to_string();
        let change = Change {
            profile_id: profile_id.into(),
            merge_policy_id: merge_policy_id.into(),
            version,
            time: time::whole_micros(Timestamp::from_microsecond(micros).unwrap()),
            changed: Changed {
                attributes: attributes.into_iter().map(Cow::Owned).collect(),
                identities,
                audiences: audiences
                    .into_iter()
                    .map(|(namespace, id, from, to)| AudienceChange { namespace: namespace.into(), id: id.into(), from, to })
                    .collect(),
                differing: differing.into_iter().map(Cow::Owned).collect(),
            },
            profile: &profile,
            deleted,
        };
        let mut line = Vec::new();
        change.write(&mut line);
        prop_assert!(!line.contains(&b'\n'));
        prop_assert_eq!(Change::parse(&line).unwrap(), change);
    }
}
