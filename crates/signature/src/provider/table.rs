//! The provider table: one row per provider. Where a row decides what the provider leaves open, it says why.

use std::time::Duration;

use super::{Form, Handshake, Part, Place, Proof, Provider, Signed, Time};
use crate::{
    Algorithm, Encoding, KeyForm,
    limits::{DEFAULT_TOLERANCE, DEFAULT_WINDOW, PAYPAL_TOLERANCE},
};

const DOT: Part = literal(".");

/// The body alone.
const BODY: &[Part] = &[Part::Body];

/// <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#signature-scheme>
pub(super) const STANDARD_WEBHOOKS: &[Part] = &[Part::Id, DOT, Part::Timestamp, DOT, Part::Body];

/// The most common scheme: hexadecimal HMAC-SHA256 of the body, with the secret used as it is.
const PLAIN: Signed = Signed {
    header: "",
    algorithm: Algorithm::Sha256,
    encoding: Encoding::Hex,
    shape: Form::Prefix(""),
    content: BODY,
    timestamp: None,
    id: None,
    alternative: None,
    tolerance: None,
    key_form: KeyForm::Raw,
};

const STANDARD: Signed = Signed {
    header: "webhook-signature",
    encoding: Encoding::Base64,
    shape: Form::StandardWebhooks,
    content: STANDARD_WEBHOOKS,
    timestamp: Some(Time::Header("webhook-timestamp")),
    id: Some("webhook-id"),
    tolerance: Some(DEFAULT_TOLERANCE),
    key_form: KeyForm::WhsecBase64,
    ..PLAIN
};

/// Every provider.
pub static PROVIDERS: &[Provider] = &[
    Provider {
        name: "GitHub",
        docs: "https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries",
        kinds: &[Place::Header("x-github-event")],
        ids: &[Place::Header("x-github-delivery")],
        handshake: Handshake::None,
        proof: Proof::Signature(Signed { header: "x-hub-signature-256", shape: Form::Prefix("sha256="), ..PLAIN }),
    },
    Provider {
        name: "GitLab",
        docs: "https://docs.gitlab.com/user/project/integrations/webhooks/",
        kinds: &[Place::Header("x-gitlab-event")],
        // A webhook that another one has triggered has the same event UUID.
        ids: &[Place::Header("webhook-id"), Place::Header("idempotency-key"), Place::Header("x-gitlab-event-uuid")],
        handshake: Handshake::None,
        // GitLab's signing tokens are those of Standard Webhooks, and it still sends its secret token in addition.
        proof: Proof::SignatureOrToken(STANDARD, "x-gitlab-token"),
    },
    Provider {
        name: "Bitbucket",
        docs: "https://support.atlassian.com/bitbucket-cloud/docs/manage-webhooks/#Secure-webhooks",
        kinds: &[Place::Header("x-event-key")],
        ids: &[Place::Header("x-request-uuid"), Place::Header("x-request-id")],
        handshake: Handshake::None,
        proof: Proof::Signature(Signed { header: "x-hub-signature", shape: Form::Prefix("sha256="), ..PLAIN }),
    },
    Provider {
        name: "Stripe",
        docs: "https://docs.stripe.com/webhooks#verify-manually",
        kinds: &[Place::Pointer("/type")],
        ids: &[Place::Pointer("/id")],
        handshake: Handshake::None,
        proof: Proof::Signature(Signed {
            header: "stripe-signature",
            // `v0` is a fake signature of test events; accepting it would be a downgrade.
            shape: Form::Pairs { signature: "v1", timestamp: Some("t") },
            content: &[Part::Timestamp, DOT, Part::Body],
            timestamp: Some(Time::InSignature),
            tolerance: Some(DEFAULT_TOLERANCE),
            // `whsec_` is part of the key, and nothing is decoded.
            key_form: KeyForm::Raw,
            ..PLAIN
        }),
    },
    Provider {
        name: "Slack",
        docs: "https://docs.slack.dev/authentication/verifying-requests-from-slack",
        kinds: &[Place::Pointer("/event/type"), Place::Pointer("/type")],
        ids: &[Place::Pointer("/event_id")],
        handshake: Handshake::SlackUrlVerification,
        proof: Proof::Signature(Signed {
            header: "x-slack-signature",
            shape: Form::Prefix("v0="),
            content: &[literal("v0:"), Part::Timestamp, literal(":"), Part::Body],
            timestamp: Some(Time::Header("x-slack-request-timestamp")),
            tolerance: Some(DEFAULT_TOLERANCE),
            ..PLAIN
        }),
    },
    Provider {
        name: "Shopify",
        docs: "https://shopify.dev/docs/apps/build/webhooks/subscribe/https",
        kinds: &[Place::Header("x-shopify-topic")],
        ids: &[Place::Header("x-shopify-webhook-id")],
        handshake: Handshake::None,
        proof: Proof::Signature(Signed { header: "x-shopify-hmac-sha256", encoding: Encoding::Base64, ..PLAIN }),
    },
    Provider {
        name: "Twilio",
        docs: "https://www.twilio.com/docs/usage/webhooks/webhooks-security",
        // There is no single field; these are the fields of messages and of calls.
        kinds: &[
            Place::Pointer("/EventType"),
            Place::Pointer("/MessageStatus"),
            Place::Pointer("/SmsStatus"),
            Place::Pointer("/CallStatus"),
        ],
        // The SIDs in the body identify messages and calls, which have several events each.
        ids: &[Place::Header("i-twilio-idempotency-token")],
        handshake: Handshake::None,
        proof: Proof::Url("x-twilio-signature"),
    },
    Provider {
        name: "StandardWebhooks",
        docs: "https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md",
        kinds: &[Place::Pointer("/type")],
        ids: &[Place::Header("webhook-id")],
        handshake: Handshake::None,
        proof: Proof::Signature(STANDARD),
    },
    Provider {
        name: "Svix",
        docs: "https://docs.svix.com/receiving/verifying-payloads/how-manual",
        kinds: &[Place::Pointer("/type")],
        ids: &[Place::Header("svix-id"), Place::Header("webhook-id")],
        handshake: Handshake::None,
        proof: Proof::Signature(Signed {
            header: "svix-signature",
            timestamp: Some(Time::Header("svix-timestamp")),
            id: Some("svix-id"),
            alternative: Some(["webhook-signature", "webhook-timestamp", "webhook-id"]),
            ..STANDARD
        }),
    },
    Provider {
        name: "Linear",
        docs: "https://linear.app/developers/webhooks#securing-webhooks",
        kinds: &[Place::Header("linear-event"), Place::Pointer("/type")],
        ids: &[Place::Header("linear-delivery")],
        handshake: Handshake::None,
        proof: Proof::Signature(Signed {
            header: "linear-signature",
            timestamp: Some(Time::Milliseconds("/webhookTimestamp")),
            tolerance: Some(Duration::from_secs(60)),
            ..PLAIN
        }),
    },
    Provider {
        name: "PagerDuty",
        docs: "https://developer.pagerduty.com/docs/verifying-signatures",
        kinds: &[Place::Pointer("/event/event_type")],
        ids: &[Place::Pointer("/event/id")],
        handshake: Handshake::None,
        proof: Proof::Signature(Signed {
            header: "x-pagerduty-signature",
            shape: Form::Pairs { signature: "v1", timestamp: None },
            ..PLAIN
        }),
    },
    Provider {
        name: "Sentry",
        docs: "https://docs.sentry.io/organization/integrations/integration-platform/webhooks/",
        kinds: &[Place::Header("sentry-hook-resource")],
        ids: &[Place::Header("request-id")],
        handshake: Handshake::None,
        // There is also a timestamp header, but it is not signed.
        proof: Proof::Signature(Signed { header: "sentry-hook-signature", ..PLAIN }),
    },
    Provider {
        name: "Zoom",
        docs: "https://developers.zoom.us/docs/api/webhooks/#verify-webhook-events",
        kinds: &[Place::Pointer("/event")],
        // The events have no id; their bytes include the time of the event.
        ids: &[],
        handshake: Handshake::ZoomUrlValidation,
        proof: Proof::Signature(Signed {
            header: "x-zm-signature",
            shape: Form::Prefix("v0="),
            content: &[literal("v0:"), Part::Timestamp, literal(":"), Part::Body],
            timestamp: Some(Time::Header("x-zm-request-timestamp")),
            // Zoom documents no tolerance; this is the common one.
            tolerance: Some(DEFAULT_TOLERANCE),
            ..PLAIN
        }),
    },
    Provider {
        name: "Discord",
        docs: "https://docs.discord.com/developers/interactions/overview#setting-up-an-endpoint-validating-security-request-headers",
        kinds: &[Place::Pointer("/event/type"), Place::Pointer("/type")],
        ids: &[Place::Pointer("/id")],
        handshake: Handshake::DiscordPing,
        proof: Proof::Signature(Signed {
            header: "x-signature-ed25519",
            algorithm: Algorithm::Ed25519,
            content: &[Part::Timestamp, Part::Body],
            timestamp: Some(Time::Header("x-signature-timestamp")),
            // Discord documents no tolerance; this is the common one.
            tolerance: Some(DEFAULT_TOLERANCE),
            key_form: KeyForm::PublicKey,
            ..PLAIN
        }),
    },
    Provider {
        name: "SendGrid",
        docs: "https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features",
        // The body is a list of events with a type and an id each; the list has neither.
        kinds: &[],
        ids: &[],
        handshake: Handshake::None,
        proof: Proof::Signature(Signed {
            header: "x-twilio-email-event-webhook-signature",
            algorithm: Algorithm::EcdsaP256,
            encoding: Encoding::Base64,
            content: &[Part::Timestamp, Part::Body],
            timestamp: Some(Time::Header("x-twilio-email-event-webhook-timestamp")),
            // SendGrid documents no tolerance, and retries for 24 hours. The same bytes are recognized as a duplicate
            // for that long, so that no attempt is lost and no copy is accepted.
            tolerance: Some(DEFAULT_WINDOW),
            key_form: KeyForm::PublicKey,
            ..PLAIN
        }),
    },
    Provider {
        name: "X",
        docs: "https://docs.x.com/x-api/webhooks/quickstart",
        // Its events are distinguished only by the fields they have.
        kinds: &[],
        ids: &[],
        handshake: Handshake::XCrc,
        proof: Proof::Signature(Signed {
            header: "x-twitter-webhooks-signature",
            encoding: Encoding::Base64,
            shape: Form::Prefix("sha256="),
            ..PLAIN
        }),
    },
    Provider {
        name: "Harbor",
        docs: "https://goharbor.io/docs/main/working-with-projects/project-configuration/configure-webhooks/",
        kinds: &[Place::Pointer("/type")],
        ids: &[],
        handshake: Handshake::None,
        proof: Proof::Token("authorization"),
    },
    Provider {
        name: "Nexus",
        docs: "https://help.sonatype.com/en/working-with-hmac-payloads.html",
        kinds: &[Place::Header("x-nexus-webhook-id")],
        ids: &[Place::Header("x-nexus-webhook-delivery")],
        handshake: Handshake::None,
        proof: Proof::Signature(Signed { header: "x-nexus-webhook-signature", algorithm: Algorithm::Sha1, ..PLAIN }),
    },
    Provider {
        name: "DockerHub",
        docs: "https://docs.docker.com/docker-hub/repos/manage/webhooks/",
        kinds: &[],
        ids: &[],
        handshake: Handshake::None,
        proof: Proof::None,
    },
    Provider {
        name: "Google",
        docs: "https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions",
        kinds: &[Place::Pointer("/message/attributes/eventType")],
        ids: &[Place::Pointer("/message/messageId")],
        handshake: Handshake::None,
        proof: Proof::Jwt {
            issuers: &["https://accounts.google.com", "accounts.google.com"],
            keys: "https://www.googleapis.com/oauth2/v3/certs",
        },
    },
    Provider {
        name: "PayPal",
        docs: "https://developer.paypal.com/api/rest/webhooks/rest/",
        kinds: &[Place::Pointer("/event_type")],
        ids: &[Place::Pointer("/id")],
        handshake: Handshake::None,
        proof: Proof::Certificate { tolerance: PAYPAL_TOLERANCE },
    },
];

const fn literal(text: &'static str) -> Part {
    Part::Literal(std::borrow::Cow::Borrowed(text))
}
