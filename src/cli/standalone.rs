//! `standalone`: wires the store, the hub, the HTTP server and the shell together, and takes them apart in order.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::api::{ByteSize, DurationText};
use crate::dataflow::Desks;
use crate::fleet::{self, Driver};
use crate::hub::Hub;
use crate::hub::retention::Retention;
use crate::kinesis::client::{HttpPool, Proxy};
use crate::reconcile::ProcessPolicy;
use crate::runtime::http::{self, Endpoints, Gate, Intake, Office, Probes, TlsFiles, Tokens, check_exposure};
use crate::runtime::shutdown::Signals;
use crate::runtime::webhooks;
use crate::standalone::Summary;
use crate::standalone::board::{self, Row};
use crate::standalone::shell::{self, Means, Settings};
use crate::standalone::updates::Updates;
use crate::store::Store;
use crate::telemetry::clock;
use crate::telemetry::health::{Heartbeats, Readiness};
use crate::telemetry::logging::{self, Filter, Format};
use crate::telemetry::metrics::Metrics;

/// How much of the store is kept in memory (128 MiB).
const CACHE_BYTES: u64 = 128 << 20;
/// How many bytes of request bodies are received at once (64 MiB).
const INTAKE_BYTES: usize = 64 << 20;
/// Between two plain lines of one activation, and before the first, when nothing is known yet.
const PLAIN_EVERY: Duration = Duration::from_secs(2);

/// Runs everything in one process, on a folder of manifests, without a cluster
#[derive(Debug, Args)]
pub struct StandaloneArguments {
    /// A folder (or a file) of Secrets, destinations and activations in YAML or JSON; watched for changes
    #[arg(short = 'f', long, value_name = "DIR")]
    filename: PathBuf,
    /// Where profiles, changes and positions are kept
    #[arg(long, value_name = "DIR", default_value = "activation-data")]
    data_dir: PathBuf,
    /// Where HTTP is served: updates in, profiles, dead letters, `/livez`, `/readyz`, `/metrics`. Port 0 takes a free one
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Profile updates to take up besides, as NDJSON; - is standard input
    #[arg(long, value_name = "FILE")]
    updates: Option<PathBuf>,
    /// Ends once all updates are taken up and exported; waits as long as AWS takes none. The exit code is 1 where a manifest is
    /// refused or an activation is not ready
    #[arg(long)]
    until_idle: bool,
    /// A PEM file with the server's certificate; reloaded when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// A PEM file with its key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// A file of bearer tokens, one a line: whoever has one may send and read; reloaded when it changes
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Destinations with `credentials.ambient` may use this process's own AWS credentials
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    allow_ambient: bool,
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
    /// How the log on standard error looks: text or json
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: Format,
    /// What is logged: a level, or levels by module. Default: info (warn of the store), and warn where the board is drawn on the
    /// same terminal
    #[arg(long, value_name = "FILTER", env = "ACTIVATION_OPERATOR_LOG")]
    log: Option<String>,
}

/// What a dataflow does whose position is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum OnPositionLost {
    /// It tells every member again.
    Resync,
    /// It waits until a resync is asked for.
    Stop,
}

/// Carries it out.
pub fn run(arguments: StandaloneArguments) -> ExitCode {
    let redraw = io::stdout().is_terminal();
    let level = if redraw && io::stderr().is_terminal() { "warn" } else { logging::QUIET };
    let log = match logging::init(arguments.log_format, arguments.log.as_deref().unwrap_or(level)) {
        Ok(log) => log,
        Err(error) => return failed(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let until_idle = arguments.until_idle;
    let result = runtime.block_on(serve(arguments, log, redraw));
    // Standard input may never end; everything else has.
    runtime.shutdown_background();
    match result {
        Ok(summary) => {
            print!("{summary}");
            if until_idle && !summary.is_well() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Err(error) => failed(&*error),
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("standalone: {error}");
    ExitCode::FAILURE
}

async fn serve(
    arguments: StandaloneArguments,
    log: Filter,
    redraw: bool,
) -> Result<Summary, Box<dyn std::error::Error>> {
    let scheme = if arguments.tls_cert.is_some() { "https" } else { "http" };
    let tls = arguments.tls_cert.zip(arguments.tls_key).map(|(certificate, key)| TlsFiles { certificate, key });
    let exposure = check_exposure(arguments.listen, tls.as_ref(), arguments.token_file.as_deref())?;
    let gate = match arguments.token_file.as_deref() {
        Some(path) => Gate::TokenFile { tokens: Tokens::load(path)?, exposure },
        None => Gate::Open,
    };
    let listener = http::bind(arguments.listen)?;
    let address = listener.local_addr()?;

    let data_dir = arguments.data_dir;
    let store = tokio::task::spawn_blocking({
        let data_dir = data_dir.clone();
        move || Store::open(&data_dir, CACHE_BYTES)
    })
    .await??;
    let (hub, writer) = Hub::start(store.clone())?;

    let stop = CancellationToken::new();
    let _signals = AbortOnDropHandle::new(tokio::spawn(Signals::install()?.watch(stop.clone())));
    let (metrics, heartbeats, desks) = (Metrics::default(), Heartbeats::default(), Desks::default());
    let readiness = Readiness::default();
    readiness.shut(shell::READY, "the manifests are not taken up yet");
    let probes = Probes { heartbeats: heartbeats.clone(), readiness: readiness.clone(), hub: Some(hub.clone()) };
    let router = http::router(Endpoints {
        gate,
        hub: Some(hub.clone()),
        intake: Intake::new(INTAKE_BYTES),
        dead_letters: Some(Office { store, desks: desks.clone() }),
        metrics: metrics.clone(),
        log: Some(log),
        probes: Some(probes),
    });
    let no_more = CancellationToken::new();
    let server = AbortOnDropHandle::new(tokio::spawn({
        let (no_more, stop) = (no_more.clone(), stop.clone());
        async move {
            let result = http::serve(listener, router, tls, no_more).await;
            // Without its server the process is of no use.
            stop.cancel();
            result
        }
    }));
    let statuses = data_dir.join("status");
    let told = format!("listening on {scheme}://{address}; statuses in {}", statuses.display());
    tracing::info!("{told}");
    if redraw {
        println!("{told}; Ctrl-C ends it");
    }

    let settings = Settings {
        manifests: arguments.filename,
        statuses,
        updates: arguments
            .updates
            .map(|path| if path.as_os_str() == "-" { Updates::Stdin } else { Updates::File(path) }),
        until_idle: arguments.until_idle,
        policy: ProcessPolicy { allow_internal_endpoints: true, ..ProcessPolicy::default() },
        allow_ambient: arguments.allow_ambient,
    };
    let (postbox, postman) = webhooks::postbox(settings.policy.allow_internal_endpoints);
    let posting = AbortOnDropHandle::new(tokio::spawn(postman.run(no_more.clone())));
    let driver = Driver::open(fleet::Means {
        hub,
        pool: HttpPool::new(Proxy::Environment)?,
        desks,
        metrics,
        settings: fleet::Settings {
            retention: Retention {
                max_age: SignedDuration::try_from(arguments.retention_max_age.duration())?,
                max_bytes: arguments.retention_max_bytes.bytes(),
            },
            resync_lost_position: arguments.on_position_lost == OnPositionLost::Resync,
        },
    })?;
    let means = Means { driver, heartbeats, readiness };
    let mut screen = Screen::new(redraw);
    let running = shell::run(&settings, means, stop, |rows| screen.show(rows), |told| postbox.hand_in(told));
    let result = Box::pin(running).await;
    screen.end();
    // Nobody is answered any more before the writer, which answers, is asked to end.
    no_more.cancel();
    let ended = server.await?;
    posting.await?;
    tokio::task::spawn_blocking(move || writer.join()).await??;
    ended?;
    Ok(result?)
}

/// Where the board is drawn.
struct Screen {
    redraw: bool,
    lines: usize,
    /// By activation: the line that was last told and when; and the one that waits for its turn.
    told: BTreeMap<String, Told>,
}

/// What was told of one activation.
struct Told {
    line: String,
    at: Duration,
    waiting: Option<String>,
}

impl Screen {
    fn new(redraw: bool) -> Self {
        Self { redraw, lines: 0, told: BTreeMap::new() }
    }

    fn show(&mut self, rows: &[Row]) {
        let mut out = io::stdout().lock();
        let drawn = if self.redraw { self.draw(rows, &mut out) } else { self.tell(rows, &mut out) };
        // Whoever watched has gone; the data goes on.
        let _ = drawn.and_then(|()| out.flush());
    }

    fn draw(&mut self, rows: &[Row], out: &mut impl io::Write) -> io::Result<()> {
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 1);
        let (width, height) = size.map_or((80, 24), |size| (usize::from(size.ws_col), usize::from(size.ws_row)));
        if self.lines > 0 {
            write!(out, "\x1b[{}A\x1b[J", self.lines)?;
        }
        let mut lines = board::draw(rows, width);
        // What is above the screen could not be drawn again.
        lines.truncate(height - 1);
        self.lines = lines.len();
        lines.iter().try_for_each(|line| writeln!(out, "{line}"))
    }

    /// A line where it says something new, and not too often.
    fn tell(&mut self, rows: &[Row], out: &mut impl io::Write) -> io::Result<()> {
        let now = clock::monotonic();
        self.told.retain(|name, _| rows.iter().any(|row| row.name == *name));
        for row in rows {
            let told = self.told.entry(row.name.clone()).or_insert_with(|| Told {
                line: String::new(),
                at: now,
                waiting: None,
            });
            let line = row.line();
            told.waiting = (told.line != line).then_some(line);
            if now.saturating_sub(told.at) >= PLAIN_EVERY
                && let Some(line) = told.waiting.take()
            {
                writeln!(out, "{line}")?;
                (told.line, told.at) = (line, now);
            }
        }
        Ok(())
    }

    /// Tells what has not been told yet.
    fn end(&mut self) {
        let mut out = io::stdout().lock();
        let told =
            self.told.values_mut().filter_map(|told| told.waiting.take()).try_for_each(|line| writeln!(out, "{line}"));
        // As above.
        let _ = told.and_then(|()| out.flush());
    }
}
