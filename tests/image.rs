//! What can be said of the image without a container engine: it builds with the compiler of the project, from files that there are, in layers
//! that cargo accepts, and runs as whom the chart says.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// Its instructions, each on one line, without comments.
fn instructions() -> Vec<String> {
    let text = read("Dockerfile");
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let joined = lines.join("\n").replace("\\\n", " ");
    joined
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|line| !line.is_empty())
        .collect()
}

fn of(instruction: &str) -> Vec<String> {
    let found = instructions().into_iter();
    found.filter_map(|line| line.strip_prefix(&format!("{instruction} ")).map(str::to_owned)).collect()
}

/// What is copied from the project, file by file.
fn copied() -> Vec<String> {
    let sources = of("COPY").into_iter().filter(|line| !line.starts_with("--from="));
    let sources: Vec<_> = sources
        .flat_map(|line| {
            let mut words: Vec<_> = line.split(' ').map(str::to_owned).collect();
            words.pop();
            words
        })
        .collect();
    assert!(sources.len() >= 5, "{sources:?}");
    sources
}

#[test]
fn the_compiler_is_the_project_s() {
    let toolchain = read("rust-toolchain.toml");
    let version = toolchain.split('"').nth(1).unwrap();
    assert!(
        of("ARG").contains(&format!("RUST_VERSION={version}")),
        "the Dockerfile builds with another Rust than {version}"
    );
}

#[test]
fn what_is_copied_is_there_and_nothing_else_is_sent_to_the_builder() {
    let ignored = read(".dockerignore");
    let mut sent: Vec<_> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert!(ignored.lines().any(|line| line == "*"), "everything is left out but what is named");
    let mut copied = copied();
    for source in &copied {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(source).exists(), "{source} does not exist");
    }
    copied.sort();
    sent.sort_unstable();
    assert_eq!(sent, copied);
}

#[test]
fn it_runs_as_whom_the_chart_says_and_needs_no_shell() {
    let values: Value = serde_saphyr::from_str(&read("charts/activation-operator/values.yaml")).unwrap();
    let context = &values["podSecurityContext"];
    assert_eq!(of("USER"), [format!("{}:{}", context["runAsUser"], context["runAsGroup"])]);
    for instruction in ["ENTRYPOINT", "CMD"] {
        let told = of(instruction);
        let words: Vec<String> =
            serde_json::from_str(&told[0]).unwrap_or_else(|_| panic!("{instruction} asks for a shell: {told:?}"));
        assert!(!words.is_empty());
    }
    assert_eq!(of("FROM").last().unwrap(), "scratch");
    let chart = read("charts/activation-operator/Chart.yaml");
    let version = env!("CARGO_PKG_VERSION");
    assert!(of("ARG").contains(&format!("VERSION={version}")));
    for line in [format!("version: {version}"), format!("appVersion: {version}")] {
        assert!(chart.lines().any(|one| one == line), "the chart is of another release than {version}");
    }
    for port in ["data", "probe"] {
        assert!(of("EXPOSE")[0].contains(&values["ports"][port].to_string()), "{port}");
    }
}

/// The layer of dependencies, as the instructions make it: a target without its stand-in would fail here.
#[test]
fn cargo_accepts_the_layer_of_dependencies() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let manifests: Vec<_> = copied().into_iter().filter(|name| name.contains("Cargo")).collect();
    for name in &manifests {
        fs::create_dir_all(place(name).parent().unwrap()).unwrap();
        fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join(name), place(name)).unwrap();
    }
    let stand_ins = of("RUN").into_iter().find(|line| line.starts_with("mkdir")).unwrap();
    let made =
        Command::new("sh").args(["-ec", &stand_ins]).current_dir(folder.path()).stdout(Stdio::null()).status().unwrap();
    assert!(made.success());
    let cargo = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--package", "activation-operator", "--depth", "0"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(cargo.status.success(), "{}", String::from_utf8_lossy(&cargo.stderr));
}
