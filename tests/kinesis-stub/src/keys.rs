//! Types and pure decisions: access keys, roles, and what they allow. Secrets show in no message and no `Debug`.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use serde::Deserialize;

use crate::error::ApiError;

/// A text that never shows.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// An access key and what it may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeySpec {
    /// What signs. Left out on an edit, the key keeps the one it has.
    #[serde(default)]
    pub secret: Secret,
    /// Must come with every request where set.
    #[serde(default)]
    pub session_token: Option<Secret>,
    /// Actions by name, with or without their service (`PutRecords`, `kinesis:PutRecords`); `None` allows all.
    #[serde(default)]
    pub allowed: Option<Vec<String>>,
    /// Answers `ExpiredTokenException` from now on.
    #[serde(default)]
    pub expired: bool,
    /// Unix microseconds from which the key is expired; 0 for never.
    #[serde(skip)]
    pub expires_at: u64,
    /// Who a refusal names; `arn:aws:iam::<account>:user/<id>` where left out.
    #[serde(default)]
    pub user: Option<String>,
}

impl KeySpec {
    /// A key that may do everything.
    pub fn new(secret: impl Into<String>) -> Self {
        Self { secret: Secret(secret.into()), ..Self::default() }
    }

    /// The same key, with these actions only.
    #[must_use]
    pub fn allowing(mut self, actions: &[&str]) -> Self {
        self.allowed = Some(actions.iter().map(|action| (*action).to_owned()).collect());
        self
    }

    /// Whether the key may call an action.
    pub(crate) fn allows(&self, action: &str) -> bool {
        let Some(allowed) = &self.allowed else { return true };
        allowed.iter().any(|entry| {
            let name = entry.split_once(':').map_or(entry.as_str(), |(_, name)| name);
            name == "*" || name == action
        })
    }

    pub(crate) fn is_expired(&self, now: u64) -> bool {
        self.expired || (self.expires_at > 0 && now >= self.expires_at)
    }
}

/// A role that `AssumeRole` gives temporary keys for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RoleSpec {
    /// The external id that a caller must name.
    #[serde(default)]
    pub external_id: Option<String>,
    /// What the temporary keys allow; `None` allows all.
    #[serde(default)]
    pub allowed: Option<Vec<String>>,
    /// How long they live, in seconds.
    #[serde(default = "one_hour")]
    pub ttl_seconds: u64,
}

fn one_hour() -> u64 {
    3_600
}

/// The keys and roles, edited while requests come.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    by_id: RwLock<HashMap<String, Arc<KeySpec>>>,
    roles: RwLock<BTreeMap<String, RoleSpec>>,
}

impl Keys {
    pub(crate) fn find(&self, id: &str) -> Option<Arc<KeySpec>> {
        self.by_id.read().get(id).cloned()
    }

    /// Adds or replaces a key. Without a secret it keeps the one it has; false where it has none.
    pub(crate) fn put(&self, id: &str, mut spec: KeySpec) -> bool {
        let mut by_id = self.by_id.write();
        if spec.secret.0.is_empty() {
            let Some(old) = by_id.get(id) else { return false };
            spec.secret = old.secret.clone();
            spec.session_token = spec.session_token.or_else(|| old.session_token.clone());
        }
        by_id.insert(id.to_owned(), Arc::new(spec));
        true
    }

    pub(crate) fn remove(&self, id: &str) -> bool {
        self.by_id.write().remove(id).is_some()
    }

    /// Edits a key in place; false where there is none.
    pub(crate) fn edit(&self, id: &str, change: impl FnOnce(&mut KeySpec)) -> bool {
        let mut by_id = self.by_id.write();
        let Some(key) = by_id.get_mut(id) else { return false };
        change(Arc::make_mut(key));
        true
    }

    pub(crate) fn role(&self, arn: &str) -> Option<RoleSpec> {
        self.roles.read().get(arn).cloned()
    }

    pub(crate) fn put_role(&self, arn: String, role: RoleSpec) {
        self.roles.write().insert(arn, role);
    }

    pub(crate) fn replace_roles(&self, roles: BTreeMap<String, RoleSpec>) {
        *self.roles.write() = roles;
    }
}

/// The refusal of an action, worded as IAM words it.
pub(crate) fn denied(user: &str, action: &str, resource: &str) -> ApiError {
    ApiError::new(
        "AccessDeniedException",
        format!(
            "User: {user} is not authorized to perform: {action} on resource: {resource} because no identity-based \
             policy allows the {action} action"
        ),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_key_allows_what_it_lists_with_or_without_the_service() {
        let key = KeySpec::new("s").allowing(&["PutRecords", "kinesis:ListStreams"]);
        assert!(key.allows("PutRecords") && key.allows("ListStreams") && !key.allows("PutRecord"));
        assert!(KeySpec::new("s").allows("PutRecord"));
        assert!(KeySpec::new("s").allowing(&["kinesis:*"]).allows("PutRecord"));
    }

    #[test]
    fn an_edit_without_a_secret_keeps_the_secret() {
        let keys = Keys::default();
        assert!(!keys.put("k", KeySpec::default()));
        assert!(keys.put("k", KeySpec::new("s")));
        assert!(keys.put("k", KeySpec::default().allowing(&["PutRecord"])));
        let key = keys.find("k").unwrap();
        assert_eq!(key.secret, Secret("s".into()));
        assert!(!key.allows("PutRecords"));
    }

    #[test]
    fn a_key_expires_by_mark_or_by_time() {
        let mut key = KeySpec::new("s");
        assert!(!key.is_expired(u64::MAX));
        key.expires_at = 5;
        assert!(!key.is_expired(4) && key.is_expired(5));
        assert!(KeySpec { expired: true, ..KeySpec::new("s") }.is_expired(0));
    }

    #[test]
    fn a_secret_does_not_show() {
        assert!(!format!("{:?}", KeySpec::new("hush")).contains("hush"));
    }
}
