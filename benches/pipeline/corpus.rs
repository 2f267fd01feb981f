//! Pure: profiles of about 2 KB, updates of them of about 1 KB, and what the hub makes of those.

use activation_operator::profile::apply::{self, Applied};
use activation_operator::profile::update::Update;
use jiff::Timestamp;

/// Groups of attributes; of each group the first four are mapped and written by updates.
const GROUPS: [(&str, [&str; 8]); 5] = [
    ("person", ["firstName", "lastName", "gender", "birthDate", "nationality", "taxId", "maritalStatus", "title"]),
    ("homeAddress", ["street", "city", "postalCode", "country", "region", "building", "floor", "note"]),
    ("loyalty", ["tier", "points", "joined", "card", "referrer", "campaign", "voucher", "store"]),
    ("commerce", ["lastOrder", "lastAmount", "currency", "category", "basket", "wishlist", "coupon", "payment"]),
    ("web", ["lastPage", "device", "browser", "language", "referrer", "session", "landing", "consent"]),
];

const MAPPED_OF_GROUP: usize = 4;

/// The mapped paths: twenty.
pub(crate) fn mapped_paths() -> Vec<String> {
    GROUPS
        .iter()
        .flat_map(|(group, names)| names.iter().take(MAPPED_OF_GROUP).map(move |name| format!("{group}.{name}")))
        .collect()
}

/// The id of a profile.
pub(crate) fn profile_id(profile: u64) -> String {
    format!("customer-{profile:08}")
}

/// The update that makes a profile: every attribute, two identities, three memberships.
pub(crate) fn birth(out: &mut Vec<u8>, profile: u64) {
    begin(out, profile);
    attributes(out, profile, 0, 8);
    let id = digits(profile, 0, 99);
    out.extend_from_slice(b",\"identityMap\":{\"ecid\":[{\"id\":\"");
    out.extend_from_slice(&id);
    out.extend_from_slice(b"\",\"primary\":true}],\"email\":[{\"id\":\"");
    out.extend_from_slice(&id);
    out.extend_from_slice(b"@example.com\"}]},\"segmentMembership\":{\"ups\":{");
    for (position, audience) in ["vip-customers", "newsletter-readers", "at-risk"].iter().enumerate() {
        let comma = if position > 0 { "," } else { "" };
        let member =
            format!(r#"{comma}"{audience}":{{"status":"realized","lastQualificationTime":"2026-01-02T03:04:05Z"}}"#);
        out.extend_from_slice(member.as_bytes());
    }
    out.extend_from_slice(b"}}}}}\n");
}

/// An update of the mapped attributes; another `revision` writes other values.
pub(crate) fn update(out: &mut Vec<u8>, profile: u64, revision: u64) {
    begin(out, profile);
    attributes(out, profile, revision, MAPPED_OF_GROUP);
    out.extend_from_slice(b"}}}\n");
}

/// What the hub makes of an update to a profile that was only made before: the entity and the change.
pub(crate) fn applied(profile: u64, revision: u64, version: u64, now: Timestamp) -> Applied {
    let mut line = Vec::new();
    birth(&mut line, profile);
    let born = apply::apply(None, Update::parse(line.trim_ascii_end()).unwrap(), 1, now).unwrap().unwrap();
    line.clear();
    update(&mut line, profile, revision);
    let before = std::str::from_utf8(&born.entity).unwrap();
    apply::apply(Some(before), Update::parse(line.trim_ascii_end()).unwrap(), version, now).unwrap().unwrap()
}

fn begin(out: &mut Vec<u8>, profile: u64) {
    out.extend_from_slice(b"{\"header\":{\"profileId\":\"");
    out.extend_from_slice(profile_id(profile).as_bytes());
    out.extend_from_slice(b"\"},\"body\":{\"xdmEntity\":{");
}

fn attributes(out: &mut Vec<u8>, profile: u64, revision: u64, of_group: usize) {
    for (position, (group, names)) in GROUPS.iter().enumerate() {
        out.extend_from_slice(if position > 0 { b",\"" } else { b"\"" });
        out.extend_from_slice(group.as_bytes());
        out.extend_from_slice(b"\":{");
        for (place, name) in names.iter().take(of_group).enumerate() {
            out.extend_from_slice(if place > 0 { b",\"" } else { b"\"" });
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":\"");
            let field = (position * 8 + place) as u64;
            out.extend_from_slice(name.as_bytes());
            out.push(b' ');
            out.extend_from_slice(&digits(profile, revision, field));
            out.push(b'"');
        }
        out.push(b'}');
    }
}

/// Sixteen hexadecimal digits that differ by profile, revision and field, so that nothing compresses better than it would.
fn digits(profile: u64, revision: u64, field: u64) -> [u8; 16] {
    let mut mixed = (profile << 24) ^ (revision << 8) ^ field;
    mixed = mixed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    let mut text = [0; 16];
    for (place, digit) in text.iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(mixed >> (4 * place)) as usize & 15];
    }
    text
}
