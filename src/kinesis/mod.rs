//! Delivery to a Kinesis data stream: the client and its credentials, the permission check, the sender.

mod body;
pub mod classify;
pub mod client;
pub mod credentials;
pub mod outcome;
pub mod policy;
pub mod probe;
pub mod sender;
pub mod target;
