//! Effects: from a target's credentials to what the SDK signs with.
//!
//! Fixed keys, the process's own credentials, and a role on top of either. What expires is fetched again before it does.
//! Nothing here looks at whether a credential is any good: the first request tells.

use super::target::{AssumeRole, CredentialSource, Target};
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::provider_config::ProviderConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::SharedHttpClient;

/// How the sessions of an assumed role show in the audit log.
pub const SESSION_NAME: &str = "activation-operator";
/// Named in the SDK's errors and logs as where the keys came from.
const PROVIDER_NAME: &str = "KinesisDestination";

/// What signs the requests of a client of `target`.
pub(super) async fn provider(
    target: &Target,
    http: &SharedHttpClient,
    timeouts: &TimeoutConfig,
    version: BehaviorVersion,
) -> SharedCredentialsProvider {
    let base = match &target.credentials {
        CredentialSource::Keys { access_key_id, secret_access_key, session_token } => SharedCredentialsProvider::new(
            Credentials::new(access_key_id, secret_access_key, session_token.clone(), None, PROVIDER_NAME),
        ),
        CredentialSource::Ambient => SharedCredentialsProvider::new(ambient(target, http, version).await),
    };
    match &target.assume_role {
        None => base,
        Some(role) => SharedCredentialsProvider::new(assumed(role, base, target, http, timeouts, version).await),
    }
}

async fn ambient(target: &Target, http: &SharedHttpClient, version: BehaviorVersion) -> DefaultCredentialsChain {
    let region = Region::new(target.region.clone());
    let config = ProviderConfig::without_region()
        .with_behavior_version(Some(version))
        .with_region(Some(region.clone()))
        .with_use_fips(Some(target.endpoint.use_fips))
        .with_use_dual_stack(Some(target.endpoint.use_dual_stack))
        .with_http_client(http.clone());
    DefaultCredentialsChain::builder().configure(config).region(region).build().await
}

async fn assumed(
    role: &AssumeRole,
    base: SharedCredentialsProvider,
    target: &Target,
    http: &SharedHttpClient,
    timeouts: &TimeoutConfig,
    version: BehaviorVersion,
) -> AssumeRoleProvider {
    let mut config = aws_config::defaults(version)
        .region(Region::new(target.region.clone()))
        .use_fips(target.endpoint.use_fips)
        .use_dual_stack(target.endpoint.use_dual_stack)
        .timeout_config(timeouts.clone())
        .http_client(http.clone())
        .credentials_provider(base.clone());
    if let Some(url) = &target.endpoint.sts_url {
        config = config.endpoint_url(url);
    }
    let mut provider = AssumeRoleProvider::builder(&role.role_arn)
        .session_name(role.session_name.as_deref().unwrap_or(SESSION_NAME))
        .configure(&config.load().await);
    if let Some(external_id) = &role.external_id {
        provider = provider.external_id(external_id);
    }
    provider.build_from_provider(base).await
}
