//! `grapnel check`: compiles manifests offline.

mod output;

use std::{
    collections::BTreeMap,
    io::{self, Read as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context;
use grapnel_api::Reason;
use grapnel_delivery::egress::{EgressPolicy, Reach};
use ipnet::IpNet;
use url::{Host, Url};
use zeroize::Zeroizing;

use self::output::{CheckResult, ReportFormat};
use super::{
    Usage,
    data_plane::{domain, label},
    limits::CLI_MANIFEST_BYTES,
};
use crate::{
    catalog::{Class, ObjectIndex, ObjectKind, Options, Snapshot, Subscription},
    files::{FileSource, FileWatch, InUse, LocatedProblem, ObjectName, Severity},
    telemetry::metrics::Metrics,
};

/// Compile manifests offline and report every problem with its file and line
///
/// Finds what an API server and the operator would find: wrong and unknown fields, broken rules between fields, Secrets
/// and ConfigMaps that are not among the files, schemas that do not compile, forbidden targets. Objects of other kinds
/// are skipped and counted. Warnings are for valid text that is probably a mistake. Exits with 1 if there is a problem.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// File or directory of manifests (.yaml, .yml, .json), - for standard input; may be repeated
    #[arg(short, long = "filename", value_name = "FILE|DIR", required = true)]
    filename: Vec<PathBuf>,

    /// Accept references to Secrets and ConfigMaps that are not among the files, because something else creates them
    #[arg(long)]
    allow_missing_secrets: bool,

    /// Check only objects with this spec.className, as the operator that runs with this --class does [default: objects of
    /// every class]
    #[arg(long, env = "GRAPNEL_CLASS", value_name = "NAME", value_parser = label)]
    class: Option<String>,

    /// Reject objects of other kinds instead of skipping them
    #[arg(long)]
    strict: bool,

    /// Exit with 1 for warnings too
    #[arg(long)]
    deny_warnings: bool,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = ReportFormat::Text)]
    output: ReportFormat,

    /// Non-public networks that deliveries may call, such as 10.1.0.0/16; may be repeated
    #[arg(long, env = "GRAPNEL_EGRESS_ALLOW", value_name = "CIDR", value_delimiter = ',')]
    egress_allow: Vec<IpNet>,

    /// Allow loopback targets, as standalone does; by default they are warnings
    #[arg(long)]
    allow_loopback: bool,

    /// Domain of the cluster's DNS, for targets that are Services
    #[arg(long, env = "GRAPNEL_CLUSTER_DOMAIN", value_name = "DOMAIN", default_value = "cluster.local", value_parser = domain)]
    cluster_domain: String,
}

impl CheckArgs {
    /// Checks the manifests and prints the problems.
    ///
    /// # Errors
    /// Returns an error if a given path cannot be read.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let egress = EgressPolicy::default().allowing(self.egress_allow.clone());
        let options = Options {
            egress: egress.clone().allowing_loopback(),
            cluster_domain: self.cluster_domain.clone(),
            service_accounts: true,
            class: self.class.as_deref().map_or(Class::Any, |class| Class::Only(Some(class.into()))),
            ..Options::default()
        };
        let source = source(&self.filename)?.thorough();
        let source = if self.strict { source.strict() } else { source };
        let mut watch = FileWatch::new(source, ObjectIndex::new(options, Metrics::new()));
        let (published, mut reports) = watch.look()?;
        let snapshot = published.map(|published| published.snapshot).unwrap_or_default();
        if !self.allow_loopback {
            reports.extend(loopback_targets(&snapshot, &egress, &watch));
            reports.sort();
        }
        let before = reports.len();
        reports.retain(|report| !(self.allow_missing_secrets && report.reason == Reason::SecretNotFound));
        let result = CheckResult {
            missing: before - reports.len(),
            objects: watch.counts(),
            // They are problems otherwise.
            skipped: if self.strict { BTreeMap::new() } else { watch.skipped() },
            elsewhere: watch.elsewhere(),
            ids: snapshot.endpoints().map(|it| (it.key.clone(), it.id_sources.sources().describe_ids())).collect(),
            reports: &reports,
        };
        let code = result.code(self.deny_warnings);
        result.print(self.output, code)?;
        Ok(code)
    }
}

/// The source of these files and directories; `-` is standard input.
///
/// # Errors
/// Returns an error if standard input cannot be read or is too large.
pub(super) fn source(paths: &[PathBuf]) -> anyhow::Result<FileSource> {
    Ok(Manifests::read(paths)?.source())
}

/// Files and directories, and the text of standard input, which can be read only once.
pub(super) struct Manifests {
    files: Vec<PathBuf>,
    input: Option<Zeroizing<String>>,
}

impl Manifests {
    /// Reads standard input if one of the paths is `-`.
    ///
    /// # Errors
    /// Returns an error if standard input cannot be read or is too large.
    pub(super) fn read(paths: &[PathBuf]) -> anyhow::Result<Self> {
        let (input, files): (Vec<_>, Vec<_>) = paths.iter().cloned().partition(|path| path.as_os_str() == "-");
        let input = if input.is_empty() { None } else { Some(standard_input()?) };
        Ok(Self { files, input })
    }

    /// A source that has not been scanned.
    pub(super) fn source(&self) -> FileSource {
        let source = FileSource::new(self.files.clone());
        match &self.input {
            Some(text) => source.with_text("<stdin>", text),
            None => source,
        }
    }
}

fn standard_input() -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    io::stdin().lock().take(CLI_MANIFEST_BYTES + 1).read_to_string(&mut text).context("cannot read standard input")?;
    if text.len() as u64 > CLI_MANIFEST_BYTES {
        return Err(Usage::error(format!("standard input is larger than {CLI_MANIFEST_BYTES} bytes")));
    }
    Ok(text)
}

/// Targets that only standalone may call.
fn loopback_targets(snapshot: &Snapshot, egress: &EgressPolicy, watch: &FileWatch) -> Vec<LocatedProblem> {
    let warning = |subscription: &Subscription| {
        let target = &subscription.target;
        egress.check_url(&target.url).err().filter(|_| target.reach == Reach::Url)?;
        let pointer = if target.secret_url { "/spec/target/urlFrom" } else { "/spec/target/url" };
        let field = pointer.trim_start_matches('/').replace('/', ".");
        Some(LocatedProblem {
            place: watch.place(ObjectKind::Subscription, &subscription.key, pointer)?,
            severity: Severity::Warning,
            object: Some(ObjectName { kind: ObjectKind::Subscription.as_str(), key: subscription.key.clone() }),
            pointer: pointer.into(),
            reason: Reason::TargetForbidden,
            message: format!(
                "{field}: the target is on loopback, which standalone may call, and an operator in a cluster only with \
                 --egress-allow {} (check it with --allow-loopback)",
                loopback_network(&target.url)
            ),
            in_use: InUse::Newest,
        })
    };
    snapshot.subscriptions().filter_map(|it| warning(it)).collect()
}

fn loopback_network(url: &Url) -> &'static str {
    match url.host() {
        Some(Host::Ipv6(address)) if address.to_ipv4_mapped().is_none() => "::1/128",
        _ => "127.0.0.0/8",
    }
}
