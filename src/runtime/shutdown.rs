//! Effects: SIGTERM and Ctrl-C. The first asks everything to end in order; the second ends the process at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A signal that ends the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Interrupt,
    Terminate,
}

impl Ending {
    fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        }
    }

    /// What a shell gives a process that died of the signal: 128 and its number.
    fn exit_code(self) -> i32 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

/// The signals of this process, taken from the system's own handling from the moment this exists.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Takes them. Within a runtime only.
    pub fn install() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Cancels `shutdown` at the first signal; at the second the process ends with exit code 130 or 143, and what was not
    /// finished starts from its checkpoint the next time. Never returns: its owner drops it when everything has ended.
    pub async fn watch(mut self, shutdown: CancellationToken) {
        let first = self.next().await;
        tracing::info!(signal = first.name(), "shutting down; a second signal ends the process at once");
        shutdown.cancel();
        let second = self.next().await;
        tracing::warn!(signal = second.name(), "ended at once by a second signal");
        std::process::exit(second.exit_code());
    }

    async fn next(&mut self) -> Ending {
        loop {
            tokio::select! {
                Some(()) = self.interrupt.recv() => return Ending::Interrupt,
                Some(()) = self.terminate.recv() => return Ending::Terminate,
                else => std::future::pending::<()>().await,
            }
        }
    }
}
