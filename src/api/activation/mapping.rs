//! Types: what of a profile is exported, and when.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::quantities::{Moment, is_moment};

/// The namespace of an audience that names none.
pub const DEFAULT_AUDIENCE_NAMESPACE: &str = "ups";
/// The merge policy where neither the audience nor the activation names one.
pub const DEFAULT_MERGE_POLICY: &str = "default";

/// A path: names that are joined by dots, in which `\.` is a dot and `\\` a backslash. No name is empty.
const PATH_PATTERN: &str = r"^([^.\\\x00-\x1f]|\\[.\\])+([.]([^.\\\x00-\x1f]|\\[.\\])+)*$";

/// A mapped audience.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Audience {
    /// Namespace of the audience, the key in segmentMembership. Default: ups. At most 64 characters.
    #[serde(default = "default_namespace")]
    #[schemars(length(min = 1, max = 64))]
    pub namespace: String,
    /// Id of the audience, the key below its namespace in segmentMembership. At most 256 characters.
    #[schemars(length(min = 1, max = 256))]
    pub id: String,
    /// What records call it where the destination includes segment names. At most 256 characters. A change shows in later
    /// records and exports nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub name: Option<String>,
    /// What it is. At most 1024 characters. Only shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
    /// The merge policy under which the audience is evaluated. Default: the activation's. At most 256 characters. A change
    /// maps the audience anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub merge_policy_id: Option<String>,
    /// When the audience was created, in RFC 3339, for records that include segment timestamps. Default: left out of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = is_moment("createdAt")))]
    pub created_at: Option<Moment>,
    /// When the audience was last updated, in RFC 3339, for records that include segment timestamps. Default: left out of
    /// them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = is_moment("updatedAt")))]
    pub updated_at: Option<Moment>,
}

fn default_namespace() -> String {
    DEFAULT_AUDIENCE_NAMESPACE.to_owned()
}

impl Audience {
    /// The audience (namespace, id), with nothing else said.
    pub fn named(namespace: impl Into<String>, id: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            id: id.into(),
            name: None,
            description: None,
            merge_policy_id: None,
            created_at: None,
            updated_at: None,
        }
    }
}

/// A mapped attribute.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!self.path.matches('^(segmentMembership|identityMap|_activation)([.]|$)')",
    "message": "segmentMembership, identityMap and _activation are no attributes: records carry them by themselves; remove this path",
}]))]
pub struct MappedAttribute {
    /// Path of the attribute from the root of the profile, such as person.name.firstName. A dot inside a name is written
    /// `\.`, a backslash `\\`. At most 256 characters. It may lead to a scalar, an object or an array, and is exported whole.
    #[schemars(length(min = 1, max = 256), extend("pattern" = PATH_PATTERN))]
    pub path: String,
    /// Excludes profiles that lack this attribute: not exported, but counted. Exits are told all the same. Default: false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub required: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// Which kinds of change are exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[allow(clippy::struct_excessive_bools, reason = "four switches that users set one by one")]
pub struct Triggers {
    /// Entering and leaving a mapped audience. Default: true.
    pub audiences: bool,
    /// Writing a mapped attribute of a member. Default: true.
    pub attributes: bool,
    /// A changed identity of a member, in any namespace. Default: true.
    pub identities: bool,
    /// Leaves out writes that change no value. Default: false: a write counts even if the value stays.
    pub suppress_unchanged: bool,
}

impl Default for Triggers {
    fn default() -> Self {
        Self { audiences: true, attributes: true, identities: true, suppress_unchanged: false }
    }
}

/// Which memberships a record tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SegmentMembership {
    /// SameMergePolicy (default): the mapped audiences, and every other of the same merge policy in which the profile is
    /// realized. Mapped: the mapped audiences only. A change holds for records exported after it.
    pub scope: MembershipScope,
}

/// Which memberships a record tells (`semantics 4.4`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MembershipScope {
    /// Mapped audiences, and unmapped ones of the same merge policy in which the profile is realized.
    #[default]
    SameMergePolicy,
    /// Mapped audiences only.
    Mapped,
}

/// What a record carries besides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Record {
    /// Adds `_activation`, which says why and from which version of the profile the record was made, and carries an id that
    /// is the same for every repeat. Default: false.
    pub metadata: bool,
}

/// What is exported when a profile is deleted (`semantics 1.6`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnDelete {
    /// Nothing.
    #[default]
    None,
    /// One record that tells every mapped audience in which the profile was realized as exited.
    Exit,
}
