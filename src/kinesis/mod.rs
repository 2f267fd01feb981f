//! Delivery to a Kinesis data stream: the client and its credentials, the permission check, the sender.

pub mod outcome;
