//! manifests/: rendered from the chart, readable by kustomize, and samples that compile.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    chart::{objects, printed, render},
    pods, program,
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The directories that kustomize is given.
pub(crate) const DIRECTORIES: &[&str] = &["manifests", "manifests/base", "manifests/namespaced", "manifests/samples"];

/// What is added to an installation from `manifests`.
pub(crate) const ADDITION: &str = "manifests/routes";

/// What kustomize makes of a directory.
pub(crate) fn kustomize(directory: &str) -> String {
    printed(Command::new("kubectl").args(["kustomize", directory]).current_dir(ROOT).output().unwrap())
}

/// Files below a directory, by their path in it.
fn files(directory: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![directory.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.insert(path.strip_prefix(directory).unwrap().to_owned(), fs::read_to_string(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn they_are_what_the_chart_renders() {
    let fresh = tempfile::tempdir().unwrap();
    let script = Command::new(format!("{ROOT}/scripts/render")).arg(fresh.path()).output().unwrap();
    printed(script);
    let rendered = files(fresh.path());
    assert!(rendered.len() >= 8, "{:?}", rendered.keys());
    for (path, text) in &rendered {
        let kept = fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_default();
        assert!(kept == *text, "{} is not up to date: run `just generate`", path.display());
    }
    // And nothing lies there that is not rendered any more.
    for directory in ["charts/grapnel/files/crds", "manifests/base/crds"] {
        for path in files(&Path::new(ROOT).join(directory)).keys() {
            assert!(
                rendered.contains_key(&Path::new(directory).join(path)),
                "{directory}/{} is left over",
                path.display()
            );
        }
    }
}

#[test]
fn kustomize_renders_every_directory() {
    for directory in DIRECTORIES {
        let objects = objects(&kustomize(directory));
        assert!(objects.len() >= 4, "{directory}");
        for object in &objects {
            assert_eq!(pods::violations(object), Vec::<String>::new(), "{directory}");
            let labels = &object["metadata"]["labels"];
            assert!(labels["helm.sh/chart"].is_null() && labels["app.kubernetes.io/managed-by"].is_null(), "{object}");
        }
    }
    let whole = objects(&kustomize("manifests"));
    assert_eq!(whole, objects(&kustomize("manifests/base")), "the top is the base with an image of one's own");
}

#[test]
fn the_rights_of_routes_are_those_of_the_chart() {
    let of = |objects: &[serde_json::Value], name: &str| -> Vec<serde_json::Value> {
        let role = objects.iter().find(|it| it["kind"] == "ClusterRole" && it["metadata"]["name"] == name).unwrap();
        let rules = role["rules"].as_array().unwrap().iter();
        rules.filter(|rule| rule["apiGroups"][0] == "gateway.networking.k8s.io").cloned().collect()
    };
    let chart = of(&render(&["--set", "routes.enabled=true"]), "grapnel-system-grapnel");
    let mut added = of(&objects(&kustomize(ADDITION)), "grapnel-system-grapnel-routes");
    added.sort_by_key(ToString::to_string);
    let mut expected = chart.clone();
    expected.sort_by_key(ToString::to_string);
    assert!(!chart.is_empty() && added == expected, "{added:#?}");
    assert!(of(&render(&[]), "grapnel-system-grapnel").is_empty(), "only if they are enabled");
}

#[test]
fn samples_pass_the_check() {
    let samples = |file: &str| format!("{ROOT}/manifests/samples/{file}");
    let output = program::run(&["check", "-f", &samples("webhooks.yaml"), "-f", &samples("secrets.yaml")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let printed = String::from_utf8(output.stdout).unwrap();
    for kind in ["WebhookEndpoint", "WebhookSubscription", "Secret"] {
        assert!(printed.contains(kind), "{printed}");
    }
}

#[test]
fn the_image_is_of_this_version() {
    for directory in DIRECTORIES {
        let text = kustomize(directory);
        let images: Vec<_> = text.lines().filter_map(|line| line.trim().strip_prefix("image: ")).collect();
        assert!(!images.is_empty(), "{directory}");
        assert!(images.iter().all(|image| *image == concat!("grapnel:", env!("CARGO_PKG_VERSION"))), "{images:?}");
    }
}
