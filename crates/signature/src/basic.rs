//! Basic authentication with a username and a password (RFC 7617).

use std::fmt;

use base64::Engine;
use grapnel_values::secret::Secret;
use http::{HeaderName, header::AUTHORIZATION};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use super::{
    KeyError, KeyProblem, Refusal,
    key::{self, BASE64},
    proof::{Proof, ProofKind, UnsignedRequest, UnverifiedRequest},
    request::sensitive,
    single,
    token::after,
};

/// Pairs of username and password, as digests of equal length, so that comparing them discloses nothing of the length
/// of the pairs.
pub(super) struct BasicVerifier {
    digests: Vec<[u8; 32]>,
}

impl fmt::Debug for BasicVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BasicVerifier").finish_non_exhaustive()
    }
}

/// Joins the two as [`Scheme::Basic`](super::Scheme::Basic) expects its secrets: with a colon between them, and each
/// without one trailing line ending.
///
/// # Errors
///
/// [`KeyProblem`] when a request could not carry them.
pub fn credentials(username: &Secret, password: &Secret) -> Result<Secret, KeyProblem> {
    let (username, password) = (username.without_line_ending(), password.without_line_ending());
    if username.is_empty() || username.contains(&b':') {
        return Err(KeyProblem::Username);
    }
    if password.is_empty() {
        return Err(KeyProblem::Empty);
    }
    Ok(Secret::from([username, b":", password].concat()))
}

/// Checks that a secret is `username:password`.
fn pair(secret: &Secret) -> Result<&[u8], KeyProblem> {
    let pair = secret.without_line_ending();
    match pair.iter().position(|byte| *byte == b':') {
        None | Some(0) => Err(KeyProblem::Username),
        Some(at) if at.saturating_add(1) == pair.len() => Err(KeyProblem::Empty),
        Some(_) => Ok(pair),
    }
}

impl BasicVerifier {
    pub(super) fn new(secrets: &[Secret]) -> Result<Self, KeyError> {
        let digests = key::each(secrets, |secret| pair(secret).map(|pair| Sha256::digest(pair).into()))?;
        Ok(Self { digests })
    }
}

/// The scheme of a username and a password. It has nothing to describe.
pub(super) struct BasicScheme;

impl ProofKind for BasicScheme {
    fn with_keys(&self, secrets: &[Secret]) -> Result<Box<dyn Proof>, KeyError> {
        Ok(Box::new(BasicVerifier::new(secrets)?))
    }

    fn sign(&self, secret: &Secret, request: &mut UnsignedRequest<'_>) -> Result<(), KeyProblem> {
        let pair = BASE64.encode(pair(secret)?);
        request.headers.insert(AUTHORIZATION, sensitive(format!("Basic {pair}").as_bytes())?);
        Ok(())
    }
}

impl Proof for BasicVerifier {
    fn credential_headers(&self) -> [Option<&HeaderName>; 2] {
        [Some(&AUTHORIZATION), None]
    }

    fn verify(&self, request: &UnverifiedRequest<'_>) -> Result<usize, Refusal> {
        let value = single(request.headers, &AUTHORIZATION, "username and password")?.as_bytes();
        let pair = after(value, "Basic").and_then(|text| BASE64.decode(text.trim_ascii_end()).ok()).map(Zeroizing::new);
        let Some(pair) = pair else {
            let sentence = "header authorization does not hold `Basic` and base64 after it";
            return Err(Refusal::InvalidSignature(sentence.into()));
        };
        let digest = Sha256::digest(&*pair);
        let mut found = Choice::from(0);
        for known in &self.digests {
            found |= digest.as_slice().ct_eq(known);
        }
        if bool::from(found) {
            Ok(0)
        } else {
            let sentence = "wrong username or password in header authorization";
            Err(Refusal::InvalidSignature(sentence.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;
    use jiff::Timestamp;

    use super::*;
    use crate::VerificationContext;

    fn verify(verifier: &BasicVerifier, headers: &HeaderMap) -> &'static str {
        let (context, body, now) = (&VerificationContext::Nothing, &Bytes::new(), Timestamp::UNIX_EPOCH);
        let verdict = verifier.verify(&UnverifiedRequest { context, headers, body, now });
        verdict.map_or_else(|refusal| refusal.code(), |_| "ok")
    }

    fn judge(verifier: &BasicVerifier, value: &str) -> &'static str {
        verify(verifier, &HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]))
    }

    #[test]
    fn both_must_be_right() {
        let verifier = BasicVerifier::new(&["Aladdin:open sesame\n".into(), "new:p:w".into()]).unwrap();
        // The example of RFC 7617, section 2.
        assert_eq!(judge(&verifier, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), "ok");
        assert_eq!(judge(&verifier, "basic  QWxhZGRpbjpvcGVuIHNlc2FtZQ"), "ok");
        assert_eq!(judge(&verifier, &format!("Basic {}", BASE64.encode("new:p:w"))), "ok");
        for wrong in
            ["Aladdin:", ":open sesame", "aladdin:open sesame", "Aladdin:open sesame\n", "Aladdin", "", "new:p"]
        {
            assert_eq!(judge(&verifier, &format!("Basic {}", BASE64.encode(wrong))), "invalid_signature", "{wrong}");
        }
        for wrong in ["", "Basic", "Basic !", "Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Basic Aladdin:open sesame"] {
            assert_eq!(judge(&verifier, wrong), "invalid_signature", "{wrong}");
        }
        assert_eq!(verify(&verifier, &HeaderMap::new()), "missing_signature");
        assert!(!format!("{verifier:?}").contains("sesame"));
    }

    #[test]
    fn pairs_that_no_request_could_carry_are_refused() {
        let both = |username: &str, password: &str| credentials(&username.into(), &password.into());
        assert_eq!(both("a\n", "b:c\n"), Ok(Secret::from("a:b:c")));
        assert_eq!(both("", "b"), Err(KeyProblem::Username));
        assert_eq!(both("a:b", "c"), Err(KeyProblem::Username));
        assert_eq!(both("a", "\n"), Err(KeyProblem::Empty));
        for wrong in ["", "a", ":b", "a:"] {
            assert!(BasicVerifier::new(&[wrong.into()]).is_err(), "{wrong}");
        }
    }
}
