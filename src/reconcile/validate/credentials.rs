//! Pure decisions: whether a destination's credentials can be used, and what signs with them. No message holds a value.

use super::{Problem, ProcessPolicy};
use crate::api::conditions::Reason;
use crate::api::destination::CredentialsSource;
use crate::api::references::AccessKeySecret;
use crate::kinesis::target::{AssumeRole, CredentialSource};
use crate::reconcile::dereference::{DereferencedDestination, FoundSecret};
use crate::reconcile::inventory::Secret;

/// What the status tells of the credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialFacts {
    /// Where they come from.
    pub source: CredentialsSource,
    /// The version of the Secret.
    pub secret_resource_version: Option<String>,
    /// The external id that the operator chose.
    pub external_id: Option<String>,
}

/// Exactly one source of credentials is named.
pub fn credentials_are_given_once(found: &DereferencedDestination<'_>, _: &ProcessPolicy) -> Vec<Problem> {
    let credentials = &found.destination.spec.credentials;
    if credentials.secret_ref.is_some() != credentials.ambient.is_some() {
        return Vec::new();
    }
    let message = "spec.credentials: set exactly one of secretRef and ambient";
    vec![Problem::refused(Reason::InvalidSpec, message)]
}

/// Ambient credentials lend the operator's own identity, so only some namespaces may use them.
pub fn ambient_is_allowed_here(found: &DereferencedDestination<'_>, policy: &ProcessPolicy) -> Vec<Problem> {
    let namespace = &found.key.namespace;
    if found.destination.spec.credentials.ambient.is_none() || policy.ambient_namespaces.contains(namespace) {
        return Vec::new();
    }
    let message = format!(
        "spec.credentials.ambient: destinations in namespace {namespace} may not use the operator's own credentials; name a \
         Secret in credentials.secretRef, or have the flags of the operator allow it for {namespace}"
    );
    vec![Problem::refused(Reason::AmbientNotAllowed, message)]
}

/// With ambient credentials the external id is the operator's to choose.
pub fn external_id_is_the_operators(found: &DereferencedDestination<'_>, _: &ProcessPolicy) -> Vec<Problem> {
    let credentials = &found.destination.spec.credentials;
    let given = credentials.assume_role.as_ref().is_some_and(|role| role.external_id.is_some());
    if credentials.ambient.is_none() || !given {
        return Vec::new();
    }
    let message = format!(
        "spec.credentials.assumeRole.externalId: with ambient credentials the operator sends {}; remove the field and let the \
         role's trust policy ask for that",
        found.key
    );
    vec![Problem::refused(Reason::InvalidSpec, message)]
}

/// The Secret is there, and may be read.
pub fn secret_exists(found: &DereferencedDestination<'_>, _: &ProcessPolicy) -> Vec<Problem> {
    let Some((secret, reference)) = found.secret.zip(found.destination.spec.credentials.secret_ref.as_ref()) else {
        return Vec::new();
    };
    let (name, namespace) = (&reference.name, &found.key.namespace);
    match secret {
        FoundSecret::Present(_) => Vec::new(),
        FoundSecret::Missing => vec![Problem::missing(
            Reason::SecretNotFound,
            format!(
                "Secret {namespace}/{name} does not exist; create it with the keys {} and {}",
                reference.access_key_id_key, reference.secret_access_key_key
            ),
        )],
        FoundSecret::Forbidden => vec![Problem::refused(
            Reason::Forbidden,
            format!(
                "the operator may not read Secret {namespace}/{name}; grant its service account get on secrets there"
            ),
        )],
    }
}

/// The Secret holds every key that is named, and each holds something that can be a credential.
pub fn secret_has_its_keys(found: &DereferencedDestination<'_>, _: &ProcessPolicy) -> Vec<Problem> {
    let (Some(FoundSecret::Present(secret)), Some(reference)) =
        (found.secret, &found.destination.spec.credentials.secret_ref)
    else {
        return Vec::new();
    };
    keys(reference).filter_map(|key| key_problem(found, reference, secret, key)).collect()
}

fn keys(reference: &AccessKeySecret) -> impl Iterator<Item = &str> {
    let required = [reference.access_key_id_key.as_str(), reference.secret_access_key_key.as_str()];
    required.into_iter().chain(reference.session_token_key.as_deref())
}

fn key_problem(
    found: &DereferencedDestination<'_>,
    reference: &AccessKeySecret,
    secret: &Secret,
    key: &str,
) -> Option<Problem> {
    let place = format!("Secret {}/{}", found.key.namespace, reference.name);
    let Some(value) = secret.data.get(key) else {
        let message = format!("{place} has no key {key}; add it, or name another key in spec.credentials.secretRef");
        return Some(Problem::missing(Reason::SecretKeyMissing, message));
    };
    let fault = match std::str::from_utf8(value) {
        Ok("") => "is empty",
        Ok(text) if text.ends_with(['\n', '\r']) => "ends with a line break",
        Ok(text) if text.contains(|c: char| c.is_whitespace() || c.is_control()) => "holds white space",
        Ok(text) if !text.is_ascii() => "holds letters that no credential has",
        Ok(_) => return None,
        Err(_) => "is no text",
    };
    let message = format!(
        "{place}: the value of key {key} {fault}; write the credential and nothing else (printf '%s' instead of echo, and \
         encoded in base64 once only)"
    );
    Some(Problem::refused(Reason::SecretKeyMissing, message))
}

/// What signs, where everything that it takes is there.
pub fn source(found: &DereferencedDestination<'_>) -> Option<(CredentialSource, CredentialFacts)> {
    let credentials = &found.destination.spec.credentials;
    let Some(reference) = &credentials.secret_ref else {
        let external_id = credentials.assume_role.as_ref().map(|_| found.key.to_string());
        let facts = CredentialFacts { source: CredentialsSource::Ambient, secret_resource_version: None, external_id };
        return credentials.ambient.as_ref().map(|_| (CredentialSource::Ambient, facts));
    };
    let Some(FoundSecret::Present(secret)) = found.secret else { return None };
    let value = |key: &str| secret.data.get(key).and_then(|value| String::from_utf8(value.clone()).ok());
    let keys = CredentialSource::Keys {
        access_key_id: value(&reference.access_key_id_key)?,
        secret_access_key: value(&reference.secret_access_key_key)?,
        session_token: match &reference.session_token_key {
            Some(key) => Some(value(key)?),
            None => None,
        },
    };
    let version = Some(secret.resource_version.clone());
    let facts =
        CredentialFacts { source: CredentialsSource::Secret, secret_resource_version: version, external_id: None };
    Some((keys, facts))
}

/// The role on top, with the external id that holds.
pub fn role(found: &DereferencedDestination<'_>) -> Option<AssumeRole> {
    let credentials = &found.destination.spec.credentials;
    credentials.assume_role.as_ref().map(|role| AssumeRole {
        role_arn: role.role_arn.clone(),
        external_id: match credentials.ambient {
            Some(_) => Some(found.key.to_string()),
            None => role.external_id.clone(),
        },
        session_name: role.session_name.clone(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::api::destination::{Ambient, AssumeRole as SpecRole};
    use crate::reconcile::inventory::Inventory;
    use crate::reconcile::validate::Kind;
    use crate::reconcile::{dereference, samples};

    type Check = fn(&DereferencedDestination<'_>, &ProcessPolicy) -> Vec<Problem>;

    fn check(inventory: &Inventory, policy: &ProcessPolicy, check: Check) -> Vec<(Reason, Kind)> {
        let found = dereference::destination(inventory, &samples::destination_key()).unwrap();
        let problems = check(&found, policy);
        assert!(problems.iter().all(|problem| problem.message.len() > 40), "{problems:?}");
        problems.into_iter().map(|problem| (problem.reason, problem.kind)).collect()
    }

    fn with_secret(key: &str, value: Option<&str>) -> Inventory {
        let mut inventory = samples::inventory();
        let data = &mut inventory.secrets.get_mut(&samples::secret_key()).unwrap().data;
        match value {
            Some(value) => data.insert(key.to_owned(), value.into()),
            None => data.remove(key),
        };
        inventory
    }

    fn ambient() -> Inventory {
        let mut inventory = samples::inventory();
        let credentials = &mut samples::destination_of(&mut inventory).spec.credentials;
        credentials.secret_ref = None;
        credentials.ambient = Some(Ambient {});
        credentials.assume_role =
            Some(SpecRole { role_arn: "arn:aws:iam::123456789012:role/w".into(), ..SpecRole::default() });
        inventory
    }

    #[test]
    fn a_secret_must_exist_and_be_readable() {
        let policy = ProcessPolicy::default();
        assert_eq!(check(&samples::inventory(), &policy, secret_exists), []);
        let mut inventory = samples::inventory();
        inventory.secrets.clear();
        assert_eq!(check(&inventory, &policy, secret_exists), [(Reason::SecretNotFound, Kind::Missing)]);
        inventory.forbidden_secrets.insert(samples::secret_key());
        assert_eq!(check(&inventory, &policy, secret_exists), [(Reason::Forbidden, Kind::Refused)]);
    }

    #[test]
    fn every_named_key_must_hold_a_credential_and_nothing_else() {
        let refused = vec![(Reason::SecretKeyMissing, Kind::Refused)];
        let table = [
            (Some("good"), vec![]),
            (None, vec![(Reason::SecretKeyMissing, Kind::Missing)]),
            (Some(""), refused.clone()),
            (Some("key\n"), refused.clone()),
            (Some("two words"), refused.clone()),
            (Some("schlüssel"), refused),
        ];
        for (value, expected) in table {
            for key in ["accessKeyId", "secretAccessKey"] {
                let inventory = with_secret(key, value);
                assert_eq!(check(&inventory, &ProcessPolicy::default(), secret_has_its_keys), expected, "{value:?}");
            }
        }
    }

    #[test]
    fn a_named_session_token_must_be_there_too() {
        let mut inventory = samples::inventory();
        let reference = samples::destination_of(&mut inventory).spec.credentials.secret_ref.as_mut().unwrap();
        reference.session_token_key = Some("token".to_owned());
        let expected = [(Reason::SecretKeyMissing, Kind::Missing)];
        assert_eq!(check(&inventory, &ProcessPolicy::default(), secret_has_its_keys), expected);
    }

    #[test]
    fn ambient_credentials_are_for_the_namespaces_that_the_process_allows() {
        let inventory = ambient();
        let expected = [(Reason::AmbientNotAllowed, Kind::Refused)];
        assert_eq!(check(&inventory, &ProcessPolicy::default(), ambient_is_allowed_here), expected);
        let policy = ProcessPolicy { ambient_namespaces: ["shop".to_owned()].into(), ..ProcessPolicy::default() };
        assert_eq!(check(&inventory, &policy, ambient_is_allowed_here), []);
    }

    #[test]
    fn with_ambient_credentials_the_external_id_is_the_name_of_the_destination() {
        let mut inventory = ambient();
        let found = dereference::destination(&inventory, &samples::destination_key()).unwrap();
        assert_eq!(role(&found).unwrap().external_id.as_deref(), Some("shop/stream"));
        assert_eq!(source(&found).unwrap().1.external_id.as_deref(), Some("shop/stream"));
        let spec = &mut samples::destination_of(&mut inventory).spec.credentials;
        spec.assume_role.as_mut().unwrap().external_id = Some("guessed".to_owned());
        let expected = [(Reason::InvalidSpec, Kind::Refused)];
        assert_eq!(check(&inventory, &ProcessPolicy::default(), external_id_is_the_operators), expected);
    }

    #[test]
    fn exactly_one_source_is_named() {
        let mut inventory = samples::inventory();
        let expected = [(Reason::InvalidSpec, Kind::Refused)];
        samples::destination_of(&mut inventory).spec.credentials.ambient = Some(Ambient {});
        assert_eq!(check(&inventory, &ProcessPolicy::default(), credentials_are_given_once), expected);
        let credentials = &mut samples::destination_of(&mut inventory).spec.credentials;
        (credentials.ambient, credentials.secret_ref) = (None, None);
        assert_eq!(check(&inventory, &ProcessPolicy::default(), credentials_are_given_once), expected);
    }
}
