//! `helm test`: what its hooks do, done by an operator on a real API server.

use std::fs;

use serde_json::Value;

use crate::{
    chart::render,
    fixture::Cluster,
    program::{Grapnel, run},
};

/// The hooks of `helm test` in the order in which Helm installs them.
fn hooks(arguments: &[&str]) -> Vec<Value> {
    let weight = |object: &Value| {
        object["metadata"]["annotations"]["helm.sh/hook-weight"].as_str().unwrap_or("0").parse::<i32>().unwrap()
    };
    let mut found = render(arguments);
    found.retain(|object| object["metadata"]["annotations"]["helm.sh/hook"] == "test");
    found.sort_by_key(weight);
    found
}

/// Runs the pod's command as often as its restart policy would, with the addresses and files of this machine.
async fn send(pod: &Value, secret: &str, grapnel: &Grapnel, expected: bool) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    fs::write(&file, secret).unwrap();
    let arguments = pod["spec"]["containers"][0]["args"].as_array().unwrap().iter().map(|it| it.as_str().unwrap());
    let service = "http://grapnel.grapnel-system.svc.cluster.local:80";
    let arguments: Vec<_> = arguments
        .map(|it| it.replace(service, &grapnel.webhooks).replace("/secret/secret", file.to_str().unwrap()))
        .collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    assert_eq!(pod["spec"]["restartPolicy"], "OnFailure");
    grapnel
        .eventually("the end of the test", async || (run(&arguments).status.success() == expected).then_some(()))
        .await;
}

#[tokio::test]
async fn a_signed_webhook_goes_through() {
    let shop = Cluster::new().await;
    let grapnel = shop.operator().start().await;
    let namespaces = format!("rbac.scope=Namespaced,watchNamespaces={{{}}}", shop.namespace);
    let hooks = hooks(&["--set", &namespaces]);
    let kinds: Vec<_> = hooks.iter().map(|hook| hook["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Secret", "WebhookEndpoint", "Pod"]);
    for hook in &hooks {
        assert_eq!(hook["metadata"]["namespace"], *shop.namespace, "where the operator watches");
        assert_eq!(
            hook["metadata"]["annotations"]["helm.sh/hook-delete-policy"],
            "before-hook-creation,hook-succeeded"
        );
    }
    let secret = hooks[0]["stringData"]["secret"].as_str().unwrap();
    assert_eq!(hooks[2]["spec"]["volumes"][0]["secret"]["secretName"], hooks[0]["metadata"]["name"]);

    // Without the endpoint it fails, and with it too as long as the signature is another.
    send(&hooks[2], secret, &grapnel, false).await;
    for hook in &hooks[..2] {
        shop.try_apply(hook).await.unwrap();
    }
    send(&hooks[2], secret, &grapnel, true).await;
    send(&hooks[2], "another", &grapnel, false).await;
}

#[test]
fn with_tls_it_needs_the_host_of_the_certificate() {
    assert_eq!(hooks(&["--set", "tls.enabled=true,tls.secretName=a"]), Vec::<Value>::new());
    let tls = hooks(&["--set", "tls.enabled=true,tls.secretName=a,config.publicUrl=https://hooks.example.com"]);
    let url = tls[2]["spec"]["containers"][0]["args"][1].as_str().unwrap();
    assert_eq!(url, "https://hooks.example.com/grapnel-system/grapnel-system-grapnel-test");
    assert_eq!(hooks(&["--set", "test.enabled=false"]), Vec::<Value>::new());
}
