//! Pure: the smallest IAM policies that a destination needs, as JSON ready to paste.
//!
//! Three permissions and no more: writing on the one stream, and `ListStreams`, which IAM knows for `*` only and which
//! therefore has a statement of its own. Streams encrypted with a key of the customer's also need `kms:GenerateDataKey` on
//! that key, which nobody can tell from here.

use super::target::{AssumeRole, StreamRef};
use serde::Serialize;
use serde_json::{Value, json};

/// From where requests may come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Origin {
    /// No condition.
    #[default]
    Anywhere,
    /// These addresses or CIDR blocks, as `aws:SourceIp`.
    Addresses(Vec<String>),
    /// These VPC endpoints, as `aws:SourceVpce`. Not both: behind an endpoint there is no source address, so a policy that asks
    /// for both refuses everybody.
    VpcEndpoints(Vec<String>),
}

/// What a policy is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The stream to write to.
    pub stream: &'a StreamRef,
    /// Its region, which also tells the partition of a stream known by name.
    pub region: &'a str,
    /// The account of a stream known by name; `*` stands in its place where it is not known.
    pub account: Option<&'a str>,
    /// The role that is taken on, if any.
    pub assume_role: Option<&'a AssumeRole>,
    /// From where.
    pub origin: &'a Origin,
}

/// The documents, each pretty-printed JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequiredPolicy {
    /// What whoever writes needs: the assumed role, or else the principal of the credentials.
    pub stream: String,
    /// With an assumed role: what the principal of the credentials needs, to assume it.
    pub base: Option<String>,
    /// With an assumed role: its trust policy, in which the principal remains to be filled in.
    pub trust: Option<String>,
}

/// A policy document. Structs, not maps: the order of the fields is the one that people know.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    version: &'static str,
    statement: Vec<Statement>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    sid: &'static str,
    effect: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<Value>,
    action: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<Value>,
}

/// The policies that `scope` asks for.
pub fn required_policy(scope: &Scope<'_>) -> RequiredPolicy {
    let write = allow("WriteToTheStream", json!(["kinesis:PutRecord", "kinesis:PutRecords"]), stream_arn(scope), scope);
    let list = allow("FindTheStream", json!("kinesis:ListStreams"), "*".into(), scope);
    RequiredPolicy {
        stream: document(vec![write, list]),
        base: scope
            .assume_role
            .map(|role| document(vec![allow("AssumeTheRole", json!("sts:AssumeRole"), role.role_arn.clone(), scope)])),
        trust: scope.assume_role.map(|role| document(vec![trust(role)])),
    }
}

fn stream_arn(scope: &Scope<'_>) -> String {
    match scope.stream {
        StreamRef::Arn(arn) => arn.clone(),
        StreamRef::Name(name) => {
            let account = scope.account.unwrap_or("*");
            format!("arn:{}:kinesis:{}:{account}:stream/{name}", partition(scope.region), scope.region)
        }
    }
}

/// The partition that a region belongs to.
pub fn partition(region: &str) -> &'static str {
    const BY_PREFIX: [(&str, &str); 6] = [
        ("cn-", "aws-cn"),
        ("us-gov-", "aws-us-gov"),
        ("us-iso-", "aws-iso"),
        ("us-isob-", "aws-iso-b"),
        ("us-isof-", "aws-iso-f"),
        ("eusc-", "aws-eusc"),
    ];
    BY_PREFIX.iter().find(|(prefix, _)| region.starts_with(prefix)).map_or("aws", |(_, partition)| partition)
}

fn condition(origin: &Origin) -> Option<Value> {
    match origin {
        Origin::Anywhere => None,
        Origin::Addresses(addresses) => Some(json!({"IpAddress": {"aws:SourceIp": addresses}})),
        Origin::VpcEndpoints(endpoints) => Some(json!({"StringEquals": {"aws:SourceVpce": endpoints}})),
    }
}

fn allow(sid: &'static str, action: Value, resource: String, scope: &Scope<'_>) -> Statement {
    Statement {
        sid,
        effect: "Allow",
        principal: None,
        action,
        resource: Some(resource),
        condition: condition(scope.origin),
    }
}

fn trust(role: &AssumeRole) -> Statement {
    Statement {
        sid: "TrustTheOperator",
        effect: "Allow",
        principal: Some(json!({"AWS": "<the ARN of the principal whose credentials are used>"})),
        action: json!("sts:AssumeRole"),
        resource: None,
        condition: role.external_id.as_ref().map(|id| json!({"StringEquals": {"sts:ExternalId": id}})),
    }
}

fn document(statement: Vec<Statement>) -> String {
    // `{:#}` of a Value would sort the fields.
    serde_json::to_string_pretty(&Document { version: "2012-10-17", statement }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn named() -> StreamRef {
        StreamRef::Name("orders".into())
    }

    fn scope<'a>(stream: &'a StreamRef, region: &'a str) -> Scope<'a> {
        Scope { stream, region, account: None, assume_role: None, origin: &Origin::Anywhere }
    }

    #[test]
    fn the_policy_grants_three_actions_and_nothing_else() {
        let policy: Value = serde_json::from_str(&required_policy(&scope(&named(), "eu-west-1")).stream).unwrap();
        assert_eq!(
            policy,
            json!({"Version": "2012-10-17", "Statement": [
                {"Sid": "WriteToTheStream", "Effect": "Allow", "Action": ["kinesis:PutRecord", "kinesis:PutRecords"],
                 "Resource": "arn:aws:kinesis:eu-west-1:*:stream/orders"},
                {"Sid": "FindTheStream", "Effect": "Allow", "Action": "kinesis:ListStreams", "Resource": "*"},
            ]})
        );
    }

    #[test]
    fn the_policy_is_printed_over_several_lines() {
        assert!(required_policy(&scope(&named(), "eu-west-1")).stream.lines().count() > 10);
    }

    #[test]
    fn the_resource_knows_partition_account_and_arn() {
        let arn = StreamRef::Arn("arn:aws:kinesis:eu-west-1:111122223333:stream/theirs".into());
        let name = named();
        let table = [
            (scope(&name, "cn-north-1"), "arn:aws-cn:kinesis:cn-north-1:*:stream/orders"),
            (scope(&name, "us-gov-west-1"), "arn:aws-us-gov:kinesis:us-gov-west-1:*:stream/orders"),
            (
                Scope { account: Some("123456789012"), ..scope(&name, "us-east-1") },
                "arn:aws:kinesis:us-east-1:123456789012:stream/orders",
            ),
            (scope(&arn, "eu-west-1"), "arn:aws:kinesis:eu-west-1:111122223333:stream/theirs"),
        ];
        for (scope, expected) in table {
            let policy: Value = serde_json::from_str(&required_policy(&scope).stream).unwrap();
            assert_eq!(policy["Statement"][0]["Resource"], expected);
        }
    }

    #[test]
    fn an_assumed_role_needs_a_policy_to_assume_it_and_a_trust_with_the_external_id() {
        let role = AssumeRole {
            role_arn: "arn:aws:iam::123456789012:role/writer".into(),
            external_id: Some("shop/orders".into()),
            session_name: None,
        };
        let name = named();
        let policy = required_policy(&Scope { assume_role: Some(&role), ..scope(&name, "eu-west-1") });
        let base: Value = serde_json::from_str(&policy.base.unwrap()).unwrap();
        assert_eq!(base["Statement"][0]["Action"], "sts:AssumeRole");
        assert_eq!(base["Statement"][0]["Resource"], "arn:aws:iam::123456789012:role/writer");
        let trust: Value = serde_json::from_str(&policy.trust.unwrap()).unwrap();
        assert_eq!(trust["Statement"][0]["Condition"]["StringEquals"]["sts:ExternalId"], "shop/orders");
        let without = required_policy(&scope(&name, "eu-west-1"));
        assert_eq!((without.base, without.trust), (None, None));
    }

    #[test]
    fn a_condition_on_the_origin_stands_in_every_statement() {
        let origin = Origin::VpcEndpoints(vec!["vpce-1".into()]);
        let name = named();
        let policy = required_policy(&Scope { origin: &origin, ..scope(&name, "eu-west-1") });
        let policy: Value = serde_json::from_str(&policy.stream).unwrap();
        for statement in policy["Statement"].as_array().unwrap() {
            assert_eq!(statement["Condition"], json!({"StringEquals": {"aws:SourceVpce": ["vpce-1"]}}));
        }
        let origin = Origin::Addresses(vec!["192.0.2.0/24".into()]);
        let policy = required_policy(&Scope { origin: &origin, ..scope(&name, "eu-west-1") });
        let policy: Value = serde_json::from_str(&policy.stream).unwrap();
        assert_eq!(policy["Statement"][1]["Condition"], json!({"IpAddress": {"aws:SourceIp": ["192.0.2.0/24"]}}));
    }
}
