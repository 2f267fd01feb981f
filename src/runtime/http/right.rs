//! Types: what each route asks of its caller, in the words of Kubernetes RBAC.

use std::fmt;

/// The audience that a token must have been made for.
pub const AUDIENCE: &str = "activation.dev";

/// The longest name that the API server knows, in bytes.
const MAX_NAME_BYTES: usize = 253;

/// What a caller may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Right {
    /// Send profile updates.
    Ingest,
    /// Read profiles.
    ReadProfiles,
    /// List and show dead letters, which hold profiles.
    ReadDeadLetters,
    /// Send the dead letters of an activation again, or drop them.
    ChangeDeadLetters {
        /// The activation's namespace.
        namespace: String,
        /// The activation.
        name: String,
    },
    /// Scrape the metrics.
    ReadMetrics,
    /// Read what is logged.
    ReadLog,
    /// Change what is logged.
    ChangeLog,
}

/// A right as the API server is asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permission<'a> {
    /// On a resource of the group `activation.dev`.
    Resource { verb: &'static str, resource: &'static str, namespace: &'a str, name: Option<&'a str> },
    /// On a path that is no resource.
    Path { verb: &'static str, path: &'static str },
}

impl Right {
    /// To the dead letters of one activation. What no activation can be called is cut off: the message that tells it stays short.
    pub(super) fn change_dead_letters(namespace: &str, name: &str) -> Self {
        let cut = |text: &str| text[..text.floor_char_boundary(MAX_NAME_BYTES)].to_owned();
        Self::ChangeDeadLetters { namespace: cut(namespace), name: cut(name) }
    }

    /// What the API server is asked. Profiles belong to the hub, and so to the namespace of the operator.
    pub(super) fn permission<'a>(&'a self, operator_namespace: &'a str) -> Permission<'a> {
        let profiles =
            |verb| Permission::Resource { verb, resource: "profiles", namespace: operator_namespace, name: None };
        match self {
            Self::Ingest => profiles("create"),
            Self::ReadProfiles | Self::ReadDeadLetters => profiles("get"),
            Self::ChangeDeadLetters { namespace, name } => {
                Permission::Resource { verb: "update", resource: "audienceactivations", namespace, name: Some(name) }
            }
            Self::ReadMetrics => Permission::Path { verb: "get", path: "/metrics" },
            Self::ReadLog => Permission::Path { verb: "get", path: "/v1/log" },
            Self::ChangeLog => Permission::Path { verb: "update", path: "/v1/log" },
        }
    }

    /// The `ClusterRole` of the chart that grants it, without the release's name in front.
    pub fn role(&self) -> &'static str {
        match self {
            Self::Ingest => "ingest-profiles",
            Self::ReadProfiles | Self::ReadDeadLetters => "view-profiles",
            Self::ChangeDeadLetters { .. } => "activate-destinations",
            Self::ReadMetrics => "metrics",
            Self::ReadLog | Self::ChangeLog => "change-log",
        }
    }

    /// Its name in the metrics.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::ReadProfiles => "read_profiles",
            Self::ReadDeadLetters => "read_dead_letters",
            Self::ChangeDeadLetters { .. } => "change_dead_letters",
            Self::ReadMetrics => "read_metrics",
            Self::ReadLog => "read_log",
            Self::ChangeLog => "change_log",
        }
    }
}

impl Permission<'_> {
    /// What binds a role that grants it.
    pub(super) fn binding(&self) -> String {
        match self {
            Self::Resource { namespace, .. } => format!("a RoleBinding in namespace {namespace}"),
            Self::Path { .. } => "a ClusterRoleBinding".to_owned(),
        }
    }
}

/// As a message names what is missing: `create profiles.activation.dev in namespace activation-system`.
impl fmt::Display for Permission<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resource { verb, resource, namespace, name } => {
                write!(f, "{verb} {resource}.activation.dev")?;
                if let Some(name) = name {
                    write!(f, " \"{name}\"")?;
                }
                write!(f, " in namespace {namespace}")
            }
            Self::Path { verb, path } => write!(f, "{verb} the path {path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_right_says_what_is_asked_and_where() {
        let table = [
            (Right::Ingest, "create profiles.activation.dev in namespace ops"),
            (Right::ReadProfiles, "get profiles.activation.dev in namespace ops"),
            (Right::ReadDeadLetters, "get profiles.activation.dev in namespace ops"),
            (
                Right::change_dead_letters("shop", "vip"),
                "update audienceactivations.activation.dev \"vip\" in namespace shop",
            ),
            (Right::ReadMetrics, "get the path /metrics"),
            (Right::ReadLog, "get the path /v1/log"),
            (Right::ChangeLog, "update the path /v1/log"),
        ];
        for (right, words) in table {
            assert_eq!(right.permission("ops").to_string(), words);
        }
    }

    #[test]
    fn a_name_that_no_activation_can_have_stays_short() {
        let right = Right::change_dead_letters(&"\u{fc}".repeat(1000), "vip");
        let Right::ChangeDeadLetters { namespace, .. } = right else { unreachable!() };
        assert_eq!(namespace.len(), MAX_NAME_BYTES - 1);
    }
}
