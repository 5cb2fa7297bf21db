//! Hash-based message authentication codes (RFC 2104).

use hmac::{
    Hmac, KeyInit, Mac,
    digest::{Output, OutputSizeUser},
};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

use super::{KeyError, KeyProblem, content::Message, header_format::Candidates};

/// Hash function of an HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Sha1,
    Sha256,
    Sha512,
}

impl Hash {
    /// Returns the length of a signature in bytes.
    pub(super) fn width(self) -> usize {
        match self {
            Self::Sha1 => Sha1::output_size(),
            Self::Sha256 => Sha256::output_size(),
            Self::Sha512 => Sha512::output_size(),
        }
    }
}

/// Keyed states, copied for each message, so that the key's two blocks are hashed once and not for each request.
pub(super) enum MacKeys {
    Sha1(Vec<Hmac<Sha1>>),
    Sha256(Vec<Hmac<Sha256>>),
    Sha512(Vec<Hmac<Sha512>>),
}

impl MacKeys {
    pub(super) fn new(hash: Hash, keys: &[Zeroizing<Vec<u8>>]) -> Result<Self, KeyError> {
        fn keyed<M: KeyInit>(keys: &[Zeroizing<Vec<u8>>]) -> Result<Vec<M>, KeyError> {
            let keyed = |(index, key): (usize, &Zeroizing<Vec<u8>>)| {
                // HMAC accepts keys of every length, so this error never occurs.
                M::new_from_slice(key).map_err(|_| KeyProblem::TooLong(key.len()).at(index))
            };
            keys.iter().enumerate().map(keyed).collect()
        }
        Ok(match hash {
            Hash::Sha1 => Self::Sha1(keyed(keys)?),
            Hash::Sha256 => Self::Sha256(keyed(keys)?),
            Hash::Sha512 => Self::Sha512(keyed(keys)?),
        })
    }

    /// Returns which key makes one of the signatures; the last one if several do. All keys are compared with all
    /// signatures, in constant time, regardless of matches.
    pub(super) fn matching(&self, message: &impl Message, candidates: &Candidates) -> Option<usize> {
        fn matching<M: Mac + Clone>(keys: &[M], message: &impl Message, candidates: &Candidates) -> Option<usize> {
            let mut found = Choice::from(0);
            let mut which = 0_u64;
            for (index, key) in (0_u64..).zip(keys) {
                let tag = tag(key, message);
                let mut here = Choice::from(0);
                for candidate in candidates.iter() {
                    here |= tag.as_slice().ct_eq(candidate);
                }
                which.conditional_assign(&index, here);
                found |= here;
            }
            if bool::from(found) { usize::try_from(which).ok() } else { None }
        }
        match self {
            Self::Sha1(keys) => matching(keys, message, candidates),
            Self::Sha256(keys) => matching(keys, message, candidates),
            Self::Sha512(keys) => matching(keys, message, candidates),
        }
    }

    /// Returns the signature of every key.
    pub(super) fn tags(&self, message: &impl Message) -> Vec<Vec<u8>> {
        fn all<M: Mac + Clone>(keys: &[M], message: &impl Message) -> Vec<Vec<u8>> {
            keys.iter().map(|key| tag(key, message).to_vec()).collect()
        }
        match self {
            Self::Sha1(keys) => all(keys, message),
            Self::Sha256(keys) => all(keys, message),
            Self::Sha512(keys) => all(keys, message),
        }
    }

    /// Returns the signature of one key; `None` when there is no such key.
    pub(super) fn tag(&self, index: usize, message: &impl Message) -> Option<Vec<u8>> {
        match self {
            Self::Sha1(keys) => keys.get(index).map(|key| tag(key, message).to_vec()),
            Self::Sha256(keys) => keys.get(index).map(|key| tag(key, message).to_vec()),
            Self::Sha512(keys) => keys.get(index).map(|key| tag(key, message).to_vec()),
        }
    }
}

fn tag<M: Mac + Clone>(key: &M, message: &impl Message) -> Output<M> {
    let mut mac = key.clone();
    message.feed(|bytes| mac.update(bytes));
    mac.finalize().into_bytes()
}
