//! Effects: the calls to Kinesis. One request per call, no retry, no decision: answers are translated and handed back.
//!
//! Retrying is the sender's, in one place; so the SDK's own retries are off here. What an error means is `classify`'s.

use super::body;
use super::classify;
use super::credentials;
use super::outcome::{Entry, RequestError, RequestOutcome};
use super::target::{StreamRef, Target};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::retry::{ReconnectMode, RetryConfig};
use aws_sdk_kinesis::config::timeout::TimeoutConfig;
use aws_sdk_kinesis::config::{AppName, BehaviorVersion, Config, IdentityCache, Region, StalledStreamProtectionConfig};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, StreamSummary};
use aws_smithy_http_client::pool::{Client as PooledClient, ConnectionPool};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextMut;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Connections to one host, over every dataflow of the process. A request over the bound waits for one to come free.
const MAX_CONNECTIONS_PER_HOST: usize = 256;
/// Idle connections are closed before the load balancers on the way forget them.
const IDLE_CONNECTION_TIMEOUT: Duration = Duration::from_secs(50);
/// A connection is made within this time, or within the request's where that is shorter.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Streams asked for at once; the service's own maximum.
const PAGE_SIZE: i32 = 100;
/// One above the range of hash keys: 2 to the power of 128. An authorised put with it is refused, and writes nothing.
const IMPOSSIBLE_HASH_KEY: &str = "340282366920938463463374607431768211456";
/// What a check would write, on a server that wrongly accepted it: the smallest JSON object.
const CHECK_BYTES: &[u8] = b"{}";
const CHECK_PARTITION_KEY: &str = "permission-check";

/// Why there is no connection pool.
#[derive(Debug, thiserror::Error)]
pub enum HttpPoolError {
    /// The HTTP library refused its settings.
    #[error("the HTTP client cannot be built: {0}")]
    Build(String),
}

/// Whether requests go through a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proxy {
    /// As `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` say.
    Environment,
    /// Straight to the service.
    Direct,
}

/// The connections to AWS, shared by every client of the process; bounded per host. TLS by rustls with the system's roots.
#[derive(Debug, Clone)]
pub struct HttpPool {
    client: SharedHttpClient,
}

impl HttpPool {
    /// An empty pool. Connections are made where requests are sent.
    pub fn new(proxy: Proxy) -> Result<Self, HttpPoolError> {
        let proxy = match proxy {
            Proxy::Environment => ProxyConfig::from_env(),
            Proxy::Direct => ProxyConfig::disabled(),
        };
        let pool = ConnectionPool::builder()
            .max_connections_per_host(MAX_CONNECTIONS_PER_HOST)
            .idle_timeout(IDLE_CONNECTION_TIMEOUT)
            .proxy_config(proxy)
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build_https()
            .map_err(|error| HttpPoolError::Build(error.to_string()))?;
        let client = PooledClient::new(&pool).map_err(|error| HttpPoolError::Build(error.to_string()))?;
        Ok(Self { client: SharedHttpClient::new(client) })
    }
}

/// A client of one stream with one set of credentials. Cloning is cheap, and clones share the credentials' cache.
#[derive(Debug, Clone)]
pub struct StreamClient {
    kinesis: Client,
    stream: Arc<StreamRef>,
    request_timeout: Duration,
}

impl StreamClient {
    /// A client for `target`. Sends nothing yet: what is wrong with the target shows at the first request.
    pub async fn connect(target: &Target, pool: &HttpPool) -> Self {
        let version = BehaviorVersion::v2026_01_12();
        let timeouts = timeouts(target.request_timeout);
        let credentials = credentials::provider(target, &pool.client, &timeouts, version).await;
        let mut config = Config::builder()
            .behavior_version(version)
            .region(Region::new(target.region.clone()))
            .credentials_provider(credentials)
            // A cache of its own: a client of new credentials can never sign with the old.
            .identity_cache(IdentityCache::lazy().load_timeout(target.request_timeout).build())
            .http_client(pool.client.clone())
            .timeout_config(timeouts)
            .retry_config(RetryConfig::disabled().with_reconnect_mode(ReconnectMode::ReconnectOnTransientError))
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .use_fips(target.endpoint.use_fips)
            .use_dual_stack(target.endpoint.use_dual_stack);
        config.set_app_name(AppName::new("activation-operator").ok());
        config.set_endpoint_url(target.endpoint.url.clone());
        Self {
            kinesis: Client::from_conf(config.build()),
            stream: Arc::new(target.stream.clone()),
            request_timeout: target.request_timeout,
        }
    }

    /// After this long a request is given up.
    pub fn request_timeout(&self) -> Duration {
        self.request_timeout
    }

    /// The stream that this client writes to.
    pub fn stream(&self) -> &StreamRef {
        &self.stream
    }

    /// Puts `entries`, 1 to 500 of them, in one request: an outcome per entry, in their order, or why there is none.
    pub async fn put_records(&self, entries: Vec<Entry>) -> RequestOutcome {
        let sent = entries.len();
        let body = Body(Bytes::from(body::put_records(&self.stream, &entries)));
        drop(entries);
        let request = match &*self.stream {
            StreamRef::Name(name) => self.kinesis.put_records().stream_name(name),
            StreamRef::Arn(arn) => self.kinesis.put_records().stream_arn(arn),
        };
        // The stream is named for the endpoint's sake. That there are no records is what the SDK is told, and not what it sends.
        let request = request.set_records(Some(Vec::new())).customize().interceptor(body);
        let answer = request.send().await.map_err(|error| classify::sdk_error(&error))?;
        if answer.records().len() != sent {
            let message = format!("the answer tells of {} records, {sent} were sent", answer.records().len());
            return Err(RequestError::Unavailable { message });
        }
        Ok(answer
            .records()
            .iter()
            .map(|result| classify::entry_outcome(result.error_code(), result.error_message()))
            .collect())
    }

    /// A page of the account's streams in this region, those that follow the name `after`.
    pub async fn list_streams(&self, after: Option<&str>) -> Result<StreamPage, RequestError> {
        let answer = self
            .kinesis
            .list_streams()
            .limit(PAGE_SIZE)
            .set_exclusive_start_stream_name(after.map(str::to_owned))
            .send()
            .await
            .map_err(|error| classify::sdk_error(&error))?;
        Ok(StreamPage {
            has_more: answer.has_more_streams(),
            summaries: answer.stream_summaries().iter().map(facts).collect(),
            names: answer.stream_names,
        })
    }

    /// A `PutRecord` that an authorised service refuses as invalid. `Ok` is the surprise: it was taken.
    pub async fn check_put_record(&self) -> Result<CheckAnswer, RequestError> {
        let request = match &*self.stream {
            StreamRef::Name(name) => self.kinesis.put_record().stream_name(name),
            StreamRef::Arn(arn) => self.kinesis.put_record().stream_arn(arn),
        };
        request
            .data(Blob::new(CHECK_BYTES))
            .partition_key(CHECK_PARTITION_KEY)
            .explicit_hash_key(IMPOSSIBLE_HASH_KEY)
            .send()
            .await
            .map(|_| CheckAnswer::Written)
            .map_err(|error| classify::sdk_error(&error))
    }

    /// The same of `PutRecords`, where a server may also refuse the entry instead of the request.
    pub async fn check_put_records(&self) -> Result<CheckAnswer, RequestError> {
        let entry = PutRecordsRequestEntry::builder()
            .data(Blob::new(CHECK_BYTES))
            .partition_key(CHECK_PARTITION_KEY)
            .explicit_hash_key(IMPOSSIBLE_HASH_KEY)
            .build()
            .map_err(|error| RequestError::Invalid { message: classify::bounded(&error.to_string()) })?;
        let request = match &*self.stream {
            StreamRef::Name(name) => self.kinesis.put_records().stream_name(name),
            StreamRef::Arn(arn) => self.kinesis.put_records().stream_arn(arn),
        };
        let answer = request.records(entry).send().await.map_err(|error| classify::sdk_error(&error))?;
        let refused = answer.records().iter().find_map(|result| {
            let code = result.error_code()?;
            Some(CheckAnswer::EntryRefused {
                code: classify::bounded(code),
                message: classify::bounded(result.error_message().unwrap_or_default()),
            })
        });
        Ok(refused.unwrap_or(CheckAnswer::Written))
    }
}

/// A page of `ListStreams`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamPage {
    /// The names on this page.
    pub names: Vec<String>,
    /// What the server tells of them; empty where it tells nothing, and a server may tell of more than of this page.
    pub summaries: Vec<StreamFacts>,
    /// Whether another page follows the last name.
    pub has_more: bool,
}

/// What `ListStreams` tells of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamFacts {
    /// Its name.
    pub name: String,
    /// Its ARN, where the server tells it.
    pub arn: Option<String>,
    /// `CREATING`, `DELETING`, `ACTIVE` or `UPDATING`, where the server tells it.
    pub status: Option<String>,
    /// `PROVISIONED` or `ON_DEMAND`, where the server tells it.
    pub mode: Option<String>,
}

/// The answer to a put that should have been refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckAnswer {
    /// The server took the record.
    Written,
    /// The request passed and its only entry was refused.
    EntryRefused {
        /// The entry's error code.
        code: String,
        /// The entry's error message.
        message: String,
    },
}

/// The client of the moment: whoever sends takes it anew for each request, and whoever learns of new credentials replaces it.
///
/// Requests under way finish with the client that they began with.
#[derive(Debug, Clone)]
pub struct SharedClient {
    current: Arc<watch::Sender<StreamClient>>,
}

impl SharedClient {
    /// Begins with `client`.
    pub fn new(client: StreamClient) -> Self {
        Self { current: Arc::new(watch::Sender::new(client)) }
    }

    /// The client for the next request.
    pub fn current(&self) -> StreamClient {
        self.current.borrow().clone()
    }

    /// Every request from now on goes by `client`.
    pub fn replace(&self, client: StreamClient) {
        self.current.send_replace(client);
    }

    /// Tells of replacements, so that a paused sender need not wait out its pause.
    pub fn subscribe(&self) -> watch::Receiver<StreamClient> {
        self.current.subscribe()
    }
}

/// `request` bounds the whole; the answer's head must be there a little earlier, because only then does the HTTP client know
/// that the connection is at fault and not use it again.
fn timeouts(request: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT.min(request))
        .read_timeout(request.mul_f64(0.9))
        .operation_timeout(request)
        .build()
}

/// What is sent instead of what the SDK would write.
#[derive(Debug)]
struct Body(Bytes);

#[dyn_dispatch_hint]
impl Intercept for Body {
    fn name(&self) -> &'static str {
        "PutRecordsBody"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _runtime_components: &RuntimeComponents,
        _cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        // A later SDK may speak another protocol. Then this is not the body for it.
        if request.headers().get("content-type") != Some(body::CONTENT_TYPE) {
            return Err(format!("the SDK does not send {}", body::CONTENT_TYPE).into());
        }
        request.headers_mut().insert("content-length", self.0.len().to_string());
        *request.body_mut() = SdkBody::from(self.0.clone());
        Ok(())
    }
}

fn facts(summary: &StreamSummary) -> StreamFacts {
    StreamFacts {
        name: summary.stream_name().to_owned(),
        arn: Some(summary.stream_arn().to_owned()),
        status: Some(summary.stream_status().as_str().to_owned()),
        mode: summary.stream_mode_details().map(|mode| mode.stream_mode().as_str().to_owned()),
    }
}
