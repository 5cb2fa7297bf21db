//! `grapnel crd`: prints or writes the CRDs of this build.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use grapnel_api::{WebhookEndpoint, WebhookSubscription};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// Print the CustomResourceDefinitions as YAML
#[derive(Debug, clap::Args)]
pub struct CrdArgs {
    /// Write one file for each kind to this directory instead of standard output
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

impl CrdArgs {
    /// Prints or writes the CRDs.
    ///
    /// # Errors
    /// Returns an error if the directory cannot be written.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        for (number, crd) in [WebhookEndpoint::crd(), WebhookSubscription::crd()].iter().enumerate() {
            let yaml = yaml(crd)?;
            match &self.output {
                None if number == 0 => print!("{yaml}"),
                None => print!("---\n{yaml}"),
                Some(directory) => {
                    std::fs::create_dir_all(directory)?;
                    let file = directory.join(format!("{}.yaml", crd.spec.names.plural));
                    std::fs::write(&file, yaml).with_context(|| format!("cannot write {}", file.display()))?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Flux's variable substitution would replace `${…}` in the descriptions.
const ANNOTATION: (&str, &str) = ("kustomize.toolkit.fluxcd.io/substitute", "disabled");

/// A CRD in the form to apply: without a status, which is the server's, and protected from substitution.
fn yaml(crd: &CustomResourceDefinition) -> anyhow::Result<String> {
    let mut crd = crd.clone();
    let (name, value) = ANNOTATION;
    crd.metadata.annotations.get_or_insert_default().insert(name.into(), value.into());
    let mut value = serde_json::to_value(crd)?;
    if let Some(fields) = value.as_object_mut() {
        fields.remove("status");
    }
    let mut yaml = serde_yaml::to_string(&value)?;
    if !yaml.ends_with('\n') {
        yaml.push('\n');
    }
    Ok(yaml)
}
