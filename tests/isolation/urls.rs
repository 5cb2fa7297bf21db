//! Targets that are refused before anything is sent, as `grapnel check` says it, and the operator with it.

use crate::{home::Home, program::run};

/// What is said of targets with these URLs, one line for each.
fn printed(urls: &[&str], flags: &[&str]) -> Vec<String> {
    let home = Home::new();
    let mut text = String::from(
        "apiVersion: grapnel.dev/v1beta1\nkind: WebhookEndpoint\nmetadata: { name: in }\nspec: { verification: { none: {} } }\n",
    );
    for (number, url) in urls.iter().enumerate() {
        text += &format!(
            "---\napiVersion: grapnel.dev/v1beta1\nkind: WebhookSubscription\nmetadata: {{ name: out-{number} }}\nspec:\n  endpointRef: {{ name: in }}\n  target: {{ url: {} }}\n",
            serde_json::to_string(url).unwrap()
        );
    }
    home.write("all.yaml", &text);
    let output = run(&[&["check", "-f", home.manifests().to_str().unwrap()], flags].concat());
    let printed = String::from_utf8(output.stdout).unwrap();
    urls.iter()
        .enumerate()
        .map(|(number, _)| {
            let name = format!("default/out-{number}: ");
            printed.lines().find(|line| line.contains(&name)).unwrap_or_default().to_owned()
        })
        .collect()
}

/// Another way to write an address that may not be called is no way to call it.
#[test]
fn every_form_of_a_host_is_known_for_what_it_is() {
    let cases = [
        // Decimal, octal, hexadecimal, mixed, and with parts left out, as `inet_aton` reads them.
        ("http://2130706433/", "loopback"),
        ("http://017700000001/", "loopback"),
        ("http://0x7f000001/", "loopback"),
        ("http://0x7f.1/", "loopback"),
        ("http://127.1/", "loopback"),
        ("http://127.0.0.1./", "loopback"),
        ("http://0xa9.0xfe.0xa9.0xfe/", "cloud metadata"),
        ("http://2852039166/", "cloud metadata"),
        ("http://0251.0376.0251.0376/latest", "cloud metadata"),
        ("http://169.254.43518/", "cloud metadata"),
        ("http://0/", "unspecified"),
        ("http://0.0.0.0:8080/", "unspecified"),
        ("http://10.1/", "private"),
        ("http://0xac100001/", "private"),
        ("http://100.64.1/", "carrier-grade NAT"),
        ("http://224.1/", "multicast"),
        // Other digits and dots, and percent-encoding, which the URL standard maps to these.
        ("http://\u{ff11}\u{ff12}\u{ff17}.0.0.1/", "loopback"),
        ("http://\u{2460}\u{2461}\u{2466}.0.0.1/", "loopback"),
        ("http://127\u{3002}0\u{ff0e}0\u{ff61}1/", "loopback"),
        ("http://%31%32%37.0.0.1/", "loopback"),
        ("http://1\u{ad}27.0.0.1/", "loopback"),
        // IPv6, and IPv4 in it.
        ("http://[::1]/", "loopback"),
        ("http://[0:0:0:0:0:0:0:1]/", "loopback"),
        ("http://[::]/", "unspecified"),
        ("http://[fd00::1]/", "private"),
        ("http://[fe80::1]/", "link-local"),
        ("http://[ff02::1]/", "multicast"),
        ("http://[fd00:ec2::254]/", "cloud metadata"),
        ("http://[::ffff:127.0.0.1]/", "loopback"),
        ("http://[::ffff:a9fe:a9fe]/", "cloud metadata"),
        ("http://[::7f00:1]/", "loopback"),
        ("http://[2002:a00:1::]/", "private"),
        ("http://[2001:0:7f00:1::]/", "Teredo"),
        ("http://[64:ff9b::10.0.0.1]/", "private"),
        ("http://[64:ff9b::a9fe:a9fe]/", "cloud metadata"),
        ("http://[64:ff9b:1::a00:1]/", "local NAT64"),
        ("http://localhost/", "on loopback"),
        ("http://LOCALHOST.:80/", "on loopback"),
        ("http://a.b.localhost/", "on loopback"),
        ("http://loc\u{ad}alhost/", "on loopback"),
        // Not HTTP.
        ("file:///etc/passwd", "another scheme"),
        ("FILE:/etc/passwd", "another scheme"),
        ("gopher://receiver.example/", "another scheme"),
        ("ftp://receiver.example/", "another scheme"),
        ("unix:/var/run/docker.sock", "another scheme"),
        ("data:,x", "another scheme"),
        ("javascript:alert(1)", "another scheme"),
        // What browsers take for another host than people.
        ("http://receiver.example@127.0.0.1/", "user name or password"),
        ("http://127.0.0.1@receiver.example/", "user name or password"),
        ("http://:@receiver.example:80@10.0.0.1/", "user name or password"),
        ("http:\\\\10.0.0.1\\", "private"),
        ("http:10.0.0.1", "private"),
        ("\thttp://10.0.0.1\n/", "private"),
        ("http://10.0.0.1#@receiver.example/", "private"),
        ("http://10.0.0.1?@receiver.example/", "private"),
        // Ports of other protocols, and no port.
        ("https://receiver.example:25/", "port 25 is not a port for HTTP"),
        ("http://receiver.example:22/", "port 22 is not a port for HTTP"),
        ("http://receiver.example:0/", "port 0 is not a port for HTTP"),
    ];
    let urls: Vec<&str> = cases.iter().map(|(url, _)| *url).collect();
    for ((url, expected), line) in cases.iter().zip(printed(&urls, &[])) {
        // The rules of the API server refuse what does not begin like a URL of HTTP, and credentials, before anybody asks
        // what the host is.
        let wanted = if !url.starts_with("http://") && !url.starts_with("https://") {
            ("InvalidSpec", "must be a URL that begins with http:// or https://")
        } else if *expected == "user name or password" {
            ("InvalidSpec", "must not contain a username or password")
        } else {
            ("TargetForbidden", *expected)
        };
        assert!(line.contains(wanted.0) && line.contains(wanted.1), "{url}: expected `{wanted:?}`, got `{line}`");
    }
}

#[test]
fn what_is_no_url_is_refused() {
    let urls = [
        "http://[fe80::1%25eth0]/",
        "http://[::1/",
        "http://1.2.3.4.5/",
        "http://256.0.0.1/",
        "http://0x100000000/",
        "http://08.1.1.1/",
        "http://receiver.example:65536/",
        "http://receiver.example:-1/",
        "http://rec eiver.example/",
        "http://rec\u{0}eiver.example/",
        "//receiver.example/",
        "receiver.example",
        "http://",
        "http://%00/",
    ];
    for (url, line) in urls.iter().zip(printed(&urls, &[])) {
        assert!(line.contains("InvalidSpec") || line.contains("TargetForbidden"), "{url}: `{line}`");
    }
}

#[test]
fn passwords_in_urls_are_not_repeated() {
    let urls = ["https://user:hunter2-hunter2@receiver.example/", "https://hunter2-hunter2@127.0.0.1/"];
    for line in printed(&urls, &[]) {
        assert!(line.contains("must not contain a username or password") && !line.contains("hunter2"), "{line}");
    }
}

/// Wherever a URL may stand, however wrong it is, and where none may.
#[test]
fn no_message_repeats_what_is_before_an_at() {
    const WRONG: &[&str] = &[
        "HTTPS://hunter1-name:hunter2-hunter2@receiver.example/",
        "ftp://hunter1-name:hunter2-hunter2@receiver.example/",
        "hunter1-name:hunter2-hunter2@receiver.example/",
        "//hunter1-name:hunter2-hunter2@receiver.example/",
        "https:\\\\hunter1-name:hunter2-hunter2@receiver.example/",
        "http://hunter1-name:hunter2-hunter2@receiver.example:99999/",
        "https://hunter1-name:hunter2/hunter2@receiver.example/",
        "https://hunter1-name:hunter2?hunter2@[::1/",
    ];
    let long = format!("https://hunter1-name:hunter2-hunter2@receiver.example/{}", "a".repeat(3000));
    for url in WRONG.iter().copied().chain([long.as_str()]) {
        let url = serde_json::to_string(url).unwrap();
        let target = |fields: &str| {
            format!("kind: WebhookSubscription\nspec: {{ endpointRef: {{ name: in }}, target: {fields} }}\n")
        };
        let verification =
            |fields: &str| format!("kind: WebhookEndpoint\nspec: {{ verification: {{ jwt: {fields} }} }}\n");
        let client = "clientIdRef: { name: a, key: b }, clientSecretRef: { name: a, key: b }";
        for object in [
            target(&format!("{{ url: {url} }}")),
            target(&url),
            target(&format!("[{url}]")),
            target(&format!("{{ url: [{url}] }}")),
            target(&format!("{{ url: {{ {url}: 1 }} }}")),
            target(&format!("{{ {url}: 1 }}")),
            target(&format!("{{ urlFrom: {url} }}")),
            target(&format!("{{ urlFrom: {{ secretKeyRef: {url} }} }}")),
            target(&format!("{{ url: 'https://a.example', timeout: {url} }}")),
            target(&format!(
                "{{ url: 'https://a.example', auth: {{ oauth2ClientCredentials: {{ tokenUrl: {url}, {client} }} }} }}"
            )),
            target(&format!("{{ url: 'https://a.example', auth: {{ oauth2ClientCredentials: {url} }} }}")),
            verification(&format!("{{ issuer: 'https://a.example', audiences: [a], jwksUri: {url} }}")),
            verification(&format!("{{ issuer: {url}, audiences: [a] }}")),
            verification(&format!("{{ issuer: 'https://a.example', audiences: {url} }}")),
            format!("kind: WebhookEndpoint\nspec: {url}\n"),
            format!("kind: WebhookEndpoint\n{url}: 1\nspec: {{ verification: {{ none: {{}} }} }}\n"),
        ] {
            // A key of YAML in one line has at most 1024 characters (YAML 1.2, 7.4.2).
            if object.len() > 1024 && object.contains("\": 1") {
                continue;
            }
            let home = Home::new();
            home.write("all.yaml", &format!("apiVersion: grapnel.dev/v1beta1\nmetadata: {{ name: a }}\n{object}"));
            let output = run(&["check", "-f", home.manifests().to_str().unwrap()]);
            let printed = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
            assert_eq!(output.status.code(), Some(1), "{object}: {printed}");
            assert!(!printed.contains("hunter1") && !printed.contains("hunter2"), "{object}: {printed}");
        }
    }
}

#[test]
fn networks_are_opened_by_name_and_metadata_by_its_own_only() {
    let urls = ["http://10.1.2.3/", "http://[::ffff:10.1.2.3]/", "http://10.2.0.1/", "http://169.254.169.254/"];
    let open = |flags: &[&str]| printed(&urls, flags).iter().map(String::is_empty).collect::<Vec<_>>();
    assert_eq!(open(&[]), [false; 4]);
    assert_eq!(open(&["--egress-allow", "10.1.0.0/16"]), [true, true, false, false]);
    assert_eq!(open(&["--egress-allow", "0.0.0.0/0,169.254.0.0/16"]), [true, true, true, false]);
    assert_eq!(open(&["--egress-allow", "169.254.169.254/32"]), [false, false, false, true]);
}
