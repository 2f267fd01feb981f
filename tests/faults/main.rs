//! Faults against the real thing: the whole program on a folder of manifests, a producer that sends thousands of updates a second,
//! and a stream that we break, or the machine beneath. Behind each stands the checker: nothing lost, nothing out of order, nothing
//! exported without a trigger, nothing repeated beyond the bound, every dead letter accounted for.
//!
//! `FAULT_MINUTES=120` is the long form: each fault strikes for longer, and again with other seeds until its share of the time is
//! over. `SEED` gives other choices. With `UPDATE_DOCS=1` a run that is through writes its table into `docs/delivery.md`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../support/checker.rs"]
mod checker;
#[path = "../support/load.rs"]
mod load;

mod disk;
mod letters;
mod machine;
mod mapping;
mod outages;
mod refusals;
mod sabotage;
mod scene;
mod shim;
mod table;
mod verdict;

/// Each fault is a test, and a line of the table.
macro_rules! faults {
    ($($test:ident: $name:literal => $run:path;)*) => {
        /// The faults of this suite, in the order of the table.
        pub(crate) const FAULTS: &[&str] = &[$($name),*];

        $(#[test]
        fn $test() {
            table::run($name, $run);
        })*
    };
}

faults! {
    throttling_of_one_shard_is_waited_out: "throttling of one shard" => refusals::throttling_of_one_shard;
    throttling_of_all_shards_is_waited_out: "throttling of all shards" => refusals::throttling_of_all_shards;
    throttling_of_whole_requests_is_waited_out: "throttling of whole requests" => refusals::throttling_of_requests;
    scattered_failures_are_tried_again: "partial failures, scattered" => refusals::scattered_failures;
    a_suffix_that_fails_is_tried_again: "partial failures, suffix" => refusals::failing_suffixes;
    internal_failures_of_whole_requests_are_tried_again: "`InternalFailure` of whole requests" => refusals::internal_failures;
    a_poison_record_in_a_batch_becomes_a_dead_letter_alone: "poison records in the middle of batches" => refusals::poison_records;
    dead_letters_sent_again_under_load_keep_the_order: "dead letters sent again under load" => letters::sent_again;
    a_dataflow_suspended_past_the_retention_tells_every_member_and_exit: "suspended past the retention, then resync" => letters::suspended_past_the_retention;
    a_service_that_is_unavailable_is_waited_out: "503 to every request" => outages::unavailable;
    a_service_that_is_unavailable_now_and_then_loses_nothing: "503 to some requests" => outages::flaky;
    latency_of_seconds_loses_nothing: "latency of seconds" => outages::latency;
    resets_before_the_commit_lose_nothing: "connection reset before the commit" => outages::resets_before;
    resets_after_the_commit_repeat_no_more_than_they_hit: "connection reset after the commit" => outages::resets_after;
    commits_without_an_answer_repeat_no_more_than_they_hit: "commit, then no answer" => outages::commits_without_an_answer;
    commits_answered_too_late_repeat_no_more_than_they_hit: "commit, then an answer too late" => outages::late_answers;
    a_black_hole_is_waited_out: "black hole" => outages::black_hole;
    an_expired_token_is_waited_out_and_a_new_one_goes_on: "token expired, then rotated" => outages::expired_token;
    a_revoked_permission_is_waited_out: "permission revoked, then granted" => outages::revoked_permission;
    a_deleted_stream_is_waited_out: "stream deleted, then made again" => outages::deleted_stream;
    a_reshard_changes_nothing: "reshard" => outages::reshard;
    a_stream_that_stands_still_is_waited_out: "stream stopped (SIGSTOP)" => machine::stopped_stream;
    an_operator_that_stood_still_goes_on: "operator stopped (SIGSTOP)" => machine::stopped_operator;
    a_killed_operator_goes_on_where_it_was: "operator killed (SIGKILL)" => machine::killed_operator;
    a_power_failure_loses_nothing_that_was_answered: "power cut, sectors lost behind the last sync" => disk::power_cut;
    a_full_disk_is_waited_out: "disk full, then freed" => disk::full;
    a_disk_without_space_ends_it_and_loses_nothing: "disk without space at a write, then restarted" => disk::no_space_to_write;
    a_disk_that_fails_to_write_ends_it_and_loses_nothing: "disk that fails to write, then restarted" => disk::write_errors;
    a_disk_that_fails_to_sync_ends_it_and_loses_nothing: "disk that fails to sync, then restarted" => disk::sync_errors;
    a_clock_that_steps_changes_no_record: "clock stepped forward and back" => disk::clock_steps;
    a_mapping_that_changes_under_load_is_replayed_as_it_was: "mapping changed, then SIGKILL" => mapping::changed_then_killed;
    a_backfill_beside_live_never_passes_it: "backfill beside live, 503 and partial failures" => mapping::backfill_beside_live;
    a_slow_dataflow_holds_no_other_back: "two dataflows of one hub, one slow" => mapping::two_speeds;
}
