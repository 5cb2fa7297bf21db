//! What is left of a secret in the memory of the process when it is no longer used.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
};

use crate::{
    home::Home,
    program::{Grapnel, hmac_hex},
};

/// Bytes of a page, and of what `/proc/PID/pagemap` says of one.
const PAGE: u64 = 4096;
const ENTRY: u64 = 8;

/// How often a text is in the memory of a process. Only pages that are there are read: allocators reserve far more.
fn copies(grapnel: &Grapnel, text: &str) -> usize {
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

#[tokio::test]
async fn a_secret_that_is_removed_is_gone_from_memory() {
    let secret = format!("removed-secret-{}", std::process::id());
    let home = Home::new();
    home.write(
        "endpoint.yaml",
        "apiVersion: grapnel.dev/v1alpha1\nkind: WebhookEndpoint\nmetadata: { name: in }\nspec:\n  verification:\n    hmac: { header: X-Signature, algorithm: SHA256, encoding: Hex }\n    secretRefs: [{ name: s, key: key }]\n",
    );
    home.write(
        "secret.yaml",
        &format!("apiVersion: v1\nkind: Secret\nmetadata: {{ name: s }}\nstringData: {{ key: {secret} }}\n"),
    );
    let grapnel = home.start();
    let body = r#"{"id":"e","type":"t"}"#;
    let signature = hmac_hex(&secret, body.as_bytes());
    assert_eq!(grapnel.post("/default/in", &[("x-signature", &signature)], body).await.0, 200);
    assert!(copies(&grapnel, &secret) > 0, "the search finds what is there");
    home.remove("secret.yaml");
    grapnel
        .eventually("the end of the secret", async || {
            let condition = grapnel.condition("WebhookEndpoint", "in", "SecretsResolved").await;
            (condition.1 == "SecretNotFound").then_some(())
        })
        .await;
    // Requests that were under way keep what they began with until they end.
    grapnel.eventually("the last copy's end", async || (copies(&grapnel, &secret) == 0).then_some(())).await;
}
