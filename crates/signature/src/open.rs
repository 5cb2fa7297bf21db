//! No authentication.

use grapnel_values::secret::Secret;
use http::HeaderName;

use super::{
    KeyError, KeyProblem, Refusal,
    proof::{Proof, ProofKind, UnsignedRequest, UnverifiedRequest},
};

/// The scheme of a sender that proves nothing.
#[derive(Debug)]
pub(super) struct Open;

impl ProofKind for Open {
    fn with_keys(&self, _: &[Secret]) -> Result<Box<dyn Proof>, KeyError> {
        Ok(Box::new(Self))
    }

    fn sign(&self, _: &Secret, _: &mut UnsignedRequest<'_>) -> Result<(), KeyProblem> {
        Ok(())
    }

    fn needs_secrets(&self) -> bool {
        false
    }
}

impl Proof for Open {
    fn verify(&self, _: &UnverifiedRequest<'_>) -> Result<usize, Refusal> {
        Ok(0)
    }

    fn credential_headers(&self) -> [Option<&HeaderName>; 2] {
        [None, None]
    }
}
