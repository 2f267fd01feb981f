//! Effects: the library that stands between the program and the C library (`shim.c`): no kernel module, no mount. Built once by the
//! C compiler that Rust links with; told what is in force through a page that both have mapped.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::scene::file;

/// The fields of the page, in their order, eight bytes each.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Field {
    WriteErrno,
    SyncErrno,
    ClockNanos,
    SyncMicros,
    Struck,
    SyncedNumber,
    SyncedBytes,
}

pub(crate) const EIO: i64 = 5;
pub(crate) const ENOSPC: i64 = 28;

static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| {
    // Two runs of the suite must not write one file at once.
    let place = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let [fresh, library] =
        [format!("shim-{}.so", std::process::id()), "shim.so".to_owned()].map(|name| place.join(name));
    let mut built = Command::new("cc");
    built.args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"]).arg(&fresh).arg(file("shim.c")).arg("-ldl");
    let output = built.output().unwrap_or_else(|error| panic!("cc, which Rust links with: {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::rename(fresh, &library).unwrap();
    library
});

/// The page of one scene.
pub(crate) struct Shim {
    page: File,
    path: PathBuf,
}

impl Shim {
    /// Nothing is in force yet.
    pub(crate) fn new(folder: &Path) -> Self {
        let path = folder.join("page");
        let page = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        page.set_len(4096).unwrap();
        Self { page, path }
    }

    /// What makes a program load it, for the files of `folder`.
    pub(crate) fn environment(&self, folder: &Path) -> Vec<(String, String)> {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        [("LD_PRELOAD", text(&LIBRARY)), ("SHIM_PAGE", text(&self.path)), ("SHIM_FOLDER", text(folder))]
            .map(|(name, value)| (name.to_owned(), value))
            .to_vec()
    }

    pub(crate) fn set(&self, field: Field, value: i64) {
        self.page.write_all_at(&value.to_ne_bytes(), field as u64 * 8).unwrap();
    }

    pub(crate) fn get(&self, field: Field) -> i64 {
        let mut bytes = [0; 8];
        self.page.read_exact_at(&mut bytes, field as u64 * 8).unwrap();
        i64::from_ne_bytes(bytes)
    }
}
