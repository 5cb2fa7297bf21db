//! `grapnel journal`: looking at a journal offline, and salvaging a damaged one.

use std::{fs, path::Path};

use crate::{home::Home, program};

const MANIFEST: &str = "apiVersion: grapnel.dev/v1beta1
kind: WebhookEndpoint
metadata: { name: in }
spec: { verification: { none: {} }, event: { type: { value: t } } }
";

/// What the command says, and its exit code.
fn journal(action: &str, directory: &Path) -> (i32, String) {
    let output = program::run(&["journal", action, directory.to_str().unwrap()]);
    let printed = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    assert!(!printed.contains("panicked"), "{printed}");
    (output.status.code().unwrap(), printed)
}

#[tokio::test]
async fn a_damaged_journal_is_found_and_repaired() {
    let home = Home::new();
    home.write("endpoint.yaml", MANIFEST);
    let grapnel = home.start();
    for number in 1..=4 {
        let body = format!(r#"{{"body":"number-{number}"}}"#);
        let id = format!("event-{number}");
        assert_eq!(grapnel.post("/default/in", &[("webhook-id", &id)], body).await.0, 200);
    }
    let (code, printed) = journal("check", &home.data());
    assert!(code == 1 && printed.contains("in use by another process"), "{printed}");
    grapnel.kill();
    let (code, printed) = journal("check", &home.data());
    assert!(code == 0 && printed.contains("ok: every record is whole"), "{printed}");

    let log = home.data().join("log/0000000000000001-0000.jnl");
    let mut bytes = fs::read(&log).unwrap();
    let at = bytes.windows(8).position(|part| part == b"number-2").expect("bodies are in the log");
    bytes[at] ^= 1;
    fs::write(&log, bytes).unwrap();
    let (code, printed) = journal("check", &home.data());
    assert!(code == 1 && printed.contains("damaged: 0000000000000001-0000.jnl at offset"), "{printed}");
    let strictly = || {
        let mut command = program::command();
        command.args(["standalone", "--journal-strict", "-f"]).arg(home.manifests()).arg("--data-dir").arg(home.data());
        program::Grapnel::try_start(command)
    };
    let refused = strictly().err().expect("it is refused");
    assert!(refused.contains("grapnel journal check") && refused.contains("at offset"), "{refused}");

    let (code, printed) = journal("repair", &home.data());
    assert!(code == 0 && printed.contains("lost: endpoint default/in, event 2"), "{printed}");
    assert!(printed.contains("1 file rewritten; 1 event lost"), "{printed}");
    assert_eq!(journal("check", &home.data()).0, 0);
    let grapnel = strictly().unwrap_or_else(|log| panic!("{log}"));
    let events = grapnel.api("/api/v1/namespaces/default/endpoints/in/events").await;
    let sequences: Vec<_> = events["items"].as_array().unwrap().iter().map(|item| item["sequence"].as_u64()).collect();
    assert_eq!(sequences, [1, 2, 3, 4].map(Some));
    assert_eq!(events["items"][1]["damaged"], true);
}

#[test]
fn a_directory_that_is_no_journal_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    for action in ["check", "repair"] {
        for path in [directory.path().join("nowhere"), directory.path().to_owned()] {
            let (code, printed) = journal(action, &path);
            assert!(code == 1 && printed.contains("FORMAT is missing"), "{printed}");
        }
    }
}
