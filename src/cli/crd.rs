//! `grapnel crd`: prints or writes the CRDs of this build.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use grapnel_api::definition;
use serde_json::{Map, Value, json};

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
        for (number, crd) in definition::all().iter().enumerate() {
            let yaml = yaml(crd)?;
            match &self.output {
                None if number == 0 => print!("{yaml}"),
                None => print!("---\n{yaml}"),
                Some(directory) => {
                    std::fs::create_dir_all(directory)?;
                    let plural =
                        crd.pointer("/spec/names/plural").and_then(Value::as_str).context("a CRD has no plural")?;
                    let file = directory.join(format!("{plural}.yaml"));
                    std::fs::write(&file, yaml).with_context(|| format!("cannot write {}", file.display()))?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Flux's variable substitution would replace `${…}` in the descriptions.
const ANNOTATION: (&str, &str) = ("kustomize.toolkit.fluxcd.io/substitute", "disabled");

/// A CRD as YAML that ends with a newline, protected from substitution.
fn yaml(crd: &Value) -> anyhow::Result<String> {
    let (annotation, value) = ANNOTATION;
    let mut crd = crd.clone();
    if let Some(metadata) = crd.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        // In front of the name: the chart inserts its own annotations after this line.
        let mut before = Map::new();
        before.insert("annotations".into(), json!({ annotation: value }));
        before.append(metadata);
        *metadata = before;
    }
    let mut yaml = serde_yaml::to_string(&crd)?;
    if !yaml.ends_with('\n') {
        yaml.push('\n');
    }
    Ok(yaml)
}
