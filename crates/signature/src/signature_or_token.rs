//! A signature or a shared secret, depending on the secret.

use std::{fmt, slice, time::Duration};

use grapnel_values::secret::Secret;
use http::HeaderName;

use super::{
    KeyError, KeyProblem, Refusal, Scheme, SignatureScheme, TokenScheme,
    header_signature::SignatureVerifier,
    key,
    proof::{Proof, ProofKind, UnsignedRequest, UnverifiedRequest},
    token::TokenVerifier,
};

/// Prefix of a secret that signs.
const SIGNING: &[u8] = b"whsec_";

/// Two schemes of one sender. A secret that begins with `whsec_` signs, any other is a token. They are never
/// interchangeable: a token that is not configured is never accepted, and a secret that is sent as a token never signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureOrTokenScheme {
    /// The scheme of secrets that sign.
    pub signature: SignatureScheme,
    /// The scheme of all other secrets.
    pub token: TokenScheme,
}

impl SignatureOrTokenScheme {
    /// Returns whether a secret signs. A token in a header cannot begin with spaces, so leading spaces are ignored.
    fn signs(secret: &Secret) -> bool {
        secret.expose().trim_ascii_start().starts_with(SIGNING)
    }
}

/// Both schemes with their keys.
pub(super) struct SignatureOrTokenVerifier {
    scheme: SignatureOrTokenScheme,
    /// `None` without a secret that signs.
    signature: Option<SignatureVerifier>,
    /// `None` without any other secret.
    token: Option<TokenVerifier>,
}

impl fmt::Debug for SignatureOrTokenVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignatureOrTokenVerifier").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

impl SignatureOrTokenVerifier {
    pub(super) fn new(scheme: SignatureOrTokenScheme, secrets: &[Secret]) -> Result<Self, KeyError> {
        // Limits apply to both kinds together.
        let signs = key::each(secrets, |secret| Ok(SignatureOrTokenScheme::signs(secret)))?;
        let (mut signing, mut tokens) = (Vec::new(), Vec::new());
        for (index, (secret, signs)) in secrets.iter().zip(signs).enumerate() {
            // One by one, so that an error has the index of the secret among all.
            let secret = slice::from_ref(secret);
            let checked = if signs {
                signing.extend_from_slice(secret);
                SignatureVerifier::new(scheme.signature.clone(), secret).map(drop)
            } else {
                tokens.extend_from_slice(secret);
                TokenVerifier::new(scheme.token.clone(), secret).map(drop)
            };
            checked.map_err(|error| error.problem.at(index))?;
        }
        let signature = (!signing.is_empty()).then(|| SignatureVerifier::new(scheme.signature.clone(), &signing));
        let token = (!tokens.is_empty()).then(|| TokenVerifier::new(scheme.token.clone(), &tokens));
        Ok(Self { signature: signature.transpose()?, token: token.transpose()?, scheme })
    }
}

impl ProofKind for SignatureOrTokenScheme {
    fn with_keys(&self, secrets: &[Secret]) -> Result<Box<dyn Proof>, KeyError> {
        Ok(Box::new(SignatureOrTokenVerifier::new(self.clone(), secrets)?))
    }

    fn sign(&self, secret: &Secret, request: &mut UnsignedRequest<'_>) -> Result<(), KeyProblem> {
        if Self::signs(secret) { self.signature.sign(secret, request) } else { self.token.sign(secret, request) }
    }

    fn tolerating(&self, tolerance: Duration) -> Option<Scheme> {
        let signature = SignatureScheme { tolerance: Some(tolerance), ..self.signature.clone() };
        Some(Scheme::SignatureOrToken(Self { signature, ..self.clone() }))
    }
}

impl Proof for SignatureOrTokenVerifier {
    /// Both are credentials, whichever is verified: the sender may send both.
    fn credential_headers(&self) -> [Option<&HeaderName>; 2] {
        [Some(&self.scheme.signature.header), Some(&self.scheme.token.header)]
    }

    /// Verifies the signature if there is one, so that a token does not make up for an invalid signature.
    fn verify(&self, request: &UnverifiedRequest<'_>) -> Result<usize, Refusal> {
        let signed = request.headers.contains_key(&self.scheme.signature.header);
        match (&self.signature, &self.token) {
            (Some(signature), token) if signed || token.is_none() => signature.verify(request),
            (_, Some(token)) => token.verify(request),
            // A verifier has at least one kind of secret.
            (_, None) => Err(Refusal::InvalidSignature(KeyProblem::NoSecrets.to_string())),
        }
    }
}
