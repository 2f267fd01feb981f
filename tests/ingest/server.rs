//! The real server on a free port, over a real store.

use std::net::SocketAddr;
use std::path::Path;

use activation_operator::dataflow::Desks;
use activation_operator::hub::{Hub, Writer};
use activation_operator::runtime::http::{
    self, Endpoints, Exposure, Gate, HttpError, Intake, Office, Probes, Reviews, TlsFiles, Tokens,
};
use activation_operator::store::{Store, StoreError};
use activation_operator::telemetry::health::{Heartbeats, Readiness};
use activation_operator::telemetry::logging::Filter;
use activation_operator::telemetry::metrics::Metrics;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) hub: Hub,
    pub(crate) heartbeats: Heartbeats,
    pub(crate) readiness: Readiness,
    pub(crate) metrics: Metrics,
    pub(crate) shutdown: CancellationToken,
    runtime: Runtime,
    serving: JoinHandle<Result<(), HttpError>>,
    writer: Writer,
}

/// How a server differs from the plain one on loopback.
#[derive(Default)]
pub(crate) struct Options<'a> {
    pub(crate) token_file: Option<&'a Path>,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) network: bool,
    pub(crate) intake: Option<Intake>,
    /// Callers are reviewed by the API server that is so reached, for an operator in that namespace.
    pub(crate) reviews: Option<(kube::Config, String)>,
    pub(crate) log: Option<Filter>,
}

impl Server {
    pub(crate) fn start(data: &Path) -> Self {
        Self::start_with(data, Options::default())
    }

    pub(crate) fn start_with(data: &Path, options: Options<'_>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let store = Store::open(data, 16 << 20).unwrap();
        let (hub, writer) = Hub::start(store.clone()).unwrap();
        let (heartbeats, readiness, metrics) = (Heartbeats::default(), Readiness::default(), Metrics::default());
        let exposure = if options.network { Exposure::Network } else { Exposure::Loopback };
        let gate = match (options.reviews, options.token_file) {
            (Some((config, namespace)), _) => {
                let _entered = runtime.enter();
                Gate::Reviews(Reviews::new(kube::Client::try_from(config).unwrap(), &namespace))
            }
            (None, Some(path)) => Gate::TokenFile { tokens: Tokens::load(path).unwrap(), exposure },
            (None, None) => Gate::Open,
        };
        let probes = Probes { heartbeats: heartbeats.clone(), readiness: readiness.clone(), hub: Some(hub.clone()) };
        let endpoints = Endpoints {
            gate,
            hub: Some(hub.clone()),
            intake: options.intake.unwrap_or_default(),
            dead_letters: Some(Office { store, desks: Desks::default() }),
            metrics: metrics.clone(),
            log: options.log,
            probes: Some(probes),
        };
        let listener = http::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let serving = runtime.spawn(http::serve(listener, http::router(endpoints), options.tls, shutdown.clone()));
        Self { address, hub, heartbeats, readiness, metrics, shutdown, runtime, serving, writer }
    }

    /// Drains, and lets go of the store. The writer's own end is the result.
    pub(crate) fn stop(self) -> Result<(), StoreError> {
        self.shutdown.cancel();
        self.runtime.block_on(self.serving).unwrap().unwrap();
        drop((self.runtime, self.hub));
        self.writer.join()
    }

    /// How many changes were ever written.
    pub(crate) fn changes(&self) -> u64 {
        *self.hub.head().borrow() - 1
    }
}
