//! SDKs as they are asked.

use std::{
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};

/// In which language an SDK is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    Python,
    JavaScript,
}

/// The SDKs of a language, in a process of their own.
pub(crate) struct Sdks {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// Where `scripts/sdks` has put them; brings them when they are not there.
pub(crate) fn directory() -> PathBuf {
    let root = env!("CARGO_MANIFEST_DIR");
    let output = Command::new("scripts/sdks").current_dir(root).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "scripts/sdks cannot bring the SDKs: see above");
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

impl Sdks {
    pub(crate) fn start(language: Language) -> Self {
        let directory = directory();
        let mut command = match language {
            Language::Python => {
                let mut python = Command::new(directory.join("python/bin/python"));
                python.args(["-c", include_str!("sdks/driver.py")]);
                python
            }
            Language::JavaScript => {
                let mut node = Command::new("node");
                // As an argument, so that packages are looked for where it runs and not where it is written.
                node.args(["--input-type=module", "-e", include_str!("sdks/driver.mjs")]);
                node
            }
        };
        let mut child = command.current_dir(&directory).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let questions = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, questions, answers }
    }

    /// Asks an SDK.
    pub(crate) fn ask(&mut self, sdk: &str, ask: &str, mut question: Value) -> Value {
        question["sdk"] = sdk.into();
        question["ask"] = ask.into();
        writeln!(self.questions, "{question}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{sdk} has no answer to {question}: see above"))
    }

    /// The headers by which an SDK signs a body.
    pub(crate) fn sign(&mut self, sdk: &str, secret: &str, id: &str, body: &str) -> Vec<(String, String)> {
        let headers = self.ask(sdk, "sign", json!({ "secret": secret, "id": id, "body": body }));
        let headers = headers.as_object().unwrap().iter();
        headers.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect()
    }

    /// Why an SDK does not verify a request; `None` when it does.
    pub(crate) fn refuses(&mut self, sdk: &str, secret: &str, headers: &Value, body: &str) -> Option<String> {
        let answer = self.ask(sdk, "verify", json!({ "secret": secret, "headers": headers, "body": body }));
        (answer["verified"] != true).then(|| answer["why"].as_str().unwrap_or_default().to_owned())
    }
}

impl Drop for Sdks {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
