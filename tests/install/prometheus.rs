//! A Prometheus of a test's own (scripts/prometheus), and promtool.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{chart::printed, program::client};

/// The directory of prometheus and promtool.
fn binaries() -> PathBuf {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/prometheus");
    printed(Command::new(script).output().unwrap()).trim().into()
}

/// What promtool prints about a file; it must find nothing wrong.
pub(crate) fn promtool(arguments: &[&str], file: &Path) -> String {
    let output = Command::new(binaries().join("promtool")).args(arguments).arg(file).output().unwrap();
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    assert!(output.status.success(), "{text}");
    text
}

/// A server that scrapes one target and evaluates rules every second.
pub(crate) struct Prometheus {
    child: Child,
    url: String,
    client: reqwest::Client,
    _directory: TempDir,
}

impl Prometheus {
    /// Starts it, with the rules in the format of a rule file. The target's series get `job`, and `namespace` where they have none.
    pub(crate) fn start(target: &str, job: &str, namespace: &str, rules: &Value) -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        fs::write(directory.path().join("rules.yaml"), rules.to_string()).unwrap();
        let config = directory.path().join("prometheus.yaml");
        fs::write(&config, config_of(target, job, namespace)).unwrap();
        promtool(&["check", "config"], &config);
        let mut child = Command::new(binaries().join("prometheus"))
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let address = log.find_map(|line| Some(line.split_once("msg=\"Listening on\" address=")?.1.trim().to_owned()));
        let address = address.expect("Prometheus ended before it listened");
        // Its log is read to its end, so that it never waits for a reader.
        std::thread::spawn(move || log.for_each(drop));
        Self { child, url: format!("http://{address}"), client: client(), _directory: directory }
    }

    /// The `data` of an answer of its API; an invalid query fails the test.
    pub(crate) async fn api(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let url = reqwest::Url::parse_with_params(&format!("{}/api/v1/{path}", self.url), parameters).unwrap();
        let answer = self.client.get(url).send().await.unwrap();
        // While it starts, it answers 503.
        if answer.status().as_u16() == 503 {
            return Value::Null;
        }
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(answer["status"], "success", "{parameters:?}: {answer}");
        answer["data"].clone()
    }

    /// Whether an expression has a value now that is a number.
    pub(crate) async fn has_data(&self, expression: &str) -> bool {
        let data = self.api("query", &[("query", expression)]).await;
        let samples = data["result"].as_array().into_iter().flatten();
        samples.into_iter().any(|sample| sample["value"][1].as_str().is_some_and(|value| value != "NaN"))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn config_of(target: &str, job: &str, namespace: &str) -> String {
    let target = target.trim_start_matches("http://");
    serde_json::json!({
        "global": { "scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s" },
        "rule_files": ["rules.yaml"],
        "scrape_configs": [{
            "job_name": job,
            "honor_labels": true,
            "static_configs": [{ "targets": [target], "labels": { "namespace": namespace } }],
        }],
    })
    .to_string()
}
