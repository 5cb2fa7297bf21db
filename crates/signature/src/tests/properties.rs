//! Signing is the inverse of verification, and nothing else passes it.

use proptest::prelude::*;

use super::*;

fn schemes() -> impl Strategy<Value = Scheme> {
    // Schemes that accept any secret; `presets` has tests for all.
    let any_secret = PROVIDERS.iter().map(Provider::scheme).filter(|scheme| match scheme {
        Scheme::Signature(scheme) => {
            scheme.key_form != KeyForm::PublicKey && !matches!(scheme.timestamp, Some(TimestampSource::Milliseconds(_)))
        }
        _ => false,
    });
    let preset = proptest::sample::select(any_secret.collect::<Vec<_>>());
    let shape = prop_oneof![
        "[a-z0-9]{0,5}=?".prop_map(|prefix| Shape::Prefixed(prefix.into())),
        Just(Shape::Pairs { signature: "v1".into(), timestamp: Some("t".into()) }),
        Just(Shape::List { version: "v1".into(), public_version: "v1a".into() }),
    ];
    let algorithm =
        prop_oneof![Just(SignatureAlgorithm::Sha1), Just(SignatureAlgorithm::Sha256), Just(SignatureAlgorithm::Sha512)];
    let content =
        proptest::sample::select(vec!["{body}", "{timestamp}.{body}", "{body}{id}", "a{id}.{timestamp}:{body}z"]);
    let free = (shape, algorithm, any::<bool>(), content).prop_map(|(shape, algorithm, base64, content)| {
        let in_signature = matches!(shape, Shape::Pairs { .. });
        let content = ContentTemplate::parse(content).unwrap();
        Scheme::Signature(SignatureScheme {
            header: HeaderName::from_static("x-signature"),
            algorithm,
            encoding: if base64 { SignatureEncoding::Base64 } else { SignatureEncoding::Hex },
            shape,
            timestamp: Some(if in_signature {
                TimestampSource::InSignature
            } else {
                TimestampSource::Header(HeaderName::from_static("x-timestamp"))
            }),
            id_header: content.uses_id().then(|| HeaderName::from_static("x-id")),
            content,
            alternative: None,
            tolerance: Some(Duration::from_secs(60)),
            key_form: KeyForm::Raw,
        })
    });
    let token = proptest::option::of("[A-Z][a-z]{1,6}")
        .prop_map(|scheme| Scheme::Token(TokenScheme { header: HeaderName::from_static("x-token"), scheme }));
    prop_oneof![3 => preset, 3 => free, 1 => token]
}

/// Secrets that fit every form of key.
fn secrets() -> impl Strategy<Value = String> {
    "[A-Za-z0-9+/]{24}|[A-Za-z0-9+/]{32}"
}

proptest! {
    #[test]
    fn what_is_signed_is_accepted(
        scheme in schemes(),
        secret in secrets(),
        other in secrets(),
        body in proptest::collection::vec(any::<u8>(), 0..300),
        now in 0i64..200_000_000_000,
        late in -60i64..=60,
        id in proptest::option::of("[!-~]{1,20}"),
    ) {
        let mut headers = HeaderMap::new();
        if let (Scheme::Signature(SignatureScheme { id_header: Some(name), .. }), Some(id)) = (&scheme, &id) {
            headers.insert(name.clone(), id.parse().unwrap());
        }
        let secret = Secret::from(secret);
        sign_request(&scheme, &secret, &mut headers, &mut body.clone(), at(now)).unwrap();
        let verify = |secrets: Vec<Secret>, headers: &HeaderMap, body: &[u8], now: i64| {
            let verifier = Verifier::new(scheme.clone(), secrets).unwrap();
            verifier.verify(headers, Bytes::copy_from_slice(body), at(now)).map_err(|refusal| refusal.code())
        };
        prop_assert!(verify(vec![secret.clone()], &headers, &body, now + late).is_ok());
        prop_assert!(verify(vec![Secret::from(other.as_str()), secret.clone()], &headers, &body, now).is_ok());
        if secret != Secret::from(other.as_str()) {
            prop_assert_eq!(verify(vec![other.into()], &headers, &body, now).unwrap_err(), "invalid_signature");
        }
        if let Scheme::Signature(SignatureScheme { tolerance: Some(_), .. }) = scheme {
            prop_assert_eq!(verify(vec![secret.clone()], &headers, &body, now + 301).unwrap_err(), "stale_timestamp");
        }
        let mut again = headers.clone();
        sign_request(&scheme, &secret, &mut again, &mut body.clone(), at(now)).unwrap();
        prop_assert_eq!(again, headers, "signing twice changes nothing");
    }

    #[test]
    fn a_flipped_bit_is_refused(
        scheme in schemes(),
        secret in secrets(),
        body in proptest::collection::vec(any::<u8>(), 1..100),
        place in any::<proptest::sample::Index>(),
        bit in 0u8..8,
    ) {
        let now = at(1_700_000_000);
        let secret = Secret::from(secret);
        let mut headers = HeaderMap::new();
        sign_request(&scheme, &secret, &mut headers, &mut body.clone(), now).unwrap();
        let verifier = Verifier::new(scheme.clone(), vec![secret]).unwrap();
        let Scheme::Signature(scheme) = &scheme else { return Ok(()) };

        let mut torn = body.clone();
        torn[place.index(body.len())] ^= 1 << bit;
        let refusal = verifier.verify(&headers, torn.into(), now).unwrap_err();
        prop_assert_eq!(refusal.code(), "invalid_signature");

        // A timestamp beside the signature that is not signed may be changed within the tolerance.
        if scheme.timestamp == Some(TimestampSource::InSignature) && !scheme.content.uses_timestamp() {
            return Ok(());
        }
        // In the signature itself the bit matters unless the text still decodes to the same bytes, as hexadecimal in
        // the other case does.
        let value = headers[&scheme.header].as_bytes().to_vec();
        let mut torn = value.clone();
        torn[place.index(value.len())] ^= 1 << bit;
        if !torn.eq_ignore_ascii_case(&value) || scheme.encoding == SignatureEncoding::Base64 {
            let Ok(torn) = HeaderValue::from_bytes(&torn) else { return Ok(()) };
            headers.insert(scheme.header.clone(), torn);
            prop_assert!(verifier.verify(&headers, body.into(), now).is_err());
        }
    }

    #[test]
    fn garbage_is_never_accepted(
        scheme in schemes(),
        secret in secrets(),
        values in proptest::collection::vec(
            prop_oneof![
                proptest::collection::vec(prop_oneof![32u8..=126, 128u8..=255], 0..150),
                "(v1|v0|t|sha256|Bearer)[=, ][0-9a-f]{0,128}".prop_map(String::into_bytes),
                "[0-9]{1,25}".prop_map(String::into_bytes),
            ],
            3,
        ),
        now in -377_705_023_201i64..=253_402_207_200,
    ) {
        let verifier = Verifier::new(scheme.clone(), vec![secret.into()]).unwrap();
        let mut headers = HeaderMap::new();
        let names = match &scheme {
            Scheme::Signature(scheme) => {
                let timestamp = match &scheme.timestamp {
                    Some(TimestampSource::Header(name)) => Some(name.clone()),
                    _ => None,
                };
                [Some(scheme.header.clone()), timestamp, scheme.id_header.clone()]
            }
            Scheme::Token(scheme) => [Some(scheme.header.clone()), None, None],
            _ => [None, None, None],
        };
        for (name, value) in names.into_iter().zip(&values) {
            if let Some(name) = name {
                headers.insert(name, HeaderValue::from_bytes(value).unwrap());
            }
        }
        let verdict = verifier.verify(&headers, Bytes::from_static(b"[]"), at(now));
        prop_assert!(verdict.is_err());
    }
}
