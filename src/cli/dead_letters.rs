//! `dead-letters`: asks the running process for the records that it could not deliver. Thin: every answer is the server's.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// How long the running process may take to answer.
const TIMEOUT: Duration = Duration::from_mins(1);
/// How many letters are asked for at once.
const PAGE: u64 = 200;

/// Lists, shows, sends again and drops records that could not be delivered, by asking the running process
#[derive(Debug, Args)]
pub struct DeadLettersArguments {
    /// Where the running process listens
    #[arg(long, env = "ACTIVATION_OPERATOR_URL", default_value = "http://127.0.0.1:8080", global = true)]
    url: String,
    /// A file that holds the bearer token
    #[arg(long, value_name = "FILE", env = "ACTIVATION_OPERATOR_TOKEN_FILE", global = true)]
    token_file: Option<PathBuf>,
    /// A PEM file of the authority that signed the server's certificate, where it is no public one
    #[arg(long, value_name = "FILE", global = true)]
    ca_file: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists dead letters, one JSON object a line without the record
    List {
        /// The activation, as NAMESPACE/NAME
        activation: String,
    },
    /// Shows one dead letter with its record
    Show {
        /// The activation, as NAMESPACE/NAME
        activation: String,
        /// The dead letter's number
        sequence: u64,
    },
    /// Sends dead letters again: each profile as it is now, with the exits that the letter told and that still hold
    Resend(Chosen),
    /// Drops dead letters for good
    Drop(Chosen),
}

#[derive(Debug, Args)]
struct Chosen {
    /// The activation, as NAMESPACE/NAME
    activation: String,
    /// The dead letters' numbers
    #[arg(required_unless_present = "all")]
    sequences: Vec<u64>,
    /// All that are there
    #[arg(long, conflicts_with = "sequences")]
    all: bool,
}

impl Chosen {
    fn selection(&self) -> Value {
        if self.all { json!("all") } else { json!({ "sequences": self.sequences }) }
    }
}

/// Why the running process did not answer as asked, in a sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct AskError(String);

/// Carries it out.
pub fn run(arguments: &DeadLettersArguments) -> ExitCode {
    match ask(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dead-letters: {error}");
            ExitCode::FAILURE
        }
    }
}

fn ask(arguments: &DeadLettersArguments) -> Result<(), AskError> {
    let server = Server::new(arguments)?;
    let mut out = std::io::stdout().lock();
    let mut print = |value: &Value| writeln!(out, "{value}").map_err(|error| AskError(error.to_string()));
    match &arguments.command {
        Command::List { activation } => {
            let mut from = Some(0);
            while let Some(first) = from {
                let page = server.get(&format!("{}?from={first}&limit={PAGE}", path(activation)?))?;
                for letter in page["deadLetters"].as_array().into_iter().flatten() {
                    let mut letter = letter.clone();
                    if let Some(members) = letter.as_object_mut() {
                        members.remove("record");
                    }
                    print(&letter)?;
                }
                from = page["next"].as_u64();
            }
            Ok(())
        }
        Command::Show { activation, sequence } => print(&server.get(&format!("{}/{sequence}", path(activation)?))?),
        Command::Resend(chosen) => {
            print(&server.post(&format!("{}/resend", path(&chosen.activation)?), &chosen.selection())?)
        }
        Command::Drop(chosen) => {
            print(&server.post(&format!("{}/drop", path(&chosen.activation)?), &chosen.selection())?)
        }
    }
}

fn path(activation: &str) -> Result<String, AskError> {
    match activation.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(format!("/v1/dead-letters/{namespace}/{name}"))
        }
        _ => {
            Err(AskError(format!("\"{activation}\" names no activation: write NAMESPACE/NAME, such as marketing/vip")))
        }
    }
}

struct Server {
    agent: Agent,
    url: String,
    authorization: Option<String>,
}

impl Server {
    fn new(arguments: &DeadLettersArguments) -> Result<Self, AskError> {
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|error| AskError(format!("{} cannot be read: {error}", path.display())))
        };
        let mut config = Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(false);
        if let Some(file) = &arguments.ca_file {
            let certificate = Certificate::from_pem(&read(file)?)
                .map_err(|error| AskError(format!("{} holds no certificate: {error}", file.display())))?;
            let roots = RootCerts::new_with_certs(&[certificate]);
            config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
        }
        let authorization = match &arguments.token_file {
            None => None,
            Some(file) => {
                let text = String::from_utf8_lossy(&read(file)?).into_owned();
                let token = text.lines().map(str::trim).find(|line| !line.is_empty());
                let token = token.ok_or_else(|| AskError(format!("{} holds no token", file.display())))?;
                Some(format!("Bearer {token}"))
            }
        };
        let url = arguments.url.trim_end_matches('/').to_owned();
        Ok(Self { agent: config.build().into(), url, authorization })
    }

    fn get(&self, path: &str) -> Result<Value, AskError> {
        let mut request = self.agent.get(format!("{}{path}", self.url));
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        self.answer(request.call())
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value, AskError> {
        let mut request = self.agent.post(format!("{}{path}", self.url));
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        self.answer(request.send_json(body))
    }

    fn answer(&self, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Value, AskError> {
        let mut answer = answer.map_err(|error| {
            AskError(format!(
                "{} cannot be asked: {error}: start the process, or give its address with --url",
                self.url
            ))
        })?;
        let status = answer.status();
        let body: Value = answer.body_mut().with_config().limit(64 << 20).read_json().map_err(|error| {
            AskError(format!("{} answered {status} with something else than JSON: {error}", self.url))
        })?;
        if status.is_success() {
            return Ok(body);
        }
        let reason = body["error"].as_str().unwrap_or("no reason was given");
        Err(AskError(format!("{reason} ({status})")))
    }
}
