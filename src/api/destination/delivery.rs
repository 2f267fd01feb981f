//! Types: how records are keyed, batched, paced and retried, and how the permission to do so is checked.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::quantities::{ByteSize, DurationText, duration_between, size_between};

/// The smallest `maxBatchBytes` and `maxRecordBytes` that the schema allows.
pub const SMALLEST_BATCH_BYTES: u64 = 1 << 10;

/// What decides the shard of a record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "(has(self.from) && self.from == 'Identity') == has(self.__namespace__)",
    "message": "partitionKey.namespace goes with partitionKey.from: Identity, and only with it",
}]))]
pub struct PartitionKey {
    /// ProfileId (default): the profile id, or its SHA-256 where it is over 256 characters. Identity: the first id of the
    /// identity namespace below, else the profile id. A change holds for records exported after it; the order of one
    /// profile holds across it only once the old records are through.
    pub from: PartitionKeyFrom,
    /// The identity namespace, such as ecid, for Identity. Compared in lower case. At most 64 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub namespace: Option<String>,
}

/// Where the partition key comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PartitionKeyFrom {
    /// The profile id.
    #[default]
    ProfileId,
    /// The first id of one identity namespace, else the profile id.
    Identity,
}

/// How records are batched, paced and retried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.maxRecordBytes) || !has(self.maxBatchBytes) || !isQuantity(self.maxRecordBytes) || \
             !isQuantity(self.maxBatchBytes) || \
             quantity(self.maxRecordBytes).compareTo(quantity(self.maxBatchBytes)) <= 0",
    "message": "delivery.maxRecordBytes must not exceed delivery.maxBatchBytes; lower the one or raise the other",
}]))]
pub struct Delivery {
    /// How often a record that the service refused is tried again, after the first attempt. Default: 2; 0 to 10. Throttling
    /// and outages use no attempt. After the last attempt the record becomes a dead letter.
    #[schemars(range(max = 10))]
    pub max_retries: u32,
    /// How long one request may take. Default: 10s; 1s to 5m.
    #[schemars(extend("x-kubernetes-validations" = duration_between("delivery.requestTimeout", "1s", "5m", "10s")))]
    pub request_timeout: DurationText,
    /// How long the stream may throttle before status and alert say so. Nothing is given up then. Default: 10m; 1s to 24h.
    #[schemars(extend("x-kubernetes-validations" = duration_between("delivery.throttleTimeout", "1s", "24h", "10m")))]
    pub throttle_timeout: DurationText,
    /// How long a record waits for others to share its request. Default: 50ms; 0s to 10s. Longer means fewer requests and
    /// more latency.
    #[schemars(extend("x-kubernetes-validations" = duration_between("delivery.linger", "0s", "10s", "50ms")))]
    pub linger: DurationText,
    /// At most so many records a second, for each dataflow of this destination. 1 to 1000000. Default: no limit but the
    /// stream's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_records_per_second: Option<u32>,
    /// The largest record, partition key included; a larger one becomes a dead letter at once. Default: 1Mi; 1Ki to 10Mi,
    /// and not over maxBatchBytes. Raise it only together with the stream's own maximum.
    #[schemars(extend("x-kubernetes-validations" = size_between("delivery.maxRecordBytes", "1Ki", "10Mi", "1Mi")))]
    pub max_record_bytes: ByteSize,
    /// The largest request. Default: 5Mi; 1Ki to 10Mi. Older servers refuse more than 5Mi.
    #[schemars(extend("x-kubernetes-validations" = size_between("delivery.maxBatchBytes", "1Ki", "10Mi", "5Mi")))]
    pub max_batch_bytes: ByteSize,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            max_retries: 2,
            request_timeout: DurationText::seconds(10),
            throttle_timeout: DurationText::seconds(600),
            linger: DurationText::millis(50),
            max_records_per_second: None,
            max_record_bytes: ByteSize::mebibytes(1),
            max_batch_bytes: ByteSize::mebibytes(5),
        }
    }
}

impl Delivery {
    /// Attempts after the first.
    pub fn max_retries(&self) -> u32 {
        self.max_retries
    }

    /// How long one request may take.
    pub fn request_timeout(&self) -> Duration {
        self.request_timeout.duration()
    }

    /// How long throttling may last before it is told.
    pub fn throttle_timeout(&self) -> Duration {
        self.throttle_timeout.duration()
    }

    /// How long a record waits for company.
    pub fn linger(&self) -> Duration {
        self.linger.duration()
    }

    /// The limit of each dataflow, if there is one.
    pub fn max_records_per_second(&self) -> Option<u32> {
        self.max_records_per_second
    }

    /// The largest record, in bytes, partition key included.
    pub fn max_record_bytes(&self) -> u64 {
        self.max_record_bytes.bytes()
    }

    /// The largest request, in bytes.
    pub fn max_batch_bytes(&self) -> u64 {
        self.max_batch_bytes.bytes()
    }
}

/// How, and how often, it is checked that records may be put.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PermissionCheck {
    /// How often. Default: 10m; 1m to 24h. A changed spec or Secret is checked at once.
    #[schemars(extend("x-kubernetes-validations" = duration_between("permissionCheck.interval", "1m", "24h", "10m")))]
    pub interval: DurationText,
    /// InvalidHashKey (default) asks for a put that the service refuses after it has checked the permission, so nothing is
    /// written. None leaves the permissions to put unverified, and says so.
    pub method: PermissionCheckMethod,
}

/// How the permission to put is checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PermissionCheckMethod {
    /// By a put with a hash key above the range.
    #[default]
    InvalidHashKey,
    /// Not at all.
    None,
}

impl Default for PermissionCheck {
    fn default() -> Self {
        Self { interval: DurationText::seconds(600), method: PermissionCheckMethod::default() }
    }
}

impl PermissionCheck {
    /// How often it is checked.
    pub fn interval(&self) -> Duration {
        self.interval.duration()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_delivery_has_the_documented_defaults() {
        let delivery = Delivery::default();
        assert_eq!(delivery.max_retries(), 2);
        assert_eq!(delivery.request_timeout(), Duration::from_secs(10));
        assert_eq!(delivery.throttle_timeout(), Duration::from_mins(10));
        assert_eq!(delivery.linger(), Duration::from_millis(50));
        assert_eq!(delivery.max_record_bytes(), 1_048_576);
        assert_eq!(delivery.max_batch_bytes(), 5_242_880);
        assert_eq!(PermissionCheck::default().interval(), Duration::from_mins(10));
    }
}
