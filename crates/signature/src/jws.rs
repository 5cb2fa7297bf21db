//! Unverified claims of JSON Web Tokens.
//!
//! Nothing here may authenticate a caller: claims are trusted only to reject a token or to cache it for less time,
//! before or after a holder of the keys has verified it.
//!
//! ```
//! use grapnel_signature::jws::{Claims, is_bearer_token};
//!
//! // {"alg":"none"} . {"aud":"shop","exp":60} . x
//! let token = "eyJhbGciOiJub25lIn0.eyJhdWQiOiJzaG9wIiwiZXhwIjo2MH0.eA";
//! let claims = Claims::unverified(token).unwrap();
//! assert_eq!(claims.expires.map(|time| time.as_second()), Some(60));
//! assert!(is_bearer_token(token) && !claims.may_be_for(&["bank".into()]));
//! ```

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde::{Deserialize, de::DeserializeOwned};

/// Claims of a token whose signature has not been verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Time from which the token is no longer valid (`exp`), if present. Fractions of a second are truncated.
    pub expires: Option<Timestamp>,
    /// Audiences of the token (`aud`); empty if absent.
    pub audiences: Vec<String>,
}

#[derive(Deserialize)]
struct Header {
    #[serde(rename = "alg")]
    _algorithm: String,
}

#[derive(Deserialize)]
struct Payload {
    #[serde(default)]
    exp: Option<f64>,
    #[serde(default)]
    aud: Option<Audience>,
}

/// One string or several (RFC 7519, 4.1.3).
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Claims {
    /// Reads the claims of a signed token in compact form (RFC 7515, 7.1): a JSON object that names an algorithm, a
    /// JSON object of claims and a signature, in unpadded base64url, separated by dots. `None` for anything else.
    pub fn unverified(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let (header, payload, signature) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || signature.is_empty() {
            return None;
        }
        URL_SAFE_NO_PAD.decode(signature).ok()?;
        object::<Header>(header)?;
        let payload: Payload = object(payload)?;
        let audiences = match payload.aud {
            None => Vec::new(),
            Some(Audience::One(audience)) => vec![audience],
            Some(Audience::Several(audiences)) => audiences,
        };
        Some(Self { expires: payload.exp.map(moment), audiences })
    }

    /// Returns whether the token was issued for one of these audiences. A token without an audience may have been.
    pub fn may_be_for(&self, audiences: &[Box<str>]) -> bool {
        self.audiences.is_empty() || self.audiences.iter().any(|own| audiences.iter().any(|other| **other == *own))
    }
}

/// Decodes a JSON object in base64url. Serde alone would also accept an array for a struct.
pub fn object<T: DeserializeOwned>(part: &str) -> Option<T> {
    let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
    bytes.trim_ascii_start().starts_with(b"{").then(|| serde_json::from_slice(&bytes).ok())?
}

/// Returns whether the text has the form of a bearer token (RFC 6750, 2.1: `b64token`).
pub fn is_bearer_token(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    !body.is_empty() && body.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte))
}

/// Converts a NumericDate (RFC 7519, 2): seconds since 1970, possibly with a fraction. Values out of range saturate.
pub fn moment(seconds: f64) -> Timestamp {
    // A cast from a float saturates, and converts NaN to 0, which is long ago.
    #[allow(clippy::cast_possible_truncation)]
    let whole = seconds as i64;
    Timestamp::from_second(whole).unwrap_or(if whole < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(header: &str, payload: &str) -> String {
        format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
    }

    fn claims(payload: &str) -> Option<Claims> {
        Claims::unverified(&token(r#"{"alg":"RS256","kid":"k"}"#, payload))
    }

    #[test]
    fn claims_are_read() {
        let read = claims(r#"{"iss":"x","exp":1700000000,"aud":["a","b"],"sub":"system:serviceaccount:a:b"}"#).unwrap();
        assert_eq!(read.expires.unwrap().as_second(), 1_700_000_000);
        assert_eq!(read.audiences, ["a", "b"]);
        assert_eq!(claims(r#"{"aud":"a"}"#).unwrap(), Claims { expires: None, audiences: vec!["a".into()] });
        assert_eq!(claims("{}").unwrap(), Claims { expires: None, audiences: Vec::new() });
        assert_eq!(claims(r#"{"exp":1.9}"#).unwrap().expires.unwrap().as_second(), 1);
        assert_eq!(claims(r#"{"exp":1e300}"#).unwrap().expires, Some(Timestamp::MAX));
        assert_eq!(claims(r#"{"exp":-1e300}"#).unwrap().expires, Some(Timestamp::MIN));
    }

    /// The example of RFC 7519, section 3.1.
    #[test]
    fn the_example_of_the_standard_is_read() {
        let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
                     eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
                     dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(Claims::unverified(token).unwrap().expires.unwrap().as_second(), 1_300_819_380);
    }

    #[test]
    fn other_things_are_no_tokens() {
        for payload in ["", "[]", "null", "1", r#"{"exp":"soon"}"#, r#"{"aud":7}"#, r#"{"aud":[7]}"#, "{"] {
            assert_eq!(claims(payload), None, "{payload}");
        }
        assert_eq!(Claims::unverified(&token("{}", "{}")), None, "it names no algorithm");
        let good = token(r#"{"alg":"none"}"#, "{}");
        assert!(Claims::unverified(&good).is_some());
        for wrong in [
            "",
            ".",
            "..",
            "a.b.c",
            "abc",
            &good[1..],
            &format!("{good}.x"),
            &format!("{good}="),
            &good[..good.len() - 4],
        ] {
            assert_eq!(Claims::unverified(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_audience_must_be_one_of_those_wanted_unless_there_is_none() {
        let for_whom = |own: &[&str]| Claims { expires: None, audiences: own.iter().map(|&own| own.into()).collect() };
        let wanted: [Box<str>; 2] = ["grapnel".into(), "other".into()];
        assert!(for_whom(&["x", "grapnel"]).may_be_for(&wanted));
        assert!(for_whom(&[]).may_be_for(&wanted));
        assert!(!for_whom(&["x", "Grapnel"]).may_be_for(&wanted));
        assert!(!for_whom(&["grapnel"]).may_be_for(&[]));
    }

    #[test]
    fn a_bearer_token_has_no_other_characters() {
        for good in ["a", "abc.DEF-_~+/0", "YQ==", "kubeconfig-u-x:y".replace(':', "~").as_str()] {
            assert!(is_bearer_token(good), "{good}");
        }
        for bad in ["", "=", "a b", "a=b", "ä", "a,b", "a\"", "a:b"] {
            assert!(!is_bearer_token(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn anything_is_read_without_a_crash(text in ".{0,200}", payload in ".{0,100}") {
            let _ = Claims::unverified(&text);
            let _ = claims(&payload);
            let _ = is_bearer_token(&text);
        }
    }
}
