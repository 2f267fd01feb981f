//! Effects: a process that ends with its owner, and also where the owner is never dropped: a control plane that all tests of a
//! binary share lives in a static, and a test process may be killed.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
};

/// Waits for the program, and kills it, by its id, once nobody holds the other end of standard input any more, which the system
/// sees to however the test process ends. `$1` is a folder that is removed then, or empty.
const GUARD: &str = r#"
folder=$1; shift
exec 3<&0
"$@" </dev/null 3<&- &
program=$!
{ read -r _ <&3; kill -KILL "$program"; } 2>/dev/null >&2 &
watcher=$!
wait "$program"
code=$?
kill "$watcher" 2>/dev/null
if [ -n "$folder" ]; then rm -rf "$folder"; fi
exit "$code"
"#;

/// A running program.
#[derive(Debug)]
pub(crate) struct Guarded {
    name: &'static str,
    guard: Child,
    /// Open as long as the program may run.
    hold: Option<ChildStdin>,
    log: PathBuf,
}

impl Guarded {
    /// Starts `program`; what it says is appended to `<name>.log` in `logs`. `folder` is removed when it ends.
    pub(crate) fn spawn(
        name: &'static str,
        program: &Path,
        arguments: &[String],
        logs: &Path,
        folder: Option<&Path>,
    ) -> Self {
        use std::os::unix::process::CommandExt as _;
        let log = logs.join(format!("{name}.log"));
        let writer = || Stdio::from(File::options().create(true).append(true).open(&log).unwrap());
        let mut guard = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .arg(folder.unwrap_or(Path::new("")))
            .arg(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(writer())
            .stderr(writer())
            // An interrupt from the keyboard is for the test; the guard sees the test end.
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let hold = guard.stdin.take();
        Self { name, guard, hold, log }
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.guard.try_wait().unwrap()
    }

    /// The last of what it said, with its name.
    pub(crate) fn last_words(&self) -> String {
        const LINES: usize = 30;
        let said = std::fs::read(&self.log).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<_> = said.lines().collect();
        format!("{}:\n{}", self.name, lines[lines.len().saturating_sub(LINES)..].join("\n"))
    }

    /// All that it said.
    pub(crate) fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        drop(self.hold.take());
        // It may have ended by itself; then there is nothing left to wait for.
        let _ = self.guard.wait();
    }
}
