//! `grapnel check`: compiles manifests offline.

use std::{path::PathBuf, process::ExitCode};

use grapnel_delivery::egress::EgressPolicy;
use ipnet::IpNet;

use super::data_plane::domain;
use crate::{
    catalog::{Index, Options},
    files::{Source, Watch},
    telemetry::metrics::Metrics,
};

/// Compile manifests offline and report every problem with its file and line
///
/// Finds what an API server and the operator would find: wrong and unknown fields, broken rules between fields, Secrets
/// and ConfigMaps that are not among the files, schemas that do not compile, targets that must not be called. Exits
/// with 1 when there is any problem.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File or directory of manifests (.yaml, .yml, .json); may be repeated
    #[arg(short, long = "filename", value_name = "FILE|DIR", required = true)]
    filename: Vec<PathBuf>,

    /// Non-public networks that deliveries may call; may be repeated
    #[arg(long, env = "GRAPNEL_EGRESS_ALLOW", value_name = "CIDR", value_delimiter = ',')]
    egress_allow: Vec<IpNet>,

    /// Allow loopback targets, as standalone does
    #[arg(long)]
    allow_loopback: bool,

    /// Domain of the cluster's DNS, for targets that are Services
    #[arg(long, env = "GRAPNEL_CLUSTER_DOMAIN", value_name = "DOMAIN", default_value = "cluster.local", value_parser = domain)]
    cluster_domain: String,
}

impl Args {
    /// Checks the manifests and prints the problems.
    ///
    /// # Errors
    /// Returns an error if a given path cannot be read.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let egress =
            if self.allow_loopback { EgressPolicy::default().allowing_loopback() } else { EgressPolicy::default() };
        let options = Options {
            egress: egress.allowing(self.egress_allow),
            cluster_domain: self.cluster_domain,
            service_accounts: true,
            ..Options::default()
        };
        let mut watch = Watch::new(Source::new(self.filename), Index::new(options, Metrics::new()));
        let (_, reports) = watch.look()?;
        for report in &reports {
            println!("{report}");
        }
        if reports.is_empty() {
            let counts: Vec<_> = watch.counts().iter().map(|(kind, count)| format!("{count} {kind}")).collect();
            println!("ok: {}", counts.join(", "));
            return Ok(ExitCode::SUCCESS);
        }
        let problems = if reports.len() == 1 { "problem" } else { "problems" };
        eprintln!("{} {problems}", reports.len());
        Ok(ExitCode::FAILURE)
    }
}
