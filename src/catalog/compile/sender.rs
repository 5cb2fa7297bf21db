//! How to try an endpoint: the options with which `grapnel send` signs as its sender.

use std::fmt::Write;

use grapnel_api::{Algorithm, Encoding, Hmac, Token, Verification};
use grapnel_signature::Provider;

/// The options of `grapnel send`, without the secret itself. `None` if no secret of the endpoint makes a request of its
/// sender: the keys are fetched, or the cluster reviews the tokens.
pub(super) fn options(verification: &Verification) -> Option<Box<str>> {
    const SECRET: &str = " --secret-file FILE";
    if let Some(preset) = &verification.provider {
        let scheme = Provider::of(preset.name).scheme();
        let secret = match (scheme.needs_secrets(), scheme == grapnel_signature::Scheme::None) {
            (true, _) => SECRET,
            (false, true) => "",
            (false, false) => return None,
        };
        return Some(format!("--provider {}{secret}", preset.name).into());
    }
    let scheme = if let Some(it) = &verification.hmac {
        hmac(it)
    } else if let Some(it) = &verification.token {
        token(it)
    } else if verification.basic.is_some() {
        "--provider basic".into()
    } else {
        return verification.none.as_ref().map(|_| "--provider none".into());
    };
    Some(format!("{scheme}{SECRET}").into())
}

fn hmac(hmac: &Hmac) -> String {
    let algorithm = match hmac.algorithm {
        Algorithm::SHA1 => "sha1",
        Algorithm::SHA256 => "sha256",
        Algorithm::SHA512 => "sha512",
    };
    let encoding = match hmac.encoding {
        Encoding::Hex => "hex",
        Encoding::Base64 => "base64",
    };
    let mut text = format!("--provider hmac-{algorithm}-{encoding}");
    for (option, value) in [
        ("--hmac-header", Some(&hmac.header)),
        ("--hmac-prefix", hmac.prefix.as_ref()),
        ("--hmac-content", hmac.signed_content.as_ref()),
        ("--hmac-timestamp-header", hmac.timestamp_header.as_ref()),
        ("--hmac-id-header", hmac.id_header.as_ref()),
    ] {
        add(&mut text, option, value);
    }
    text
}

fn token(token: &Token) -> String {
    let mut text = "--provider token".to_owned();
    add(&mut text, "--token-header", token.header.as_ref());
    // In another header than Authorization, nothing precedes the token by default.
    let bare = token.header.as_ref().filter(|name| !name.eq_ignore_ascii_case("authorization")).map(|_| String::new());
    add(&mut text, "--token-scheme", token.scheme.as_ref().or(bare.as_ref()));
    text
}

fn add(text: &mut String, option: &str, value: Option<&String>) {
    let Some(value) = value else { return };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.=:/".contains(&byte);
    let value = match !value.is_empty() && value.bytes().all(plain) {
        true => value.clone(),
        false => format!("'{}'", value.replace('\'', r"'\''")),
    };
    // Writing to a string cannot fail.
    let _ = write!(text, " {option} {value}");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_kind_of_verification_says_how_it_is_tried() {
        let hmac = json!({ "header": "X-Sig", "algorithm": "SHA512", "encoding": "Base64" });
        let full = json!({
            "header": "X-Sig", "algorithm": "SHA256", "encoding": "Hex", "prefix": "it's ",
            "signedContent": "{timestamp}.{body}", "timestampHeader": "X-Time", "idHeader": "X-Id",
        });
        for (verification, expected) in [
            (json!({ "provider": { "name": "GitHub" } }), Some("--provider GitHub --secret-file FILE")),
            (json!({ "provider": { "name": "Quay" } }), Some("--provider Quay")),
            (json!({ "provider": { "name": "PayPal", "webhookId": "1" } }), None),
            (json!({ "hmac": hmac }), Some("--provider hmac-sha512-base64 --hmac-header X-Sig --secret-file FILE")),
            (
                json!({ "hmac": full }),
                Some(
                    "--provider hmac-sha256-hex --hmac-header X-Sig --hmac-prefix 'it'\\''s ' \
                     --hmac-content '{timestamp}.{body}' --hmac-timestamp-header X-Time --hmac-id-header X-Id \
                     --secret-file FILE",
                ),
            ),
            (json!({ "token": {} }), Some("--provider token --secret-file FILE")),
            (
                json!({ "token": { "header": "X-Key" } }),
                Some("--provider token --token-header X-Key --token-scheme '' --secret-file FILE"),
            ),
            (json!({ "basic": {} }), Some("--provider basic --secret-file FILE")),
            (json!({ "none": {} }), Some("--provider none")),
            (json!({ "jwt": { "issuer": "https://i.example", "audiences": ["a"] } }), None),
        ] {
            let read: Verification = serde_json::from_value(verification.clone()).unwrap();
            assert_eq!(options(&read).as_deref(), expected, "{verification}");
        }
    }
}
