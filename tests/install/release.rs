//! What the release workflow uses, as far as it can run without a registry.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use crate::chart::{helm, objects, printed};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const IMAGE: &str =
    "registry.example.com/platform/grapnel@sha256:1111111111111111111111111111111111111111111111111111111111111111";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Runs a script of the release.
fn script(name: &str, arguments: &[&str]) -> std::process::Output {
    Command::new(format!("{ROOT}/scripts/release/{name}")).args(arguments).current_dir(ROOT).output().unwrap()
}

fn yaml(path: &Path) -> Value {
    serde_yaml::from_str(&fs::read_to_string(path).unwrap())
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The image of a pod.
fn image(pod: &Value) -> &Value {
    &pod["spec"]["containers"][0]["image"]
}

#[test]
fn the_workflow_is_valid_and_its_scripts_exist() {
    let path = format!("{ROOT}/.github/workflows/release.yaml");
    printed(Command::new(format!("{ROOT}/scripts/actionlint")).arg(&path).output().unwrap());
    let text = fs::read_to_string(&path).unwrap();
    let names: Vec<_> =
        text.split("scripts/release/").skip(1).map(|rest| rest.split([' ', '\n']).next().unwrap()).collect();
    assert!(names.len() >= 6, "{names:?}");
    for name in names {
        assert!(Path::new(ROOT).join("scripts/release").join(name).exists(), "{name}");
    }
    // No registry is written into it.
    for host in ["ghcr.io", "docker.io", "quay.io", "gcr.io"] {
        assert!(!text.contains(host), "{host}");
    }
}

#[test]
fn a_tag_is_the_version_of_everything() {
    assert_eq!(printed(script("version", &[&format!("v{VERSION}")])).trim(), format!("version={VERSION}"));
    assert!(!script("version", &["v99.0.0"]).status.success());
}

#[test]
fn notes_are_the_section_of_the_version() {
    let notes = printed(script("notes", &["Unreleased"]));
    assert!(!notes.contains("## ["), "{notes}");
    assert!(!script("notes", &["99.0.0"]).status.success());
}

#[test]
fn manifests_and_chart_have_the_image_by_its_digest() {
    let directory = tempfile::tempdir().unwrap();
    let to = directory.path().to_str().unwrap();
    printed(script("manifests", &[IMAGE, to]));
    let installed = objects(&fs::read_to_string(directory.path().join("install.yaml")).unwrap());
    let workload = installed.iter().find(|it| it["kind"] == "StatefulSet").unwrap();
    assert_eq!(image(&workload["spec"]["template"]), IMAGE);
    let namespaced =
        Command::new("kubectl").args(["kustomize", &format!("{to}/manifests/namespaced")]).output().unwrap();
    assert!(printed(namespaced).contains(IMAGE));

    printed(script("chart", &[IMAGE, to]));
    let chart = format!("{to}/grapnel-{VERSION}.tgz");
    let rendered = objects(&printed(helm(&["template", "grapnel", &chart])));
    let workload = rendered.iter().find(|it| it["kind"] == "StatefulSet").unwrap();
    let (repository, digest) = IMAGE.split_once('@').unwrap();
    assert_eq!(image(&workload["spec"]["template"]), &format!("{repository}:{VERSION}@{digest}"));
    for script_name in ["manifests", "chart"] {
        assert!(!script(script_name, &["registry.example.com/grapnel:latest", to]).status.success(), "{script_name}");
    }
}

#[test]
fn krew_has_a_checksum_for_each_archive() {
    let directory = tempfile::tempdir().unwrap();
    for architecture in ["amd64", "arm64"] {
        fs::write(directory.path().join(format!("kubectl-grapnel_linux_{architecture}.tar.gz")), architecture).unwrap();
    }
    let to = directory.path().to_str().unwrap();
    let manifest: Value =
        serde_yaml::from_str(&printed(script("krew", &[VERSION, "https://downloads.example.com/", to]))).unwrap();
    assert_eq!((&manifest["kind"], &manifest["spec"]["version"]), (&"Plugin".into(), &format!("v{VERSION}").into()));
    let platforms = manifest["spec"]["platforms"].as_array().unwrap();
    assert_eq!(platforms.len(), 2);
    // The digest of "amd64".
    assert_eq!(platforms[0]["sha256"], "5861314d7fccb39c2192173240eab44fa35ca66426201ca2acd0630a6258dd51");
    assert_eq!(platforms[1]["uri"], "https://downloads.example.com/kubectl-grapnel_linux_arm64.tar.gz");
    let empty = tempfile::tempdir().unwrap();
    assert!(
        !script("krew", &[VERSION, "https://downloads.example.com", empty.path().to_str().unwrap()]).status.success()
    );
}

#[test]
fn the_olm_bundle_has_the_rights_and_the_pod_of_the_chart() {
    let directory = tempfile::tempdir().unwrap();
    printed(script("olm-bundle", &[VERSION, IMAGE, directory.path().to_str().unwrap()]));
    let csv = yaml(&directory.path().join("manifests/grapnel.clusterserviceversion.yaml"));
    assert_eq!(csv["metadata"]["name"], format!("grapnel.v{VERSION}"));
    let install = &csv["spec"]["install"]["spec"];
    let pod = &install["deployments"][0]["spec"]["template"];
    assert!(image(pod).as_str().unwrap().ends_with(IMAGE.split_once('@').unwrap().1), "{}", image(pod));
    assert_eq!(pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"], "grapnel-journal");
    assert_eq!(install["deployments"][0]["spec"]["strategy"]["type"], "Recreate");

    let rendered = crate::chart::render(&[]);
    let rules = |kind: &str, name: &str| {
        let found = rendered.iter().find(|it| it["kind"] == kind && it["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("the chart has no {kind} {name}"))["rules"].clone()
    };
    assert_eq!(install["clusterPermissions"][0]["rules"], rules("ClusterRole", "grapnel-system-grapnel"));
    assert_eq!(install["permissions"][0]["rules"], rules("Role", "grapnel-lease"));
    for crd in csv["spec"]["customresourcedefinitions"]["owned"].as_array().unwrap() {
        let plural = crd["name"].as_str().unwrap().split('.').next().unwrap();
        let file = yaml(&directory.path().join(format!("manifests/{plural}.yaml")));
        assert_eq!(file["metadata"]["name"], crd["name"]);
        let versions = file["spec"]["versions"].as_array().unwrap();
        assert!(versions.iter().any(|version| version["name"] == crd["version"]), "{crd}");
    }
    let annotations = yaml(&directory.path().join("metadata/annotations.yaml"));
    let package = &annotations["annotations"]["operators.operatorframework.io.bundle.package.v1"];
    assert_eq!(package, "grapnel");
}
