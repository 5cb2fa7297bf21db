//! A request of every provider that Grapnel did not sign: the vectors of its documentation or library where there are
//! any, and otherwise requests made with OpenSSL or the standard library of Python after its documentation.

use super::{
    presets::{Request, judge_at, verifier},
    *,
};
use crate::testing::SNS;

/// Who made a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judge {
    /// The documentation or the tests of the provider, at this place.
    Published(&'static str),
    /// A vector of our own, whose kind the provider's library checks in `tests/conformance`.
    Sdk(&'static str),
    /// A vector of our own; the provider publishes none, nor a library that verifies.
    Own,
}

struct Vector {
    provider: ProviderName,
    judge: Judge,
    /// The secret, public key, key set or certificate that the receiver knows.
    secret: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
    url: &'static str,
    /// Seconds since 1970.
    at: i64,
}

/// The request of most vectors of our own.
const OWN: Vector = Vector {
    provider: ProviderName::GitHub,
    judge: Judge::Own,
    secret: "a-secret",
    headers: &[],
    body: r#"{"a":"é"}"#,
    url: "https://hooks.example.com/shop/in",
    at: 0,
};

const VECTORS: &[Vector] = &[
    Vector {
        provider: ProviderName::AmazonSNS,
        judge: Judge::Sdk("sns-validator (tests/conformance)"),
        secret: SNS[0],
        headers: &[],
        body: include_str!("data/sns-notification.json"),
        url: "https://hooks.example.com/shop/in",
        // 2012-05-02T00:54:06Z.
        at: 1335920046,
    },
    Vector {
        provider: ProviderName::GitHub,
        judge: Judge::Published(
            "https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries#testing-the-webhook-payload-validation",
        ),
        secret: "It's a Secret to Everybody",
        headers: &[("x-hub-signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17")],
        body: "Hello, World!",
        ..OWN
    },
    Vector {
        provider: ProviderName::GitLab,
        judge: Judge::Published("the example of Standard Webhooks, whose signing tokens GitLab uses"),
        secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        headers: &[
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
            ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ],
        body: r#"{"test": 2432232314}"#,
        at: 1614265330,
        ..OWN
    },
    Vector {
        provider: ProviderName::Bitbucket,
        judge: Judge::Published("https://support.atlassian.com/bitbucket-cloud/docs/manage-webhooks/#Examples"),
        secret: "It's a Secret to Everybody",
        headers: &[("x-hub-signature", "sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9")],
        body: "Hello World!",
        ..OWN
    },
    Vector {
        provider: ProviderName::Stripe,
        judge: Judge::Sdk("stripe (tests/conformance)"),
        secret: "whsec_test",
        headers: &[(
            "stripe-signature",
            "t=1492774577,v1=7656fc2882a7ca0a651666b36bf2f2f22ee204f54f608f227498a2419f2890b2",
        )],
        body: r#"{"id":"evt_1"}"#,
        at: 1492774577,
        ..OWN
    },
    Vector {
        provider: ProviderName::Slack,
        judge: Judge::Published("https://docs.slack.dev/authentication/verifying-requests-from-slack"),
        secret: "8f742231b10e8888abcd99yyyzzz85a5",
        headers: &[
            ("x-slack-request-timestamp", "1531420618"),
            ("x-slack-signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"),
        ],
        body: "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c",
        at: 1531420618,
        ..OWN
    },
    Vector {
        provider: ProviderName::Shopify,
        headers: &[("x-shopify-hmac-sha256", "Bf8Qk0gUxXLEfBbyP9Lj1OeW3rTRP1J13LrR4zdTwiU=")],
        ..OWN
    },
    Vector {
        provider: ProviderName::Twilio,
        judge: Judge::Published("twilio-python, tests/unit/test_request_validator.py"),
        secret: "12345",
        headers: &[
            ("x-twilio-signature", "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
            ("content-type", "application/x-www-form-urlencoded"),
        ],
        body: "CallSid=CA1234567890ABCDE&Digits=1234&From=%2B14158675309&To=%2B18005551212&Caller=%2B14158675309",
        url: "https://mycompany.com/myapp.php?foo=1&bar=2",
        ..OWN
    },
    Vector {
        provider: ProviderName::StandardWebhooks,
        judge: Judge::Published(
            "https://github.com/standard-webhooks/standard-webhooks/blob/main/libraries/python/tests/test_webhooks.py",
        ),
        secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        headers: &[
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
            ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ],
        body: r#"{"test": 2432232314}"#,
        at: 1614265330,
        ..OWN
    },
    Vector {
        provider: ProviderName::Svix,
        judge: Judge::Published("the example of Standard Webhooks, whose signatures Svix uses"),
        secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        headers: &[
            ("svix-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("svix-timestamp", "1614265330"),
            ("svix-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ],
        body: r#"{"test": 2432232314}"#,
        at: 1614265330,
        ..OWN
    },
    Vector {
        provider: ProviderName::Linear,
        headers: &[("linear-signature", "9874bea8ce7e5ccd9863c604edbc79bd135bed1c19349e18a0624c4d0bf5fd63")],
        body: r#"{"type":"Issue","webhookTimestamp":1700000000000}"#,
        at: 1700000000,
        ..OWN
    },
    Vector {
        provider: ProviderName::PagerDuty,
        headers: &[("x-pagerduty-signature", "v1=05ff10934814c572c47c16f23fd2e3d4e796deb4d13f5275dcbad1e33753c225")],
        ..OWN
    },
    Vector {
        provider: ProviderName::Sentry,
        headers: &[("sentry-hook-signature", "05ff10934814c572c47c16f23fd2e3d4e796deb4d13f5275dcbad1e33753c225")],
        ..OWN
    },
    Vector {
        provider: ProviderName::Zoom,
        headers: &[
            ("x-zm-request-timestamp", "1700000000"),
            ("x-zm-signature", "v0=8cc2ecc8d956adad7c0ff185e38b23909da2cff87a99c5a0514071961b98dcfe"),
        ],
        at: 1700000000,
        ..OWN
    },
    Vector {
        provider: ProviderName::Discord,
        secret: "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c",
        headers: &[
            ("x-signature-timestamp", "1700000000"),
            (
                "x-signature-ed25519",
                "7a0673777e5acd2c56e7616c4e67a2e644d26d53b63b65ba1749d744313a8b9974ab11260cf00d0f07f46750ae2c116c8a2569e8d0185a7fab69ce82ae844f00",
            ),
        ],
        at: 1700000000,
        ..OWN
    },
    Vector {
        provider: ProviderName::SendGrid,
        judge: Judge::Published("sendgrid-python, test/unit/test_eventwebhook.py"),
        secret: "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g==",
        headers: &[
            ("x-twilio-email-event-webhook-timestamp", "1600112502"),
            (
                "x-twilio-email-event-webhook-signature",
                "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM=",
            ),
        ],
        body: "[{\"email\":\"hello@world.com\",\"event\":\"dropped\",\"reason\":\"Bounced Address\",\"sg_event_id\":\"ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA\",\"sg_message_id\":\"LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0\",\"smtp-id\":\"<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>\",\"timestamp\":1600112492}]\r\n",
        at: 1600112502,
        ..OWN
    },
    Vector {
        provider: ProviderName::X,
        headers: &[("x-twitter-webhooks-signature", "sha256=Bf8Qk0gUxXLEfBbyP9Lj1OeW3rTRP1J13LrR4zdTwiU=")],
        ..OWN
    },
    Vector { provider: ProviderName::Harbor, headers: &[("authorization", "a-secret")], ..OWN },
    Vector {
        provider: ProviderName::Nexus,
        headers: &[("x-nexus-webhook-signature", "3522213dd144371ce4d7d61bd054e0a015221317")],
        ..OWN
    },
    Vector {
        provider: ProviderName::Google,
        secret: include_str!("data/rsa-1.jwks.json"),
        headers: &[(
            "authorization",
            "Bearer eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJodHRwczovL2FjY291bnRzLmdvb2dsZS5jb20iLCJhdWQiOiJodHRwczovL2hvb2tzLmV4YW1wbGUuY29tL2luIiwiZW1haWwiOiJwdXNoQHByb2plY3QuaWFtLmdzZXJ2aWNlYWNjb3VudC5jb20iLCJlbWFpbF92ZXJpZmllZCI6dHJ1ZSwiaWF0IjoxNzAwMDAwMDAwLCJleHAiOjE3MDAwMDAzMDB9.ADcJ1XwenlbmLjgzW25tJHk6kVbBUxgcKKOXvKamp9bOZt_iHJv8DOSWQLeP3Qu5j8bP8DB_UOcYx9Z6OTJRg4spKlOHwIdVj3akd8__U3hJcLPZveLsXnMQTlI2HPZLXK-XeDAY7ACmkB3z6eCrDSMxI_YJZswIyquB9vED5IjaahXRhlcllavKTFVYEUjw1WvDDNksEawnjqGgGZSDiRhs0mmMhe49cR6YeafKP015pw79Cmmw09fyNCmbGdeSJ4YQQRxOsQktbA1tVsbDiL83fs1pDsFSUVfb7GSJZrkZHNEx1DrLlbeKc2uRiTxWZ2ld081fATQ8oUBBdGw8fQ",
        )],
        at: 1700000000,
        ..OWN
    },
    Vector {
        provider: ProviderName::PayPal,
        secret: include_str!("data/rsa-1.crt"),
        headers: &[
            ("paypal-transmission-id", "id-1"),
            ("paypal-transmission-time", "2023-11-14T22:13:20Z"),
            ("paypal-auth-algo", "SHA256withRSA"),
            ("paypal-cert-url", "https://api.paypal.com/v1/notifications/certs/CERT-1"),
            (
                "paypal-transmission-sig",
                "BU4mA4gYTuipzJRg1onMUehnR7TB32NkplwFAgQ/UNovWmUqRyAXKHtqFZS+77xaHjMmyZuqaPQUy6zZPo0nSyqJJbXAgxON/o4jRPJj2zlQi3NSg0KV1gaJHAro0fHQE5WuX9dis7kBI/KuPCJaaDQdcx4oluhUMt+4ll7kCYEkMX13bXigqPLh5wgXLu9EpjzpEY3zuoCYUYa2DtKGOVGRg4A6Tchvhw3ZID0sLzzmbUIb4LlZFVCHJZN5S/tA2LErZY3Do3o+FiOKIIuY9E2fTnua/HhjqcjGpzcetXMW8Dg0DddBvBdFVGpipFnKGWuqpzaKF///WVCPz3OdBg==",
            ),
        ],
        at: 1700000000,
        ..OWN
    },
    Vector {
        provider: ProviderName::Gitea,
        headers: &[("x-gitea-signature", "05ff10934814c572c47c16f23fd2e3d4e796deb4d13f5275dcbad1e33753c225")],
        ..OWN
    },
    Vector {
        provider: ProviderName::Forgejo,
        headers: &[("x-forgejo-signature", "05ff10934814c572c47c16f23fd2e3d4e796deb4d13f5275dcbad1e33753c225")],
        ..OWN
    },
    Vector {
        provider: ProviderName::Meta,
        headers: &[("x-hub-signature-256", "sha256=05ff10934814c572c47c16f23fd2e3d4e796deb4d13f5275dcbad1e33753c225")],
        ..OWN
    },
    Vector {
        provider: ProviderName::Jira,
        secret: "It's a Secret to Everybody",
        headers: &[("x-hub-signature", "sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9")],
        body: "Hello World!",
        ..OWN
    },
    Vector {
        provider: ProviderName::WooCommerce,
        headers: &[("x-wc-webhook-signature", "Bf8Qk0gUxXLEfBbyP9Lj1OeW3rTRP1J13LrR4zdTwiU=")],
        ..OWN
    },
    Vector {
        provider: ProviderName::Trello,
        headers: &[("x-trello-webhook", "ZhyQFuESgv8EVOg7dcDEHeEvXyE=")],
        url: "https://hooks.example.com/shop/in?a=b",
        ..OWN
    },
    Vector { provider: ProviderName::Okta, headers: &[("authorization", "a-secret")], ..OWN },
    Vector {
        provider: ProviderName::Mailchimp,
        headers: &[
            ("content-type", "application/x-www-form-urlencoded"),
            ("x-mandrill-signature", "4uaJd10MES9w0QMo88NshLXeOmE="),
        ],
        body: "mandrill_events=%5B%7B%22event%22%3A%22send%22%7D%5D",
        url: "https://hooks.example.com/shop/in?a=b",
        ..OWN
    },
    Vector {
        provider: ProviderName::AzureDevOps,
        secret: "user:password",
        headers: &[("authorization", "Basic dXNlcjpwYXNzd29yZA==")],
        ..OWN
    },
    Vector { provider: ProviderName::AzureContainerRegistry, headers: &[("authorization", "a-secret")], ..OWN },
    Vector {
        provider: ProviderName::Artifactory,
        headers: &[("x-jfrog-event-auth", "05ff10934814c572c47c16f23fd2e3d4e796deb4d13f5275dcbad1e33753c225")],
        ..OWN
    },
];

impl Vector {
    fn request(&self) -> Request {
        Request { url: self.url.parse().unwrap(), headers: headers(self.headers), body: self.body.into() }
    }

    fn code(&self, request: &Request) -> &'static str {
        let scheme = complete(Provider::of(self.provider).scheme());
        judge_at(&verifier(&scheme, vec![self.secret.into()]), request, self.at)
    }
}

#[test]
fn every_row_that_proves_its_sender_has_a_vector() {
    let missing: Vec<_> = PROVIDERS
        .iter()
        .filter(|provider| provider.scheme() != Scheme::None)
        .map(|provider| provider.name)
        .filter(|name| !VECTORS.iter().any(|vector| vector.provider == *name))
        .collect();
    assert!(missing.is_empty(), "add a vector to VECTORS in crates/signature/src/tests/vectors.rs for {missing:?}");
}

#[test]
fn every_vector_is_accepted_and_no_other_body() {
    for vector in VECTORS {
        let Vector { provider, judge, .. } = vector;
        assert_eq!(vector.code(&vector.request()), "ok", "{provider} by {judge:?}");
        if presets::covers_body(&Provider::of(*provider).scheme()) || *provider == ProviderName::GitLab {
            let torn = Request { body: format!("{} ", vector.body).into(), ..vector.request() };
            assert_eq!(vector.code(&torn), "invalid_signature", "{provider} by {judge:?}");
        }
    }
}

/// A provider loses its published vector only on purpose.
#[test]
fn own_vectors_are_the_exception_where_others_exist() {
    let published =
        |name| VECTORS.iter().any(|vector| vector.provider == name && matches!(vector.judge, Judge::Published(_)));
    let expected = [
        ProviderName::GitHub,
        ProviderName::GitLab,
        ProviderName::Bitbucket,
        ProviderName::Slack,
        ProviderName::Twilio,
        ProviderName::StandardWebhooks,
        ProviderName::Svix,
        ProviderName::SendGrid,
    ];
    for name in expected {
        assert!(published(name), "{name}");
    }
    for vector in VECTORS {
        if let Judge::Published(place) | Judge::Sdk(place) = vector.judge {
            assert!(!place.is_empty(), "{}", vector.provider);
        }
    }
}
