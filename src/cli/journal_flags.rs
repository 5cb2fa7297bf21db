//! Flags of the journal, shared by `grapnel run` and `grapnel standalone`.

use std::{convert::Infallible, path::PathBuf};

use clap::Args;
use grapnel_journal::{
    factory::{Engine, JournalOptions, UnknownEngine},
    limits::NATS_SHARDS_MAX,
    nats::{InstallationName, InvalidSetting, MonitorUrl, NatsSettings},
};
use grapnel_values::quantity;

use super::Usage;

/// The directory of the embedded engine by default.
const DATA_DIR: &str = "grapnel-data";

/// The heading of the flags that belong to `--journal nats://…`.
const NATS: &str = "Journal on NATS (--journal nats://…)";

/// Flags of the journal.
#[derive(Debug, Args)]
pub(super) struct JournalFlags {
    /// Data directory of the embedded journal; created if it does not exist [default: grapnel-data]
    #[arg(long, env = "GRAPNEL_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Where events are stored: embedded (a log in --data-dir, for a single process), or NATS servers with JetStream, for
    /// any number of replicas: nats://HOST[:PORT][,HOST[:PORT]…], or tls://… to require TLS. Without user and password:
    /// see --nats-creds
    #[arg(long, env = "GRAPNEL_JOURNAL", value_name = "ENGINE", hide_env_values = true, default_value = "embedded", value_parser = journal)]
    journal: JournalEngine,

    /// Largest size of the journal, such as 10Gi. At this size settled events are removed before their retention ends;
    /// if none is left, webhooks get 503 until there is room [default: no bound]
    #[arg(long, env = "GRAPNEL_JOURNAL_MAX_BYTES", value_name = "QUANTITY", value_parser = quantity::parse)]
    journal_max_bytes: Option<u64>,

    /// Bytes of the journal that the events of one namespace may use, such as 2Gi; 0 for no bound [default: half of
    /// --journal-max-bytes]
    #[arg(long, env = "GRAPNEL_NAMESPACE_SHARE", value_name = "QUANTITY", value_parser = quantity::parse)]
    namespace_share: Option<u64>,

    /// Fail the start if the embedded journal has damaged records. By default damaged records are logged and counted
    /// (grapnel_journal_damaged_records_total), and all other events are served
    #[arg(long, env = "GRAPNEL_JOURNAL_STRICT")]
    journal_strict: bool,

    #[command(flatten)]
    nats: NatsFlags,
}

/// Flags of the journal on NATS.
#[derive(Debug, Args)]
struct NatsFlags {
    /// Monitoring ports of all servers, http://HOST[:PORT]; may be repeated. Webhooks are accepted only after every server
    /// has reported there that it syncs before it acknowledges (sync_interval: always). The credentials of a system account
    /// prove the same
    #[arg(long, help_heading = NATS, env = "GRAPNEL_NATS_MONITOR", value_name = "URL", hide_env_values = true, value_delimiter = ',', value_parser = monitor)]
    nats_monitor: Vec<Monitor>,

    /// Accept webhooks without this proof. A server that does not sync loses acknowledged events when the power fails
    #[arg(long, help_heading = NATS, env = "GRAPNEL_NATS_TRUST_SYNC")]
    nats_trust_sync: bool,

    /// File with the credentials of a NATS user (.creds); read again for each connection
    #[arg(long, help_heading = NATS, env = "GRAPNEL_NATS_CREDS", value_name = "FILE")]
    nats_creds: Option<PathBuf>,

    /// PEM file with the authorities that sign the servers' certificates [default: those of the platform]
    #[arg(long, help_heading = NATS, env = "GRAPNEL_NATS_CA", value_name = "FILE")]
    nats_ca: Option<PathBuf>,

    /// PEM file with the client certificate
    #[arg(long, help_heading = NATS, env = "GRAPNEL_NATS_CERT", value_name = "FILE", requires = "nats_key")]
    nats_cert: Option<PathBuf>,

    /// PEM file with the private key of --nats-cert
    #[arg(long, help_heading = NATS, env = "GRAPNEL_NATS_KEY", value_name = "FILE", requires = "nats_cert")]
    nats_key: Option<PathBuf>,

    /// Copies of each event: 3, or 1 on a single server, to try it
    #[arg(long, help_heading = NATS, env = "GRAPNEL_NATS_REPLICAS", value_name = "N", default_value = "3", value_parser = copies)]
    nats_replicas: usize,

    /// Name of the installation. All replicas of an installation have the same name; two installations on the same servers
    /// have different ones
    #[arg(long, help_heading = NATS, env = "GRAPNEL_NATS_NAME", value_name = "NAME", default_value_t)]
    nats_name: InstallationName,

    /// Shards over which endpoints are distributed: at least four for each replica. Fixed when the installation first
    /// starts
    #[arg(long, help_heading = NATS, env = "GRAPNEL_NATS_SHARDS", value_name = "N", default_value_t = grapnel_journal::limits::NATS_SHARDS, value_parser = clap::value_parser!(u16).range(1..=i64::from(NATS_SHARDS_MAX)))]
    nats_shards: u16,
}

/// A journal engine as given. An invalid one is rejected after parsing: clap would print the value, and a URL may
/// contain a password.
#[derive(Debug, Clone)]
struct JournalEngine(Result<Engine, UnknownEngine>);

fn journal(text: &str) -> Result<JournalEngine, Infallible> {
    Ok(JournalEngine(text.parse()))
}

/// A monitoring port as given; see [`JournalEngine`].
#[derive(Debug, Clone)]
struct Monitor(Result<MonitorUrl, InvalidSetting>);

fn monitor(text: &str) -> Result<Monitor, Infallible> {
    Ok(Monitor(text.parse()))
}

fn copies(text: &str) -> Result<usize, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        _ => Err("must be 3 or 1".into()),
    }
}

impl JournalFlags {
    /// The journal's options, for the replica of this name.
    ///
    /// # Errors
    /// Returns an error if a URL is invalid, or if a flag belongs to another engine.
    pub(super) fn options(self, replica: String) -> anyhow::Result<JournalOptions> {
        let JournalEngine(engine) = self.journal;
        let engine = engine.map_err(|error| Usage::error(format!("--journal: {error}")))?;
        match engine {
            Engine::Embedded => {
                if let Some(flag) = self.nats.first_given() {
                    return Err(Usage::error(format!(
                        "{flag} needs --journal nats://HOST[:PORT][,HOST[:PORT]…]: the journal is embedded"
                    )));
                }
            }
            // Not an error: the image sets the variable of --data-dir.
            Engine::Nats(_) => {
                if let Some(directory) = &self.data_dir {
                    tracing::info!(data_dir = %directory.display(), "--data-dir is not used: events are stored on the NATS servers");
                }
                if self.journal_strict {
                    return Err(Usage::error(
                        "--journal-strict belongs to the embedded journal: NATS has no damaged records",
                    ));
                }
            }
        }
        Ok(JournalOptions {
            engine,
            directory: self.data_dir.unwrap_or_else(|| DATA_DIR.into()),
            max_bytes: self.journal_max_bytes.unwrap_or(0),
            namespace_share: self.namespace_share,
            strict: self.journal_strict,
            nats: self.nats.settings(replica)?,
        })
    }
}

impl NatsFlags {
    /// A flag that has an effect only on NATS, if one is given. A default that is written out has no effect either.
    fn first_given(&self) -> Option<&'static str> {
        let defaults = NatsSettings::default();
        [
            (!self.nats_monitor.is_empty(), "--nats-monitor"),
            (self.nats_trust_sync, "--nats-trust-sync"),
            (self.nats_creds.is_some(), "--nats-creds"),
            (self.nats_ca.is_some(), "--nats-ca"),
            (self.nats_cert.is_some(), "--nats-cert"),
            (self.nats_replicas != defaults.replicas, "--nats-replicas"),
            (self.nats_name != defaults.name, "--nats-name"),
            (self.nats_shards != defaults.shards, "--nats-shards"),
        ]
        .into_iter()
        .find_map(|(given, flag)| given.then_some(flag))
    }

    fn settings(self, replica: String) -> anyhow::Result<NatsSettings> {
        let monitors: Result<Vec<_>, _> = self.nats_monitor.into_iter().map(|Monitor(given)| given).collect();
        Ok(NatsSettings {
            replica,
            name: self.nats_name,
            monitors: monitors.map_err(|error| Usage::error(format!("--nats-monitor: {error}")))?,
            trust_sync: self.nats_trust_sync,
            replicas: self.nats_replicas,
            shards: self.nats_shards,
            credentials: self.nats_creds,
            ca: self.nats_ca,
            certificate: self.nats_cert,
            key: self.nats_key,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        flags: JournalFlags,
    }

    fn options(line: &str) -> Result<JournalOptions, String> {
        let words = std::iter::once("grapnel").chain(line.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        line.flags.options("pod-1".into()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_journal_is_embedded_by_default() {
        let options = options("").unwrap();
        assert_eq!((options.engine, options.directory.to_str()), (Engine::Embedded, Some("grapnel-data")));
    }

    #[test]
    fn nats_needs_only_its_servers() {
        let options = options("--journal nats://a,b:1").unwrap();
        assert_eq!(options.engine.to_string(), "nats://a:4222,b:1");
        assert_eq!(options.nats, NatsSettings { replica: "pod-1".into(), ..NatsSettings::default() });
    }

    #[test]
    fn every_setting_of_nats_has_a_flag() {
        let line = "--journal tls://a --nats-monitor http://a,http://b:1 --nats-trust-sync --nats-creds user.creds \
                    --nats-ca ca.pem --nats-cert tls.crt --nats-key tls.key --nats-replicas 1 --nats-name team-b --nats-shards 32";
        let expected = NatsSettings {
            replica: "pod-1".into(),
            name: "team-b".parse().unwrap(),
            monitors: vec!["http://a:8222".parse().unwrap(), "http://b:1".parse().unwrap()],
            trust_sync: true,
            replicas: 1,
            shards: 32,
            credentials: Some("user.creds".into()),
            ca: Some("ca.pem".into()),
            certificate: Some("tls.crt".into()),
            key: Some("tls.key".into()),
        };
        assert_eq!(options(line).unwrap().nats, expected);
    }

    #[test]
    fn wrong_flags_are_rejected_with_what_to_do_and_without_passwords() {
        for (line, says) in [
            ("--journal postgres://hush@db", "use embedded, or nats://HOST"),
            ("--journal nats://user:hush@a", "name it with --nats-creds"),
            (
                "--journal nats://a --nats-monitor http://user:hush@a:8222",
                "--nats-monitor: expected http://HOST[:PORT]",
            ),
            ("--journal nats://a --nats-replicas 2", "must be 3 or 1"),
            ("--journal nats://a --nats-name Team.B", "lowercase letters, digits and hyphens"),
            ("--journal nats://a --nats-shards 0", "0 is not in 1..=256"),
            ("--journal nats://a --nats-cert tls.crt", "--nats-key"),
            ("--journal nats://a --journal-strict", "belongs to the embedded journal"),
            ("--nats-creds user.creds", "--nats-creds needs --journal nats://"),
            ("--nats-trust-sync", "--nats-trust-sync needs --journal nats://"),
            ("--journal embedded --nats-name other", "--nats-name needs --journal nats://"),
        ] {
            let error = options(line).unwrap_err();
            assert!(error.contains(says) && !error.contains("hush"), "{line}: {error}");
        }
    }
}
