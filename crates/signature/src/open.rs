//! No authentication.

use grapnel_values::secret::Secret;
use http::HeaderName;

use super::{
    KeyError, KeyProblem, Refusal,
    proof::{Incoming, Kind, Outgoing, Proof},
};

/// The scheme of a sender that proves nothing.
#[derive(Debug)]
pub(super) struct Open;

impl Kind for Open {
    fn with_keys(&self, _: &[Secret]) -> Result<Box<dyn Proof>, KeyError> {
        Ok(Box::new(Self))
    }

    fn sign(&self, _: &Secret, _: &mut Outgoing<'_>) -> Result<(), KeyProblem> {
        Ok(())
    }

    fn needs_secrets(&self) -> bool {
        false
    }
}

impl Proof for Open {
    fn verify(&self, _: &Incoming<'_>) -> Result<usize, Refusal> {
        Ok(0)
    }

    fn credential_headers(&self) -> [Option<&HeaderName>; 2] {
        [None, None]
    }
}
