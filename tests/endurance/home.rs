//! A directory with one manifest and a journal, at one address for all of its processes.

use std::{ffi::OsStr, fs, net::TcpListener, path::PathBuf};

use tempfile::TempDir;

use crate::program::Grapnel;

/// The secret of every endpoint.
pub(crate) const SECRET: &str = "a-secret-of-these-tests";

pub(crate) struct Home {
    directory: TempDir,
    /// Where webhooks come in.
    pub(crate) address: String,
    arguments: Vec<String>,
}

impl Home {
    pub(crate) fn new(manifest: &str) -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        // Free now, and nobody else asks for just this one.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let home = Self { directory, address, arguments: Vec::new() };
        home.write(manifest);
        home
    }

    /// Further arguments of the program.
    pub(crate) fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    pub(crate) fn write(&self, manifest: &str) {
        let fresh = self.directory.path().join("fresh");
        fs::write(&fresh, manifest).unwrap();
        fs::rename(fresh, self.directory.path().join("objects.yaml")).unwrap();
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub(crate) fn start(&self) -> Grapnel {
        let (manifest, data) = (self.directory.path().join("objects.yaml"), self.data());
        let own = ["standalone".as_ref(), "-f".as_ref(), manifest.as_os_str(), "--data-dir".as_ref(), data.as_os_str()];
        Grapnel::start_at(&self.address, own.into_iter().chain(self.arguments.iter().map(OsStr::new)))
    }
}

/// An endpoint `orders` with an HMAC, whose events name themselves, and a subscription `out`.
pub(crate) fn orders(target: &str, endpoint: &str, subscription: &str) -> String {
    format!(
        r#"
apiVersion: grapnel.dev/v1beta1
kind: WebhookEndpoint
metadata: {{ name: orders }}
spec:
  verification:
    hmac: {{ header: X-Webhook-Signature, algorithm: SHA256, encoding: Hex }}
    secretRefs: [{{ name: orders, key: secret }}]
  event: {{ id: {{ pointer: /id }}, type: {{ value: order.created }} }}
{endpoint}
---
apiVersion: grapnel.dev/v1beta1
kind: WebhookSubscription
metadata: {{ name: out }}
spec:
  endpointRef: {{ name: orders }}
  target: {{ url: "{target}/out" }}
{subscription}
---
apiVersion: v1
kind: Secret
metadata: {{ name: orders }}
stringData: {{ secret: {SECRET} }}
"#
    )
}
