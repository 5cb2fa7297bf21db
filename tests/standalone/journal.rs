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
    let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    assert!(!said.contains("panicked"), "{said}");
    (output.status.code().unwrap(), said)
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
    let (code, said) = journal("check", &home.data());
    assert!(code == 1 && said.contains("in use by another process"), "{said}");
    grapnel.kill();
    let (code, said) = journal("check", &home.data());
    assert!(code == 0 && said.contains("ok: every record is whole"), "{said}");

    let log = home.data().join("log/0000000000000001-0000.jnl");
    let mut bytes = fs::read(&log).unwrap();
    let at = bytes.windows(8).position(|part| part == b"number-2").expect("bodies are in the log");
    bytes[at] ^= 1;
    fs::write(&log, bytes).unwrap();
    let (code, said) = journal("check", &home.data());
    assert!(code == 1 && said.contains("damaged: 0000000000000001-0000.jnl at offset"), "{said}");
    let strictly = || {
        let mut command = program::command();
        command.args(["standalone", "--journal-strict", "-f"]).arg(home.manifests()).arg("--data-dir").arg(home.data());
        program::Grapnel::try_start(command)
    };
    let refused = strictly().err().expect("it is refused");
    assert!(refused.contains("grapnel journal check") && refused.contains("at offset"), "{refused}");

    let (code, said) = journal("repair", &home.data());
    assert!(code == 0 && said.contains("lost: endpoint default/in, event 2"), "{said}");
    assert!(said.contains("1 file rewritten; 1 event lost"), "{said}");
    assert_eq!(journal("check", &home.data()).0, 0);
    let grapnel = strictly().unwrap_or_else(|log| panic!("{log}"));
    let events = grapnel.api("/api/v1/namespaces/default/endpoints/in/events").await;
    let sequences: Vec<_> = events["items"].as_array().unwrap().iter().map(|item| item["sequence"].as_u64()).collect();
    assert_eq!(sequences, [1, 2, 3, 4].map(Some));
    assert_eq!(events["items"][1]["damaged"], true);
}

#[test]
fn what_is_no_journal_is_said() {
    let directory = tempfile::tempdir().unwrap();
    for action in ["check", "repair"] {
        for path in [directory.path().join("nowhere"), directory.path().to_owned()] {
            let (code, said) = journal(action, &path);
            assert!(code == 1 && said.contains("FORMAT is missing"), "{said}");
        }
    }
}
