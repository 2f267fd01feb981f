//! Types: with which credentials, and at which address, the stream is reached.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::api::references::AccessKeySecret;

/// With which credentials to stream: exactly one of secretRef and ambient, and a role on top of either, if wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = credentials_rules()))]
pub struct Credentials {
    /// A Secret of the same namespace that holds an AWS access key. When the Secret changes, running dataflows take the
    /// new key without a restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<AccessKeySecret>,
    /// Written as `{}`: the credentials that the pod has (IRSA, EKS Pod Identity, an instance role). Refused outside the
    /// namespaces that the operator's flag allows, by default its own, since it lends the operator's identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ambient: Option<Ambient>,
    /// A role to assume with these credentials, for instance of the account that owns the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assume_role: Option<AssumeRole>,
}

/// Written as `{}`: the credentials that the pod has (IRSA, EKS Pod Identity, an instance role). Refused outside the
/// namespaces that the operator's flag allows, by default its own, since it lends the operator's identity.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ambient {}

/// A role to assume with these credentials, for instance of the account that owns the stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AssumeRole {
    /// ARN of the role.
    #[schemars(
        length(min = 1, max = 640),
        extend("pattern" = "^arn:aws[a-z-]*:iam::[0-9]{12}:role/[a-zA-Z0-9+=,.@_/-]+$")
    )]
    pub role_arn: String,
    /// The external id that the role's trust policy asks for. 2 to 1224 characters. Only with secretRef: with ambient, the
    /// operator sends `<namespace>/<name>` of the destination, so that nobody borrows a role by guessing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 1224), extend("pattern" = "^[a-zA-Z0-9_+=,.@:/-]+$"))]
    pub external_id: Option<String>,
    /// Name of the session, as the logs of the other account will show it. 2 to 64 characters. Default:
    /// activation-operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 64), extend("pattern" = "^[a-zA-Z0-9_+=,.@-]+$"))]
    pub session_name: Option<String>,
}

/// Another address than the public one of the region: a VPC endpoint, FIPS, dual stack, an emulator.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.url) || !((has(self.useFips) && self.useFips) || (has(self.useDualStack) && self.useDualStack))",
    "message": "useFips and useDualStack choose among the public endpoints; remove them or url",
}]))]
pub struct Endpoint {
    /// An http or https URL of a host, with a port and a path if needed. At most 512 characters. Link-local addresses are
    /// refused here, cluster-internal ones by the operator unless its flag allows them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), extend("x-kubernetes-validations" = url_rules()))]
    pub url: Option<String>,
    /// Use the FIPS endpoint of the region. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_fips: Option<bool>,
    /// Use the dual-stack (IPv6) endpoint of the region. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_dual_stack: Option<bool>,
}

impl Endpoint {
    /// Whether the FIPS endpoint is wanted.
    pub fn use_fips(&self) -> bool {
        self.use_fips.unwrap_or(false)
    }

    /// Whether the dual-stack endpoint is wanted.
    pub fn use_dual_stack(&self) -> bool {
        self.use_dual_stack.unwrap_or(false)
    }
}

fn credentials_rules() -> Value {
    json!([
        {
            "rule": "has(self.secretRef) != has(self.ambient)",
            "message": "set exactly one of credentials.secretRef and credentials.ambient",
        },
        {
            "rule": "!has(self.ambient) || !has(self.assumeRole) || !has(self.assumeRole.externalId)",
            "message": "with credentials.ambient the operator sets the external id itself; remove assumeRole.externalId \
                        and let the role's trust policy ask for <namespace>/<name> of this destination",
        },
    ])
}

/// Plain patterns instead of CEL's `url()`, whose parsers differ between servers: some read `http://2852039166` as an
/// address of four numbers. So the second rule also refuses every number that is no dotted quad. A bracket is escaped, not put
/// into brackets, which RE2 and Rust's expressions read differently.
fn url_rules() -> Value {
    json!([
        {
            "rule": "self.matches('^https?://([a-zA-Z0-9._-]+|\\\\[[0-9a-fA-F:.]+\\\\])(:[0-9]{1,5})?(/[^?#]*)?$')",
            "message": "endpoint.url must be an http or https URL of a host, without user, query or fragment, such as \
                        https://vpce-0a1b-2c3d.kinesis.eu-west-1.vpce.amazonaws.com",
        },
        {
            "rule": "!self.matches('^(?i:https?)://(\\\\[(?i:fe[89ab][0-9a-f]:|fd00:0?ec2:|64:ff9b:|[0:]*:(ffff|a9fe):|[0:]*:169[.]254[.])|\
                     (?i:169[.]254[.]|0x|0[0-9]+[.]|([0-9]+[.]){0,2}[0-9]+(:|/|$)|[0-9.]*[.]0[0-9x]))')",
            "message": "endpoint.url must not be a link-local or metadata address, nor an address written as anything but \
                        four decimal numbers",
        },
    ])
}
