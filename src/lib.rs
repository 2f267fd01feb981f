//! Activates audiences to Amazon Kinesis Data Streams.
//!
//! ```text
//! producer --NDJSON--> hub.ingest --> hub.merge --> change log ---+
//!                      (accept)     (what changed)  (durable)     |
//!                                                                 v
//! a file of changes -------------------------------------------> feed
//!                                                                 |   one worker per dataflow
//!                                                                 v
//!            trigger --> projection --> sender --> Kinesis   (PutRecords)
//!         (does it     (the record)   (order, batch,   |
//!          count?)                     retry, pace)    v
//!                                     dead letters <--- acknowledged --> checkpoint --> progress --> status
//! ```
//!
//! The modules, in reading order: [`api`] is what users write. [`profile`] merges updates into profiles and says what
//! changed; [`export`] decides which changes count and makes the record. [`store`] keeps things, [`telemetry`] tells the time and
//! what is measured. [`hub`] is the profile stage; [`kinesis`] the stream and its sender; [`feed`] hands changes to workers.
//! [`dataflow`] is the export stage: one worker per activation. [`reconcile`] is what leads from resources to running dataflows, and
//! back to their statuses, and [`fleet`] carries it out; [`controller`] is the shell that does so from an API server, [`standalone`]
//! the one that does so from a folder. [`cli`] and [`runtime`] wire it all together.

pub mod api;
pub mod cli;
pub mod controller;
pub mod dataflow;
pub mod export;
pub mod feed;
pub mod fleet;
pub mod hub;
pub mod kinesis;
pub mod profile;
pub mod reconcile;
pub mod runtime;
pub mod standalone;
pub mod store;
pub mod telemetry;
