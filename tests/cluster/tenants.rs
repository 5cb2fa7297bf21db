//! Subscriptions to endpoints of other namespaces, and the walls between tenants.

use crate::{fixture::Cluster, program::receiver::Receiver, shop};

/// An endpoint with rules on who may subscribe.
fn offered(rules: &str) -> String {
    format!("{}  allowedSubscribers: {rules}\n", shop::endpoint("orders"))
}

fn subscription(namespace: &str, url: &str) -> String {
    shop::subscription("abroad", "orders", url)
        .replace("endpointRef: { name: orders }", &format!("endpointRef: {{ name: orders, namespace: {namespace} }}"))
}

#[tokio::test]
async fn another_namespace_may_subscribe_only_where_the_endpoint_says_so() {
    let receiver = Receiver::start().await;
    let owner = Cluster::new().await;
    let team = "team";
    let other = owner.another(&[(team, "billing")]).await;
    let grapnel = owner.operator().with(["--watch-namespaces", &other.namespace]).start().await;
    for cluster in [&owner, &other] {
        cluster.apply(&shop::secret(shop::ORDERS)).await;
    }
    owner.apply(&shop::endpoint("orders")).await;
    other.apply(&subscription(&owner.namespace, &receiver.url)).await;
    let refused = async || {
        other.until_condition("WebhookSubscription", "abroad", "Accepted", "False", "NotAllowed").await;
        other.until_condition("WebhookSubscription", "abroad", "Ready", "False", "NotAllowed").await
    };
    let message = refused().await;
    assert!(message.contains("allowedSubscribers") && message.contains(&owner.namespace), "{message}");
    owner.until_ready("WebhookEndpoint", "orders").await;
    assert_eq!(shop::order(&grapnel, &owner, "orders", "private").await.0, 200);

    owner.apply(&offered("{ from: All }")).await;
    other.until_ready("WebhookSubscription", "abroad").await;
    assert_eq!(shop::order(&grapnel, &owner, "orders", "shared").await.0, 200);
    assert_eq!(receiver.next().await.header("webhook-id"), "shared", "what came before is not delivered");

    owner.apply(&offered("{ from: Same }")).await;
    refused().await;
    owner.apply(&offered("{ from: Selector, namespaceSelector: { matchLabels: { team: shipping } } }")).await;
    owner.until_ready("WebhookEndpoint", "orders").await;
    refused().await;
    assert_eq!(shop::order(&grapnel, &owner, "orders", "withheld").await.0, 200);
    assert!(receiver.rest().is_empty(), "nothing crosses while it may not");
    owner.apply(&offered("{ from: Selector, namespaceSelector: { matchLabels: { team: billing } } }")).await;
    other.until_ready("WebhookSubscription", "abroad").await;
    assert_eq!(shop::order(&grapnel, &owner, "orders", "selected").await.0, 200);
    // Refusal parks a subscription: what came meanwhile is delivered too, once it may be.
    let mut arrived = std::collections::BTreeSet::new();
    while !arrived.contains("selected") {
        arrived.insert(receiver.next().await.header("webhook-id").to_owned());
    }
    assert!(!arrived.contains("private") && !arrived.contains("shared"), "{arrived:?}");

    // Labels decide, and they change.
    other.label_namespace(team, Some("audit")).await;
    refused().await;
    other.label_namespace(team, Some("billing")).await;
    other.until_ready("WebhookSubscription", "abroad").await;

    owner.delete("WebhookEndpoint", "orders").await;
    refused().await;
}

#[tokio::test]
async fn a_tenant_learns_nothing_of_what_is_not_offered() {
    let owner = Cluster::new().await;
    let other = owner.another(&[]).await;
    let grapnel = owner.operator().with(["--watch-namespaces", &other.namespace]).start().await;
    owner.apply(&shop::secret(shop::ORDERS)).await;
    other.apply(&shop::secret(shop::ORDERS)).await;
    owner.apply(&shop::endpoint("orders")).await;
    owner.until_ready("WebhookEndpoint", "orders").await;
    let abroad = subscription(&owner.namespace, "https://receiver.example");
    other.apply(&abroad).await;
    other.apply(&abroad.replace("name: orders", "name: absent").replace("name: abroad", "name: guess")).await;
    let private = other.until_condition("WebhookSubscription", "abroad", "Ready", "False", "NotAllowed").await;
    let absent = other.until_condition("WebhookSubscription", "guess", "Ready", "False", "NotAllowed").await;
    assert_eq!(private, absent.replace("absent", "orders"), "there or not, it looks the same");

    // Nor do Events tell more, and the owner does not hear of who tried.
    let events = async |name: &str| {
        let mut events: Vec<String> = other
            .list("Event")
            .await
            .iter()
            .filter(|event| event["regarding"]["name"] == name)
            .map(|event| format!("{} {} {}", event["type"], event["reason"], event["note"]))
            .collect();
        events.sort();
        events
    };
    let (about_private, about_absent) = grapnel
        .eventually("the Events", async || {
            let (private, absent) = (events("abroad").await, events("guess").await);
            (!private.is_empty() && private.len() == absent.len()).then_some((private, absent))
        })
        .await;
    let absent: Vec<String> = about_absent.iter().map(|event| event.replace("absent", "orders")).collect();
    assert_eq!(about_private, absent);
    let owned = serde_json::to_string(&(owner.list("Event").await, owner.list("WebhookEndpoint").await)).unwrap();
    assert!(!owned.contains(&other.namespace) && !owned.contains("abroad"), "{owned}");
    // Metrics have the tenant's own objects under the tenant's own name, and none of those that it only asks for.
    let (_, metrics) = grapnel.admin("/metrics").await;
    let foreign = format!("namespace=\"{}\",endpoint=", other.namespace);
    assert!(!metrics.contains(&foreign), "{metrics}");

    // Secrets are looked for in the subscription's own namespace, never in the endpoint's.
    owner.apply("apiVersion: v1\nkind: Secret\nmetadata: { name: mine }\nstringData: { signing: x }\n").await;
    owner.apply(&offered("{ from: All }")).await;
    other.apply(&abroad.replace("name: shop", "name: mine")).await;
    let message = other.until_condition("WebhookSubscription", "abroad", "Ready", "False", "SecretNotFound").await;
    assert!(message.contains(&format!("does not exist in namespace {}", other.namespace)), "{message}");
}

#[tokio::test]
async fn two_namespaces_have_the_same_names_and_never_see_each_others_events() {
    let (first_receiver, second_receiver) = (Receiver::start().await, Receiver::start().await);
    let first = Cluster::new().await;
    let second = first.another(&[]).await;
    let grapnel = first.operator().with(["--watch-namespaces", &second.namespace]).start().await;
    shop::open(&first, &first_receiver.url).await;
    second.apply(&shop::secret("orders-secret-number-two")).await;
    second.apply(&shop::endpoint("orders")).await;
    second.apply(&shop::subscription("fulfilment", "orders", &second_receiver.url)).await;
    shop::ready(&first).await;
    shop::ready(&second).await;
    let with_wrong_secret = shop::order(&grapnel, &second, "orders", "x").await;
    assert_eq!(with_wrong_secret.1["code"], "invalid_signature", "a secret of one namespace is none in the other");
    assert_eq!(shop::order(&grapnel, &first, "orders", "same").await.0, 200);
    let (status, answer) = shop::order_signed(&grapnel, &second, "orders", "same", "orders-secret-number-two").await;
    assert_eq!((status, answer["duplicate"].as_bool()), (200, None), "an id is one endpoint's");
    assert_eq!(first_receiver.next().await.header("webhook-id"), "same");
    assert_eq!(second_receiver.next().await.header("webhook-id"), "same");
    for cluster in [&first, &second] {
        cluster
            .until("WebhookSubscription", "fulfilment", "its delivery", |object| object["status"]["delivered"] == 1)
            .await;
    }
    assert!(first_receiver.rest().is_empty() && second_receiver.rest().is_empty());
}
