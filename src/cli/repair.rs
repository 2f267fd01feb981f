//! Effects: `repair` looks at the journal of a data directory that does not open, says what is whole and what is not, and cuts off
//! what is not where it is told to. Nothing else of the directory is touched.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::store::journal::{self, Journal, Tear};
use crate::store::{self, StoreError};

/// Says what is torn in a data directory that does not open, and drops it where told to
#[derive(Debug, clap::Args)]
pub struct RepairArguments {
    /// Where profiles, changes and positions are kept
    #[arg(long, value_name = "DIR", default_value = "activation-data")]
    data_dir: PathBuf,
    /// Drop what is torn, and whatever was written behind it. Keep a copy of the directory
    #[arg(long)]
    drop: bool,
}

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
enum RepairError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the journal of {path} cannot be read or cut: {source}: check that this user may write it")]
    Journal { path: PathBuf, source: io::Error },
    #[error("standard output cannot be written: {0}")]
    Print(io::Error),
}

/// Looks, and cuts where told to. Code 1 where something is torn and left so.
pub fn run(arguments: &RepairArguments) -> ExitCode {
    match repair(arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn repair(arguments: &RepairArguments) -> Result<bool, RepairError> {
    let path = &arguments.data_dir;
    let _lock = store::lock(path)?;
    let failed = |source| RepairError::Journal { path: path.clone(), source };
    let found = journal::survey(path).map_err(failed)?;
    let Some((journal, tear)) = found.as_ref().and_then(|journal| Some((journal, journal.tear?))) else {
        super::print(&format!("{}: nothing is torn in its journal\n", path.display())).map_err(RepairError::Print)?;
        return Ok(true);
    };
    super::print(&described(journal, tear)).map_err(RepairError::Print)?;
    if !arguments.drop {
        super::print("nothing was changed; with --drop, what is torn and what lies behind it is cut off\n")
            .map_err(RepairError::Print)?;
        return Ok(false);
    }
    journal::cut(journal).map_err(failed)?;
    super::print(&format!("cut off {} bytes\n", tear.bytes)).map_err(RepairError::Print)?;
    Ok(true)
}

fn described(journal: &Journal, tear: Tear) -> String {
    let Journal { path, whole_writes, whole_bytes, .. } = journal;
    let Tear { bytes, whole_writes_behind } = tear;
    let writes = if whole_writes_behind == 1 { "write" } else { "writes" };
    let judgement = if whole_writes_behind == 0 {
        "Nothing whole lies behind: as a power failure leaves a write that nobody was answered."
    } else {
        "What is torn and what lies behind it may have been answered: updates, positions and dead letters of a moment. \
         Producers must send those updates again; dataflows may export some records again."
    };
    format!(
        "{}: {whole_writes} whole writes in {whole_bytes} bytes, then {bytes} bytes of which some cannot be read, and \
         {whole_writes_behind} whole {writes} behind those\n{judgement}\n",
        path.display()
    )
}
