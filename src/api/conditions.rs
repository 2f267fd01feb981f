//! Types: every condition type and every reason that a condition or an Event may carry, in one bounded list.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::quantities::Moment;

/// A fieldless enum whose names are what is written on the resource.
macro_rules! names {
    ($(#[$meta:meta])* $type:ident { $($(#[doc = $doc:literal])* $name:ident,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $type {
            $($(#[doc = $doc])* $name,)*
        }

        impl $type {
            /// All of them, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The name, as written on the resource.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// What it means, in the words of its documentation.
            pub const fn description(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc),*).trim_ascii(),)*
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $type {
            type Err = UnknownName;

            fn from_str(text: &str) -> Result<Self, UnknownName> {
                Self::ALL.iter().copied().find(|name| name.as_str() == text).ok_or(UnknownName)
            }
        }
    };
}

/// A condition type or a reason that this version does not write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a name that this version writes")]
pub struct UnknownName;

names! {
    /// What a condition is about. Each resource always carries all of its types: see [`ConditionType::DESTINATION`] and
    /// [`ConditionType::ACTIVATION`].
    ConditionType {
        /// The spec is valid, what it refers to is usable, the workers of this generation run.
        Ready,
        /// Something is on its way, and the operator sees to it.
        Reconciling,
        /// A person must mend something, here or in AWS.
        Stalled,
        /// The credentials are there, and AWS knows them.
        CredentialsValid,
        /// The stream exists, and takes records.
        StreamReachable,
        /// The three actions are granted.
        PermissionsGranted,
        /// The destination of this activation is ready.
        DestinationReady,
        /// Records get through.
        Delivering,
        /// The members of every mapped audience have been exported.
        BackfillComplete,
        /// At least one alert fires.
        AlertsFiring,
    }
}

impl ConditionType {
    /// What a `KinesisDestination` carries.
    pub const DESTINATION: [Self; 6] = [
        Self::Ready,
        Self::Reconciling,
        Self::Stalled,
        Self::CredentialsValid,
        Self::StreamReachable,
        Self::PermissionsGranted,
    ];

    /// What an `AudienceActivation` carries.
    pub const ACTIVATION: [Self; 7] = [
        Self::Ready,
        Self::Reconciling,
        Self::Stalled,
        Self::DestinationReady,
        Self::Delivering,
        Self::BackfillComplete,
        Self::AlertsFiring,
    ];
}

names! {
    /// Why a condition is as it is.
    Reason {
        /// Ready: all is well. Reconciling and Stalled, when False: there is nothing to do.
        Succeeded,
        /// Not looked at yet, or not known yet.
        Pending,
        /// The operator is at it.
        Progressing,
        /// `suspend` is set, here or on the destination.
        Suspended,
        /// The resource is being deleted; what is in flight is awaited.
        Draining,

        /// The spec says something that cannot be done; the message says what.
        InvalidSpec,
        /// One mapped path lies above or below another.
        PathsOverlap,
        /// A threshold of an alert cannot be read, or its webhook's Secret is not usable.
        InvalidAlert,
        /// The API server forbids the operator to read something that the resource needs.
        Forbidden,

        /// The Secret that is referred to does not exist.
        SecretNotFound,
        /// The Secret exists, and lacks a key that is named.
        SecretKeyMissing,
        /// Ambient credentials are not allowed in this namespace.
        AmbientNotAllowed,
        /// The endpoint's address is not allowed.
        EndpointNotAllowed,
        /// The credentials are known to AWS.
        CredentialsAccepted,
        /// AWS does not know the credentials, or their signature is wrong.
        CredentialsRefused,
        /// The credentials have expired.
        CredentialsExpired,
        /// The role cannot be assumed.
        AssumeRoleDenied,
        /// The pod has no ambient credentials.
        CredentialsMissing,

        /// The stream exists, and takes records.
        StreamActive,
        /// The stream does not exist in this region and account.
        StreamNotFound,
        /// The stream is being created, updated or deleted.
        StreamNotActive,
        /// The encryption key of the stream refuses, is disabled, or is not there.
        EncryptionKeyRefused,

        /// All three actions are granted.
        PermissionsGranted,
        /// At least one action is denied.
        AccessDenied,
        /// The service's answers do not tell, or it is not to be asked.
        PermissionsUnverified,

        /// The destination is ready.
        DestinationReady,
        /// The destination does not exist.
        DestinationNotFound,
        /// The destination exists, and is not ready.
        DestinationNotReady,
        /// The destination does not allow this namespace.
        NamespaceNotAllowed,

        /// Workers of this generation are starting.
        WorkersStarting,
        /// Workers keep failing.
        WorkersFailing,

        /// Records get through.
        Flowing,
        /// There is nothing to deliver.
        Idle,
        /// The stream takes less than there is to deliver.
        Throttled,
        /// Records are being tried again.
        Retrying,
        /// AWS cannot be reached.
        Unreachable,
        /// The feed cannot be read.
        SourceUnreachable,
        /// The feed no longer holds the position of the dataflow.
        PositionLost,

        /// Members of mapped audiences are being exported.
        BackfillRunning,
        /// The members of every mapped audience have been exported.
        BackfillCompleted,
        /// The spec turns the backfill off.
        BackfillDisabled,
        /// The stream is too small for the deadline.
        BackfillOverdue,

        /// At least one alert fires.
        AlertsFiring,
        /// No alert fires.
        NoAlerts,

        /// An Event only: rotated credentials are in use.
        CredentialsRotated,
        /// An Event only: a resync was started.
        ResyncStarted,
        /// An Event only: a run began.
        RunStarted,
        /// An Event only: a run ended.
        RunEnded,
    }
}

/// The page that lists every condition and every reason, as `docs/conditions.md` holds it.
pub fn markdown() -> String {
    let row = |name: &str, description: &str| format!("| `{name}` | {description} |\n");
    let conditions = |types: &[ConditionType]| -> String {
        types.iter().map(|name| row(name.as_str(), name.description())).collect()
    };
    let reasons: String = Reason::ALL.iter().map(|name| row(name.as_str(), name.description())).collect();
    format!(
        "<!-- Generated from src/api/conditions.rs: UPDATE_DOCS=1 cargo test --test conditions_docs -->\n\n\
         # Conditions and reasons\n\n\
         Each resource always carries all of its conditions, each with the generation that it speaks of. `message` says the\n\
         cause and the mend; `reason` is one of the list below.\n\n\
         ## Conditions of every KinesisDestination\n\n| type | when True |\n| --- | --- |\n{}\n\
         ## Conditions of every AudienceActivation\n\n| type | when True |\n| --- | --- |\n{}\n\
         ## Reasons\n\n| reason | meaning |\n| --- | --- |\n{reasons}",
        conditions(&ConditionType::DESTINATION),
        conditions(&ConditionType::ACTIVATION),
    )
}

/// A moment as conditions hold it, in whole seconds.
pub fn condition_time(moment: Moment) -> Time {
    let seconds = moment.millis().div_euclid(1_000);
    // The range of both is the same; the epoch can only come from a future version of either library.
    Time(k8s_openapi::jiff::Timestamp::from_second(seconds).unwrap_or(k8s_openapi::jiff::Timestamp::UNIX_EPOCH))
}

/// The moment that a condition holds.
pub fn moment_of(time: &Time) -> Moment {
    Moment::from_millis(time.0.as_millisecond())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reasons_are_what_the_api_server_accepts() {
        for reason in Reason::ALL {
            let name = reason.as_str();
            assert!(name.len() <= 1024 && name.chars().all(|c| c.is_ascii_alphanumeric()), "{name}");
            assert_eq!(name.parse::<Reason>().unwrap(), *reason);
        }
        assert!("Flows".parse::<Reason>().is_err());
    }

    #[test]
    fn every_name_says_what_it_means() {
        let types = ConditionType::ALL.iter().map(|name| name.description());
        for description in types.chain(Reason::ALL.iter().map(|name| name.description())) {
            assert!(description.ends_with('.') && !description.contains('|'), "{description}");
        }
        assert_eq!(Reason::SecretNotFound.description(), "The Secret that is referred to does not exist.");
    }

    #[test]
    fn a_condition_keeps_the_second_of_a_moment() {
        let moment = Moment::from_millis(1_767_323_045_123);
        assert_eq!(moment_of(&condition_time(moment)).millis(), 1_767_323_045_000);
    }
}
