//! `policy` prints the smallest IAM policy for the destinations of a file: pure, but for reading the one and printing the other.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::kinesis::policy::{Origin, RequiredPolicy, Scope, required_policy};
use crate::reconcile::inventory::{Inventory, ObjectKey};
use crate::reconcile::{dereference, validate};
use crate::standalone::manifests;

/// Prints the smallest IAM policy that a destination needs
#[derive(Debug, clap::Args)]
pub struct PolicyArguments {
    /// Manifests with the destination, among others if need be: a file, or a folder of *.yaml, *.yml and *.json
    #[arg(short = 'f', long, value_name = "FILE|DIR")]
    filename: PathBuf,
    /// Only destinations of this name [default: every one]
    #[arg(long)]
    name: Option<String>,
    /// The account of the stream, where it is known by name; without it the policy says *
    #[arg(long, value_name = "ID", value_parser = account)]
    account: Option<String>,
    /// Allow requests from this address or block only; may be repeated
    #[arg(long, value_name = "CIDR", value_parser = block)]
    source_ip: Vec<String>,
    /// Allow requests through this VPC endpoint only; may be repeated. Not together with --source-ip, which a request through
    /// an endpoint never meets
    #[arg(long, value_name = "ID", value_parser = vpc_endpoint, conflicts_with = "source_ip")]
    source_vpce: Vec<String>,
    /// Where the destination assumes a role, print also the policy to assume it, and the role's trust policy
    #[arg(long)]
    role_trust: bool,
}

/// Why there is no policy.
#[derive(Debug, thiserror::Error)]
enum PolicyError {
    #[error("a manifest is refused, so no policy is printed: mend what is told above")]
    Refused,
    #[error("{file} holds no KinesisDestination{}: name another file, or another --name", .name.as_ref().map(|name| format!(" {name}")).unwrap_or_default())]
    Nothing { file: String, name: Option<String> },
    #[error("standard output cannot be written: {0}")]
    Print(io::Error),
}

/// One document: for the eyes on standard error, for pasting on standard output.
#[derive(Debug, PartialEq, Eq)]
struct Document {
    heading: String,
    json: String,
}

/// Reads the manifests and prints what was asked for. Nothing is printed where one of them is refused.
pub fn run(arguments: &PolicyArguments) -> ExitCode {
    let set = manifests::read(&arguments.filename);
    set.problems.iter().filter(|problem| !problem.ignored).for_each(|problem| eprintln!("{problem}"));
    let documents = if set.has_refusal() { Err(PolicyError::Refused) } else { documents(arguments, &set.inventory) };
    match documents.and_then(|documents| print(&documents)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("policy: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print(documents: &[Document]) -> Result<(), PolicyError> {
    for Document { heading, json } in documents {
        eprintln!("# {heading}");
        super::print(&format!("{json}\n")).map_err(PolicyError::Print)?;
    }
    Ok(())
}

fn documents(arguments: &PolicyArguments, inventory: &Inventory) -> Result<Vec<Document>, PolicyError> {
    let origin = origin(arguments);
    let mut documents = Vec::new();
    for key in inventory.destinations.keys() {
        if arguments.name.as_ref().is_some_and(|name| *name != key.name) {
            continue;
        }
        let Some(found) = dereference::destination(inventory, key) else { continue };
        // The schema asks for one of the two names of a stream.
        let Some(stream) = validate::destination::stream(&found.destination.spec) else { continue };
        let policy = required_policy(&Scope {
            stream: &stream,
            region: &found.destination.spec.region,
            account: arguments.account.as_deref(),
            assume_role: validate::credentials::role(&found).as_ref(),
            origin: &origin,
        });
        documents.extend(headed(key, policy, arguments.role_trust));
    }
    if documents.is_empty() {
        let file = arguments.filename.display().to_string();
        return Err(PolicyError::Nothing { file, name: arguments.name.clone() });
    }
    Ok(documents)
}

fn headed(key: &ObjectKey, policy: RequiredPolicy, role_trust: bool) -> Vec<Document> {
    let RequiredPolicy { stream, base, trust } = policy;
    let Some((base, trust)) = base.zip(trust) else {
        return vec![Document { heading: format!("{key}: for the principal of the credentials"), json: stream }];
    };
    let hint = if role_trust { "" } else { "; --role-trust prints what it takes to assume it" };
    let mut documents = vec![Document { heading: format!("{key}: for the assumed role{hint}"), json: stream }];
    if role_trust {
        let heading = format!("{key}: for the principal of the credentials, to assume the role");
        documents.push(Document { heading, json: base });
        documents.push(Document { heading: format!("{key}: the trust policy of the assumed role"), json: trust });
    }
    documents
}

fn origin(arguments: &PolicyArguments) -> Origin {
    if !arguments.source_ip.is_empty() {
        Origin::Addresses(arguments.source_ip.clone())
    } else if !arguments.source_vpce.is_empty() {
        Origin::VpcEndpoints(arguments.source_vpce.clone())
    } else {
        Origin::Anywhere
    }
}

fn account(text: &str) -> Result<String, String> {
    let digits = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { Ok(text.to_owned()) } else { Err("an account is twelve digits".to_owned()) }
}

fn block(text: &str) -> Result<String, String> {
    let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let address: std::net::IpAddr =
        address.parse().map_err(|_| "write an address or a block, such as 192.0.2.0/24".to_owned())?;
    let most: u8 = if address.is_ipv4() { 32 } else { 128 };
    match prefix.map(str::parse::<u8>) {
        None => Ok(text.to_owned()),
        Some(Ok(length)) if length <= most => Ok(text.to_owned()),
        Some(_) => Err(format!("the length after / must be a number up to {most}")),
    }
}

fn vpc_endpoint(text: &str) -> Result<String, String> {
    let id = text.strip_prefix("vpce-").unwrap_or_default();
    let known = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if known { Ok(text.to_owned()) } else { Err("a VPC endpoint is written as in vpce-0a1b2c3d".to_owned()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use clap::Parser;
    use serde_json::Value;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        arguments: PolicyArguments,
    }

    fn parsed(line: &[&str]) -> Result<PolicyArguments, clap::Error> {
        let line = ["policy", "-f", "d.yaml"].iter().chain(line);
        Line::try_parse_from(line).map(|line| line.arguments)
    }

    const TWO: &str = "
apiVersion: v1
kind: Secret
metadata: {name: aws}
stringData: {accessKeyId: a, secretAccessKey: b}
---
apiVersion: activation.dev/v1alpha1
kind: KinesisDestination
metadata: {name: plain, namespace: shop}
spec: {region: eu-west-1, stream: {name: orders}, credentials: {secretRef: {name: aws}}}
---
apiVersion: activation.dev/v1alpha1
kind: KinesisDestination
metadata: {name: lent}
spec:
  region: eu-west-1
  stream: {arn: 'arn:aws:kinesis:eu-west-1:111122223333:stream/theirs'}
  credentials: {ambient: {}, assumeRole: {roleArn: 'arn:aws:iam::111122223333:role/writer'}}
";

    fn inventory() -> Inventory {
        let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
        std::fs::write(file.path(), TWO).unwrap();
        let set = manifests::read(file.path());
        assert_eq!(set.problems, []);
        set.inventory
    }

    fn printed(line: &[&str]) -> Vec<(String, Value)> {
        let documents = documents(&parsed(line).unwrap(), &inventory()).unwrap();
        documents.into_iter().map(|one| (one.heading, serde_json::from_str(&one.json).unwrap())).collect()
    }

    #[test]
    fn every_destination_of_a_file_gets_its_policy_and_other_kinds_none() {
        let printed = printed(&["--account", "123456789012"]);
        assert_eq!(printed.len(), 2);
        assert_eq!(printed[0].0, "default/lent: for the assumed role; --role-trust prints what it takes to assume it");
        assert_eq!(printed[0].1["Statement"][0]["Resource"], "arn:aws:kinesis:eu-west-1:111122223333:stream/theirs");
        assert_eq!(printed[1].0, "shop/plain: for the principal of the credentials");
        assert_eq!(printed[1].1["Statement"][0]["Resource"], "arn:aws:kinesis:eu-west-1:123456789012:stream/orders");
    }

    #[test]
    fn a_role_comes_with_what_it_takes_to_assume_it() {
        let printed = printed(&["--name", "lent", "--role-trust"]);
        assert_eq!(printed.len(), 3);
        assert_eq!(printed[1].1["Statement"][0]["Action"], "sts:AssumeRole");
        // The operator's own external id, as with all ambient credentials.
        assert_eq!(printed[2].1["Statement"][0]["Condition"]["StringEquals"]["sts:ExternalId"], "default/lent");
    }

    #[test]
    fn an_origin_becomes_a_condition() {
        let by_address = printed(&["--name", "plain", "--source-ip", "192.0.2.0/24", "--source-ip", "2001:db8::1"]);
        let condition = &by_address[0].1["Statement"][0]["Condition"];
        assert_eq!(condition["IpAddress"]["aws:SourceIp"], serde_json::json!(["192.0.2.0/24", "2001:db8::1"]));
        let by_endpoint = printed(&["--name", "plain", "--source-vpce", "vpce-0a1b"]);
        assert_eq!(by_endpoint[0].1["Statement"][1]["Condition"]["StringEquals"]["aws:SourceVpce"][0], "vpce-0a1b");
    }

    #[test]
    fn what_is_no_address_endpoint_or_account_is_refused_on_the_command_line() {
        for bad in [
            &["--source-ip", "example.com"][..],
            &["--source-ip", "192.0.2.0/33"],
            &["--source-ip", "192.0.2.0/"],
            &["--source-vpce", "vpc-1"],
            &["--account", "12"],
            &["--source-ip", "192.0.2.1", "--source-vpce", "vpce-1"],
        ] {
            assert!(parsed(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_name_that_is_not_there_is_told() {
        let error = documents(&parsed(&["--name", "other"]).unwrap(), &inventory()).unwrap_err().to_string();
        assert!(error.contains("d.yaml holds no KinesisDestination other"), "{error}");
    }
}
