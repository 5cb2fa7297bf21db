//! Caches of what is fetched from elsewhere: public keys, token reviews, access tokens and addresses of names.
//!
//! [`SingleFlight`] shares one fetch among all callers that wait for it. [`BoundedCache`] keeps a bounded number of
//! results. When a result is valid differs from cache to cache, and follows the clock of the caller; decision record
//! 0010 says why neither is left to the library.

mod bounded;
mod single_flight;

pub(crate) use self::{
    bounded::BoundedCache,
    single_flight::{InFlightFetch, SingleFlight},
};
