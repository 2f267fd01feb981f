//! `policy` prints the smallest IAM policy for the destinations of a file: pure, but for reading the one and printing the other.

use std::{
    fmt::Write as _,
    fs, io,
    io::Read as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde_json::Value;

use crate::{
    api::{
        KinesisDestination,
        offline::{self, Resource},
    },
    kinesis::{
        policy::{Origin, RequiredPolicy, Scope, required_policy},
        target::{AssumeRole, StreamRef},
    },
    reconcile::inventory::ObjectKey,
};

/// Prints the smallest IAM policy that a destination needs
#[derive(Debug, clap::Args)]
pub struct PolicyArguments {
    /// File with the destination, among other manifests if need be; - reads standard input
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Only the destination of this name [default: every one in the file]
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
    #[error("{file} cannot be read: {source}")]
    Read { file: String, source: io::Error },
    #[error("{file} is no YAML: {message}")]
    Yaml { file: String, message: String },
    #[error("{file}: KinesisDestination {name} is refused:\n{refusals}")]
    Refused { file: String, name: String, refusals: String },
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

/// Reads the file and prints what was asked for. Nothing is printed where one of the destinations is refused.
pub fn run(arguments: &PolicyArguments) -> ExitCode {
    match read(&arguments.file).and_then(|text| documents(arguments, &text)).and_then(|documents| print(&documents)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn read(file: &Path) -> Result<String, PolicyError> {
    let text = if file == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(file)
    };
    text.map_err(|source| PolicyError::Read { file: file.display().to_string(), source })
}

fn print(documents: &[Document]) -> Result<(), PolicyError> {
    for Document { heading, json } in documents {
        eprintln!("# {heading}");
        super::print(&format!("{json}\n")).map_err(PolicyError::Print)?;
    }
    Ok(())
}

fn documents(arguments: &PolicyArguments, text: &str) -> Result<Vec<Document>, PolicyError> {
    let file = arguments.file.display().to_string();
    let destinations = destinations(&file, arguments.name.as_deref(), text)?;
    let origin = origin(arguments);
    let mut documents = Vec::new();
    for destination in &destinations {
        // The schema asks for one of the two names of a stream.
        let Some(stream) = stream_of(destination) else { continue };
        let role = assumed_role(destination);
        let policy = required_policy(&Scope {
            stream: &stream,
            region: &destination.spec.region,
            account: arguments.account.as_deref(),
            assume_role: role.as_ref(),
            origin: &origin,
        });
        documents.extend(headed(&ObjectKey::of(destination), policy, arguments.role_trust));
    }
    if documents.is_empty() {
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

/// The destinations of a text of YAML or JSON documents; every other kind is passed over.
fn destinations(file: &str, name: Option<&str>, text: &str) -> Result<Vec<KinesisDestination>, PolicyError> {
    let manifests: Vec<Value> = serde_saphyr::from_multiple(text)
        .map_err(|error| PolicyError::Yaml { file: file.to_owned(), message: error.to_string() })?;
    let mut found = Vec::new();
    for manifest in manifests {
        let own = manifest.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("without a name");
        if manifest["kind"] != "KinesisDestination" || name.is_some_and(|name| name != own) {
            continue;
        }
        match offline::check(&manifest) {
            Ok(Resource::Destination(destination)) => found.push(*destination),
            Ok(Resource::Activation(_)) => {}
            Err(refusals) => {
                let mut listed = String::new();
                for refusal in refusals {
                    // Writing to a string never fails.
                    let _ = writeln!(listed, "  {refusal}");
                }
                let (file, name) = (file.to_owned(), own.to_owned());
                return Err(PolicyError::Refused { file, name, refusals: listed.trim_end().to_owned() });
            }
        }
    }
    Ok(found)
}

/// The stream that a destination names; `None` where it names none, which its schema refuses.
fn stream_of(destination: &KinesisDestination) -> Option<StreamRef> {
    let stream = &destination.spec.stream;
    stream.arn.clone().map(StreamRef::Arn).or_else(|| stream.name.clone().map(StreamRef::Name))
}

/// The role that a destination assumes. With ambient credentials the operator sets the external id itself, so that nobody
/// borrows a role by guessing.
fn assumed_role(destination: &KinesisDestination) -> Option<AssumeRole> {
    let credentials = &destination.spec.credentials;
    let role = credentials.assume_role.as_ref()?;
    let external_id = match credentials.ambient {
        Some(_) => Some(ObjectKey::of(destination).to_string()),
        None => role.external_id.clone(),
    };
    Some(AssumeRole { role_arn: role.role_arn.clone(), external_id, session_name: role.session_name.clone() })
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
kind: Secret
metadata: {name: aws}
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

    fn printed(line: &[&str]) -> Vec<(String, Value)> {
        let documents = documents(&parsed(line).unwrap(), TWO).unwrap();
        documents.into_iter().map(|one| (one.heading, serde_json::from_str(&one.json).unwrap())).collect()
    }

    #[test]
    fn every_destination_of_a_file_gets_its_policy_and_other_kinds_none() {
        let printed = printed(&["--account", "123456789012"]);
        assert_eq!(printed.len(), 2);
        assert_eq!(printed[0].0, "shop/plain: for the principal of the credentials");
        assert_eq!(printed[0].1["Statement"][0]["Resource"], "arn:aws:kinesis:eu-west-1:123456789012:stream/orders");
        assert_eq!(printed[1].0, "default/lent: for the assumed role; --role-trust prints what it takes to assume it");
        assert_eq!(printed[1].1["Statement"][0]["Resource"], "arn:aws:kinesis:eu-west-1:111122223333:stream/theirs");
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
    fn a_refused_destination_and_a_file_without_one_are_told() {
        let arguments = parsed(&[]).unwrap();
        let bad = TWO.replace("name: orders", "naem: orders");
        let error = documents(&arguments, &bad).unwrap_err().to_string();
        assert!(error.contains("KinesisDestination plain is refused:\n  spec.stream.naem: unknown field"), "{error}");
        let error = documents(&arguments, "kind: Secret").unwrap_err().to_string();
        assert!(error.contains("d.yaml holds no KinesisDestination"), "{error}");
        let error = documents(&arguments, "a: [").unwrap_err().to_string();
        assert!(error.contains("d.yaml is no YAML"), "{error}");
        let error = documents(&parsed(&["--name", "other"]).unwrap(), TWO).unwrap_err().to_string();
        assert!(error.contains("no KinesisDestination other"), "{error}");
    }
}
