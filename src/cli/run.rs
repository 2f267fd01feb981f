//! `activation-operator run`: everything in one process of a cluster, on the resources of its API server.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use jiff::SignedDuration;
use kube::{Client, Config};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::standalone::OnPositionLost;
use crate::api::{ByteSize, DurationText};
use crate::controller::scope::Scope;
use crate::controller::shell::{self, Means, Settings};
use crate::dataflow::Desks;
use crate::fleet::{self, Driver};
use crate::hub::Hub;
use crate::hub::retention::Retention;
use crate::kinesis::client::{HttpPool, Proxy};
use crate::kinesis::policy::Origin;
use crate::reconcile::ProcessPolicy;
use crate::runtime::http::{
    self, Endpoints, Exposure, Gate, HttpError, Intake, Office, Probes, Reviews, TlsFiles, check_tls,
};
use crate::runtime::shutdown::Signals;
use crate::runtime::webhooks;
use crate::store::Store;
use crate::telemetry::health::{Heartbeats, Readiness};
use crate::telemetry::logging::{self, Filter, Format};
use crate::telemetry::metrics::Metrics;

/// How much of the store is kept in memory (128 MiB).
const CACHE_BYTES: u64 = 128 << 20;
/// How many bytes of request bodies are received at once (64 MiB).
const INTAKE_BYTES: usize = 64 << 20;
/// How long the API server may take to take a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may say nothing: longer than a watch lasts.
const READ_TIMEOUT: Duration = Duration::from_secs(150);

/// Runs in a cluster, on the resources of its API server
#[derive(Debug, Args)]
pub struct RunArguments {
    /// Where profiles, changes and positions are kept: a volume of its own
    #[arg(long, value_name = "DIR", default_value = "/var/lib/activation-operator")]
    data_dir: PathBuf,
    /// Where updates are taken up, profiles and dead letters read, `/metrics` told. Port 0 takes a free one. Off loopback it speaks
    /// TLS, and asks the API server about every caller
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:8443")]
    listen: SocketAddr,
    /// Where `/livez` and `/readyz` answer, and nothing else, in plain HTTP
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:8081")]
    probe_listen: SocketAddr,
    /// A PEM file with the server's certificate; reloaded when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// A PEM file with its key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Looks after the resources of these namespaces alone. Default: the whole cluster
    #[arg(long, value_name = "NAMESPACES", value_delimiter = ',')]
    namespaces: Vec<String>,
    /// Looks after the resources alone that carry these labels, such as team=crm: so that two installs keep apart
    #[arg(long, value_name = "LABELS")]
    selector: Option<String>,
    /// The namespace that the operator runs in. Default: the one of the kubeconfig or of the service account
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE")]
    operator_namespace: Option<String>,
    /// The name of the pod, as Events show it
    #[arg(long, value_name = "NAME", env = "POD_NAME", hide = true)]
    pod_name: Option<String>,
    /// The namespaces whose destinations may use the operator's own AWS credentials. Default: the operator's own
    #[arg(long, value_name = "NAMESPACES", value_delimiter = ',')]
    ambient_namespaces: Option<Vec<String>>,
    /// Destinations may name endpoints within the cluster: loopback and private addresses
    #[arg(long)]
    allow_internal_endpoints: bool,
    /// Watches Secrets (their metadata; the right to watch them covers all of them). Otherwise each that is named is read again
    /// every 30 seconds
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    watch_secrets: bool,
    /// The change log keeps at most so much history for dataflows that are behind
    #[arg(long, value_name = "DURATION", default_value = "168h")]
    retention_max_age: DurationText,
    /// The change log keeps at most so many bytes for dataflows that are behind
    #[arg(long, value_name = "SIZE", default_value = "20000Mi")]
    retention_max_bytes: ByteSize,
    /// What a dataflow does whose position is gone from the change log: it tells every member again, or stops until a resync is
    /// asked for by annotation
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = OnPositionLost::Resync)]
    on_position_lost: OnPositionLost,
    /// The policies of `status.requiredPolicy` ask for requests from these addresses or CIDR blocks
    #[arg(long, value_name = "CIDR", value_delimiter = ',', conflicts_with = "policy_source_vpce")]
    policy_source_ip: Vec<String>,
    /// The policies of `status.requiredPolicy` ask for requests by way of these VPC endpoints
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    policy_source_vpce: Vec<String>,
    /// How the log on standard error looks: text or json
    #[arg(long, value_name = "FORMAT", default_value = "json")]
    log_format: Format,
    /// What is logged: a level, or levels by module
    #[arg(long, value_name = "FILTER", env = "ACTIVATION_OPERATOR_LOG", default_value = logging::QUIET)]
    log: String,
}

/// Why it does not start.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error("there is no cluster to talk to: {0}: run it in a pod, or set KUBECONFIG")]
    NoCluster(#[from] kube::config::InferConfigError),
    #[error("the cluster cannot be talked to: {0}: check the kubeconfig, or the service account of the pod")]
    Client(#[from] kube::Error),
}

/// Carries it out.
pub fn run(arguments: RunArguments) -> ExitCode {
    let log = match logging::init(arguments.log_format, &arguments.log) {
        Ok(log) => log,
        Err(error) => return failed(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let result = runtime.block_on(serve(arguments, log));
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&*error),
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("run: {error}");
    ExitCode::FAILURE
}

async fn serve(arguments: RunArguments, log: Filter) -> Result<(), Box<dyn std::error::Error>> {
    let tls = arguments.tls_cert.clone().zip(arguments.tls_key.clone());
    let tls = tls.map(|(certificate, key)| TlsFiles { certificate, key });
    let exposure = check_tls(arguments.listen, tls.as_ref())?;
    let (client, operator_namespace) = connect(arguments.operator_namespace.as_deref()).await?;
    let settings = settings(&arguments, &operator_namespace);

    let data_dir = arguments.data_dir.clone();
    let store = tokio::task::spawn_blocking(move || Store::open(&data_dir, CACHE_BYTES)).await??;
    let (hub, writer) = Hub::start(store.clone())?;
    let stop = CancellationToken::new();
    let _signals = AbortOnDropHandle::new(tokio::spawn(Signals::install()?.watch(stop.clone())));
    let (metrics, heartbeats, desks) = (Metrics::default(), Heartbeats::default(), Desks::default());
    let readiness = Readiness::default();
    readiness.shut(shell::READY, "not everything was read yet");

    let no_more = CancellationToken::new();
    let probes = Probes { heartbeats: heartbeats.clone(), readiness: readiness.clone(), hub: Some(hub.clone()) };
    let endpoints = Endpoints {
        gate: match exposure {
            Exposure::Loopback => Gate::Open,
            Exposure::Network => Gate::Reviews(Reviews::new(client.clone(), &operator_namespace)),
        },
        hub: Some(hub.clone()),
        intake: Intake::new(INTAKE_BYTES),
        dead_letters: Some(Office { store, desks: desks.clone() }),
        metrics: metrics.clone(),
        log: Some(log),
        probes: None,
    };
    let served = [
        listen("updates", arguments.listen, http::router(endpoints), tls, &no_more, &stop)?,
        listen("probes", arguments.probe_listen, http::probes(probes), None, &no_more, &stop)?,
    ];

    let (postbox, postman) = webhooks::postbox(arguments.allow_internal_endpoints);
    let posting = AbortOnDropHandle::new(tokio::spawn(postman.run(no_more.clone())));
    let driver = Driver::open(fleet::Means {
        hub,
        pool: HttpPool::new(Proxy::Environment)?,
        desks,
        metrics: metrics.clone(),
        settings: fleet::Settings {
            retention: Retention {
                max_age: SignedDuration::try_from(arguments.retention_max_age.duration())?,
                max_bytes: arguments.retention_max_bytes.bytes(),
            },
            resync_lost_position: arguments.on_position_lost == OnPositionLost::Resync,
        },
    })?;
    let means = Means { client, driver, metrics, heartbeats, readiness };
    let result = Box::pin(shell::run(&settings, means, stop, |told| postbox.hand_in(told))).await;
    // Nobody is answered any more before the writer, which answers, is asked to end.
    no_more.cancel();
    let mut ended = Ok(());
    for server in served {
        ended = ended.and(server.await?);
    }
    posting.await?;
    tokio::task::spawn_blocking(move || writer.join()).await??;
    ended?;
    Ok(result?)
}

/// A client of the API server, and the namespace that the operator runs in.
async fn connect(operator_namespace: Option<&str>) -> Result<(Client, String), RunError> {
    let mut config = Config::infer().await?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    // The time that a connection has waited for its next request is no silence of the server.
    config.reset_reader_on_write = true;
    let namespace = operator_namespace.unwrap_or(&config.default_namespace).to_owned();
    Ok((Client::try_from(config)?, namespace))
}

fn settings(arguments: &RunArguments, operator_namespace: &str) -> Settings {
    let ambient = arguments.ambient_namespaces.clone().unwrap_or_else(|| vec![operator_namespace.to_owned()]);
    let origin = if !arguments.policy_source_ip.is_empty() {
        Origin::Addresses(arguments.policy_source_ip.clone())
    } else if !arguments.policy_source_vpce.is_empty() {
        Origin::VpcEndpoints(arguments.policy_source_vpce.clone())
    } else {
        Origin::Anywhere
    };
    let namespaces: BTreeSet<String> = arguments.namespaces.iter().map(|name| name.trim().to_owned()).collect();
    Settings {
        scope: Scope {
            namespaces: namespaces.into_iter().filter(|name| !name.is_empty()).collect(),
            selector: arguments.selector.clone(),
            watch_secrets: arguments.watch_secrets,
        },
        policy: ProcessPolicy {
            ambient_namespaces: ambient.into_iter().filter(|name| !name.is_empty()).collect(),
            allow_internal_endpoints: arguments.allow_internal_endpoints,
            origin,
        },
        instance: arguments.pod_name.clone(),
    }
}

/// Serves until `no_more`; the process stops where the server ends before, since it is of no use without.
fn listen(
    what: &str,
    address: SocketAddr,
    router: axum::Router,
    tls: Option<TlsFiles>,
    no_more: &CancellationToken,
    stop: &CancellationToken,
) -> Result<AbortOnDropHandle<Result<(), HttpError>>, HttpError> {
    let listener = http::bind(address)?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    tracing::info!("{what}: listening on {scheme}://{}", listener.local_addr()?);
    let (no_more, stop) = (no_more.clone(), stop.clone());
    Ok(AbortOnDropHandle::new(tokio::spawn(async move {
        let result = http::serve(listener, router, tls, no_more).await;
        stop.cancel();
        result
    })))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: RunArguments,
    }

    fn read(line: &[&str]) -> Result<Settings, String> {
        let line = Line::try_parse_from(std::iter::once(&"run").chain(line)).map_err(|error| error.to_string())?;
        Ok(settings(&line.arguments, "activation-system"))
    }

    #[test]
    fn by_default_it_looks_after_the_whole_cluster_and_lends_its_credentials_at_home_alone() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.scope, Scope { watch_secrets: true, ..Scope::default() });
        assert_eq!(settings.policy.ambient_namespaces, ["activation-system".to_owned()].into());
        assert!(!settings.policy.allow_internal_endpoints);
        assert_eq!(settings.policy.origin, Origin::Anywhere);
    }

    #[test]
    fn what_is_given_is_taken_up() {
        let settings = read(&[
            "--namespaces=b,a,b",
            "--selector=team=crm",
            "--ambient-namespaces=",
            "--watch-secrets=false",
            "--policy-source-vpce=vpce-1,vpce-2",
        ])
        .unwrap();
        assert_eq!(settings.scope.namespaces, ["a", "b"]);
        assert_eq!(settings.scope.selector.as_deref(), Some("team=crm"));
        assert!(!settings.scope.watch_secrets && settings.policy.ambient_namespaces.is_empty());
        assert_eq!(settings.policy.origin, Origin::VpcEndpoints(vec!["vpce-1".to_owned(), "vpce-2".to_owned()]));
    }

    #[test]
    fn a_policy_asks_for_addresses_or_for_endpoints_and_not_for_both() {
        assert!(read(&["--policy-source-ip=10.0.0.0/8", "--policy-source-vpce=vpce-1"]).is_err());
    }
}
