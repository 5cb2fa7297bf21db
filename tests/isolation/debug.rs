//! What types that hold secrets or payloads print as, which is what ends in logs and in panics.

use std::{fmt::Debug, time::Duration};

use bytes::Bytes;
use clap::Parser;
use grapnel::{admin::Access, cli::Cli, dispatch::client::Outgoing, files::Document};
use grapnel_delivery::{egress::Reach, egress_proxy::EgressProxy};
use grapnel_event::{
    identity::{Payload, Reading, identify},
    schema::SchemaSet,
};
use grapnel_journal::{Arrival, Delivery, StoredEvent};
use grapnel_signature::{
    ContentTemplate, DeliveryScheme, KeyForm, Scheme, Shape, SignatureAlgorithm, SignatureEncoding, SignatureScheme,
    Signer, TokenScheme, Verifier, names, provider,
};
use grapnel_values::secret::{Secret, Wiped, header_value};
use http::{HeaderMap, HeaderName};
use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::program::leaks::Secrets;

const SECRET: &str = "debug-secret-Vn3Kx8Wq";
const WHSEC: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const WHSK: &str = "whsk_T2w5bXBpYyBwb29scyBhcmUgYmx1ZSBhbmQgZGVlcCE=";

/// A word for what is printed, one of them a line.
fn printed(values: &[(&str, &dyn Debug)]) -> Vec<(String, String)> {
    values
        .iter()
        .flat_map(|(name, value)| [format!("{value:?}"), format!("{value:#?}")].map(|text| ((*name).into(), text)))
        .collect()
}

#[test]
fn nothing_that_holds_a_secret_or_a_payload_prints_it() {
    let body = Bytes::from(format!(r#"{{"id":"e","type":"t","x":"{SECRET}"}}"#));
    let header = header_value(Zeroizing::new(format!("Bearer {SECRET}").into_bytes())).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("authorization", header.clone());

    let hmac = Scheme::Signature(SignatureScheme {
        header: HeaderName::from_static("x-signature"),
        algorithm: SignatureAlgorithm::Sha512,
        encoding: SignatureEncoding::Hex,
        shape: Shape::Prefixed("".into()),
        content: ContentTemplate::parse("{body}").unwrap(),
        timestamp: None,
        id_header: None,
        alternative: None,
        tolerance: None,
        key_form: KeyForm::Raw,
    });
    let token =
        Scheme::Token(TokenScheme { header: HeaderName::from_static("authorization"), scheme: Some("Bearer".into()) });
    let mut verifiers: Vec<Verifier> = [hmac, token]
        .map(|scheme| Verifier::new(scheme, vec![Secret::from(SECRET), Secret::from(WHSEC)]).unwrap())
        .into();
    // Every sender in the table, with a secret that is a key in each of its forms.
    verifiers.extend(
        names().filter_map(|name| Verifier::new(provider(name).unwrap().scheme(), vec![Secret::from(WHSEC)]).ok()),
    );
    assert!(verifiers.len() > 4);
    let signers = [
        Signer::new(DeliveryScheme::StandardWebhooks, vec![Secret::from(WHSEC)]),
        Signer::new(
            DeliveryScheme::HmacSha256Hex { header: HeaderName::from_static("x-s") },
            vec![Secret::from(SECRET)],
        ),
        Signer::new(DeliveryScheme::Ed25519, vec![Secret::from(WHSK)]),
    ]
    .map(Result::unwrap);

    let verified = Verifier::new(Scheme::None, Vec::new()).unwrap();
    let verified = verified.verify(&HeaderMap::new(), body.clone(), Timestamp::UNIX_EPOCH).unwrap();
    let payload = Payload::read(&Reading::default(), Some("application/json"), verified.body());
    let form = Payload::read(&Reading::default(), Some("application/x-www-form-urlencoded"), verified.body());
    let identity = identify(&Default::default(), &Default::default(), &headers, &payload, verified.body()).unwrap();
    let validated = SchemaSet::default().validate(verified.clone(), &payload, identity).unwrap();
    let stored = StoredEvent {
        sequence: 1,
        id: "e".into(),
        kind: "t".into(),
        received: Timestamp::UNIX_EPOCH,
        content_type: None,
        remote: None,
        headers: vec![("x".into(), Bytes::from(SECRET))],
        body: body.clone(),
    };
    let arrival = Arrival {
        endpoint: grapnel_api::Incarnation::of_file(grapnel_api::ObjectKey::new("shop", "orders")),
        validated: validated.clone(),
        received: Timestamp::UNIX_EPOCH,
        content_type: None,
        remote: None,
        headers: vec![("x".into(), Bytes::from(SECRET))],
        window: None,
        max_bytes: None,
    };
    let outgoing = Outgoing {
        url: format!("https://receiver.example/{SECRET}?key={SECRET}").parse().unwrap(),
        reach: Reach::Url,
        headers: headers.clone(),
        body: body.clone(),
        timeout: Duration::from_secs(1),
        secret_url: false,
        tls: None,
        oauth: None,
    };
    let document = Document::parse(&format!("kind: Secret\nstringData:\n  a: {SECRET}\n  b: [{SECRET}]\n")).unwrap();
    let proxy = EgressProxy::parse(&format!("http://{SECRET}:{SECRET}@proxy.example")).unwrap();
    let run = ["grapnel", "standalone", "-f", ".", "--egress-proxy", &format!("http://u:{SECRET}@proxy.example")];
    let not_a_proxy =
        ["grapnel", "standalone", "-f", ".", "--egress-proxy", &format!("https://u:{SECRET}@proxy.example")];
    let send = ["grapnel", "send", "http://127.0.0.1/", "--provider", "github", "--secret", SECRET];

    let values: &[(&str, &dyn Debug)] = &[
        ("Secret", &Secret::from(SECRET)),
        ("Wiped", &Wiped(serde_json::json!({ "a": [SECRET] }))),
        ("header", &header),
        ("headers", &headers),
        ("verifiers", &verifiers),
        ("signers", &signers),
        ("Verified", &verified),
        ("Payload", &(&payload, &form)),
        ("Validated", &validated),
        ("Arrival", &arrival),
        ("Delivery", &Delivery { event: stored.clone().into(), attempt: 1 }),
        ("StoredEvent", &stored),
        ("Outgoing", &outgoing),
        ("Document", &document),
        ("Document's value", &document[0].value()),
        ("EgressProxy", &proxy),
        ("command line of standalone", &Cli::try_parse_from(run).unwrap()),
        ("command line of standalone, with what is no proxy", &Cli::try_parse_from(not_a_proxy).unwrap()),
        ("command line of send", &Cli::try_parse_from(send).unwrap()),
        ("Access", &Access::TokenFile("file".into())),
    ];
    let mut secrets = Secrets::default();
    for (name, secret) in [("secret", SECRET), ("symmetric key", WHSEC), ("private key", WHSK)] {
        secrets.add(name, secret);
    }
    for (name, text) in printed(values) {
        secrets.assert_none_in(&name, &text);
    }
}
