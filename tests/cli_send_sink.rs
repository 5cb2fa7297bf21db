//! `grapnel send` and `grapnel sink` against each other, as programs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // How a test fails.

use std::{
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Output, Stdio},
};

use tempfile::TempDir;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn grapnel() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_grapnel"));
    for (name, _) in std::env::vars() {
        if name.starts_with("GRAPNEL_") || name.to_ascii_lowercase().ends_with("_proxy") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

struct Sink {
    child: Child,
    lines: BufReader<ChildStdout>,
    url: String,
}

impl Sink {
    fn start(args: &[&str]) -> Self {
        let mut child = grapnel()
            .args(["sink", "--listen", "127.0.0.1:0"])
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the sink starts");
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut sink = Self { child, lines, url: String::new() };
        let first = sink.line();
        sink.url = first.strip_prefix("listening on ").unwrap_or_else(|| panic!("{first}")).to_owned();
        sink
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the sink has ended");
        line.trim_end().to_owned()
    }

    fn send(&self, args: &[&str]) -> Output {
        grapnel().args(["send", &self.url]).args(args).output().unwrap()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it ended by itself")
}

fn file(directory: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = directory.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_signed_event_is_verified_and_printed() {
    let directory = tempfile::tempdir().unwrap();
    let secret = file(&directory, "secret", &format!("{SECRET}\n"));
    let secret = secret.to_str().unwrap();
    let mut sink = Sink::start(&["--secret-file", secret]);
    let output = sink.send(&[
        "--provider",
        "standard-webhooks",
        "--secret-file",
        secret,
        "--type",
        "invoice.paid",
        "--id",
        "evt-1",
    ]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).contains("200 OK") && stdout(&output).contains("evt-1"), "{}", stdout(&output));
    let line = sink.line();
    for part in ["id=evt-1", "type=invoice.paid", "verified=yes", " 200 ", "attempt=-"] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
}

#[test]
fn a_wrong_secret_is_refused_and_never_shown() {
    let directory = tempfile::tempdir().unwrap();
    let secret = file(&directory, "secret", SECRET);
    let mut sink = Sink::start(&["--secret-file", secret.to_str().unwrap()]);
    let wrong = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let output = sink.send(&["--provider", "standard-webhooks", "--secret", wrong]);
    assert_eq!(code(&output), 1);
    assert!(stdout(&output).contains("401 Unauthorized"), "{}", stdout(&output));
    let line = sink.line();
    assert!(line.contains("verified=no (") && line.contains(" 401 "), "{line}");
    let all = format!("{}{}{line}", stdout(&output), stderr(&output));
    assert!(!all.contains("AAAAAAAA") && !all.contains("MfKQ9r8G"), "{all}");
}

#[test]
fn another_time_is_stale() {
    let mut sink = Sink::start(&["--secret", SECRET]);
    for timestamp in ["-10m", "+10m", "1614265330", "2021-02-25T15:02:10Z"] {
        let output = sink.send(&["--provider", "standard-webhooks", "--secret", SECRET, "--timestamp", timestamp]);
        assert_eq!(code(&output), 1, "{timestamp}");
        assert!(stdout(&output).contains(r#""code":"stale_timestamp""#), "{timestamp}: {}", stdout(&output));
        assert!(sink.line().contains("verified=no"), "{timestamp}");
    }
    let output = sink.send(&["--provider", "none"]);
    assert!(stdout(&output).contains(r#""code":"missing_signature""#), "{}", stdout(&output));
    let output = sink.send(&["--provider", "standard-webhooks", "--secret", SECRET, "--timestamp", "-2m"]);
    assert_eq!(code(&output), 0);
}

#[test]
fn every_scheme_meets_its_own() {
    let seed = "whsk_QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI=";
    // The public key of 32 bytes of 0x42.
    let public = "whpk_IVL40Zt5HSRFMkLhXy6rbLfP+ntqXtMAl5YOBpiB2xI=";
    let plain = "It's a Secret to Everybody";
    for (scheme, options, send, receive) in [
        ("github", &[][..], plain, plain),
        ("stripe", &[], "whsec_anything", "whsec_anything"),
        ("slack", &[], plain, plain),
        ("standardwebhooks", &[], SECRET, SECRET),
        ("hmac-sha256-hex", &[], plain, plain),
        ("hmac-sha256-hex", &["--hmac-header", "X-Mine", "--hmac-prefix", "sha256="], plain, plain),
        (
            "hmac-sha512-base64",
            &["--hmac-content", "{id}.{timestamp}.{body}", "--hmac-timestamp-header", "x-t", "--hmac-id-header", "x-i"],
            plain,
            plain,
        ),
        ("hmac-sha1-hex", &[], plain, plain),
        ("token", &[], plain, plain),
        ("token", &["--token-header", "X-Gitlab-Token", "--token-scheme", ""], plain, plain),
        // As its secret says: signed, or the secret itself.
        ("gitlab", &[], SECRET, SECRET),
        ("gitlab", &[], plain, plain),
        ("basic", &[], "user:pass word", "user:pass word"),
        ("ed25519", &[], seed, public),
        ("standardwebhooks", &[], seed, public),
    ] {
        let mut sink = Sink::start(&[&["--scheme", scheme, "--secret", receive], options].concat());
        let event = ["--provider", scheme, "--secret", send, "--id", "id-1", "--type", "a.b"];
        let output = sink.send(&[&event, options].concat());
        assert_eq!(code(&output), 0, "{scheme} {options:?}: {}{}", stdout(&output), stderr(&output));
        let line = sink.line();
        assert!(line.contains(" 200 id=id-1 type=a.b "), "{scheme} {options:?}: {line}");
        assert!(line.contains("verified=yes"), "{scheme} {options:?}: {line}");
    }
    let sink = Sink::start(&["--scheme", "ed25519", "--secret", public]);
    let gitlab = Sink::start(&["--scheme", "gitlab", "--secret", SECRET]);
    assert_eq!(code(&gitlab.send(&["--provider", "gitlab", "--secret", plain])), 1);
    let other = "whsk_Q0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0M=";
    assert_eq!(code(&sink.send(&["--provider", "ed25519", "--secret", other])), 1);
}

/// What a sender signs with, and what a receiver knows.
fn keys(name: &str) -> (&'static str, &'static str) {
    let keys = grapnel_signature::testing::keys(&grapnel_signature::provider(name).unwrap().scheme());
    let text = |secret: &grapnel_values::secret::Secret| String::from_utf8(secret.expose().to_vec()).unwrap().leak();
    (text(&keys.private), text(&keys.public))
}

#[test]
fn every_provider_meets_its_own_and_no_other() {
    let google_options: &[&str] = &["--audience", "mine", "--email", "a@example.com"];
    for name in grapnel_signature::names().filter(|name| !["DockerHub", "Quay"].contains(name)) {
        let (private, public) = keys(name);
        let options = match name {
            "Google" => google_options,
            "PayPal" => &["--webhook-id", "WH1"],
            _ => &[],
        };
        let mut sink = Sink::start(&[&["--provider", name, "--secret", public], options].concat());
        // Its messages have types of its own.
        let kind = if name == "AmazonSNS" { "Notification" } else { "a.b" };
        let event = ["--provider", name, "--secret", private, "--id", "id-1", "--type", kind];
        let output = sink.send(&[&event, options].concat());
        assert_eq!(code(&output), 0, "{name}: {}{}", stdout(&output), stderr(&output));
        let line = sink.line();
        assert!(
            line.contains(&format!(" 200 id=id-1 type={kind} ")) && line.contains("verified=yes"),
            "{name}: {line}"
        );
        // Another's proof, in the body of the same shape.
        let scheme = |name: &str| grapnel_signature::provider(name).unwrap().scheme();
        let other = if scheme(name) == scheme("GitHub") { "shopify" } else { "github" };
        assert_eq!(code(&sink.send(&["--provider", other, "--secret", private])), 1, "{name}");
        assert!(sink.line().contains("verified=no ("), "{name}");
    }
    let google = ["--provider", "google", "--secret", keys("Google").1];
    let sink = Sink::start(&[&google[..], &["--audience", "another"]].concat());
    let google = ["--provider", "google", "--secret", keys("Google").0];
    assert_eq!(code(&sink.send(&[&google[..], google_options].concat())), 1, "for another audience");
}

#[test]
fn a_form_is_signed_as_a_form_and_the_public_url_counts() {
    let directory = tempfile::tempdir().unwrap();
    let form = file(&directory, "form", "From=%2B14158675309&Body=hi&CallStatus=ringing");
    let form = ["--data", form.to_str().unwrap(), "--content-type", "application/x-www-form-urlencoded"];
    let twilio = ["--provider", "twilio", "--secret", "token"];
    let mut sink = Sink::start(&twilio);
    assert_eq!(code(&sink.send(&[&twilio[..], &form].concat())), 0, "{}", sink.line());
    let sink = Sink::start(&[&twilio[..], &["--public-url", "https://hooks.example.com/in"]].concat());
    assert_eq!(code(&sink.send(&[&twilio[..], &form].concat())), 1, "it is called by another name");
}

#[test]
fn the_sink_answers_handshakes() {
    let directory = tempfile::tempdir().unwrap();
    let data = |text: &str| file(&directory, "question", text).to_str().unwrap().to_owned();
    for (name, secret, question, answer) in [
        ("slack", ("s", "s"), r#"{"type":"url_verification","challenge":"3eZbrw1a"}"#, "3eZbrw1a"),
        ("zoom", ("s", "s"), r#"{"event":"endpoint.url_validation","payload":{"plainToken":"abc"}}"#, "encryptedToken"),
        ("discord", keys("Discord"), r#"{"type":1}"#, r#"{"type":1}"#),
    ] {
        let sink = Sink::start(&["--provider", name, "--secret", secret.1]);
        let output = sink.send(&["--provider", name, "--secret", secret.0, "--data", &data(question)]);
        assert_eq!(code(&output), 0, "{name}: {}", stderr(&output));
        assert!(stdout(&output).contains(answer), "{name}: {}", stdout(&output));
    }
}

#[test]
fn events_look_like_the_providers() {
    let mut sink = Sink::start(&["--verbose"]);
    assert_eq!(
        code(&sink.send(&["--provider", "stripe", "--secret", "s", "--type", "invoice.paid", "--id", "evt_7"])),
        0
    );
    assert!(sink.line().contains("type=invoice.paid"));
    let body: serde_json::Value = serde_json::from_str(&sink.line()).unwrap();
    assert_eq!((body["type"].as_str(), body["id"].as_str()), (Some("invoice.paid"), Some("evt_7")));

    assert_eq!(code(&sink.send(&["--provider", "none", "--type", "order.created", "--id", "o-1"])), 0);
    let line = sink.line();
    assert!(
        line.contains("id=o-1") && line.contains("type=order.created") && line.contains("verified=unchecked"),
        "{line}"
    );
}

#[test]
fn examples_have_the_type_and_the_id_of_an_event() {
    let mut sink = Sink::start(&["--scheme", "none"]);
    assert_eq!(code(&sink.send(&["--provider", "none", "--example"])), 0);
    assert!(sink.line().contains("type=order.created"));
    for (provider, kind) in [("github", "pull_request"), ("slack", "app_mention"), ("sentry", "issue")] {
        let mut sink = Sink::start(&["--provider", provider]);
        let send = || code(&sink.send(&["--provider", provider, "--secret", SECRET, "--example", kind]));
        assert_eq!((send(), send()), (0, 0), "{provider}");
        let lines = [sink.line(), sink.line()];
        assert!(lines.iter().all(|line| line.contains(&format!("type={kind} "))), "{provider}: {lines:?}");
        let id = |line: &str| line.split("id=").nth(1).map(|rest| rest.split(' ').next().unwrap().to_owned());
        assert!(id(&lines[0]).is_some() && id(&lines[0]) != id(&lines[1]), "{provider}: {lines:?}");
    }
    let output = sink.send(&["--provider", "github", "--secret", SECRET, "--example", "pulls"]);
    assert!(code(&output) == 2 && stderr(&output).contains("examples: \"push\""), "{}", stderr(&output));
}

#[test]
fn completion_scripts_are_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = grapnel().args(["completion", shell]).output().unwrap();
        assert!(code(&output) == 0 && stdout(&output).contains("standalone"), "{shell}");
    }
    assert_eq!(code(&grapnel().args(["completion", "cobol"]).output().unwrap()), 2);
}

#[test]
fn data_goes_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let data = file(&directory, "data.json", "{ \"type\" : \"a.b\",\n  \"id\": 7 }");
    let mut sink = Sink::start(&["--verbose"]);
    assert_eq!(code(&sink.send(&["--provider", "stripe", "--secret", "s", "--data", data.to_str().unwrap()])), 0);
    assert!(sink.line().contains("bytes=29"));
    assert_eq!((sink.line(), sink.line()), ("{ \"type\" : \"a.b\",".into(), "  \"id\": 7 }".into()));

    let mut child = grapnel()
        .args(["send", &sink.url, "--provider", "none", "--data", "-", "--content-type", "text/plain"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"not json").unwrap();
    assert!(child.wait().unwrap().success());
    assert!(sink.line().contains("bytes=8"));
    assert_eq!(sink.line(), "not json");
}

#[test]
fn the_sink_fails_on_purpose() {
    let mut sink = Sink::start(&["--fail-first", "2", "--status", "429", "--retry-after", "7"]);
    let output = sink.send(&["--provider", "none", "--count", "3"]);
    assert_eq!(code(&output), 1, "one refusal is a failure");
    let sent = stdout(&output);
    assert_eq!(sent.matches("429 Too Many Requests").count(), 2, "{sent}");
    assert_eq!(sent.matches("200 OK").count(), 1, "{sent}");
    assert!(sent.contains("Retry-After: 7"), "{sent}");
    let ids: std::collections::HashSet<_> = (0..3).map(|_| sink.line().split(' ').nth(2).unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 3, "every event has an id of its own: {ids:?}");
}

#[test]
fn attempts_are_counted_by_event() {
    let mut sink = Sink::start(&["--scheme", "github", "--fail", "1"]);
    for (id, expected) in [("a", 1), ("b", 1), ("a", 0), ("b", 0)] {
        let output = sink.send(&["--provider", "github", "--secret", "s", "--id", id]);
        assert_eq!(code(&output), expected, "{id}: {}", sink.line());
    }
}

#[test]
fn an_echoed_token_is_not_printed() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let echo = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = BufReader::new(stream.try_clone().unwrap());
        let (mut line, mut echoed) = (String::new(), String::new());
        while request.read_line(&mut line).unwrap() > 2 {
            if line.starts_with("authorization:") {
                echoed = line.trim_end().to_owned();
            }
            line.clear();
        }
        let length = echoed.len();
        write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{echoed}").unwrap();
        echoed
    });
    let output = grapnel().args(["send", &url, "--provider", "token", "--secret", "tell-nobody"]).output().unwrap();
    assert_eq!(echo.join().unwrap(), "authorization: Bearer tell-nobody");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).contains("authorization: Bearer ***"), "{}", stdout(&output));
}

#[test]
fn the_sink_ends_on_a_signal() {
    for signal in ["-INT", "-TERM"] {
        let mut sink = Sink::start(&[]);
        let killed = Command::new("kill").args([signal, &sink.child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        assert_eq!(sink.child.wait().unwrap().code(), Some(0), "{signal}");
    }
}

#[test]
fn usage_errors_end_with_two_and_say_why() {
    for (args, word) in [
        (&["send"][..], "URL"),
        (&["send", "http://127.0.0.1:9", "--provider", "gitbuh", "--secret", "s"], "gitbuh"),
        (&["send", "http://127.0.0.1:9", "--provider", "github"], "--secret"),
        (&["send", "http://127.0.0.1:9", "--provider", "github", "--secret", "a", "--secret-env", "B"], "--secret-env"),
        (
            &["send", "http://127.0.0.1:9", "--provider", "github", "--secret-env", "NOT_SET_ANYWHERE"],
            "NOT_SET_ANYWHERE",
        ),
        (&["send", "http://127.0.0.1:9", "--provider", "standard-webhooks", "--secret", "whsec_!!!"], "secret"),
        (&["send", "ftp://127.0.0.1", "--provider", "none"], "http://"),
        (&["send", "http://127.0.0.1:9", "--provider", "none", "--header", "novalue"], "novalue"),
        (&["send", "http://127.0.0.1:9", "--provider", "none", "--timestamp", "noon"], "noon"),
        (
            &[
                "send",
                "http://127.0.0.1:9",
                "--provider",
                "hmac-sha256-hex",
                "--secret",
                "s",
                "--hmac-content",
                "{nonce}",
            ],
            "{nonce}",
        ),
        (
            &["send", "http://127.0.0.1:9", "--provider", "github", "--secret", "s", "--hmac-header", "X-Mine"],
            "--hmac-header applies only to the hmac-… schemes",
        ),
        (&["sink", "--provider", "google", "--webhook-id", "1"], "--webhook-id applies only to paypal"),
        (&["sink", "--listen", "nowhere"], "nowhere"),
        (&["sink", "--public-url", "ftp://hooks.example.com"], "http or https"),
        (&["sink", "--fail", "1", "--fail-first", "1"], "--fail-first"),
        (&["sink", "--scheme", "ed25519", "--secret", "short"], "whpk_"),
        (&["events", "list", "e", "--limit", "0"], "limit"),
        (&["deliveries", "list", "s", "--state", "lost"], "deadLettered"),
        (&["nothing"], "nothing"),
    ] {
        let output = grapnel().args(args).output().unwrap();
        assert_eq!(code(&output), 2, "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(word), "{args:?}: {}", stderr(&output));
        assert!(!stderr(&output).contains("whsec_!!!"), "{}", stderr(&output));
    }
}

#[test]
fn an_image_without_certificates_is_enough() {
    let sink = Sink::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let none = file(&directory, "none.pem", "");
    let mut command = grapnel();
    command.args(["send", &sink.url, "--provider", "none"]).env("SSL_CERT_FILE", none).env_remove("SSL_CERT_DIR");
    let output = command.output().unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
}

#[test]
fn nobody_there_is_a_failure() {
    // A port that was free a moment ago, on an address that nothing else here uses.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let output = grapnel().args(["send", &url, "--provider", "none"]).output().unwrap();
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains(&url), "{}", stderr(&output));
    let output = grapnel().args(["events", "list", "e", "--admin-url", &url]).output().unwrap();
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("--admin-url"), "{}", stderr(&output));
}
