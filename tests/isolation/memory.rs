//! What is left of a secret in the memory of the process when it is no longer used.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
};

use grapnel_test_support::certificates::Authority;

use crate::{
    home::Home,
    program::{Grapnel, hmac_hex},
    targets::{block, parts},
};

/// Bytes of a page, and of what `/proc/PID/pagemap` says of one.
const PAGE: u64 = 4096;
const ENTRY: u64 = 8;

/// How often a text is in the memory of a process. Only pages that are there are read: allocators reserve far more.
fn copies(grapnel: &Grapnel, text: &[u8]) -> usize {
    let pid = grapnel.pid();
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut pagemap = File::open(format!("/proc/{pid}/pagemap")).unwrap();
    let mut found = 0;
    for line in maps.lines().filter(|line| !line.contains("[v")) {
        let mut words = line.split_whitespace();
        let (from, to) = words.next().unwrap().split_once('-').unwrap();
        let [from, to] = [from, to].map(|address| u64::from_str_radix(address, 16).unwrap());
        // What can be written to is where values are.
        if !words.next().unwrap().starts_with("rw") {
            continue;
        }
        let mut entries = vec![0; usize::try_from((to - from) / PAGE * ENTRY).unwrap()];
        pagemap.seek(SeekFrom::Start(from / PAGE * ENTRY)).unwrap();
        pagemap.read_exact(&mut entries).unwrap();
        // Bits 63 and 62: in memory, or swapped out.
        let there = |entry: &[u8]| entry[7] & 0xc0 != 0;
        let mut bytes = Vec::new();
        for (number, _) in (0u64..).zip(entries.chunks(8)).filter(|(_, entry)| there(entry)) {
            let mut page = [0; PAGE as usize];
            // It may have gone since.
            if memory.seek(SeekFrom::Start(from + number * PAGE)).and_then(|_| memory.read_exact(&mut page)).is_ok() {
                bytes.extend_from_slice(&page);
            }
        }
        found += memchr::memmem::find_iter(&bytes, text).count();
    }
    found
}

/// A secret that has been used, and left no trace on the wire: what is sent as it is lies in buffers of the kernel and of
/// libraries for some time, here and elsewhere.
#[tokio::test]
async fn a_secret_that_is_removed_is_gone_from_memory() {
    let secret = format!("removed-secret-{}", std::process::id());
    let home = Home::new();
    home.write(
        "endpoint.yaml",
        "apiVersion: grapnel.dev/v1beta1\nkind: WebhookEndpoint\nmetadata: { name: in }\nspec:\n  verification:\n    hmac: { header: X-Signature, algorithm: SHA256, encoding: Hex }\n    secretRefs: [{ name: s, key: key }]\n",
    );
    home.write(
        "secret.yaml",
        &format!("apiVersion: v1\nkind: Secret\nmetadata: {{ name: s }}\nstringData: {{ key: {secret} }}\n"),
    );
    let grapnel = home.start();
    let body = r#"{"id":"e","type":"t"}"#;
    let signature = hmac_hex(&secret, body.as_bytes());
    assert_eq!(grapnel.post("/default/in", &[("x-signature", &signature)], body).await.0, 200);
    assert!(copies(&grapnel, secret.as_bytes()) > 0, "the search finds what is there");
    home.remove("secret.yaml");
    grapnel
        .eventually("the end of the secret", async || {
            let condition = grapnel.condition("WebhookEndpoint", "in", "SecretsResolved").await;
            (condition.1 == "SecretNotFound").then_some(())
        })
        .await;
    // Requests that were under way keep what they began with until they end.
    grapnel.eventually("the last copy's end", async || (copies(&grapnel, secret.as_bytes()) == 0).then_some(())).await;
}

/// One of each kind: what is in the Secret, what uses it, and what is looked for.
struct Kept {
    name: &'static str,
    data: String,
    spec: String,
    parts: Vec<Vec<u8>>,
}

impl Kept {
    fn of(name: &'static str, spec: &str, key: &str) -> Self {
        let secret = format!("kept-{name}-{}-Qz7", std::process::id());
        let data = format!("  username: grapnel\n  {key}: {secret}\n");
        Self {
            name,
            data,
            spec: spec.replace("REF", &format!("{{ name: {name}, key: {key} }}")),
            parts: vec![secret.into()],
        }
    }

    fn kind(&self) -> &'static str {
        if self.spec.starts_with("verification") { "WebhookEndpoint" } else { "WebhookSubscription" }
    }

    fn object(&self) -> String {
        let rest = if self.kind() == "WebhookEndpoint" { "" } else { "  endpointRef: { name: in }\n" };
        let Self { name, spec, .. } = self;
        format!(
            "---\napiVersion: grapnel.dev/v1beta1\nkind: {}\nmetadata: {{ name: {name} }}\nspec:\n{rest}  {spec}\n",
            self.kind()
        )
    }

    fn secret(&self) -> String {
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{ name: {} }}\nstringData:\n{}", self.name, self.data)
    }
}

/// Secrets of every kind are overwritten when they are removed, however many forms they were brought into to be ready.
#[tokio::test]
async fn no_kind_of_secret_stays_in_memory() {
    let to = "target: { url: 'https://localhost:1/'";
    let mut kinds = vec![
        Kept::of("token", "verification: { token: {}, secretRefs: [REF] }", "key"),
        Kept::of("basic-in", "verification: { basic: {}, secretRefs: [REF] }", "password"),
        Kept::of("github", "verification: { provider: { name: GitHub }, secretRefs: [REF] }", "key"),
        Kept::of("header", &format!("{to}, headersFrom: [{{ name: X-Key, secretKeyRef: REF }}] }}"), "key"),
        Kept::of("bearer", &format!("{to}, auth: {{ bearer: {{ secretKeyRef: REF }} }} }}"), "key"),
        Kept::of(
            "basic-out",
            &format!("{to}, auth: {{ basic: {{ secretRef: {{ name: basic-out }} }} }} }}"),
            "password",
        ),
        Kept::of(
            "oauth",
            &format!(
                "{to}, auth: {{ oauth2ClientCredentials: {{ tokenUrl: 'https://localhost:1/', clientIdRef: {{ name: oauth, key: username }}, clientSecretRef: REF }} }} }}"
            ),
            "key",
        ),
        Kept::of(
            "signing",
            "{to} }\n  signing: { scheme: HmacSha256Hex, secretRefs: [REF] }".replace("{to}", to).as_str(),
            "key",
        ),
    ];
    let mut url = Kept::of("url", "target: { urlFrom: { secretKeyRef: REF } }", "key");
    url.data = url.data.replace("kept-", "https://localhost:1/services/kept-");
    kinds.push(url);
    let pair = Authority::new().issue("grapnel");
    kinds.push(Kept {
        name: "certificate",
        data: format!("  tls.crt: {}  tls.key: {}", block(&pair.chain), block(&pair.key)),
        spec: format!("{to}, tls: {{ clientCertRef: {{ name: certificate }} }} }}"),
        parts: parts(&pair.key),
    });
    let home = Home::new();
    home.write(
        "in.yaml",
        "apiVersion: grapnel.dev/v1beta1\nkind: WebhookEndpoint\nmetadata: { name: in }\nspec:\n  verification: { none: {} }\n",
    );
    for kept in &kinds {
        home.write(&format!("secret-{}.yaml", kept.name), &kept.secret());
        home.write(&format!("{}.yaml", kept.name), &kept.object());
    }
    let grapnel = home.start();
    for kept in &kinds {
        let condition = grapnel.condition(kept.kind(), kept.name, "SecretsResolved").await;
        assert_eq!(condition.0, "True", "{}: {condition:?}", kept.name);
        assert!(kept.parts.iter().any(|part| copies(&grapnel, part) > 0), "the search finds {}", kept.name);
    }
    for kept in &kinds {
        home.remove(&format!("secret-{}.yaml", kept.name));
    }
    for kept in &kinds {
        grapnel
            .eventually("the end of the secret", async || {
                let condition = grapnel.condition(kept.kind(), kept.name, "SecretsResolved").await;
                (condition.1 == "SecretNotFound").then_some(())
            })
            .await;
    }
    let left = || -> Vec<_> {
        let copies =
            kinds.iter().map(|kept| (kept.name, kept.parts.iter().map(|part| copies(&grapnel, part)).sum::<usize>()));
        copies.filter(|(_, copies)| *copies > 0).collect()
    };
    let patience = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while !left().is_empty() {
        assert!(tokio::time::Instant::now() < patience, "copies are left: {:?}", left());
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}
