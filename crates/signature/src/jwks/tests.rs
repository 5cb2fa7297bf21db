use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::*;

/// RFC 7515, A.2: a token signed with RS256.
#[test]
fn the_example_by_rsa() {
    let set = KeySet::jwks(
        br#"{"keys":[{"kty":"RSA","kid":"one",
        "n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
        "e":"AQAB"}]}"#,
    )
    .unwrap();
    let message = b"eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let signature = URL_SAFE_NO_PAD.decode("cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw").unwrap();
    assert!(set.verifies(None, JwsAlgorithm::Rs256, message, &signature));
    assert!(set.verifies(Some("one"), JwsAlgorithm::Rs256, message, &signature));
    assert!(!set.verifies(Some("two"), JwsAlgorithm::Rs256, message, &signature));
    assert!(!set.verifies(None, JwsAlgorithm::Rs384, message, &signature));
    assert!(!set.verifies(None, JwsAlgorithm::Ps256, message, &signature));
    assert!(!set.verifies(None, JwsAlgorithm::Es256, message, &signature));
    assert!(!set.verifies(None, JwsAlgorithm::Rs256, &message[1..], &signature));
    assert!(set.has("one") && !set.has("two"));
    assert!(!set.verifies_rsa(RsaHash::Sha256, message, &signature), "it is no certificate");
}

/// RFC 7515, A.3: the same signed with ES256.
#[test]
fn the_example_by_ecdsa() {
    let set = KeySet::jwks(
        br#"{"keys":[{"kty":"oct","k":"AyM1"},{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#,
    )
    .unwrap();
    let message = b"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let signature = URL_SAFE_NO_PAD
        .decode("DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q")
        .unwrap();
    assert!(set.verifies(None, JwsAlgorithm::Es256, message, &signature));
    assert!(!set.verifies(None, JwsAlgorithm::EdDsa, message, &signature));
}

/// RFC 8037, A.4: signed with Ed25519.
#[test]
fn the_example_by_ed25519() {
    let set = KeySet::jwks(
        br#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","use":"sig","alg":"EdDSA"}]}"#,
    )
    .unwrap();
    let message = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature = URL_SAFE_NO_PAD
        .decode("hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg")
        .unwrap();
    assert!(set.verifies(None, JwsAlgorithm::EdDsa, message, &signature));
    assert!(!set.verifies(None, JwsAlgorithm::EdDsa, b"", &signature));
}

#[test]
fn what_holds_no_key_is_refused() {
    for (text, error) in [
        ("", KeySetError::NotASet),
        ("[]", KeySetError::NotASet),
        ("{}", KeySetError::NotASet),
        (r#"{"keys":{}}"#, KeySetError::NotASet),
        (r#"{"keys":[]}"#, KeySetError::NoKeys),
        (r#"{"keys":[7,{"kty":"oct","k":"AA"},{"kty":"RSA"}]}"#, KeySetError::NoKeys),
        (r#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB","use":"enc"}]}"#, KeySetError::NoKeys),
        (r#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB","alg":"RSA-OAEP"}]}"#, KeySetError::NoKeys),
        (r#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB","key_ops":["encrypt"]}]}"#, KeySetError::NoKeys),
        (r#"{"keys":[{"kty":"EC","crv":"P-256","x":"AQAB","y":"AQAB"}]}"#, KeySetError::NoKeys),
        (
            r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}"#,
            KeySetError::NoKeys,
        ),
    ] {
        assert_eq!(KeySet::jwks(text.as_bytes()).unwrap_err(), error, "{text}");
    }
    let many = format!(r#"{{"keys":[{}]}}"#, vec!["{}"; REMOTE_KEYS + 1].join(","));
    assert_eq!(KeySet::jwks(many.as_bytes()).unwrap_err(), KeySetError::TooMany);
    for text in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        assert_eq!(KeySet::certificate(text.as_bytes()).unwrap_err(), KeySetError::NotACertificate);
    }
}

#[test]
fn symmetric_algorithms_are_none() {
    for name in ["none", "HS256", "HS512", "rs256", "", "ES256K"] {
        assert!(JwsAlgorithm::named(name).is_none(), "{name}");
    }
}
