//! The provider table: one row per provider, in the order of [`ProviderName`]. Where a row decides what the provider
//! leaves open, it says why.

use std::time::Duration;

use http::HeaderName;

use super::{
    Bodies, Handshake, Provider, ProviderName,
    RequestField::{Header, Pointer},
    Retries, Scheme,
};
use crate::{
    CertificateScheme, ContentTemplate, HeaderNames, JwtScheme, KeyForm, KeySource, SignatureAlgorithm,
    SignatureEncoding, SignatureOrTokenScheme, SignatureScheme, SnsScheme, TokenScheme, UrlScheme,
    content::{TIMESTAMP_BODY, TIMESTAMP_DOT_BODY, V0_TIMESTAMP_BODY},
    limits::{DEFAULT_TOLERANCE, DEFAULT_WINDOW, PAYPAL_TOLERANCE, SNS_TOLERANCE},
    signature_scheme::{from_header, pairs, plain, prefixed, standard_webhooks},
    signed_url::Covered,
    timestamp::TimestampSource,
};

/// Every provider.
pub static PROVIDERS: &[Provider] = &ROWS;

const ROWS: [Provider; ProviderName::ALL.len()] = [
    Provider {
        name: ProviderName::GitHub,
        docs: "https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries",
        kinds: &[Header("x-github-event")],
        ids: &[Header("x-github-delivery")],
        largest_payload: Some("25 MB"),
        body_bytes: Some(25 << 20),
        retries: Retries::Never("Redeliver sends the event again with the same id"),
        bodies: Bodies::Form("payload"),
        handshake: Handshake::None,
        scheme: || Scheme::Signature(SignatureScheme { shape: prefixed("sha256="), ..plain("x-hub-signature-256") }),
    },
    Provider {
        name: ProviderName::GitLab,
        docs: "https://docs.gitlab.com/user/project/integrations/webhooks/",
        kinds: &[Header("x-gitlab-event")],
        // X-Gitlab-Event-UUID is not an event id: webhooks that trigger one another share it.
        ids: &[Header("webhook-id"), Header("idempotency-key")],
        largest_payload: Some("25 MB"),
        body_bytes: Some(25 << 20),
        retries: Retries::Unknown,
        bodies: Bodies::Typed,
        handshake: Handshake::None,
        // GitLab's signing tokens are those of Standard Webhooks, and it still sends its secret token in addition.
        scheme: || {
            Scheme::SignatureOrToken(SignatureOrTokenScheme {
                signature: standard_webhooks(),
                token: TokenScheme::bare("x-gitlab-token"),
            })
        },
    },
    Provider {
        name: ProviderName::Bitbucket,
        docs: "https://support.atlassian.com/bitbucket-cloud/docs/manage-webhooks/#Secure-webhooks",
        kinds: &[Header("x-event-key")],
        ids: &[Header("x-request-uuid"), Header("x-request-id")],
        largest_payload: Some("256 KB (Cloud)"),
        body_bytes: None,
        retries: Retries::Automatic("twice (Cloud)"),
        bodies: Bodies::Typed,
        handshake: Handshake::None,
        scheme: || Scheme::Signature(SignatureScheme { shape: prefixed("sha256="), ..plain("x-hub-signature") }),
    },
    Provider {
        name: ProviderName::Stripe,
        docs: "https://docs.stripe.com/webhooks#verify-manually",
        kinds: &[Pointer("/type")],
        ids: &[Pointer("/id")],
        largest_payload: None,
        body_bytes: None,
        retries: Retries::Automatic("for 3 days"),
        bodies: Bodies::Json,
        handshake: Handshake::None,
        scheme: || {
            Scheme::Signature(SignatureScheme {
                // `v0` is a fake signature of test events; accepting it would be a downgrade.
                shape: pairs("v1", Some("t")),
                content: ContentTemplate::of(TIMESTAMP_DOT_BODY),
                timestamp: Some(TimestampSource::InSignature),
                tolerance: Some(DEFAULT_TOLERANCE),
                // `whsec_` is part of the key, and nothing is decoded.
                key_form: KeyForm::Raw,
                ..plain("stripe-signature")
            })
        },
    },
    Provider {
        name: ProviderName::Slack,
        docs: "https://docs.slack.dev/authentication/verifying-requests-from-slack",
        kinds: &[Pointer("/event/type"), Pointer("/type")],
        ids: &[Pointer("/event_id")],
        largest_payload: None,
        body_bytes: None,
        retries: Retries::Automatic("3 times within 5 minutes"),
        // Interactions; slash commands are plain forms.
        bodies: Bodies::Form("payload"),
        handshake: Handshake::SlackUrlVerification,
        scheme: || {
            Scheme::Signature(SignatureScheme {
                shape: prefixed("v0="),
                content: ContentTemplate::of(V0_TIMESTAMP_BODY),
                timestamp: from_header("x-slack-request-timestamp"),
                tolerance: Some(DEFAULT_TOLERANCE),
                ..plain("x-slack-signature")
            })
        },
    },
    Provider {
        name: ProviderName::Shopify,
        docs: "https://shopify.dev/docs/apps/build/webhooks/subscribe/https",
        kinds: &[Header("x-shopify-topic")],
        ids: &[Header("x-shopify-webhook-id")],
        largest_payload: None,
        body_bytes: None,
        retries: Retries::Automatic("8 times within 4 hours"),
        bodies: Bodies::Typed,
        handshake: Handshake::None,
        scheme: || {
            Scheme::Signature(SignatureScheme { encoding: SignatureEncoding::Base64, ..plain("x-shopify-hmac-sha256") })
        },
    },
    Provider {
        name: ProviderName::Twilio,
        docs: "https://www.twilio.com/docs/usage/webhooks/webhooks-security",
        // There is no single field; these are the fields of messages and of calls.
        kinds: &[Pointer("/EventType"), Pointer("/MessageStatus"), Pointer("/SmsStatus"), Pointer("/CallStatus")],
        // The SIDs in the body identify messages and calls, which have several events each.
        ids: &[Header("i-twilio-idempotency-token")],
        largest_payload: None,
        body_bytes: None,
        retries: Retries::Never("connection overrides in the URL (`#rc=`) add retries"),
        bodies: Bodies::Typed,
        handshake: Handshake::None,
        scheme: || Scheme::Url(UrlScheme::of("x-twilio-signature")),
    },
    Provider {
        name: ProviderName::StandardWebhooks,
        docs: "https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md",
        kinds: &[Pointer("/type")],
        ids: &[Header("webhook-id")],
        largest_payload: None,
        body_bytes: None,
        retries: Retries::Automatic("as its sender chooses, by the specification over several days"),
        bodies: Bodies::Typed,
        handshake: Handshake::None,
        scheme: || Scheme::Signature(standard_webhooks()),
    },
    Provider {
        name: ProviderName::Svix,
        docs: "https://docs.svix.com/receiving/verifying-payloads/how-manual",
        kinds: &[Pointer("/type")],
        ids: &[Header("svix-id"), Header("webhook-id")],
        largest_payload: None,
        body_bytes: None,
        retries: Retries::Automatic("7 times within 28 hours"),
        bodies: Bodies::Typed,
        handshake: Handshake::None,
        scheme: || {
            Scheme::Signature(SignatureScheme {
                header: HeaderName::from_static("svix-signature"),
                timestamp: from_header("svix-timestamp"),
                id_header: Some(HeaderName::from_static("svix-id")),
                alternative: Some(HeaderNames::STANDARD_WEBHOOKS),
                ..standard_webhooks()
            })
        },
    },
    Provider {
        name: ProviderName::Linear,
        docs: "https://linear.app/developers/webhooks#securing-webhooks",
        kinds: &[Header("linear-event"), Pointer("/type")],
        ids: &[Header("linear-delivery")],
        largest_payload: None,
        body_bytes: None,
        retries: Retries::Automatic("3 times within 7 hours"),
        bodies: Bodies::Typed,
        handshake: Handshake::None,
        scheme: || {
            Scheme::Signature(SignatureScheme {
                timestamp: Some(TimestampSource::Milliseconds("/webhookTimestamp")),
                tolerance: Some(Duration::from_secs(60)),
                ..plain("linear-signature")
            })
        },
    },
    Provider {
        name: ProviderName::PagerDuty,
        docs: "https://developer.pagerduty.com/docs/verifying-signatures",
        kinds: &[Pointer("/event/event_type")],
        ids: &[Pointer("/event/id")],
        largest_payload: None,
        body_bytes: None,
        retries: Retries::Automatic("for up to 2 days"),
        bodies: Bodies::Json,
        handshake: Handshake::None,
        scheme: || Scheme::Signature(SignatureScheme { shape: pairs("v1", None), ..plain("x-pagerduty-signature") }),
    },
    Provider {
        name: ProviderName::Sentry,
        docs: "https://docs.sentry.io/organization/integrations/integration-platform/webhooks/",
        kinds: &[Header("sentry-hook-resource")],
        ids: &[Header("request-id")],
        largest_payload: None,
        body_bytes: None,
        retries: Retries::Unknown,
        bodies: Bodies::Typed,
        handshake: Handshake::None,
        // There is also a timestamp header, but it is not signed.
        scheme: || Scheme::Signature(plain("sentry-hook-signature")),
    },
    Provider {
        name: ProviderName::Zoom,
        docs: "https://developers.zoom.us/docs/api/webhooks/#verify-webhook-events",
        kinds: &[Pointer("/event")],
        // The events have no id.
        ids: &[],
        largest_payload: None,
        body_bytes: None,
        retries: Retries::Automatic("3 times within 2 hours"),
        bodies: Bodies::Typed,
        handshake: Handshake::ZoomUrlValidation,
        scheme: || {
            Scheme::Signature(SignatureScheme {
                shape: prefixed("v0="),
                content: ContentTemplate::of(V0_TIMESTAMP_BODY),
                timestamp: from_header("x-zm-request-timestamp"),
                // Zoom documents no tolerance; this is the common one.
                tolerance: Some(DEFAULT_TOLERANCE),
                ..plain("x-zm-signature")
            })
        },
    },
    Provider {
        name: ProviderName::Discord,
        docs: "https://docs.discord.com/developers/interactions/overview#setting-up-an-endpoint-validating-security-request-headers",
        kinds: &[Pointer("/event/type"), Pointer("/type")],
        // The id of an interaction, which is one request. Webhook events have none.
        ids: &[Pointer("/id")],
        largest_payload: None,
        body_bytes: None,
        retries: Retries::Automatic("for 10 minutes (webhook events); interactions are not sent again"),
        bodies: Bodies::Json,
        handshake: Handshake::DiscordPing,
        scheme: || {
            Scheme::Signature(SignatureScheme {
                algorithm: SignatureAlgorithm::Ed25519,
                content: ContentTemplate::of(TIMESTAMP_BODY),
                timestamp: from_header("x-signature-timestamp"),
                // Discord documents no tolerance; this is the common one.
                tolerance: Some(DEFAULT_TOLERANCE),
                key_form: KeyForm::PublicKey,
                ..plain("x-signature-ed25519")
            })
        },
    },
    Provider {
        name: ProviderName::SendGrid,
        docs: "https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features",
        // The body is a list of events with a type and an id each; the list has neither.
        kinds: &[],
        ids: &[],
        largest_payload: None,
        body_bytes: None,
        retries: Retries::Automatic("for 24 hours"),
        bodies: Bodies::Typed,
        handshake: Handshake::None,
        scheme: || {
            Scheme::Signature(SignatureScheme {
                algorithm: SignatureAlgorithm::EcdsaP256,
                encoding: SignatureEncoding::Base64,
                content: ContentTemplate::of(TIMESTAMP_BODY),
                timestamp: from_header("x-twilio-email-event-webhook-timestamp"),
                // SendGrid documents no tolerance, and retries for 24 hours.
                tolerance: Some(DEFAULT_WINDOW),
                key_form: KeyForm::PublicKey,
                ..plain("x-twilio-email-event-webhook-signature")
            })
        },
    },
    Provider {
        name: ProviderName::X,
        docs: "https://docs.x.com/x-api/webhooks/quickstart",
        // Its events are distinguished only by the fields they have.
        kinds: &[],
        ids: &[],
        largest_payload: None,
        body_bytes: None,
        retries: Retries::Unknown,
        bodies: Bodies::Typed,
        handshake: Handshake::XCrc,
        scheme: || {
            Scheme::Signature(SignatureScheme {
                encoding: SignatureEncoding::Base64,
                shape: prefixed("sha256="),
                ..plain("x-twitter-webhooks-signature")
            })
        },
    },
    Provider {
        name: ProviderName::Harbor,
        docs: "https://goharbor.io/docs/main/working-with-projects/project-configuration/configure-webhooks/",
        kinds: &[Pointer("/type")],
        ids: &[],
        largest_payload: None,
        body_bytes: None,
        retries: Retries::Automatic("3 times (`webhook_job_max_retry`)"),
        bodies: Bodies::Typed,
        handshake: Handshake::None,
        scheme: || Scheme::Token(TokenScheme::bare("authorization")),
    },
    Provider {
        name: ProviderName::Nexus,
        docs: "https://help.sonatype.com/en/working-with-hmac-payloads.html",
        kinds: &[Header("x-nexus-webhook-id")],
        ids: &[Header("x-nexus-webhook-delivery")],
        largest_payload: None,
        body_bytes: None,
        retries: Retries::Unknown,
        bodies: Bodies::Typed,
        handshake: Handshake::None,
        scheme: || {
            Scheme::Signature(SignatureScheme {
                algorithm: SignatureAlgorithm::Sha1,
                ..plain("x-nexus-webhook-signature")
            })
        },
    },
    Provider {
        name: ProviderName::DockerHub,
        docs: "https://docs.docker.com/docker-hub/repos/manage/webhooks/",
        kinds: &[],
        ids: &[],
        largest_payload: None,
        body_bytes: None,
        retries: Retries::Unknown,
        bodies: Bodies::Typed,
        handshake: Handshake::None,
        scheme: || Scheme::None,
    },
    Provider {
        name: ProviderName::Google,
        docs: "https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions",
        kinds: &[Pointer("/message/attributes/eventType")],
        ids: &[Pointer("/message/messageId")],
        // A message of Pub/Sub has at most 10 MB, which become a third more in base64.
        largest_payload: Some("10 MB of data, in base64 (Pub/Sub)"),
        body_bytes: Some(14 << 20),
        retries: Retries::Automatic("until it is accepted or its retention ends, 7 days by default (Pub/Sub)"),
        bodies: Bodies::Json,
        handshake: Handshake::None,
        scheme: || {
            Scheme::Jwt(JwtScheme {
                issuers: vec!["https://accounts.google.com".into(), "accounts.google.com".into()],
                audiences: Vec::new(),
                keys: KeySource::Jwks("https://www.googleapis.com/oauth2/v3/certs".into()),
                emails: Vec::new(),
                claims: None,
            })
        },
    },
    Provider {
        name: ProviderName::PayPal,
        docs: "https://developer.paypal.com/api/rest/webhooks/rest/",
        kinds: &[Pointer("/event_type")],
        ids: &[Pointer("/id")],
        largest_payload: None,
        body_bytes: None,
        retries: Retries::Automatic("25 times within 3 days"),
        bodies: Bodies::Json,
        handshake: Handshake::None,
        scheme: || Scheme::Certificate(CertificateScheme { webhook_id: "".into(), tolerance: PAYPAL_TOLERANCE }),
    },
    Provider {
        name: ProviderName::Gitea,
        docs: "https://docs.gitea.com/usage/webhooks",
        kinds: &[Header("x-gitea-event")],
        ids: &[Header("x-gitea-delivery")],
        largest_payload: None,
        // A push is sent with the paths of all changed files, and is not sent again.
        body_bytes: Some(25 << 20),
        retries: Retries::Never("a replay has a new id"),
        bodies: Bodies::Typed,
        handshake: Handshake::None,
        scheme: || Scheme::Signature(plain("x-gitea-signature")),
    },
    Provider {
        name: ProviderName::Forgejo,
        docs: "https://forgejo.org/docs/latest/user/webhooks/",
        kinds: &[Header("x-forgejo-event")],
        ids: &[Header("x-forgejo-delivery")],
        largest_payload: None,
        // A push is sent with the paths of all changed files, and is not sent again.
        body_bytes: Some(25 << 20),
        retries: Retries::Never("a replay has a new id"),
        bodies: Bodies::Typed,
        handshake: Handshake::None,
        scheme: || Scheme::Signature(plain("x-forgejo-signature")),
    },
    Provider {
        name: ProviderName::Meta,
        docs: "https://developers.facebook.com/docs/graph-api/webhooks/getting-started",
        kinds: &[Pointer("/object")],
        // The ids of entries are those of pages, accounts and users.
        ids: &[],
        largest_payload: Some("3 MB (WhatsApp)"),
        body_bytes: Some(3 << 20),
        retries: Retries::Automatic("for 36 hours"),
        bodies: Bodies::Typed,
        handshake: Handshake::MetaChallenge,
        scheme: || Scheme::Signature(SignatureScheme { shape: prefixed("sha256="), ..plain("x-hub-signature-256") }),
    },
    Provider {
        name: ProviderName::Jira,
        docs: "https://developer.atlassian.com/cloud/jira/platform/webhooks/#secure-admin-webhooks",
        kinds: &[Pointer("/webhookEvent")],
        ids: &[Header("x-atlassian-webhook-identifier")],
        largest_payload: None,
        // An issue is sent with all of its fields and comments.
        body_bytes: Some(25 << 20),
        retries: Retries::Automatic("5 times, 5 to 15 minutes apart, after 408, 409, 425, 429 and 5xx (Cloud)"),
        bodies: Bodies::Typed,
        handshake: Handshake::None,
        scheme: || Scheme::Signature(SignatureScheme { shape: prefixed("sha256="), ..plain("x-hub-signature") }),
    },
    Provider {
        name: ProviderName::WooCommerce,
        docs: "https://developer.woocommerce.com/docs/best-practices/urls-and-routing/webhooks/",
        kinds: &[Header("x-wc-webhook-topic")],
        // X-WC-Webhook-Delivery-ID is a hash of the webhook and the second: events of the same second share it.
        ids: &[],
        largest_payload: None,
        body_bytes: None,
        retries: Retries::Never("it disables a webhook after 5 failures in a row"),
        bodies: Bodies::Typed,
        handshake: Handshake::None,
        scheme: || {
            Scheme::Signature(SignatureScheme {
                encoding: SignatureEncoding::Base64,
                ..plain("x-wc-webhook-signature")
            })
        },
    },
    Provider {
        name: ProviderName::Trello,
        docs: "https://developer.atlassian.com/cloud/trello/guides/rest-api/webhooks/#webhook-signatures",
        kinds: &[Pointer("/action/type")],
        ids: &[Pointer("/action/id")],
        largest_payload: None,
        body_bytes: None,
        retries: Retries::Automatic("3 times, after 30, 60 and 120 seconds"),
        bodies: Bodies::Json,
        handshake: Handshake::Head,
        scheme: || Scheme::Url(UrlScheme { covered: Covered::BodyThenUrl, ..UrlScheme::of("x-trello-webhook") }),
    },
    Provider {
        name: ProviderName::Okta,
        docs: "https://developer.okta.com/docs/concepts/event-hooks/",
        kinds: &[Pointer("/data/events/0/eventType")],
        ids: &[Pointer("/eventId")],
        largest_payload: None,
        body_bytes: None,
        retries: Retries::Automatic("once"),
        bodies: Bodies::Json,
        handshake: Handshake::OktaChallenge,
        scheme: || Scheme::Token(TokenScheme::bare("authorization")),
    },
    Provider {
        name: ProviderName::Mailchimp,
        docs: "https://mailchimp.com/developer/transactional/guides/track-respond-activity-webhooks/#authenticating-webhook-requests",
        kinds: &[],
        // The form holds a list of events with a type and an id each; the list has neither.
        ids: &[],
        // A batch has up to 1,000 events, and an inbound message its attachments; no limit is documented.
        largest_payload: None,
        body_bytes: Some(10 << 20),
        retries: Retries::Automatic("failed batches; how often is not documented"),
        bodies: Bodies::Form("mandrill_events"),
        handshake: Handshake::Head,
        scheme: || Scheme::Url(UrlScheme { covered: Covered::UrlThenFields, ..UrlScheme::of("x-mandrill-signature") }),
    },
    Provider {
        name: ProviderName::AzureDevOps,
        docs: "https://learn.microsoft.com/azure/devops/service-hooks/services/webhooks",
        kinds: &[Pointer("/eventType")],
        ids: &[Pointer("/id")],
        largest_payload: None,
        body_bytes: None,
        retries: Retries::Automatic("8 times within 4 minutes, after 408 and 502 to 504"),
        bodies: Bodies::Json,
        handshake: Handshake::None,
        scheme: || Scheme::Basic,
    },
    Provider {
        name: ProviderName::AzureContainerRegistry,
        docs: "https://learn.microsoft.com/azure/container-registry/container-registry-webhook-reference",
        kinds: &[Pointer("/action")],
        ids: &[Pointer("/id")],
        largest_payload: None,
        body_bytes: None,
        retries: Retries::Unknown,
        bodies: Bodies::Json,
        handshake: Handshake::None,
        scheme: || Scheme::Token(TokenScheme::bare("authorization")),
    },
    Provider {
        name: ProviderName::Artifactory,
        docs: "https://docs.jfrog.com/integrations/docs/predefined-webhooks",
        kinds: &[Pointer("/event_type")],
        ids: &[],
        largest_payload: None,
        body_bytes: None,
        retries: Retries::Unknown,
        bodies: Bodies::Typed,
        handshake: Handshake::None,
        scheme: || Scheme::Signature(plain("x-jfrog-event-auth")),
    },
    Provider {
        name: ProviderName::Quay,
        docs: "https://docs.projectquay.io/use_quay.html#repository-notifications",
        kinds: &[],
        ids: &[],
        largest_payload: None,
        body_bytes: None,
        retries: Retries::Unknown,
        bodies: Bodies::Typed,
        handshake: Handshake::None,
        scheme: || Scheme::None,
    },
    Provider {
        name: ProviderName::AmazonSNS,
        docs: "https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html",
        kinds: &[Pointer("/Type")],
        ids: &[Pointer("/MessageId")],
        // A message has at most 256 KiB, which JSON can write with six times as many bytes.
        largest_payload: Some("256 KiB of message, in a JSON string"),
        body_bytes: Some(2 << 20),
        retries: Retries::Automatic("for up to an hour, as its delivery policy says; not after a 4xx other than 429"),
        // It says text/plain.
        bodies: Bodies::Json,
        handshake: Handshake::SnsConfirmation,
        scheme: || Scheme::Sns(SnsScheme { topics: Vec::new(), tolerance: SNS_TOLERANCE }),
    },
];

/// Fails the build when the rows are not in the order of the names, which [`Provider::of`] relies on.
#[expect(clippy::indexing_slicing, reason = "it runs during the build")]
const _: () = {
    let mut at = 0;
    while at < ROWS.len() {
        assert!(ROWS[at].name as usize == at, "the rows are not in the order of ProviderName");
        at += 1;
    }
};
