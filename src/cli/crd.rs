//! Effects: `crd` prints the definitions of both resources, or writes each to its file.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use crate::api::crd;

/// Prints the two custom resource definitions as YAML
#[derive(Debug, clap::Args)]
pub struct CrdArguments {
    /// Write each definition to its file in this folder instead, which is made if need be
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Why nothing, or not everything, came out.
#[derive(Debug, thiserror::Error)]
enum CrdCommandError {
    #[error(transparent)]
    Definition(#[from] crd::CrdError),
    #[error("{path} cannot be written: {source}: check that the folder exists and that this user may write there")]
    Write { path: PathBuf, source: io::Error },
    #[error("standard output cannot be written: {0}")]
    Print(io::Error),
}

/// Prints both, or writes them.
pub fn run(arguments: &CrdArguments) -> ExitCode {
    let result = match &arguments.dir {
        Some(folder) => write(folder),
        None => print(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print() -> Result<(), CrdCommandError> {
    super::print(&crd::crd_yaml()?).map_err(CrdCommandError::Print)
}

fn write(folder: &Path) -> Result<(), CrdCommandError> {
    let files = crd::crd_files()?;
    let failed = |path: &Path| {
        let path = path.to_owned();
        |source| CrdCommandError::Write { path, source }
    };
    fs::create_dir_all(folder).map_err(failed(folder))?;
    for (name, text) in files {
        let path = folder.join(name);
        fs::write(&path, text).map_err(failed(&path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn the_folder_is_made_and_holds_what_would_be_printed() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/crds");
        write(&inner).unwrap();
        let texts = ["kinesisdestinations.yaml", "audienceactivations.yaml"]
            .map(|name| fs::read_to_string(inner.join(name)).unwrap());
        assert_eq!(texts.map(|text| format!("---\n{text}")).concat(), crd::crd_yaml().unwrap());
    }

    #[test]
    fn a_folder_that_cannot_be_is_told_by_its_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = write(&file.path().join("crds")).unwrap_err().to_string();
        assert!(error.contains("crds cannot be written"), "{error}");
    }
}
