//! What Argo CD and Flux make of the objects: the scripts and the samples of `manifests/`, on objects of every state.
//! `tests/cluster/gitops.rs` does the same with the objects of a real cluster.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // How a test fails.

mod flux;
mod kstatus;
mod lua;
mod samples;

use std::{fs, path::Path};

use kstatus::{KStatus, kstatus};
use serde_json::{Value, json};

const KINDS: [&str; 3] = ["WebhookEndpoint", "WebhookSubscription", "WebhookReplay"];

fn yaml(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

#[test]
fn health_is_as_the_tests_for_argo_cd_say() {
    for kind in KINDS {
        let directory = lua::scripts(kind);
        let tests = yaml(&directory.join("health_test.yaml"));
        for test in list(&tests["tests"]) {
            let input = directory.join(test["inputPath"].as_str().unwrap());
            let health = lua::run(&directory.join("health.lua"), &yaml(&input));
            assert_eq!(health, test["healthStatus"], "{}", input.display());
        }
        // No object lies there unused.
        let objects = fs::read_dir(directory.join("testdata")).unwrap().count();
        assert_eq!(objects, list(&tests["tests"]).len(), "{kind}");
    }
}

#[test]
fn actions_are_as_the_tests_for_argo_cd_say() {
    for kind in KINDS {
        let directory = lua::scripts(kind).join("actions");
        let tests = yaml(&directory.join("action_test.yaml"));
        for test in list(&tests["discoveryTests"]) {
            let input = directory.join(test["inputPath"].as_str().unwrap());
            let found = lua::run(&directory.join("discovery.lua"), &yaml(&input));
            let expected = list(&test["result"]);
            assert_eq!(found.as_object().unwrap().len(), expected.len(), "{}", input.display());
            for action in expected {
                let name = action["name"].as_str().unwrap();
                assert_eq!(found[name], json!({ "disabled": action["disabled"] }), "{name} of {}", input.display());
            }
        }
        for test in list(&tests["actionTests"]) {
            let (action, input) = (test["action"].as_str().unwrap(), test["inputPath"].as_str().unwrap());
            let result = lua::run(&directory.join(action).join("action.lua"), &yaml(&directory.join(input)));
            let expected = yaml(&directory.join(test["expectedOutputPath"].as_str().unwrap()));
            assert_eq!(result, changed(&expected), "{kind}: {action} of {input}");
        }
    }
}

/// What an action returns for an expected output: the object, or the operations on others.
fn changed(expected: &Value) -> Value {
    let Some(operations) = expected.as_array() else { return expected.clone() };
    let operation = |it: &Value| json!({ "operation": it["k8sOperation"], "resource": it["unstructuredObj"] });
    operations.iter().map(operation).collect()
}

/// Argo CD's health of an object and Flux's view of it agree.
#[test]
fn flux_waits_for_what_argo_cd_shows() {
    for kind in KINDS {
        let directory = lua::scripts(kind);
        for entry in fs::read_dir(directory.join("testdata")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let expected = match name.split('_').next().unwrap() {
                // The sample for Flux overrides this: tests/gitops/flux.rs.
                _ if name == "suspended_endpoint" => KStatus::InProgress,
                "healthy" | "suspended" => KStatus::Current,
                "degraded" => KStatus::Failed,
                _ if name == "progressing_deleted" => KStatus::Terminating,
                // Servers with the CRD's default write observedGeneration -1 until the operator has seen the object.
                _ if name == "progressing_no_status" => {
                    let mut object = yaml(&path);
                    object["status"] = json!({ "observedGeneration": -1 });
                    assert_eq!(kstatus(&object), KStatus::InProgress, "{name}");
                    continue;
                }
                _ => KStatus::InProgress,
            };
            assert_eq!(kstatus(&yaml(&path)), expected, "{kind}: {name}");
        }
    }
}
