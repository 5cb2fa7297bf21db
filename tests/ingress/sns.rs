//! Messages of Amazon SNS: confirmed, taken in as text/plain, and reported when they end.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use futures_util::{FutureExt, future::BoxFuture};
use grapnel::{
    catalog::Endpoint,
    ingress::{NotVisited, Visits},
};
use grapnel_event::identity::{BodyFormat, Reading};
use grapnel_signature::provider;
use grapnel_values::clock::ManualClock;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::json;
use url::Url;

use super::{
    client::Post,
    fixture::{Plan, Served},
    presets::{Shelf, direct, preset, signed},
};

/// Remembers the URLs that it is to visit.
#[derive(Default)]
struct Visitor {
    urls: Mutex<Vec<Url>>,
    fails: AtomicBool,
}

impl Visits for Visitor {
    fn visit(&self, url: Url) -> BoxFuture<'_, Result<(), NotVisited>> {
        self.urls.lock().push(url);
        let result = if self.fails.load(SeqCst) { Err(NotVisited) } else { Ok(()) };
        async move { result }.boxed()
    }
}

async fn serve(visitor: Option<Arc<Visitor>>) -> Served {
    let reading = Reading { format: BodyFormat::Json, field: None };
    let mut plan = Plan::of([Endpoint { reading, ..preset(provider("AmazonSNS").unwrap(), "amazonsns") }]);
    plan.clock = Arc::new(ManualClock::new(Timestamp::from_second(1_700_000_000).unwrap()));
    plan.keys = Some(Arc::<Shelf>::default());
    plan.visits = visitor.map(|visitor| visitor as Arc<dyn Visits>);
    plan.serve().await
}

const URL: &str = "https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription&TopicArn=arn:aws:sns:us-west-2:123456789012:MyTopic&Token=2336";

fn message(kind: &str, url: &str) -> Post {
    let body =
        json!({ "Type": kind, "MessageId": "m1", "Message": "{\"total\":42.5}", "Token": "2336", "SubscribeURL": url });
    signed("AmazonSNS", direct("AmazonSNS"), "text/plain; charset=UTF-8", &body.to_string())
}

#[tokio::test]
async fn a_subscription_is_confirmed_and_its_messages_are_events() {
    let visitor = Arc::<Visitor>::default();
    let served = serve(Some(Arc::clone(&visitor))).await;
    let confirmation = message("SubscriptionConfirmation", URL);
    visitor.fails.store(true, SeqCst);
    confirmation.send(served.address).await.refused(503, "unavailable");
    visitor.fails.store(false, SeqCst);
    assert_eq!(confirmation.send(served.address).await.status, 200);
    assert_eq!(visitor.urls.lock().iter().map(Url::as_str).collect::<Vec<_>>(), [URL, URL]);
    assert!(served.stored("amazonsns").await.is_empty());

    let id = message("Notification", "").send(served.address).await.accepted();
    let stored = served.stored("amazonsns").await;
    assert_eq!((&*id, &*stored[0].kind), ("m1", "Notification"));

    assert_eq!(message("UnsubscribeConfirmation", URL).send(served.address).await.status, 200);
    assert_eq!(visitor.urls.lock().len(), 2, "this URL would subscribe again");
    assert_eq!(served.stored("amazonsns").await.len(), 1);
}

#[tokio::test]
async fn nothing_is_visited_for_an_unverified_message_or_another_url() {
    let visitor = Arc::<Visitor>::default();
    let served = serve(Some(Arc::clone(&visitor))).await;
    let elsewhere = URL.replace("sns.us-west-2.amazonaws.com", "169.254.169.254");
    message("SubscriptionConfirmation", &elsewhere).send(served.address).await.refused(400, "malformed_payload");
    let mut forged = message("SubscriptionConfirmation", URL);
    forged.body = String::from_utf8(forged.body).unwrap().replace("2336", "2337").into_bytes();
    forged.send(served.address).await.refused(401, "invalid_signature");
    let mut other = message("SubscriptionConfirmation", URL);
    other.body = String::from_utf8(other.body).unwrap().replace("123456789012", "210987654321").into_bytes();
    let sentence = other.send(served.address).await.refused(401, "invalid_signature");
    assert!(sentence.contains("topics"), "{sentence}");
    let raw = Post::to("/shop/amazonsns", r#"{"total":42.5}"#).header("x-amz-sns-rawdelivery", "true");
    let sentence = raw.send(served.address).await.refused(401, "invalid_signature");
    assert!(sentence.contains("raw message delivery"), "{sentence}");
    assert!(visitor.urls.lock().is_empty());
    assert!(served.stored("amazonsns").await.is_empty());
}
