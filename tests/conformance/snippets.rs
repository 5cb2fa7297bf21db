//! The programs of the documentation, run as they are written there; only ports are others.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    time::Instant,
};

use crate::{
    home::Home,
    program::{
        PATIENCE, hmac_hex,
        receiver::{Received, Receiver},
    },
    sdk::directory,
};

/// The first block of a language in a document that has this text.
fn block(document: &str, language: &str, having: &str) -> String {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(document)).unwrap();
    let fence = format!("```{language}\n");
    let mut blocks = text.split(&fence).skip(1).map(|rest| rest.split("\n```").next().unwrap());
    let found = blocks.find(|block| block.contains(having));
    found.unwrap_or_else(|| panic!("{document} has no block of {language} with {having}")).to_owned()
}

/// A program in another language, with the SDKs.
struct Program {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Program {
    fn python(text: &str) -> Self {
        let python = directory().join("python/bin/python");
        Self::start(Command::new(python).args(["-u", "-c", text]))
    }

    fn node(text: &str) -> Self {
        Self::start(Command::new("node").args(["--input-type=module", "-e", text]))
    }

    fn start(command: &mut Command) -> Self {
        let mut child = command.current_dir(directory()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// The next line that it prints.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until something listens.
fn await_listener(port: u16) {
    let began = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(began.elapsed() < PATIENCE, "nothing listens on {port}");
        std::thread::yield_now();
    }
}

/// The objects of "your first endpoint", with a receiver on this port.
fn first_endpoint(port: u16) -> Home {
    let home = Home::new();
    let objects = block("first-endpoint.md", "yaml", "name: billing");
    home.write("invoices.yaml", &objects.replace("127.0.0.1:8000", &format!("127.0.0.1:{port}")));
    home
}

#[test]
fn the_first_endpoint_works_from_publisher_to_receiver() {
    let port = free_port();
    let home = first_endpoint(port);
    let receiver = block("first-endpoint.md", "python", "class Receiver");
    let mut receiver = Program::python(&receiver.replace("8000", &port.to_string()));
    await_listener(port);
    let grapnel = home.start();
    let publisher = block("first-endpoint.md", "python", "def publish");
    let mut publisher = Program::python(&publisher.replace("http://127.0.0.1:8080", &grapnel.webhooks));
    let published = publisher.line();
    assert!(published.starts_with("{'success': True, 'id': '"), "{published}");
    let received = receiver.line();
    assert!(received.contains(" invoice.paid {'id': '") && received.contains("'amount': 300"), "{received}");
}

#[tokio::test]
async fn the_receiver_in_javascript_verifies_deliveries() {
    let port = free_port();
    let home = first_endpoint(port);
    let receiver = block("receivers.md", "javascript", "createServer");
    let mut receiver = Program::node(&receiver.replace("8000", &port.to_string()));
    await_listener(port);
    let grapnel = home.start();
    let body = r#"{"id":"evt-1","type":"invoice.paid","amount":1200}"#;
    let signature = hmac_hex("first-endpoint-publisher", body.as_bytes());
    let headers = [("content-type", "application/json"), ("x-webhook-signature", &*signature)];
    assert_eq!(grapnel.post("/default/invoices", &headers, body).await.0, 200);
    let received = tokio::task::spawn_blocking(move || receiver.line()).await.unwrap();
    assert!(received.starts_with("evt-1 invoice.paid {"), "{received}");
}

/// Whether a receiver's `verify` in Python, behind `setup`, accepts a delivery, the same with another body, and the same
/// without headers.
fn verdicts(setup: &str, verify: &str, delivery: &Received) -> String {
    let headers: BTreeMap<_, _> =
        delivery.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    let input = serde_json::json!({ "headers": headers, "body": String::from_utf8_lossy(&delivery.body) });
    // Servers in Python find headers in any case.
    let ask = format!(
        "import json\nfrom email.message import Message\ngiven = json.loads({:?})\nheaders = Message()\nfor name, value \
         in given['headers'].items():\n    headers[name] = value\nbody = given['body'].encode()\nprint(verify(headers, \
         body), verify(headers, body + b' '), verify(Message(), body))\n",
        input.to_string()
    );
    let mut program = Program::python(&format!("{setup}\n{verify}\n{ask}"));
    program.line()
}

#[tokio::test]
async fn the_other_receivers_in_python_verify_deliveries() {
    let receiver = Receiver::start().await;
    let home = Home::new();
    let objects =
        ["kind: Secret", "scheme: HmacSha256Hex", "scheme: Ed25519"].map(|it| block("receivers.md", "yaml", it));
    let mut objects = objects.join("\n---\n");
    for (name, path) in [("billing", "/billing"), ("warehouse", "/warehouse"), ("ledger", "/ledger")] {
        objects = objects.replace(&format!("https://{name}.example.com/hooks"), &format!("{}{path}", receiver.url));
    }
    home.write("receivers.yaml", &objects);
    let grapnel = home.start();
    let body = r#"{"id":"evt-1","type":"invoice.paid","amount":1200}"#;
    let signature = hmac_hex("a-long-random-string", body.as_bytes());
    let headers = [("content-type", "application/json"), ("x-webhook-signature", &*signature)];
    assert_eq!(grapnel.post("/default/invoices", &headers, body).await.0, 200);
    let mut deliveries = BTreeMap::new();
    while deliveries.len() < 3 {
        let delivery = receiver.next().await;
        deliveries.insert(delivery.path.clone(), delivery);
    }
    let hmac = block("receivers.md", "python", "hmac.new");
    assert_eq!(verdicts("", &hmac, &deliveries["/warehouse"]), "True False False\n");
    let public = home.manifests().join("public.pem");
    let write = format!(
        "from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey\nfrom \
         cryptography.hazmat.primitives.serialization import Encoding, PublicFormat\nkey = \
         Ed25519PrivateKey.from_private_bytes(bytes(range(32))).public_key()\nopen({public:?}, \"wb\").write(key.public_bytes(\
         Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))"
    );
    let ed25519 = block("receivers.md", "python", "v1a").replace("\"public.pem\"", &format!("{public:?}"));
    assert_eq!(verdicts(&write, &ed25519, &deliveries["/ledger"]), "True False False\n");
}
