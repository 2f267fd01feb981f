//! What the model asks of the sender: of every request, of every record that is given up, and at the end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

impl World {
    pub(super) fn judge_send(&mut self, request: RequestId, entries: &[Entry]) {
        assert!(!entries.is_empty() && entries.len() <= MAX_BATCH_RECORDS);
        let bytes: usize = entries.iter().map(entry_bytes).sum();
        assert!(entries.len() == 1 || bytes <= self.settings.max_batch_bytes, "{bytes} bytes");
        let records: Vec<usize> =
            entries.iter().map(|entry| String::from_utf8_lossy(&entry.data).trim().parse().unwrap()).collect();
        for &index in &records {
            let record = &mut self.records[index];
            record.sends += 1;
            assert!(record.kind != Kind::Poison, "poison is sent");
            // The fence: everything of the profile before it is finished, and it is on its way only once.
            let (offered, finished) = &self.profiles[&record.profile];
            assert_eq!(offered[*finished], index, "{index} is not the first of its profile");
            assert!(!self.in_flight.values().flatten().any(|&other| other == index), "{index} is on its way twice");
        }
        let distinct: HashSet<u64> = records.iter().map(|&index| self.records[index].profile).collect();
        assert_eq!(distinct.len(), records.len(), "one profile twice in a request");
        assert!(self.in_flight.len() < self.settings.max_in_flight, "too many requests on their way");
        if let Some(limit) = self.settings.max_records_per_second {
            let limit = f64::from(limit);
            let passed = self.now.saturating_sub(self.hard_at).as_secs_f64();
            self.hard_tokens = (self.hard_tokens + passed * limit).min((limit * 0.1).max(1.0)) - records.len() as f64;
            self.hard_at = self.now;
            assert!(self.hard_tokens > -0.01, "over the hard limit by {}", -self.hard_tokens);
        }
        self.sent.push((self.now, records.len()));
        self.in_flight.insert(request, records.clone());
        let at = self.now + self.latency();
        self.schedule(at, Event::Arrive { request, records, bytes });
    }

    pub(super) fn judge_dead_letter(&mut self, index: usize, reason: &DeadReason, attempts: u32) {
        let record = &self.records[index];
        match reason {
            DeadReason::TooLarge { .. } | DeadReason::BadKey { .. } => {
                assert_eq!((record.kind, attempts, record.sends), (Kind::Poison, 0, 0));
            }
            DeadReason::Invalid { .. } => self.victims += usize::from(record.kind != Kind::Invalid),
            DeadReason::Exhausted { .. } => {
                assert!(attempts == self.settings.max_retries + 1 || attempts >= REFUSALS, "{index}: {attempts}");
                // The very edge of an outage can't be told from a failure of the request's own: once for each.
                let by_others = record.outages.len() as u32 + record.spell_failures;
                let bound = record.own_failures + by_others;
                assert!(attempts <= bound, "{index}: {attempts} attempts, and {bound} failures: {record:?}");
                let by_itself = record.own_failures > 0 || record.spell_failures > 0;
                assert!(
                    by_itself || self.settings.max_retries < 2,
                    "{index}: an outage made a dead letter: {record:?}"
                );
                self.victims += usize::from(record.own_failures == 0 && record.spell_failures > 0);
            }
        }
        // A handful before a spell is noticed; and as many where its last answers come in after it is over.
        let spells = self.faults.all_invalid.len() + self.faults.all_failed.len();
        let handfuls = 2 * HANDFUL as usize * spells;
        assert!(self.victims <= handfuls, "{} good records are given up in {spells} spells", self.victims);
    }

    pub(super) fn finish(&mut self, index: usize, dead: bool) {
        let record = &mut self.records[index];
        assert!(!record.acknowledged && !record.dead, "{index} is finished twice");
        (record.acknowledged, record.dead) = (!dead, dead);
        let (offered, finished) = self.profiles.get_mut(&record.profile).unwrap();
        assert_eq!(offered[*finished], index, "{index} is finished before the one ahead of it");
        *finished += 1;
        while self.records.get(self.lowest).is_some_and(|record| record.acknowledged || record.dead) {
            self.lowest += 1;
        }
    }

    /// First-time writes of a profile never come out of order. A dead letter may have been written late, by a request that
    /// was thought lost: it does not count.
    pub(super) fn judge_order(&self) {
        let mut last: HashMap<u64, usize> = HashMap::new();
        for &index in self.log.iter().filter(|&&index| !self.records[index].dead) {
            let before = last.insert(self.records[index].profile, index);
            assert!(before.is_none_or(|before| before < index), "{index} was written after {before:?}");
        }
    }
}
