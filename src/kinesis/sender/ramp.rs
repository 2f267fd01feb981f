//! Pure state: how many requests may be on their way after an outage. One, then twice as many with every answer: a service
//! that has just come back is not run over, and a request that fails by its own fault is seen to be the only one.

/// The slow start.
#[derive(Debug)]
pub(super) struct Ramp {
    /// Requests from this one on were sent since the outage. Those before may hang, and don't count.
    from: u64,
    limit: usize,
    in_flight: usize,
}

impl Ramp {
    /// No outage yet, no limit.
    pub(super) fn new() -> Self {
        Self { from: 0, limit: usize::MAX, in_flight: 0 }
    }

    /// Begins at one. `next`: the id of the next request.
    pub(super) fn restart(&mut self, next: u64) {
        *self = Self { from: next, limit: 1, in_flight: 0 };
    }

    pub(super) fn has_slot(&self) -> bool {
        self.in_flight < self.limit
    }

    pub(super) fn sent(&mut self) {
        self.in_flight += 1;
    }

    /// `answered`: by the service. At `max` the ramp is done.
    pub(super) fn answered(&mut self, request: u64, answered: bool, max: usize) {
        if request < self.from {
            return;
        }
        self.in_flight -= 1;
        if answered && self.limit < max {
            self.limit *= 2;
        }
        if self.limit >= max {
            self.limit = usize::MAX;
        }
    }
}
