//! What cannot start says what is wrong, where, and how to mend it, and ends with an exit code of its own.

use std::fs;
use std::process::Stdio;

use crate::support::operator::{Ended, Operator, assert_no_secret, operator_command};
use crate::world::{World, activation, secret};

/// A run that ends by itself, in the folder of `world`.
fn ended(world: &World, arguments: &[&str]) -> Ended {
    let mut command = operator_command();
    command.arg("standalone").args(arguments).current_dir(world.place.path()).stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let ended = Ended { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) };
    assert_no_secret(&format!("{}{}", ended.stdout, ended.stderr));
    assert!(!ended.stderr.contains("panicked"), "{ended:?}");
    ended
}

/// The same with everything that a run takes, and further arguments.
fn run(world: &World, more: &[&str]) -> Ended {
    let usual = ["-f", "manifests", "--data-dir", "data", "--listen", "127.0.0.1:0", "--until-idle"];
    ended(world, &[&usual[..], more].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_argument_is_named_with_its_mend() {
    let world = World::new().await;
    world.activate("vip", &["a"], "");
    world.place.write("a-file", "");
    let plain = ["--listen", "127.0.0.1:0", "--until-idle"];
    let table: &[(&[&str], i32, &str)] = &[
        (&["-f", "nowhere", "--data-dir", "data"], 1, "nowhere: cannot be read: No such file or directory"),
        (&["-f", "manifests", "--data-dir", "a-file/data"], 1, "data directory a-file/data cannot be used: "),
        (&["-f", "manifests", "--data-dir", "data", "--updates", "none"], 1, "updates none: No such file or directory"),
        (&["-f", "manifests", "--data-dir", "data", "--updates", "manifests"], 1, "updates manifests: Is a directory"),
        (&["-f", "manifests", "--data-dir", "data", "--retention-max-age", "soon"], 2, "--retention-max-age"),
        (
            &["-f", "manifests", "--data-dir", "data", "--log", "hub=loudly"],
            1,
            "the log filter \"hub=loudly\" cannot be read",
        ),
        (&["-f", "manifests", "--data-dir", "data", "--token-file", "none"], 1, "none"),
        (&["-f", "manifests", "--data-dir", "data", "--tls-cert", "none"], 2, "--tls-key"),
        (&["--data-dir", "data"], 2, "--filename <DIR>"),
    ];
    for (arguments, code, message) in table {
        let ended = ended(&world, &[*arguments, &plain[..]].concat());
        assert_eq!(ended.code, Some(*code), "{arguments:?}: {ended:?}");
        assert!(ended.stderr.contains(message), "{arguments:?}: {ended:?}");
    }
    for (listen, code, message) in [
        (
            "0.0.0.0:0",
            1,
            "0.0.0.0:0 can be reached from other machines, so it needs TLS and a bearer token: give --tls-cert",
        ),
        ("localhost:8080", 2, "--listen <IP:PORT>"),
    ] {
        let ended = ended(&world, &["-f", "manifests", "--data-dir", "data", "--listen", listen]);
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert!(ended.stderr.contains(message), "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_of_which_none_can_be_used_are_told_one_by_one() {
    let world = World::new().await;
    world.place.withdraw("destination.yaml");
    world.place.declare("broken.yaml", "kind: [\n");
    world.place.declare("secret.yaml", &(secret(("id", "hunter2-x")) + "  accessKeyId: hunter2-twice\n"));
    world.place.declare("typo.yaml", &activation("vip", &["a"], "  supend: true\n"));
    let ended = run(&world, &[]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    for message in [
        "manifests/broken.yaml, document 1: is not valid YAML",
        "manifests/secret.yaml, document 1: is not valid YAML at line 7",
        "manifests/typo.yaml, document 1, AudienceActivation marketing/vip: spec.supend: unknown field",
        "standalone: manifests: no manifest could be used: mend what is told above",
    ] {
        assert!(ended.stderr.contains(message), "{message}: {ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_one_manifest_does_not_stop_the_others() {
    let world = World::new().await;
    world.activate("vip", &["a"], "");
    world.place.declare("configmap.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n");
    let ended = run(&world, &[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended.stderr.contains("configmap.yaml, document 1: ConfigMap of v1 is not one of ours: passed over"),
        "{ended:?}"
    );

    world.place.declare("zwei.yaml", &activation("vip", &["b"], ""));
    let ended = run(&world, &[]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let message = "manifests/zwei.yaml, document 1, AudienceActivation marketing/vip: there is one of this name already in manifests/vip.yaml, document 1: remove one of the two, or rename it";
    assert!(ended.stderr.contains(message), "{ended:?}");
    assert!(ended.stdout.contains("marketing/vip: 0 exported in all"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_store_is_told_and_left_as_it_is() {
    let world = World::new().await;
    world.activate("vip", &["a"], "");
    let operator = world.start("vip");
    assert_eq!(operator.terminate().code, Some(0));
    let mut damaged = 0;
    for entry in fs::read_dir(world.place.path().join("data/keyspaces")).unwrap() {
        let current = entry.unwrap().path().join("current");
        if current.exists() {
            fs::write(current, "garbage").unwrap();
            damaged += 1;
        }
    }
    assert!(damaged > 0);
    let ended = Operator::spawn(&world.place, &[], Stdio::null()).ended();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("data directory data is damaged: "), "{ended:?}");
    assert!(ended.stderr.contains("restore it from a backup"), "{ended:?}");
}
