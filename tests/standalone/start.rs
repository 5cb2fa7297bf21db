//! What the log tells: what is served and where it goes, what is refused, what became of an event.

use crate::{
    home::Home,
    program::{Grapnel, receiver::Receiver},
};

const ENDPOINT: &str = "apiVersion: grapnel.dev/v1beta1\nkind: WebhookEndpoint\nmetadata: { name: in }\nspec:\n  verification: { provider: { name: DockerHub } }\n  event: { id: { pointer: /id } }\n";

fn subscription(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: grapnel.dev/v1beta1\nkind: WebhookSubscription\nmetadata: {{ name: {name} }}\nspec:\n  endpointRef: {{ name: in }}\n{spec}"
    )
}

async fn logged(grapnel: &Grapnel, parts: &[&str]) -> String {
    let line = async || {
        let log = grapnel.log();
        log.lines().find(|line| parts.iter().all(|part| line.contains(part))).map(str::to_owned)
    };
    grapnel.eventually(&format!("a line with {parts:?}"), line).await
}

#[tokio::test]
async fn the_start_tells_urls_and_targets_without_secrets() {
    let home = Home::new();
    let secret = "---\napiVersion: v1\nkind: Secret\nmetadata: { name: urls }\nstringData: { chat: 'https://chat.example.com/T0/hidden-token' }\n";
    let subscriptions = subscription("one", "  target: { url: 'https://hooks.example.com/T0/path-token' }\n")
        + &subscription("two", "  target: { urlFrom: { secretKeyRef: { name: urls, key: chat } } }\n");
    home.write("all.yaml", &format!("{ENDPOINT}{secret}{subscriptions}"));
    let grapnel = home.start();
    let url = format!("{}/default/in", grapnel.webhooks);
    let line = logged(&grapnel, &["endpoint default/in", &url, "DockerHub"]).await;
    assert!(line.contains("default/one -> hooks.example.com, default/two -> a URL from a Secret"), "{line}");
    let command = format!("grapnel send {url} --provider DockerHub --example");
    logged(&grapnel, &["to try it: ", &command]).await;
    let log = grapnel.log();
    assert!(!log.contains("token") && !log.contains("chat.example.com"), "{log}");
}

#[tokio::test]
async fn objects_of_the_deprecated_version_are_in_use() {
    let home = Home::new();
    let older = format!("{ENDPOINT}{}", subscription("out", "  target: { url: 'https://hooks.example.com' }\n"));
    home.write("all.yaml", &older.replace("v1beta1", "v1alpha1"));
    let grapnel = home.start();
    logged(&grapnel, &["endpoint default/in", "default/out -> hooks.example.com"]).await;
    logged(&grapnel, &["grapnel.dev/v1alpha1 is deprecated"]).await;
}

#[tokio::test]
async fn a_refused_change_tells_what_is_in_use() {
    let home = Home::new();
    home.write("all.yaml", ENDPOINT);
    let grapnel = home.start();
    home.write("all.yaml", &format!("{ENDPOINT}  retention: 5\n"));
    logged(&grapnel, &["5 has no unit; write 5s", "; the last valid version is still in use"]).await;
    home.write("new.yaml", &ENDPOINT.replace("name: in", "name: other").replace("DockerHub", "Dockerhub"));
    logged(&grapnel, &["did you mean DockerHub?", "; it is not in use"]).await;
    home.write("more.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: d }\n");
    logged(&grapnel, &["objects of other kinds are skipped", "1 Deployment"]).await;
}

#[tokio::test]
async fn a_dead_letter_is_a_warning_with_its_message() {
    let receiver = Receiver::start().await;
    receiver.answer(410);
    let home = Home::new();
    let target = format!("  target: {{ url: '{}' }}\n", receiver.url);
    home.write("all.yaml", &format!("{ENDPOINT}{}", subscription("out", &target)));
    let grapnel = home.start();
    assert_eq!(grapnel.post("/default/in", &[], r#"{"id":"e-1","type":"t"}"#).await.0, 200);
    let line = logged(&grapnel, &["the event is a dead letter", "e-1"]).await;
    assert!(line.contains("WARN") && line.contains("410") && line.contains("Gone"), "{line}");
}

#[tokio::test]
async fn a_route_is_accepted_and_said_to_have_no_effect() {
    let home = Home::new();
    let manifest = "
apiVersion: grapnel.dev/v1beta1
kind: WebhookEndpoint
metadata: { name: orders }
spec:
  verification: { none: {} }
  route: { parentRefs: [{ name: public }] }
";
    home.write("orders.yaml", manifest);
    let grapnel = home.start();
    assert_eq!(grapnel.post("/default/orders", &[], "{}").await.0, 200);
    logged(&grapnel, &["spec.route has no effect without a cluster", "default/orders"]).await;
    let (status, reason, _) = grapnel.condition("WebhookEndpoint", "orders", "Routed").await;
    assert_eq!((&*status, &*reason), ("False", "RouteDisabled"));
}
