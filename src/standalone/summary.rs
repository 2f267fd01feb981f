//! Pure: what a run came to, in a few lines for whoever started it.

use std::collections::BTreeMap;
use std::fmt;

use super::updates::Taken;
use crate::api::AudienceActivationStatus;
use crate::api::conditions::ConditionType;
use crate::dataflow::progress::Progress;
use crate::reconcile::ObjectKey;

/// What a run came to.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// What became of the updates that were given with the command; `None` where there were none.
    pub updates: Option<Taken>,
    /// Whether they are all taken up.
    pub updates_done: bool,
    /// Manifests that are refused.
    pub refused: usize,
    activations: BTreeMap<ObjectKey, Line>,
}

#[derive(Debug, Clone, Default)]
struct Line {
    exported: u64,
    triggers: [u64; 4],
    excluded: u64,
    dead_letters: u64,
    p95_millis: Option<u128>,
    not_ready: Option<String>,
}

impl Summary {
    /// Takes up how things are now.
    pub(super) fn observe(
        &mut self,
        progress: &BTreeMap<ObjectKey, Progress>,
        statuses: &BTreeMap<ObjectKey, AudienceActivationStatus>,
    ) {
        self.activations.retain(|key, _| statuses.contains_key(key));
        for (key, status) in statuses {
            let line = self.activations.entry(key.clone()).or_default();
            let ready = status.conditions.iter().find(|found| found.type_ == ConditionType::Ready.as_str());
            line.not_ready = ready
                .filter(|ready| ready.status != "True")
                .map(|ready| format!("{}: {}", ready.reason, ready.message));
            let Some(progress) = progress.get(key) else { continue };
            line.exported = progress.counters.exported;
            line.triggers = progress.counters.triggers;
            line.excluded = progress.counters.excluded;
            line.dead_letters = progress.dead_letters;
            line.p95_millis = progress.latency_p95.map(|latency| latency.as_millis()).or(line.p95_millis);
        }
    }

    /// The activations that are not ready, with the reason.
    pub fn not_ready(&self) -> impl Iterator<Item = (&ObjectKey, &str)> {
        self.activations.iter().filter_map(|(key, line)| Some((key, line.not_ready.as_deref()?)))
    }

    /// Whether every manifest was taken, and every activation is ready.
    pub fn is_well(&self) -> bool {
        self.refused == 0 && self.not_ready().next().is_none()
    }

    /// Dead letters that wait, of all activations.
    pub fn dead_letters(&self) -> u64 {
        self.activations.values().map(|line| line.dead_letters).sum()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Taken { accepted, rejected }) = self.updates {
            writeln!(f, "updates in: {accepted} taken up, {rejected} refused")?;
        }
        if self.refused > 0 {
            writeln!(f, "manifests: {} refused, see the log for what to mend", self.refused)?;
        }
        if self.activations.is_empty() {
            writeln!(f, "there is no AudienceActivation among the manifests, so nothing was exported")?;
        }
        for (key, line) in &self.activations {
            let [audience, attribute, identity, backfill] = line.triggers;
            writeln!(
                f,
                "{key}: {} exported in all (by trigger: audience {audience}, attribute {attribute}, identity {identity}, backfill {backfill}; one can count for several), {} excluded, {} dead letters{}",
                line.exported,
                line.excluded,
                line.dead_letters,
                line.p95_millis.map(|millis| format!(", latency p95 {millis} ms")).unwrap_or_default(),
            )?;
            if let Some(why) = &line.not_ready {
                writeln!(f, "{key}: not ready: {why}")?;
            }
        }
        Ok(())
    }
}
