//! A shared secret sent as it is.

use std::fmt;

use grapnel_values::secret::Secret;
use http::HeaderName;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::{
    KeyError, KeyForm, KeyProblem, Refusal, key,
    proof::{Proof, ProofKind, UnsignedRequest, UnverifiedRequest},
    request::sensitive,
    single,
};

/// A token in a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenScheme {
    /// Header that carries the token.
    pub header: HeaderName,
    /// Word before the token, such as `Bearer`, compared without regard to case (RFC 9110, 11.1).
    pub scheme: Option<String>,
}

impl TokenScheme {
    /// Returns the scheme of the secret itself in a header.
    pub(super) fn bare(header: &'static str) -> Self {
        Self { header: HeaderName::from_static(header), scheme: None }
    }
}

/// A token scheme with its tokens, as digests of equal length, so that comparing them discloses nothing of the length
/// of the tokens.
pub(super) struct TokenVerifier {
    scheme: TokenScheme,
    digests: Vec<[u8; 32]>,
}

impl fmt::Debug for TokenVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenVerifier").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

impl TokenVerifier {
    pub(super) fn new(scheme: TokenScheme, secrets: &[Secret]) -> Result<Self, KeyError> {
        let digests = key::each(secrets, |secret| KeyForm::Raw.key(secret).map(|key| Sha256::digest(&*key).into()))?;
        Ok(Self { scheme, digests })
    }
}

impl ProofKind for TokenScheme {
    fn with_keys(&self, secrets: &[Secret]) -> Result<Box<dyn Proof>, KeyError> {
        Ok(Box::new(TokenVerifier::new(self.clone(), secrets)?))
    }

    fn sign(&self, secret: &Secret, request: &mut UnsignedRequest<'_>) -> Result<(), KeyProblem> {
        let token = KeyForm::Raw.key(secret)?;
        let word = self.scheme.as_ref().map(|word| format!("{word} ")).unwrap_or_default();
        request.headers.insert(&self.header, sensitive(&[word.as_bytes(), &token].concat())?);
        Ok(())
    }
}

impl Proof for TokenVerifier {
    fn credential_headers(&self) -> [Option<&HeaderName>; 2] {
        [Some(&self.scheme.header), None]
    }

    fn verify(&self, request: &UnverifiedRequest<'_>) -> Result<usize, Refusal> {
        let header = &self.scheme.header;
        let value = single(request.headers, header, "token")?.as_bytes();
        let token = match &self.scheme.scheme {
            None => value,
            Some(scheme) => after(value, scheme).ok_or_else(|| {
                Refusal::InvalidSignature(format!("header {header} does not hold `{scheme}` and a token after it"))
            })?,
        };
        let digest = Sha256::digest(token);
        let mut found = Choice::from(0);
        for known in &self.digests {
            found |= digest.as_slice().ct_eq(known);
        }
        if bool::from(found) {
            Ok(0)
        } else {
            Err(Refusal::InvalidSignature(format!("wrong token in header {header}")))
        }
    }
}

/// Returns what follows the scheme and at least one space.
pub(super) fn after<'a>(value: &'a [u8], scheme: &str) -> Option<&'a [u8]> {
    let (word, rest) = value.split_at_checked(scheme.len())?;
    let token = rest.trim_ascii_start();
    (word.eq_ignore_ascii_case(scheme.as_bytes()) && rest.starts_with(b" ") && !token.is_empty()).then_some(token)
}
