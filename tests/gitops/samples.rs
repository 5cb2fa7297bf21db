//! The settings for Argo CD and the samples for Flux.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn documents(path: &str) -> Vec<Value> {
    let text = fs::read_to_string(Path::new(ROOT).join(path)).unwrap();
    text.split("\n---\n").map(|it| serde_yaml::from_str(it).unwrap_or_else(|error| panic!("{path}: {error}"))).collect()
}

#[test]
fn the_settings_of_argo_cd_have_the_scripts() {
    let printed = Command::new(format!("{ROOT}/scripts/argocd")).output().unwrap();
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    let kept = fs::read(Path::new(ROOT).join("manifests/argocd/argocd-cm.yaml")).unwrap();
    assert!(kept == printed.stdout, "argocd-cm.yaml is not up to date: run `just generate`");
    let [settings] = &documents("manifests/argocd/argocd-cm.yaml")[..] else { panic!("one ConfigMap") };
    for kind in super::KINDS {
        let scripts = super::lua::scripts(kind);
        let text = |path: &str| fs::read_to_string(scripts.join(path)).unwrap();
        let health = &settings["data"][format!("resource.customizations.health.grapnel.dev_{kind}")];
        assert_eq!(health.as_str().unwrap().trim_end(), text("health.lua").trim_end());
        let actions = settings["data"][format!("resource.customizations.actions.grapnel.dev_{kind}")].as_str().unwrap();
        let actions: Value = serde_yaml::from_str(actions).unwrap();
        assert_eq!(actions["discovery.lua"].as_str().unwrap().trim_end(), text("actions/discovery.lua").trim_end());
        let definitions = super::list(&actions["definitions"]);
        assert!(definitions.len() >= 2, "{kind}");
        for definition in definitions {
            let path = format!("actions/{}/action.lua", definition["name"].as_str().unwrap());
            assert_eq!(definition["action.lua"].as_str().unwrap().trim_end(), text(&path).trim_end());
        }
    }
}

#[test]
fn flux_waits_and_every_reference_of_its_samples_exists() {
    let objects = [documents("manifests/flux/operator.yaml"), documents("manifests/flux/webhooks.yaml")].concat();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let names: BTreeSet<_> = objects.iter().map(|it| (text(&it["kind"]), text(&it["metadata"]["name"]))).collect();
    assert_eq!(names.len(), objects.len(), "{names:?}");
    for object in &objects {
        for reference in ["sourceRef", "chartRef"] {
            if let Some(reference) = object["spec"].get(reference) {
                assert!(names.contains(&(text(&reference["kind"]), text(&reference["name"]))), "{reference}");
            }
        }
        if object["kind"] == "Kustomization" {
            assert_eq!(object["spec"]["wait"], true, "{object}");
            for other in object["spec"]["dependsOn"].as_array().into_iter().flatten() {
                assert!(names.contains(&("Kustomization".into(), text(&other["name"]))), "{other}");
            }
        }
    }
}

#[test]
fn the_values_of_the_flux_sample_are_values_of_the_chart() {
    let objects = documents("manifests/flux/operator.yaml");
    let release = objects.iter().find(|it| it["kind"] == "HelmRelease").unwrap();
    let schema = fs::read_to_string(Path::new(ROOT).join("charts/grapnel/values.schema.json")).unwrap();
    let schema = jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap();
    let values = &release["spec"]["values"];
    let errors: Vec<_> = schema.iter_errors(values).map(|error| error.to_string()).collect();
    assert_eq!(errors, Vec::<String>::new());
    let mut wrong = values.clone();
    wrong["config"]["publicURL"] = "https://hooks.example.com".into();
    assert!(!schema.is_valid(&wrong), "a misspelt value is noticed");
}
