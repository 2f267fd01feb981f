//! The control plane itself: it can be stopped, and it never outlives its test.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::support::controlplane::{ControlPlane, process::Guarded};

#[test]
fn an_api_server_that_was_stopped_comes_back_with_what_was_there() {
    let own = ControlPlane::start();
    let made = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}, "data": {"a": "b"}});
    own.client().post("/api/v1/namespaces/default/configmaps", &made).good();
    own.stop_api_server();
    assert!(own.client().ask("GET", "/readyz", "application/json", None).is_err(), "it still answers");
    thread::sleep(Duration::from_secs(1));
    own.start_api_server();
    let kept = own.client().get("/api/v1/namespaces/default/configmaps/kept").good();
    assert_eq!(kept["data"], made["data"]);
    // The controller manager is there, too: a new namespace gets its service account.
    let fresh = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "fresh"}});
    own.client().post("/api/v1/namespaces", &fresh).good();
    let account = "/api/v1/namespaces/fresh/serviceaccounts/default";
    own.wait_for("a service account", || own.client().get(account).status == 200);
    own.client().delete("/api/v1/namespaces/fresh").good();
    own.wait_for("the namespace to go", || own.client().get("/api/v1/namespaces/fresh").status == 404);
}

const ROLE: &str = "APISERVER_TEST_ROLE";

/// The test process that is killed, as a control plane would see it: holds a program that would run for long. Does nothing as a
/// test of its own.
#[test]
fn the_killed_process() {
    let Ok(folder) = std::env::var(ROLE) else { return };
    let folder = Path::new(&folder);
    let script = format!("echo $$ > {}/id.new; mv {0}/id.new {0}/id; exec sleep 3600", folder.display());
    let arguments = ["-c".to_owned(), script];
    let _program = Guarded::spawn("sleep", Path::new("sh"), &arguments, folder, Some(&folder.join("removed")));
    loop {
        thread::sleep(Duration::from_secs(1));
    }
}

#[test]
fn what_a_test_process_started_ends_with_it_even_if_it_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let removed = folder.path().join("removed");
    fs::create_dir(&removed).unwrap();
    let mut killed = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "processes::the_killed_process", "--nocapture"])
        .env(ROLE, folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let until = |what: &str, condition: &dyn Fn() -> bool| {
        let deadline = Instant::now() + Duration::from_mins(1);
        while !condition() {
            assert!(Instant::now() < deadline, "still waiting for {what}");
            thread::sleep(Duration::from_millis(20));
        }
    };
    let id = folder.path().join("id");
    until("the program to start", &|| id.exists());
    let id = fs::read_to_string(id).unwrap().trim().to_owned();
    let runs = || Command::new("kill").args(["-0", &id]).stderr(Stdio::null()).status().unwrap().success();
    assert!(runs());
    killed.kill().unwrap();
    killed.wait().unwrap();
    until("the program to end", &|| !runs());
    until("its folder to go", &|| !removed.exists());
}
