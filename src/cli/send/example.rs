//! Small payloads as providers send them, for `grapnel send --example`.

use grapnel_values::suggest::suggest;
use jiff::Timestamp;
use uuid::Uuid;

use crate::cli::{Usage, scheme::Named};

/// A payload of a type. `$ID` stands for a new id, `$SECONDS` for the current time in seconds since 1970, `$TIME` for
/// the same in RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Example {
    /// Name of the provider; empty for the generic schemes.
    provider: &'static str,
    /// Type of the event.
    pub(super) kind: &'static str,
    body: &'static str,
}

const fn example(provider: &'static str, kind: &'static str, body: &'static str) -> Example {
    Example { provider, kind, body }
}

/// The first one of a provider is its default.
const EXAMPLES: &[Example] = &[
    example(
        "",
        "order.created",
        r#"{"type":"order.created","id":"$ID","total":42.5,"currency":"EUR","items":[{"sku":"mug-blue","quantity":2}]}"#,
    ),
    example(
        "",
        "invoice.paid",
        r#"{"type":"invoice.paid","id":"$ID","amount":1900,"currency":"EUR","customer":"c-1007"}"#,
    ),
    example(
        "GitHub",
        "push",
        r#"{"ref":"refs/heads/main","deleted":false,"forced":false,"after":"5f1d2c3b4a5968778695a4b3c2d1e0f123456789","repository":{"name":"shop","full_name":"acme/shop"},"pusher":{"name":"ana"},"commits":[{"id":"5f1d2c3b4a5968778695a4b3c2d1e0f123456789","message":"Show prices with tax"}]}"#,
    ),
    example(
        "GitHub",
        "pull_request",
        r#"{"action":"opened","number":7,"pull_request":{"title":"Show prices with tax","state":"open","draft":false},"repository":{"full_name":"acme/shop"},"sender":{"login":"ana"}}"#,
    ),
    example("GitHub", "ping", r#"{"zen":"Small steps.","hook_id":1001,"repository":{"full_name":"acme/shop"}}"#),
    example(
        "GitLab",
        "Push Hook",
        r#"{"object_kind":"push","ref":"refs/heads/main","user_username":"ana","project":{"path_with_namespace":"acme/shop"},"total_commits_count":1}"#,
    ),
    example(
        "Bitbucket",
        "repo:push",
        r#"{"actor":{"nickname":"ana"},"repository":{"full_name":"acme/shop"},"push":{"changes":[{"new":{"type":"branch","name":"main"}}]}}"#,
    ),
    example(
        "Stripe",
        "invoice.paid",
        r#"{"id":"evt_$ID","object":"event","type":"invoice.paid","created":$SECONDS,"livemode":false,"data":{"object":{"id":"in_1007","object":"invoice","amount_paid":1900,"currency":"eur","status":"paid"}}}"#,
    ),
    example(
        "Stripe",
        "charge.failed",
        r#"{"id":"evt_$ID","object":"event","type":"charge.failed","created":$SECONDS,"livemode":false,"data":{"object":{"id":"ch_1008","object":"charge","amount":1900,"currency":"eur","failure_code":"card_declined"}}}"#,
    ),
    example(
        "Slack",
        "app_mention",
        r#"{"type":"event_callback","team_id":"T0001","api_app_id":"A0001","event_id":"Ev$ID","event_time":$SECONDS,"event":{"type":"app_mention","user":"U0001","channel":"C0001","text":"deploy the shop, please"}}"#,
    ),
    example(
        "Shopify",
        "orders/create",
        r#"{"id":5001,"name":"A5001","created_at":"$TIME","currency":"EUR","total_price":"42.50","line_items":[{"sku":"mug-blue","quantity":2}]}"#,
    ),
    example(
        "Twilio",
        "received",
        "AccountSid=AC0001&MessageSid=SM$ID&SmsStatus=received&From=%2B15550100001&To=%2B15550100002&Body=Where+is+my+order%3F",
    ),
    example(
        "StandardWebhooks",
        "invoice.paid",
        r#"{"type":"invoice.paid","timestamp":"$TIME","data":{"id":"in-1007","amount":1900,"currency":"EUR"}}"#,
    ),
    example(
        "Svix",
        "user.created",
        r#"{"type":"user.created","timestamp":"$TIME","data":{"id":"u-1007","email":"ana@shop.example"}}"#,
    ),
    example(
        "Linear",
        "Issue",
        r#"{"action":"create","type":"Issue","createdAt":"$TIME","data":{"id":"i-1007","title":"Prices without tax","priority":2}}"#,
    ),
    example(
        "PagerDuty",
        "incident.triggered",
        r#"{"event":{"id":"$ID","event_type":"incident.triggered","resource_type":"incident","occurred_at":"$TIME","data":{"id":"P1007","title":"Checkout is slow","urgency":"high"}}}"#,
    ),
    example(
        "Sentry",
        "issue",
        r#"{"action":"created","data":{"issue":{"id":"1007","title":"TypeError in cart","level":"error","project":{"slug":"shop"}}}}"#,
    ),
    example(
        "Zoom",
        "meeting.started",
        r#"{"event":"meeting.started","payload":{"account_id":"acc-1","object":{"id":"9001","topic":"Weekly review","start_time":"$TIME"}}}"#,
    ),
    example(
        "Discord",
        "APPLICATION_AUTHORIZED",
        r#"{"version":1,"application_id":"1007","type":1,"event":{"type":"APPLICATION_AUTHORIZED","timestamp":"$TIME","data":{"user":{"id":"2001","username":"ana"},"scopes":["applications.commands"]}}}"#,
    ),
    example(
        "SendGrid",
        "delivered",
        r#"[{"event":"delivered","email":"ana@shop.example","timestamp":$SECONDS,"sg_event_id":"$ID"}]"#,
    ),
    example(
        "X",
        "tweet_create_events",
        r#"{"for_user_id":"1007","tweet_create_events":[{"id_str":"$SECONDS","text":"New mugs are here","user":{"screen_name":"acme_shop"}}]}"#,
    ),
    example(
        "Harbor",
        "PUSH_ARTIFACT",
        r#"{"type":"PUSH_ARTIFACT","occur_at":$SECONDS,"operator":"ana","event_data":{"repository":{"repo_full_name":"acme/shop"},"resources":[{"tag":"1.4.0"}]}}"#,
    ),
    example(
        "Nexus",
        "rm:repository:component",
        r#"{"timestamp":"$TIME","nodeId":"n-1","initiator":"ana","repositoryName":"releases","action":"CREATED","component":{"group":"com.acme","name":"shop","version":"1.4.0"}}"#,
    ),
    example(
        "DockerHub",
        "push",
        r#"{"push_data":{"pushed_at":$SECONDS,"pusher":"ana","tag":"1.4.0"},"repository":{"repo_name":"acme/shop"}}"#,
    ),
    example(
        "Google",
        "order.created",
        r#"{"message":{"messageId":"$ID","publishTime":"$TIME","attributes":{"eventType":"order.created"},"data":"eyJ0b3RhbCI6NDIuNX0="},"subscription":"projects/acme/subscriptions/orders"}"#,
    ),
    example(
        "PayPal",
        "PAYMENT.CAPTURE.COMPLETED",
        r#"{"id":"WH-$ID","event_type":"PAYMENT.CAPTURE.COMPLETED","create_time":"$TIME","resource_type":"capture","resource":{"id":"c-1007","amount":{"currency_code":"EUR","value":"42.50"}}}"#,
    ),
    example(
        "Gitea",
        "push",
        r#"{"ref":"refs/heads/main","before":"0000000","after":"5f1d2c3","repository":{"full_name":"acme/shop"},"pusher":{"login":"ana"}}"#,
    ),
    example(
        "Forgejo",
        "push",
        r#"{"ref":"refs/heads/main","before":"0000000","after":"5f1d2c3","repository":{"full_name":"acme/shop"},"pusher":{"login":"ana"}}"#,
    ),
    example(
        "Meta",
        "page",
        r#"{"object":"page","entry":[{"id":"1007","time":$SECONDS,"changes":[{"field":"feed","value":{"item":"status","verb":"add"}}]}]}"#,
    ),
    example(
        "Jira",
        "jira:issue_created",
        r#"{"webhookEvent":"jira:issue_created","issue":{"key":"SHOP-7","fields":{"summary":"Show prices with tax"}},"user":{"displayName":"Ana"}}"#,
    ),
    example("WooCommerce", "order.created", r#"{"id":1007,"status":"processing","currency":"EUR","total":"42.50"}"#),
    example(
        "Trello",
        "createCard",
        r#"{"action":{"id":"$ID","type":"createCard","date":"$TIME","data":{"card":{"name":"Show prices with tax"}}},"model":{"id":"b-1007"}}"#,
    ),
    example(
        "Okta",
        "user.session.start",
        r#"{"eventType":"com.okta.event_hook","eventId":"$ID","eventTime":"$TIME","data":{"events":[{"eventType":"user.session.start","outcome":{"result":"SUCCESS"}}]}}"#,
    ),
    example(
        "Mailchimp",
        "unknown",
        "mandrill_events=%5B%7B%22event%22%3A%22open%22%2C%22_id%22%3A%22$ID%22%2C%22ts%22%3A$SECONDS%7D%5D",
    ),
    example(
        "AzureDevOps",
        "build.complete",
        r#"{"id":"$ID","eventType":"build.complete","resource":{"buildNumber":"20260131.1","result":"succeeded"}}"#,
    ),
    example(
        "AzureContainerRegistry",
        "push",
        r#"{"id":"$ID","timestamp":"$TIME","action":"push","target":{"repository":"shop","tag":"1.4.0"}}"#,
    ),
    example(
        "Artifactory",
        "deployed",
        r#"{"domain":"artifact","event_type":"deployed","data":{"repo_key":"libs","path":"acme/shop-1.4.0.jar","size":1024}}"#,
    ),
    example(
        "AmazonSNS",
        "Notification",
        r#"{"Type":"Notification","MessageId":"$ID","Subject":"Order","Message":"{\"id\":\"o-1007\",\"total\":42.5}"}"#,
    ),
    example(
        "Quay",
        "unknown",
        r#"{"name":"shop","repository":"acme/shop","namespace":"acme","docker_url":"quay.example/acme/shop","updated_tags":["1.4.0"]}"#,
    ),
];

impl Example {
    /// The example of a provider and a type; by default its first.
    ///
    /// # Errors
    /// Returns [`Usage`] if there is none of this type.
    pub(super) fn find(named: Named, kind: &str) -> anyhow::Result<Self> {
        let provider = named.provider().unwrap_or_default();
        let own = EXAMPLES.iter().filter(|example| example.provider == provider);
        if let Some(found) = own.clone().find(|example| kind.is_empty() || example.kind == kind) {
            return Ok(*found);
        }
        let kinds = || own.clone().map(|example| example.kind);
        let near = suggest(kind, kinds()).map(|near| format!("did you mean {near:?}? ")).unwrap_or_default();
        let known = kinds().map(|kind| format!("{kind:?}")).collect::<Vec<_>>().join(", ");
        Err(Usage::error(format!("there is no example {kind:?} of this provider; {near}examples: {known}")))
    }

    /// The body of one event.
    pub(super) fn body(&self, now: Timestamp) -> Vec<u8> {
        let body = self.body.replace("$ID", &Uuid::now_v7().simple().to_string());
        let body = body.replace("$SECONDS", &now.as_second().to_string());
        body.replace("$TIME", &format!("{now:.0}")).into_bytes()
    }

    /// Its content type.
    pub(super) fn content_type(&self) -> &'static str {
        if self.body.starts_with(['{', '[']) { "application/json" } else { "application/x-www-form-urlencoded" }
    }
}

#[cfg(test)]
mod tests {
    use grapnel_signature::names;

    use super::*;
    use crate::cli::scheme;

    #[test]
    fn every_provider_has_an_example_that_is_valid() {
        for name in names().chain(["none", "hmac-sha256-hex"]) {
            let found = Example::find(scheme::parse(name).unwrap(), "").unwrap();
            let body = found.body(Timestamp::UNIX_EPOCH);
            if found.content_type() == "application/json" {
                serde_json::from_slice::<serde_json::Value>(&body).unwrap_or_else(|error| panic!("{name}: {error}"));
            }
            assert!(!body.contains(&b'$'), "{name}");
        }
        assert_eq!(EXAMPLES.iter().filter(|example| !names().any(|name| name == example.provider)).count(), 2);
    }

    #[test]
    fn types_are_found_by_name() {
        let github = scheme::parse("github").unwrap();
        assert_eq!(Example::find(github, "ping").unwrap().kind, "ping");
        let error = Example::find(github, "pul_request").unwrap_err().to_string();
        assert!(error.contains("did you mean \"pull_request\"?"), "{error}");
    }

    #[test]
    fn every_body_is_of_its_own_event() {
        let stripe = Example::find(scheme::parse("stripe").unwrap(), "").unwrap();
        assert_ne!(stripe.body(Timestamp::UNIX_EPOCH), stripe.body(Timestamp::UNIX_EPOCH));
    }
}
