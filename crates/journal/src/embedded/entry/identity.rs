//! New endpoints and consumers.

use bytes::{Bytes, BytesMut};
use grapnel_api::Incarnation;

use super::Result;
use crate::{
    Sequence,
    record::{
        codec::{get_var, put_var},
        fields::{close, get_key, get_u32, put_key},
    },
};

/// A new endpoint, or a new incarnation of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::embedded) struct NewEndpoint {
    pub(in crate::embedded) endpoint: Incarnation,
    pub(in crate::embedded) incarnation: u32,
    pub(in crate::embedded) begin: Sequence,
}

/// A new consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::embedded) struct NewConsumer {
    pub(in crate::embedded) consumer: Incarnation,
    pub(in crate::embedded) endpoint: u32,
    pub(in crate::embedded) start: Sequence,
    pub(in crate::embedded) appended_before: u64,
}

impl NewEndpoint {
    pub(in crate::embedded) fn encode(&self) -> Bytes {
        let mut row = BytesMut::with_capacity(64);
        put_key(&mut row, &self.endpoint.key, &self.endpoint.uid);
        put_var(&mut row, self.incarnation.into());
        put_var(&mut row, self.begin);
        row.freeze()
    }

    pub(in crate::embedded) fn decode(mut row: Bytes) -> Result<Self> {
        const WHAT: &str = "endpoint";
        let (key, uid) = get_key(&mut row, WHAT)?;
        let (incarnation, begin) = (get_u32(&mut row, WHAT)?, get_var(&mut row, WHAT)?);
        close(&row, WHAT)?;
        Ok(Self { endpoint: Incarnation::new(key, &*uid), incarnation, begin })
    }
}

impl NewConsumer {
    pub(in crate::embedded) fn encode(&self) -> Bytes {
        let mut row = BytesMut::with_capacity(64);
        put_key(&mut row, &self.consumer.key, &self.consumer.uid);
        put_var(&mut row, self.endpoint.into());
        put_var(&mut row, self.start);
        put_var(&mut row, self.appended_before);
        row.freeze()
    }

    pub(in crate::embedded) fn decode(mut row: Bytes) -> Result<Self> {
        const WHAT: &str = "consumer";
        let (key, uid) = get_key(&mut row, WHAT)?;
        let endpoint = get_u32(&mut row, WHAT)?;
        let (start, appended_before) = (get_var(&mut row, WHAT)?, get_var(&mut row, WHAT)?);
        close(&row, WHAT)?;
        Ok(Self { consumer: Incarnation::new(key, &*uid), endpoint, start, appended_before })
    }
}
